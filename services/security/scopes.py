"""What a caller must be allowed to do for each method of the contract."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Literal, get_args

from rlhf_core.errors import Forbidden

Scope = Literal["annotate", "read", "label", "review", "train", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
GRANTS: Mapping[Scope, frozenset[Scope]] = {
    "annotate": frozenset({"annotate", "label"}),
    "read": frozenset({"annotate", "read"}),
    "label": frozenset({"annotate", "read", "label"}),
    "review": frozenset({"annotate", "read", "label", "review"}),
    "train": frozenset({"annotate", "read", "train"}),
    "admin": frozenset(SCOPES),
}
"""What a token with a scope may do. All but `annotate` may ask the models and look at what is stored; that one labels
in the token's own name, and sees nobody else's labels."""
ROLES: Mapping[str, tuple[Scope, ...]] = {
    "annotator": ("annotate",),
    "reviewer": ("review",),
    "trainer": ("train", "review"),
    "admin": ("admin",),
}
"""What people do, as the scopes that they need for it."""
OPEN: tuple[str, ...] = ("grpc.health.v1.Health", "grpc.reflection.")
"""Services that need no token: a balancer has none, and the contract is no secret."""

_NEEDED: Mapping[Scope, Mapping[str, tuple[str, ...]]] = {
    # All tokens may.
    "annotate": {
        "ServerService": ("GetInfo",),
        "PreferenceService": ("GetGuidelines",),
        "AnnotationService": ("GetAnnotator",),
        "AssessmentService": ("GetProgress",),
    },
    "read": {
        "PolicyService": (
            *("Generate", "GenerateStream", "ListPolicyVersions", "GetServerInfo"),
            *("GetPolicy", "ListPolicies", "ListPolicyChanges", "ExportPolicy"),
        ),
        "CritiqueService": (
            *("Critique", "Revise", "ReviseStream", "Compare", "GetJudge", "GetConstitution", "GetConstitutionStatus"),
            *("CheckConstitution", "DiffConstitutions", "TestConstitution"),
        ),
        "RewardService": ("Score", "ListRewardModels"),
        "PreferenceService": ("ListPreferences",),
        "AssessmentService": ("ListAssessments",),
        "DatasetService": (
            *("GetUpload", "GetDataset", "ListDatasets", "ListDatasetRows", "ExportDataset"),
            *("ListSamples", "ListComparisons", "ListRevisions", "ExportRun"),
        ),
        "StudyService": ("GetStudy", "ListStudies", "GetStudyResults"),
        "ExplorationService": ("ListSampleTerms", "FindSamples", "GetSample"),
        "TrainerService": ("GetRun", "ListRuns", "WatchRun", "GetReport", "CompareRuns"),
    },
    "label": {
        "PreferenceService": ("NextComparison", "SubmitPreference", "UndoPreference"),
        "AssessmentService": ("NextAssessment", "SubmitAssessment", "UndoAssessment"),
    },
    "review": {
        "AnnotationService": (
            *("GetQuality", "ListAnswers", "ListDisagreements"),
            *("Adjudicate", "WithdrawAdjudication", "SetAnnotator"),
        ),
    },
    "train": {
        "PolicyService": ("PromotePolicy", "RollbackPolicy"),
        "DatasetService": ("UploadDataset", "DeleteDataset"),
        "PreferenceService": ("ExplainQueue",),
        "StudyService": ("CreateStudy", "CloseStudy"),
        "TrainerService": (
            "CreateRun",
            "UpdateRun",
            "SetRunWeights",
            "CancelRun",
            "PauseRun",
            "ResumeRun",
            "DeleteRun",
        ),
    },
}
NEEDED: Mapping[str, Scope] = {
    f"charter.v1.{service}/{method}": scope
    for scope, services in _NEEDED.items()
    for service, methods in services.items()
    for method in methods
}
"""The scope of each method by its full name. One that is missing here is for `admin` alone."""


def is_open(method: str) -> bool:
    """Tell whether a method, such as `/grpc.health.v1.Health/Check`, needs no token."""
    return method.lstrip("/").startswith(OPEN)


def check_scope(method: str, granted: Collection[Scope], name: str) -> None:
    """Raise Forbidden unless one of the scopes granted to a token allows the method."""
    needed = NEEDED.get(method.lstrip("/"), "admin")
    if not any(needed in GRANTS[scope] for scope in granted):
        raise Forbidden(
            f"token '{name}' has the scope {', '.join(granted)}; {method.rpartition('/')[2]} needs {needed}",
            "token",
            hint=f"ask whoever runs the server for a token with the scope {needed}",
        )

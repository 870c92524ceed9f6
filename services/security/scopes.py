"""What a caller must be allowed to do for each method of the contract."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Literal, get_args

from rlhf_core.errors import Forbidden

Scope = Literal["read", "label", "train", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
GRANTS: Mapping[Scope, frozenset[Scope]] = {
    "read": frozenset({"read"}),
    "label": frozenset({"read", "label"}),
    "train": frozenset({"read", "train"}),
    "admin": frozenset(SCOPES),
}
"""What a token with a scope may do: all of them may ask the models and look at what is stored."""
OPEN: tuple[str, ...] = ("grpc.health.v1.Health", "grpc.reflection.")
"""Services that need no token: a balancer has none, and the contract is no secret."""

_NEEDED: Mapping[Scope, Mapping[str, tuple[str, ...]]] = {
    "read": {
        "PolicyService": (
            *("Generate", "GenerateStream", "ListPolicyVersions", "GetServerInfo"),
            *("GetPolicy", "ListPolicies", "ListPolicyChanges", "ExportPolicy"),
        ),
        "CritiqueService": (
            *("Critique", "Revise", "ReviseStream", "Compare", "GetJudge", "GetConstitution", "GetConstitutionStatus"),
            *("CheckConstitution", "DiffConstitutions", "TestConstitution"),
        ),
        "ServerService": ("GetInfo",),
        "RewardService": ("Score", "ListRewardModels"),
        "PreferenceService": ("ListPreferences", "GetGuidelines"),
        "AssessmentService": ("ListAssessments", "GetProgress"),
        "DatasetService": (
            *("GetUpload", "GetDataset", "ListDatasets", "ListDatasetRows", "ExportDataset"),
            *("ListSamples", "ListComparisons", "ListRevisions", "ExportRun"),
        ),
        "ExplorationService": ("ListSampleTerms", "FindSamples", "GetSample"),
        "TrainerService": ("GetRun", "ListRuns", "WatchRun", "GetReport", "CompareRuns"),
    },
    "label": {
        "PreferenceService": ("NextComparison", "SubmitPreference", "UndoPreference"),
        "AssessmentService": ("NextAssessment", "SubmitAssessment", "UndoAssessment"),
    },
    "train": {
        "PolicyService": ("PromotePolicy", "RollbackPolicy"),
        "DatasetService": ("UploadDataset", "DeleteDataset"),
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

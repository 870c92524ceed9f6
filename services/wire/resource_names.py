"""Resource names: `runs/{run}` and its like. Where a request asks for an id, the name is as good."""

from __future__ import annotations

from charter.v1 import trainer_pb2

from rlhf_core.errors import InvalidInput

RUNS = "runs"
POLICY_VERSIONS = "policyVersions"
REWARD_MODELS = "rewardModels"
PREFERENCES = "preferences"
COMPARISONS = "comparisons"
CONSTITUTIONS = "constitutions"
DATASETS = "datasets"
STUDIES = "studies"
COLLECTIONS = (RUNS, POLICY_VERSIONS, REWARD_MODELS, PREFERENCES, COMPARISONS, CONSTITUTIONS, DATASETS, STUDIES)

RunRequest = (
    trainer_pb2.GetRunRequest
    | trainer_pb2.CancelRunRequest
    | trainer_pb2.DeleteRunRequest
    | trainer_pb2.PauseRunRequest
    | trainer_pb2.ResumeRunRequest
    | trainer_pb2.SetRunWeightsRequest
    | trainer_pb2.WatchRunRequest
    | trainer_pb2.GetReportRequest
)


def resource(collection: str, identity: str) -> str:
    """Name a thing's resource; none for one that has no id."""
    return f"{collection}/{identity}" if identity else ""


def identity(collection: str, given: str, field: str) -> str:
    """Return the id in what a request gives, which may be the id or the name.

    Raises InvalidInput for another kind's name.
    """
    kind, slash, tail = given.partition("/")
    if not slash or kind not in COLLECTIONS:
        return given
    if kind != collection or not tail:
        raise InvalidInput(f"{field}: '{given[:200]}' is not of {collection}; write it as {collection}/ID", field)
    return tail


def run_of(request: RunRequest) -> str:
    """Return the id of the run that a request is about, by its name or its id."""
    return either(request.name, request.run_id, "name", "run_id")


def either(name: str, run_id: str, name_field: str, id_field: str) -> str:
    """Return a run's id from its name, its id, or both where they agree. Raises InvalidInput otherwise."""
    if not (name or run_id):
        raise InvalidInput(f"{name_field}: not given; say which run, as {RUNS}/ID", name_field)
    if name and not name.startswith(f"{RUNS}/"):
        raise InvalidInput(f"{name_field}: '{name[:200]}' is not a run's name; write it as {RUNS}/ID", name_field)
    by_name, by_id = identity(RUNS, name, name_field), identity(RUNS, run_id, id_field)
    if by_name and by_id and by_name != by_id:
        text = f"{name_field}: '{by_name[:200]}' and {id_field} '{by_id[:200]}' are two runs; give one"
        raise InvalidInput(text, name_field)
    return by_name or by_id

"""The paths of the HTTP edge, each with the method of the contract whose scope it asks for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple, cast

from services.http.calls import ANY, Answer, Asked, Door, Endpoint, Gate, Takes
from services.http.chat import Chat
from services.http.files import Files
from services.http.fine_tuning import FineTuning
from services.http.models import Models
from services.http.reward_shapes import RewardShapes
from services.http.rewards import Rewards
from services.http.texts import Reader
from services.http.vocabulary import Vocabulary
from services.rpc.dataset import DatasetService
from services.rpc.policy import PolicyService
from services.rpc.reward import RewardService
from services.rpc.trainer import TrainerService
from services.server.server import Service
from services.serving.executor import Executor

if TYPE_CHECKING:
    from rlhf_core.models.backbone import Backbone

Answering = Callable[[Asked], Awaitable[Answer]]
Row = tuple[str, str, Answering, str, str] | tuple[str, str, Answering, str, str, Takes]
"""How a path is asked, the path, what answers it, the method that it stands for, and what its requests are about; and
what its body is, where that is not JSON."""

SCORE = "charter.v1.RewardService/Score"
GENERATE = "charter.v1.PolicyService/Generate"
LIST = "charter.v1.PolicyService/ListPolicyVersions"
DATA, TRAINER = "charter.v1.DatasetService", "charter.v1.TrainerService"
JOBS = "/v1/fine_tuning/jobs"


class Offered(NamedTuple):
    """What this process offers over gRPC, and so over HTTP, and the model that it is about."""

    reward: RewardService | None
    policy: PolicyService | None
    trainer: TrainerService | None
    datasets: DatasetService | None
    base_model: str
    vocabulary: Vocabulary
    reader: Reader


def offered_by(services: Sequence[Service], backbone: Backbone, model_thread: Executor) -> Offered:
    """Return the services of a process that have paths. On the model's thread, as a template is looked at."""
    servicers = {type(service.servicer): service.servicer for service in services}
    return Offered(
        cast(RewardService | None, servicers.get(RewardService)),
        cast(PolicyService | None, servicers.get(PolicyService)),
        cast(TrainerService | None, servicers.get(TrainerService)),
        cast(DatasetService | None, servicers.get(DatasetService)),
        backbone.name,
        Vocabulary(backbone, model_thread),
        Reader(backbone.name, backbone.transcripts),
    )


def endpoints(gate: Gate, offered: Offered, run: str) -> list[Endpoint]:
    """Return the endpoints; `run` is the one whose reward models score where a request names none."""
    rows = _rewards(gate, offered.reward, offered.reader, run) if offered.reward else []
    rows += _policy(gate, offered.policy, offered) if offered.policy else []
    if offered.datasets:
        rows += _files(offered.datasets)
    if offered.policy and offered.trainer and offered.datasets:
        rows += _jobs(FineTuning(offered.trainer, offered.datasets, offered.policy, offered.base_model))
    doors: dict[str, dict[str, Door]] = {}
    for verb, path, answer, method, subject, *takes in rows:
        doors.setdefault(path, {})[verb] = Door(method, answer, subject, *takes)
    return [Endpoint(gate, path, ways) for path, ways in doors.items()]


def _rewards(gate: Gate, service: RewardService, reader: Reader, run: str) -> list[Row]:
    rewards = Rewards(service, gate.limits, run)
    shapes = RewardShapes(rewards, reader)
    return [
        ("GET", "/v1/objectives", rewards.objectives, SCORE, "run", "nothing"),
        ("POST", "/v1/score", rewards.plain, SCORE, "samples"),
        ("POST", "/get_reward", shapes.openrlhf, SCORE, "query"),
        ("POST", "/remote_rm", shapes.slime, SCORE, "response"),
        ("POST", "/classify", shapes.classify, SCORE, "input"),
        ("POST", "/v1/embeddings", shapes.embeddings, SCORE, "input"),
        ("POST", "/verify", shapes.verify, SCORE, "response"),
        ("POST", "/seed_session", shapes.seed_session, SCORE, "body"),
        ("POST", "/aggregate_metrics", shapes.aggregate_metrics, SCORE, "verify_responses"),
    ]


def _policy(gate: Gate, service: PolicyService, offered: Offered) -> list[Row]:
    models = Models(service, offered.base_model)
    return [
        ("POST", "/v1/chat/completions", Chat(service, offered.vocabulary, gate.limits).complete, GENERATE, "messages"),
        ("GET", "/v1/models", models.all, LIST, "model", "nothing"),
        ("GET", f"/v1/models{ANY}", models.one, LIST, "model", "nothing"),
    ]


def _files(service: DatasetService) -> list[Row]:
    files = Files(service)
    return [
        ("POST", "/v1/files", files.create, f"{DATA}/UploadDataset", "file", "form"),
        ("GET", "/v1/files", files.all, f"{DATA}/ListDatasets", "purpose", "nothing"),
        ("GET", f"/v1/files{ANY}", files.one, f"{DATA}/GetDataset", "file_id", "nothing"),
        ("DELETE", f"/v1/files{ANY}", files.delete, f"{DATA}/DeleteDataset", "file_id", "nothing"),
        ("GET", f"/v1/files{ANY}/content", files.content, f"{DATA}/ExportDataset", "file_id", "nothing"),
    ]


def _jobs(jobs: FineTuning) -> list[Row]:
    one = f"{JOBS}{ANY}"
    return [
        ("POST", JOBS, jobs.create, f"{TRAINER}/CreateRun", "training_file"),
        ("GET", JOBS, jobs.all, f"{TRAINER}/ListRuns", "after", "nothing"),
        ("GET", one, jobs.one, f"{TRAINER}/GetRun", "fine_tuning_job_id", "nothing"),
        ("POST", f"{one}/cancel", jobs.cancel, f"{TRAINER}/CancelRun", "fine_tuning_job_id", "nothing"),
        ("POST", f"{one}/pause", jobs.pause, f"{TRAINER}/PauseRun", "fine_tuning_job_id", "nothing"),
        ("POST", f"{one}/resume", jobs.resume, f"{TRAINER}/ResumeRun", "fine_tuning_job_id", "nothing"),
        ("GET", f"{one}/events", jobs.events, f"{TRAINER}/WatchRun", "after", "nothing"),
        ("GET", f"{one}/checkpoints", jobs.checkpoints, LIST, "after", "nothing"),
    ]

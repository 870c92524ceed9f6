"""OpenAI's fine-tuning jobs as runs: demonstrations are learned from, prompts begin the whole story."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from charter.v1 import dataset_pb2, policy_pb2, trainer_pb2
from pydantic import Field

from rlhf_core.datasets.references import dataset_id_in
from rlhf_core.errors import InvalidInput
from rlhf_core.records.runs import RunEvent
from rlhf_core.records.samples import BASE_POLICY
from services.http.calls import Asked
from services.http.chat import NO_CONTEXT
from services.http.errors import Unsupported
from services.http.paging import limit_of, listed
from services.http.texts import Shape
from services.rpc.dataset import DatasetService
from services.rpc.policy import PolicyService
from services.rpc.trainer import TrainerService
from services.wire import enums
from services.wire.stored_records import policy_version_from_message

STATUS: Mapping[str, str] = {
    **{"QUEUED": "queued", "RUNNING": "running", "PAUSED": "paused", "SUCCEEDED": "succeeded", "FAILED": "failed"},
    **{"CANCELLED": "cancelled", "PAUSING": "running", "CANCELLING": "running", "LOST": "running"},
}
ENDED = ("SUCCEEDED", "FAILED", "CANCELLED")
PAGE = 1000
EVENT = "ftevent-"
NEVER = 2**62
"""More events than a run has."""

Auto = Literal["auto"]


class Hyperparameters(Shape):
    n_epochs: int | Auto = "auto"
    batch_size: int | Auto = "auto"
    learning_rate_multiplier: Literal[1] | Auto = "auto"


class MethodOptions(Shape):
    hyperparameters: Hyperparameters | None = None


class Method(Shape):
    type: Literal["supervised", "reinforcement"]
    supervised: MethodOptions | None = None
    reinforcement: MethodOptions | None = None


class JobRequest(Shape):
    """What is carried out of OpenAI's parameters; `config` is ours, a run's configuration."""

    model: str = Field(min_length=1)
    training_file: str = Field(min_length=1)
    validation_file: str | None = None
    hyperparameters: Hyperparameters | None = None
    method: Method | None = None
    seed: int | None = Field(default=None, ge=0, lt=2**31)
    suffix: str | None = Field(default=None, max_length=64)
    metadata: dict[str, str] | None = None
    integrations: tuple[()] | None = None
    config: dict[str, Any] = Field(default_factory=dict)


class FineTuning:
    """/v1/fine_tuning/jobs of one server, and what may be asked of each job."""

    def __init__(self, trainer: TrainerService, data: DatasetService, policy: PolicyService, base_model: str):
        self._trainer, self._data, self._policy, self._base_model = trainer, data, policy, base_model

    async def create(self, asked: Asked) -> dict[str, Any]:
        """Queue a run on the files; what is wrong with its configuration is told by its dotted path."""
        job = JobRequest.model_validate(asked.body)
        if job.model not in (BASE_POLICY, self._base_model):
            allowed = f"{BASE_POLICY}, {self._base_model}"
            raise InvalidInput(f"model: '{job.model[:200]}' is not what is trained here; allowed: {allowed}", "model")
        training = await self._file(job.training_file, "training_file")
        validation = await self._file(job.validation_file, "validation_file") if job.validation_file else None
        request = trainer_pb2.CreateRunRequest(
            config_json=json.dumps(_config(job, training, validation)),
            display_name=job.suffix or "",
            tags=job.metadata or {},
        )
        return await self._job((await self._trainer.CreateRun(request, NO_CONTEXT)).run)

    async def all(self, asked: Asked) -> dict[str, Any]:
        """List every run, newest first, whoever asked for it."""
        runs: list[trainer_pb2.Run] = []
        request = trainer_pb2.ListRunsRequest(page_size=PAGE)
        while True:
            answer = await self._trainer.ListRuns(request, NO_CONTEXT)
            runs += answer.runs
            if not answer.next_page_token:
                break
            request.page_token = answer.next_page_token
        page = listed([{"id": run.id} for run in runs], asked.query)
        told = {run.id: run for run in runs}
        return page | {"data": [await self._job(told[one["id"]]) for one in page["data"]]}

    async def one(self, asked: Asked) -> dict[str, Any]:
        return await self._job(await self._run(asked.name))

    async def cancel(self, asked: Asked) -> dict[str, Any]:
        return await self._changed(self._trainer.CancelRun, trainer_pb2.CancelRunRequest(run_id=asked.name))

    async def pause(self, asked: Asked) -> dict[str, Any]:
        return await self._changed(self._trainer.PauseRun, trainer_pb2.PauseRunRequest(run_id=asked.name))

    async def resume(self, asked: Asked) -> dict[str, Any]:
        return await self._changed(self._trainer.ResumeRun, trainer_pb2.ResumeRunRequest(run_id=asked.name))

    async def events(self, asked: Asked) -> dict[str, Any]:
        """List a run's events, newest first."""
        run, size = await self._run(asked.name), limit_of(asked.query)
        before = _sequence(asked.query.get("after", ""))
        events = await self._trainer.events_before(run.id, before, size + 1)
        data = [_event(event) for event in events[:size]]
        return {"object": "list", "data": data, "has_more": len(events) > size}

    async def checkpoints(self, asked: Asked) -> dict[str, Any]:
        """List the versions of the policy that the run made, newest first."""
        run = await self._run(asked.name)
        return listed([_checkpoint(version, run) for version in (await self._versions(run.id))[::-1]], asked.query)

    async def _changed(self, verb: Callable[[Any, Any], Awaitable[Any]], request: Any) -> dict[str, Any]:
        return await self._job((await verb(request, NO_CONTEXT)).run)

    async def _run(self, run_id: str) -> trainer_pb2.Run:
        return (await self._trainer.GetRun(trainer_pb2.GetRunRequest(run_id=run_id), NO_CONTEXT)).run

    async def _versions(self, run_id: str) -> list[policy_pb2.PolicyVersion]:
        request = policy_pb2.ListPolicyVersionsRequest(run_id=run_id)
        return list((await self._policy.ListPolicyVersions(request, NO_CONTEXT)).policy_versions)

    async def _file(self, file_id: str, field: str) -> dataset_pb2.Dataset:
        request = dataset_pb2.GetDatasetRequest(dataset_id=file_id)
        try:
            return (await self._data.GetDataset(request, NO_CONTEXT)).dataset
        except InvalidInput as error:
            raise InvalidInput(f"{field}: {error.message}", field, hint=error.hint) from None

    async def _job(self, run: trainer_pb2.Run) -> dict[str, Any]:
        config, state = json.loads(run.config_json), trainer_pb2.RunState.Name(run.state).removeprefix("RUN_STATE_")
        status = trainer_pb2.RunStatus.Name(run.status).removeprefix("RUN_STATUS_")
        versions = await self._versions(run.id) if state == "SUCCEEDED" else []
        sft, data = config["sft"], config["data"]
        failed = {"code": "run_failed", "message": run.error, "param": None} if state == "FAILED" else None
        return {
            "id": run.id,
            "object": "fine_tuning.job",
            "created_at": run.create_time.seconds,
            "finished_at": run.update_time.seconds if state in ENDED else None,
            "status": STATUS[status],
            "error": failed,
            "model": self._base_model,
            "fine_tuned_model": _last_meant_for_use(versions),
            "hyperparameters": {
                "n_epochs": sft["epochs"],
                "batch_size": sft["batch_size"],
                "learning_rate_multiplier": 1,
            },
            "training_file": dataset_id_in(data["demonstrations"] or data["prompts"]),
            "validation_file": dataset_id_in(data["heldout_prompts"]) or None,
            "organization_id": "charter",
            "result_files": [],
            "seed": config["seed"],
            "trained_tokens": None,
            "metadata": dict(run.tags),
            "method": {"type": "supervised" if config["kind"] == "sft" else "reinforcement"},
        }


def _last_meant_for_use(versions: Sequence[policy_pb2.PolicyVersion]) -> str | None:
    """The last version that is no control: such a one comes after the policy that it is to be set beside."""
    made = [policy_version_from_message(version) for version in versions]
    return next((version.id for version in reversed(made) if not version.is_control), None)


def _config(job: JobRequest, training: dataset_pb2.Dataset, validation: dataset_pb2.Dataset | None) -> dict[str, Any]:
    """The run's configuration: `config` with what the other parameters say laid over it."""
    format_ = enums.value(enums.FORMATS, training.format, "training_file")
    kinds = {"demonstrations": "supervised", "prompts": "reinforcement"}
    kind = kinds.get(format_ or "")
    if kind is None or (job.method and job.method.type != kind):
        asked = f" for {job.method.type}" if job.method else ""
        raise InvalidInput(
            f"training_file: '{training.id}' holds {format_}{asked}; allowed: demonstrations (supervised), prompts "
            "(reinforcement)",
            "training_file",
        )
    options = getattr(job.method, kind) if job.method else None
    said = (options and options.hyperparameters) or job.hyperparameters or Hyperparameters()
    if kind == "supervised":
        if validation is not None:
            raise Unsupported("validation_file: nothing reads it in supervised fine-tuning", "validation_file")
        epochs = {name: value for name, value in _sft(said).items() if value != "auto"}
        own: dict[str, Any] = {"kind": "sft", "data": {"demonstrations": training.reference}, "sft": epochs}
    else:
        if said != Hyperparameters():
            text = "hyperparameters: those of reinforcement are set in config, as in config.ppo.steps; allowed: auto"
            raise Unsupported(text, "hyperparameters")
        heldout = {"heldout_prompts": validation.reference} if validation else {}
        own = {"kind": "pipeline", "data": {"prompts": training.reference, **heldout}}
    return _over(job.config, own | ({} if job.seed is None else {"seed": job.seed}))


def _sft(said: Hyperparameters) -> dict[str, Any]:
    return {"epochs": said.n_epochs, "batch_size": said.batch_size}


def _over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """One tree of settings laid over another."""
    merged = dict(below)
    for key, value in above.items():
        under = merged.get(key)
        merged[key] = _over(under, value) if isinstance(under, Mapping) and isinstance(value, Mapping) else value
    return merged


def _sequence(after: str) -> int:
    if not after:
        return NEVER
    number = after.rpartition("-")[2]
    if not (after.startswith(EVENT) and number.isascii() and number.isdecimal() and len(number) < 19):
        raise InvalidInput(f"after: '{after[:100]}' is no event's id", "after")
    return int(number)


def _event(event: RunEvent) -> dict[str, Any]:
    body = json.loads(event.body)
    metrics = event.kind == "metrics"
    return {
        "id": f"{EVENT}{event.run_id}-{event.sequence}",
        "object": "fine_tuning.job.event",
        "created_at": int(datetime.fromisoformat(event.created_at).timestamp()),
        "level": "error" if body.get("error") else "info",
        "type": "metrics" if metrics else "message",
        "message": _told(event.kind, body),
        "data": body["values"] | {"step": body["step"]} if metrics else body,
    }


def _told(kind: str, body: Mapping[str, Any]) -> str:
    if kind == "metrics":
        return f"{body['stage']} step {body['step']} of {body['steps']}"
    said = body.get("text") or body.get("error") or body.get("state") or ""
    return f"{kind} {body['stage']}: {said}" if "stage" in body else f"{kind}: {said}"


def _checkpoint(version: policy_pb2.PolicyVersion, run: trainer_pb2.Run) -> dict[str, Any]:
    """No time is kept of a version: the run's own stands for it."""
    return {
        "id": version.id,
        "object": "fine_tuning.job.checkpoint",
        "created_at": run.update_time.seconds,
        "fine_tuned_model_checkpoint": version.id,
        "fine_tuning_job_id": run.id,
        "step_number": version.step,
        "metrics": {"step": version.step},
    }

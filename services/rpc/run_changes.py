"""What changes a run on somebody's request: once for each request id, or only tried, or not at all on a stale etag."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TypeVar

from charter.v1 import trainer_pb2
from google.protobuf.message import Message

from rlhf_core.errors import InvalidInput, NoWorker
from rlhf_core.records.base import Written
from rlhf_core.records.runs import Run
from rlhf_core.store.store import Store
from services.rpc.run_requests import RunDesk
from services.rpc.run_weights import set_weights
from services.wire import field_masks, resource_names
from services.wire.paging import body_of

MAX_WRITTEN: dict[Written, int] = {"display_name": 80, "note": 4000}
"""Characters."""
T = TypeVar("T")
Verb = trainer_pb2.CancelRunRequest | trainer_pb2.PauseRunRequest | trainer_pb2.ResumeRunRequest


class RunVerbs:
    """CreateRun, UpdateRun, CancelRun, PauseRun, ResumeRun and SetRunWeights for one server."""

    def __init__(self, store: Store, desk: RunDesk, carried_out: Callable[[], bool]):
        """`carried_out` says whether anybody would take a run from the queue."""
        self._store = store
        self._desk = desk
        self._carried_out = carried_out

    def create(self, request: trainer_pb2.CreateRunRequest) -> Run:
        """Queue a run, or with `validate_only` say what it would be.

        Raises: InvalidInput for whatever would stop it later, NoWorker, RequestReused.
        """
        body = _body(request)
        known = self._store.requests.answered("CreateRun", request.request_id, body)
        if known is not None and not request.validate_only:
            return self._store.runs.get(known)
        written = _written(request, list(MAX_WRITTEN))
        asked = self._desk.check(request.config_json, request.constitution_yaml)
        if not self._carried_out():
            raise NoWorker(
                "no process carries out the runs of this server's store, so the run would wait for ever",
                hint="start `charter serve` with all services, or give its trainer the endpoints of the others",
            )
        if request.validate_only:
            return asked.run.model_copy(update={**written})
        id_ = request.request_id
        return self._store.runs.get(
            self._store.requests.once("CreateRun", id_, body, lambda: self._desk.queue(asked, id_, **written).id)
        )

    def update(self, request: trainer_pb2.UpdateRunRequest) -> Run:
        run_id = resource_names.either(request.run.name, request.run.id, "run.name", "run.id")
        paths = field_masks.changed(request.update_mask, request.run, list(MAX_WRITTEN))
        written = _written(request.run, paths, "run.")
        return self._once("UpdateRun", request, lambda: self._store.runs.update(run_id, written, request.run.etag))

    def cancel(self, request: trainer_pb2.CancelRunRequest) -> Run:
        return self._verb("CancelRun", request, self._store.runs.cancel)

    def pause(self, request: trainer_pb2.PauseRunRequest) -> Run:
        return self._verb("PauseRun", request, self._store.runs.pause)

    def resume(self, request: trainer_pb2.ResumeRunRequest) -> Run:
        return self._verb("ResumeRun", request, self._store.runs.resume)

    def set_weights(self, request: trainer_pb2.SetRunWeightsRequest) -> tuple[Run, dict[str, float]]:
        """The run as it stands, and its weights from its next PPO step on."""
        run_id = resource_names.run_of(request)

        def work() -> str:
            return json.dumps(set_weights(self._store, run_id, dict(request.weights), request.etag))

        if request.validate_only:
            left = tried(self._store, work)
        else:
            left = self._store.requests.once("SetRunWeights", request.request_id, _body(request), work)
        return self._store.runs.get(run_id), json.loads(left)

    def _verb(self, method: str, request: Verb, work: Callable[[str, str], Run]) -> Run:
        run_id = resource_names.run_of(request)
        return self._once(method, request, lambda: work(run_id, request.etag))

    def _once(self, method: str, request: Verb | trainer_pb2.UpdateRunRequest, work: Callable[[], Run]) -> Run:
        if request.validate_only:
            return tried(self._store, work)
        return self._store.runs.get(
            self._store.requests.once(method, request.request_id, _body(request), lambda: work().id)
        )


class _TakenBack(Exception):
    """Ends a transaction that was only tried."""


def tried(store: Store, work: Callable[[], T]) -> T:
    """What `work` would return; the store stays as it was."""
    results: list[T] = []
    try:
        with store.transaction():
            results.append(work())
            raise _TakenBack
    except _TakenBack:
        return results[0]


def _body(request: Message) -> str:
    return body_of(request, "request_id", "validate_only").hex()


def _written(
    message: trainer_pb2.CreateRunRequest | trainer_pb2.Run, paths: Sequence[str], at: str = ""
) -> dict[Written, str]:
    """What people write on a run, of the length that it may have."""
    written: dict[Written, str] = {name: getattr(message, name) for name in MAX_WRITTEN if name in paths}
    for name, text in written.items():
        if len(text) > MAX_WRITTEN[name]:
            raise InvalidInput(f"{at}{name}: {len(text)} characters; allowed: {MAX_WRITTEN[name]}", f"{at}{name}")
    if not written.get("display_name", "").replace(" ", "").isprintable():
        raise InvalidInput(f"{at}display_name: has characters that cannot be printed", f"{at}display_name")
    return written

"""What changes a run on somebody's request: once for each request id, or only tried, or not at all on a stale etag."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import TypeVar

from charter.v1 import trainer_pb2
from google.protobuf.message import Message

from rlhf_core.errors import InvalidInput, NoWorker
from rlhf_core.records.base import Written
from rlhf_core.records.runs import Run
from rlhf_core.store.run_deletion import Deleted
from rlhf_core.store.store import Store
from services.rpc.run_requests import RunDesk
from services.rpc.run_weights import set_weights
from services.wire import field_masks, resource_names
from services.wire.paging import body_of

MAX_WRITTEN: dict[Written, int] = {"display_name": 80, "note": 4000}
"""Characters."""
MAX_TAGS, MAX_TAG_VALUE = 20, 200
TAG_KEY = re.compile(r"[A-Za-z0-9._/-]{1,63}")
T = TypeVar("T")
Verb = trainer_pb2.CancelRunRequest | trainer_pb2.PauseRunRequest | trainer_pb2.ResumeRunRequest


class RunVerbs:
    """CreateRun, UpdateRun, CancelRun, PauseRun, ResumeRun, DeleteRun and SetRunWeights for one server."""

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
        tags = checked_tags(dict(request.tags))
        asked = self._desk.check(request.config_json, request.constitution_yaml)
        if asked.run.kind == "study":
            told = "kind: a study needs a plan; allowed: pipeline, or a stage"
            raise InvalidInput(told, "kind", hint="StudyService.CreateStudy, or charter study create, makes one")
        if not self._carried_out():
            raise NoWorker(
                "no process carries out the runs of this server's store, so the run would wait for ever",
                hint="start a server of this store with all services, or give its trainer the endpoints of the others",
            )
        if request.validate_only:
            return asked.run.model_copy(update={**written, "tags": tags})
        id_ = request.request_id
        return self._store.runs.get(
            self._store.requests.once("CreateRun", id_, body, lambda: self._desk.queue(asked, id_, tags, **written).id)
        )

    def update(self, request: trainer_pb2.UpdateRunRequest) -> Run:
        asked = resource_names.either(request.run.name, request.run.id, "run.name", "run.id")
        run_id = self._store.runs.find(asked).id
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
        """Return the run as it stands, and its weights from its next PPO step on."""
        run_id = self._run_id(request)

        def work() -> str:
            return json.dumps(set_weights(self._store, run_id, dict(request.weights), request.etag))

        if request.validate_only:
            left = tried(self._store, work)
        else:
            left = self._store.requests.once("SetRunWeights", request.request_id, _body(request), work)
        return self._store.runs.get(run_id), json.loads(left)

    def delete(self, request: trainer_pb2.DeleteRunRequest) -> tuple[str, Deleted]:
        """Return the run's id, and what went with it or would go."""
        asked = resource_names.run_of(request)
        sizes = self._store.garbage.sizes()

        def work() -> tuple[str, Deleted]:
            run_id = self._store.runs.find(asked).id
            return run_id, self._store.deletion.delete(run_id, request.etag, sizes)

        if request.validate_only:
            return tried(self._store, work)
        id_ = request.request_id
        run_id, deleted = json.loads(
            self._store.requests.once("DeleteRun", id_, _body(request), lambda: json.dumps(work()))
        )
        return run_id, Deleted(*deleted)

    def _run_id(self, request: resource_names.RunRequest) -> str:
        return self._store.runs.find(resource_names.run_of(request)).id

    def _verb(self, method: str, request: Verb, work: Callable[[str, str], Run]) -> Run:
        run_id = self._run_id(request)
        return self._once(method, request, lambda: work(run_id, request.etag))

    def _once(self, method: str, request: Verb | trainer_pb2.UpdateRunRequest, work: Callable[[], Run]) -> Run:
        if request.validate_only:
            return tried(self._store, work)
        return self._store.runs.get(
            self._store.requests.once(method, request.request_id, _body(request), lambda: work().id)
        )


def checked_tags(tags: dict[str, str]) -> dict[str, str]:
    """Return the tags as they came. Raises InvalidInput for too many, and for keys and values that are not allowed."""
    if len(tags) > MAX_TAGS:
        raise InvalidInput(f"tags: {len(tags)} of them; allowed: {MAX_TAGS}", "tags")
    for key, value in tags.items():
        if not TAG_KEY.fullmatch(key):
            allowed = "up to 63 letters, digits, ., _, - and /"
            raise InvalidInput(f"tags: '{key[:100]}' cannot be a key; allowed: {allowed}", "tags")
        if len(value) > MAX_TAG_VALUE or not value.isprintable():
            allowed = f"up to {MAX_TAG_VALUE} characters that can be printed"
            raise InvalidInput(f"tags.{key}: '{value[:50]!r}' cannot be a value; allowed: {allowed}", f"tags.{key}")
    return tags


class _TakenBack(Exception):
    """Ends a transaction that was only tried."""


def tried(store: Store, work: Callable[[], T]) -> T:
    """Return what `work` would return; the store stays as it was."""
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

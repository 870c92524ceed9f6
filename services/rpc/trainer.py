"""TrainerService: runs as resources, and their history as a stream."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TypeVar

import grpc
from charter.v1 import trainer_pb2, trainer_pb2_grpc
from google.protobuf.field_mask_pb2 import FieldMask

from rlhf_core.comparison.compare import compare_runs
from rlhf_core.errors import InvalidInput, NotFound
from rlhf_core.records.base import RunState
from rlhf_core.records.runs import Run, RunEvent
from rlhf_core.store.store import Store
from services.rpc.run_changes import RunVerbs
from services.rpc.watch_run import RunWatch
from services.serving.executor import Executor
from services.wire import enums, field_masks, resource_names
from services.wire.paging import page_of
from services.wire.resource_names import run_of
from services.wire.stored_records import run_to_message

PAGE = 50

T = TypeVar("T")


class TrainerService(trainer_pb2_grpc.TrainerServiceServicer):
    def __init__(self, store: Store, verbs: RunVerbs, io: Executor, runs_folder: Path, draining: asyncio.Event):
        self._store = store
        self._verbs = verbs
        self._io = io
        self._runs_folder = runs_folder
        self._draining = draining

    async def CreateRun(
        self, request: trainer_pb2.CreateRunRequest, context: grpc.aio.ServicerContext
    ) -> trainer_pb2.CreateRunResponse:
        return trainer_pb2.CreateRunResponse(run=await self._run(self._verbs.create, request))

    async def GetRun(
        self, request: trainer_pb2.GetRunRequest, context: grpc.aio.ServicerContext
    ) -> trainer_pb2.GetRunResponse:
        run = await self._run(self._store.runs.find, run_of(request))
        return trainer_pb2.GetRunResponse(run=_masked([run], request.read_mask)[0])

    async def ListRuns(
        self, request: trainer_pb2.ListRunsRequest, context: grpc.aio.ServicerContext
    ) -> trainer_pb2.ListRunsResponse:
        page = page_of(request, PAGE)
        states: list[RunState] = [
            enums.given(enums.STATES, state, f"states[{i}]") for i, state in enumerate(request.states)
        ]
        after = str(page.after) if page.after else ""
        runs, last = await self._io.run(self._store.runs.page, page.size, after, states, request.tags)
        messages = _masked([run_to_message(run) for run in runs], request.read_mask)
        return trainer_pb2.ListRunsResponse(runs=messages, next_page_token=page.token(int(last or 0)))

    async def UpdateRun(
        self, request: trainer_pb2.UpdateRunRequest, context: grpc.aio.ServicerContext
    ) -> trainer_pb2.UpdateRunResponse:
        return trainer_pb2.UpdateRunResponse(run=await self._run(self._verbs.update, request))

    async def CancelRun(
        self, request: trainer_pb2.CancelRunRequest, context: grpc.aio.ServicerContext
    ) -> trainer_pb2.CancelRunResponse:
        return trainer_pb2.CancelRunResponse(run=await self._run(self._verbs.cancel, request))

    async def DeleteRun(
        self, request: trainer_pb2.DeleteRunRequest, context: grpc.aio.ServicerContext
    ) -> trainer_pb2.DeleteRunResponse:
        return await self._io.run(self._delete, request)

    async def PauseRun(
        self, request: trainer_pb2.PauseRunRequest, context: grpc.aio.ServicerContext
    ) -> trainer_pb2.PauseRunResponse:
        return trainer_pb2.PauseRunResponse(run=await self._run(self._verbs.pause, request))

    async def ResumeRun(
        self, request: trainer_pb2.ResumeRunRequest, context: grpc.aio.ServicerContext
    ) -> trainer_pb2.ResumeRunResponse:
        return trainer_pb2.ResumeRunResponse(run=await self._run(self._verbs.resume, request))

    async def SetRunWeights(
        self, request: trainer_pb2.SetRunWeightsRequest, context: grpc.aio.ServicerContext
    ) -> trainer_pb2.SetRunWeightsResponse:
        run, weights = await self._io.run(self._verbs.set_weights, request)
        return trainer_pb2.SetRunWeightsResponse(run=run_to_message(run), weights=weights)

    async def WatchRun(
        self, request: trainer_pb2.WatchRunRequest, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[trainer_pb2.WatchRunResponse]:
        async for answer in RunWatch(self._store, self._io, self._draining, request).answers():
            yield answer

    async def GetReport(
        self, request: trainer_pb2.GetReportRequest, context: grpc.aio.ServicerContext
    ) -> trainer_pb2.GetReportResponse:
        return trainer_pb2.GetReportResponse(report_json=await self._io.run(self._report, run_of(request)))

    async def CompareRuns(
        self, request: trainer_pb2.CompareRunsRequest, context: grpc.aio.ServicerContext
    ) -> trainer_pb2.CompareRunsResponse:
        return trainer_pb2.CompareRunsResponse(comparison_json=await self._io.run(self._compare, request))

    async def events_before(self, run_id: str, sequence: int, limit: int) -> list[RunEvent]:
        """Return a run's last events before a sequence number, newest first, for who does not watch it."""
        return await self._io.run(self._store.events.before, run_id, sequence, limit)

    async def _run(self, work: Callable[[T], Run], asked: T) -> trainer_pb2.Run:
        return run_to_message(await self._io.run(work, asked))

    def _delete(self, request: trainer_pb2.DeleteRunRequest) -> trainer_pb2.DeleteRunResponse:
        run_id, deleted = self._verbs.delete(request)
        folder = self._runs_folder / run_id
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        if not request.validate_only:
            shutil.rmtree(folder, ignore_errors=True)
        return trainer_pb2.DeleteRunResponse(
            run_id=run_id,
            rows=deleted.rows,
            kept_labels=deleted.kept_labels,
            artifacts=deleted.artifacts,
            artifact_bytes=deleted.size,
            report_bytes=size,
        )

    def _compare(self, request: trainer_pb2.CompareRunsRequest) -> str:
        a, b = self._compared(request.run_a, "run_a"), self._compared(request.run_b, "run_b")
        return compare_runs(self._store, a, b).model_dump_json()

    def _compared(self, given: str, field: str) -> str:
        if not given:
            raise InvalidInput(f"{field}: give a run by its id or name", field)
        return self._store.runs.find(resource_names.identity(resource_names.RUNS, given, field)).id

    def _report(self, run_id: str) -> str:
        run = self._store.runs.find(run_id)
        path = self._runs_folder / run.id / "report.json"
        if not path.is_file():
            raise NotFound(f"run '{run.id}' is {run.status} and has no report yet")
        return path.read_text(encoding="utf-8")


def _masked(runs: list[trainer_pb2.Run], mask: FieldMask) -> list[trainer_pb2.Run]:
    return field_masks.read(runs, mask, trainer_pb2.Run)

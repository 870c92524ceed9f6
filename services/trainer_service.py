"""TrainerService: runs as resources, and their history as a stream."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import grpc
from charter.v1 import trainer_pb2, trainer_pb2_grpc

from rlhf_core.errors import NotFound, Unavailable
from rlhf_core.run_records import Run, RunEvent
from rlhf_core.store.store import Store
from services import convert_rows
from services.executor import Executor
from services.steering import set_weights

ENDED = ("SUCCEEDED", "FAILED", "CANCELLED")
PAGE = 50
CreateRun = Callable[[str, str, str, bool], Run]
"""Of a configuration, a constitution's text, a request id and whether only to check."""
POLL_SECONDS = 0.2
HEARTBEAT_SECONDS = 15.0
EVENTS = 500
"""Events read at once: a page far below the limit of memory and message."""


class TrainerService(trainer_pb2_grpc.TrainerServiceServicer):
    def __init__(self, store: Store, create_run: CreateRun, rows: Executor, runs_folder: Path, draining: asyncio.Event):
        self._store = store
        self._create_run = create_run
        self._rows = rows
        self._runs_folder = runs_folder
        self._draining = draining

    async def CreateRun(
        self, request: trainer_pb2.CreateRunRequest, context: grpc.aio.ServicerContext
    ) -> trainer_pb2.CreateRunResponse:
        run = await self._rows.run(
            self._create_run, request.config_json, request.constitution_yaml, request.request_id, request.validate_only
        )
        return trainer_pb2.CreateRunResponse(run=convert_rows.run_to_message(run))

    async def GetRun(
        self, request: trainer_pb2.GetRunRequest, context: grpc.aio.ServicerContext
    ) -> trainer_pb2.GetRunResponse:
        run = await self._rows.run(self._store.run, request.run_id)
        return trainer_pb2.GetRunResponse(run=convert_rows.run_to_message(run))

    async def ListRuns(
        self, request: trainer_pb2.ListRunsRequest, context: grpc.aio.ServicerContext
    ) -> trainer_pb2.ListRunsResponse:
        runs, token = await self._rows.run(self._store.runs, request.page_size or PAGE, request.page_token)
        return trainer_pb2.ListRunsResponse(
            runs=[convert_rows.run_to_message(run) for run in runs], next_page_token=token
        )

    async def CancelRun(
        self, request: trainer_pb2.CancelRunRequest, context: grpc.aio.ServicerContext
    ) -> trainer_pb2.CancelRunResponse:
        run = await self._rows.run(self._store.cancel_run, request.run_id)
        return trainer_pb2.CancelRunResponse(run=convert_rows.run_to_message(run))

    async def PauseRun(
        self, request: trainer_pb2.PauseRunRequest, context: grpc.aio.ServicerContext
    ) -> trainer_pb2.PauseRunResponse:
        run = await self._rows.run(self._store.pause_run, request.run_id)
        return trainer_pb2.PauseRunResponse(run=convert_rows.run_to_message(run))

    async def ResumeRun(
        self, request: trainer_pb2.ResumeRunRequest, context: grpc.aio.ServicerContext
    ) -> trainer_pb2.ResumeRunResponse:
        run = await self._rows.run(self._store.resume_run, request.run_id)
        return trainer_pb2.ResumeRunResponse(run=convert_rows.run_to_message(run))

    async def SetRunWeights(
        self, request: trainer_pb2.SetRunWeightsRequest, context: grpc.aio.ServicerContext
    ) -> trainer_pb2.SetRunWeightsResponse:
        run, weights = await self._rows.run(set_weights, self._store, request.run_id, dict(request.weights))
        return trainer_pb2.SetRunWeightsResponse(run=convert_rows.run_to_message(run), weights=weights)

    async def WatchRun(
        self, request: trainer_pb2.WatchRunRequest, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[trainer_pb2.WatchRunResponse]:
        sequence, beat = request.after_sequence, time.monotonic()
        while True:
            # The run first: a state that is final before the events are read has no event after them.
            run, events = await self._rows.run(self._look, request.run_id, sequence)
            for event in events:
                sequence, beat = event.sequence, time.monotonic()
                yield trainer_pb2.WatchRunResponse(event=convert_rows.event_to_message(event))
            if run.state in ENDED and not events:
                return
            if self._draining.is_set():
                raise Unavailable("the server is stopping; watch on from the last sequence when it is back")
            if time.monotonic() - beat > HEARTBEAT_SECONDS:
                beat = time.monotonic()
                yield trainer_pb2.WatchRunResponse(run=convert_rows.run_to_message(run))
            await asyncio.sleep(0 if events else POLL_SECONDS)

    async def GetReport(
        self, request: trainer_pb2.GetReportRequest, context: grpc.aio.ServicerContext
    ) -> trainer_pb2.GetReportResponse:
        return trainer_pb2.GetReportResponse(report_json=await self._rows.run(self._report, request.run_id))

    def _look(self, run_id: str, after_sequence: int) -> tuple[Run, list[RunEvent]]:
        run = self._store.run(run_id)
        return run, self._store.events(run_id, after_sequence, EVENTS)

    def _report(self, run_id: str) -> str:
        run = self._store.run(run_id)
        path = self._runs_folder / run.id / "report.json"
        if not path.is_file():
            raise NotFound(f"run '{run.id}' is {run.state} and has no report yet")
        return path.read_text(encoding="utf-8")

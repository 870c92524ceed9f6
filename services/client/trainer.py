"""The client of TrainerService: runs as resources, and a watch that survives a lost connection."""

from __future__ import annotations

import time
import uuid
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from charter.v1 import trainer_pb2, trainer_pb2_grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask

from rlhf_core.comparison.records import RunComparison
from rlhf_core.config.run import RunConfig
from rlhf_core.constitution.load import BUILTIN, load_with_text
from rlhf_core.errors import Unavailable
from rlhf_core.records.base import RunState
from rlhf_core.records.runs import Run, RunEvent
from services.client.connection import Connection
from services.wire import enums
from services.wire.stored_records import event_from_message, run_from_message

HEARTBEAT_SECONDS, SILENCE_SECONDS = 5, 30.0
"""How often a server tells a watcher that it is there, and after how long without a word it counts as lost."""


class RunPage(NamedTuple):
    runs: list[Run]
    next_page_token: str


class DeletedRun(NamedTuple):
    """What a run's deletion took, or would take."""

    run_id: str
    rows: dict[str, int]
    kept_labels: int
    artifacts: int
    artifact_bytes: int
    report_bytes: int


class TrainerClient:
    def __init__(self, connection: Connection):
        self._connection = connection
        self._stub = trainer_pb2_grpc.TrainerServiceStub(connection.channel)

    def create_run(
        self,
        config: RunConfig,
        constitution_yaml: str = "",
        *,
        request_id: str = "",
        validate_only: bool = False,
        display_name: str = "",
        note: str = "",
        tags: Mapping[str, str] | None = None,
    ) -> Run:
        """Check the configuration and queue the run; only what was set is sent, the server fills in the rest.

        A constitution that is a file of this machine travels as text. With `validate_only` nothing is stored.
        """
        name = config.constitution
        if name and not constitution_yaml and name not in BUILTIN and Path(name).suffix in (".yaml", ".yml"):
            constitution_yaml = load_with_text(name)[1]
        request = trainer_pb2.CreateRunRequest(
            config_json=config.model_dump_json(exclude_unset=True),
            constitution_yaml=constitution_yaml,
            request_id=request_id or uuid.uuid4().hex,
            validate_only=validate_only,
            display_name=display_name,
            note=note,
            tags=tags,
        )
        return run_from_message(self._connection.call(self._stub.CreateRun, request).run)

    def get_run(self, run_id: str) -> Run:
        answer = self._connection.call(self._stub.GetRun, trainer_pb2.GetRunRequest(run_id=run_id))
        return run_from_message(answer.run)

    def list_runs(
        self,
        page_size: int = 50,
        page_token: str = "",
        states: Collection[RunState] = (),
        tags: Collection[str] = (),
    ) -> RunPage:
        """List runs, newest first; an empty `next_page_token` marks the last page.

        Only those in `states`, if any, and with all `tags`: each `key=value`, or `key` for any value.
        """
        numbers = [enums.number(enums.STATES, state) for state in states]
        request = trainer_pb2.ListRunsRequest(page_size=page_size, page_token=page_token, states=numbers, tags=tags)
        answer = self._connection.call(self._stub.ListRuns, request)
        return RunPage([run_from_message(run) for run in answer.runs], answer.next_page_token)

    def update_run(
        self, run_id: str, *, display_name: str | None = None, note: str | None = None, etag: str = ""
    ) -> Run:
        """Change what is given, on the run as its `etag` says it is, if one is given; raises Stale otherwise."""
        paths = [name for name, text in (("display_name", display_name), ("note", note)) if text is not None]
        request = trainer_pb2.UpdateRunRequest(
            run=trainer_pb2.Run(id=run_id, etag=etag, display_name=display_name or "", note=note or ""),
            update_mask=FieldMask(paths=paths),
            request_id=uuid.uuid4().hex,
        )
        return run_from_message(self._connection.call(self._stub.UpdateRun, request).run)

    def cancel_run(self, run_id: str, etag: str = "", request_id: str = "") -> Run:
        """End the run for good, at its next step if it is at work. Of all three: an `etag` of another run is Stale."""
        request = trainer_pb2.CancelRunRequest(run_id=run_id, etag=etag, request_id=request_id or uuid.uuid4().hex)
        return run_from_message(self._connection.call(self._stub.CancelRun, request).run)

    def delete_run(
        self, run_id: str, etag: str = "", request_id: str = "", *, validate_only: bool = False
    ) -> DeletedRun:
        """Take the run out of the store for good, with what only it needs; `validate_only` says what would go.

        Raises Conflict while it is carried out, and while other runs or an alias need it.
        """
        request = trainer_pb2.DeleteRunRequest(
            run_id=run_id, etag=etag, request_id=request_id or uuid.uuid4().hex, validate_only=validate_only
        )
        answer = self._connection.call(self._stub.DeleteRun, request)
        return DeletedRun(
            answer.run_id,
            dict(answer.rows),
            answer.kept_labels,
            answer.artifacts,
            answer.artifact_bytes,
            answer.report_bytes,
        )

    def pause_run(self, run_id: str, etag: str = "", request_id: str = "") -> Run:
        """Stop the run, at its next step if it is at work, until it is resumed."""
        request = trainer_pb2.PauseRunRequest(run_id=run_id, etag=etag, request_id=request_id or uuid.uuid4().hex)
        return run_from_message(self._connection.call(self._stub.PauseRun, request).run)

    def resume_run(self, run_id: str, etag: str = "", request_id: str = "") -> Run:
        """Put a paused or failed run back in the queue, or take back a pause."""
        request = trainer_pb2.ResumeRunRequest(run_id=run_id, etag=etag, request_id=request_id or uuid.uuid4().hex)
        return run_from_message(self._connection.call(self._stub.ResumeRun, request).run)

    def set_weights(
        self,
        run_id: str,
        weights: Mapping[str, float],
        etag: str = "",
        request_id: str = "",
        *,
        validate_only: bool = False,
    ) -> dict[str, float]:
        """Give a run under way other weights; returns those of every objective, in force from its next PPO step."""
        request = trainer_pb2.SetRunWeightsRequest(
            run_id=run_id,
            weights=dict(weights),
            etag=etag,
            request_id=request_id or uuid.uuid4().hex,
            validate_only=validate_only,
        )
        return dict(self._connection.call(self._stub.SetRunWeights, request).weights)

    def watch_run(
        self, run_id: str, after_sequence: int = 0, patience_seconds: float = 60.0, through_pauses: bool = False
    ) -> Iterator[RunEvent]:
        """Yield the run's history from a place on, each event once, until the run ends.

        A pause ends it too, unless `through_pauses`.

        A connection that is lost, or silent, is taken up again after the last event; raises Unavailable after
        `patience_seconds` without one.
        """
        deadline = time.monotonic() + patience_seconds
        while True:
            request = trainer_pb2.WatchRunRequest(
                run_id=run_id,
                after_sequence=after_sequence,
                through_pauses=through_pauses,
                heartbeat_interval=Duration(seconds=HEARTBEAT_SECONDS),
            )
            try:
                for answer in self._connection.stream(self._stub.WatchRun, request, silence_seconds=SILENCE_SECONDS):
                    deadline = time.monotonic() + patience_seconds
                    if answer.HasField("event"):
                        after_sequence = answer.event.sequence
                        yield event_from_message(answer.event)
                return
            except Unavailable:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.5)

    def get_report(self, run_id: str) -> str:
        """Return the JSON of the run's report."""
        answer = self._connection.call(self._stub.GetReport, trainer_pb2.GetReportRequest(run_id=run_id))
        return answer.report_json

    def compare_runs(self, run_a: str, run_b: str) -> RunComparison:
        """Compare the last policies of two runs on held-out prompts, from what the runs stored."""
        request = trainer_pb2.CompareRunsRequest(run_a=run_a, run_b=run_b)
        answer = self._connection.call(self._stub.CompareRuns, request)
        return RunComparison.model_validate_json(answer.comparison_json)

"""What runs made, read back: records by page, and files in the formats that runs read."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from charter.v1 import common_pb2, critique_pb2, dataset_pb2
from google.protobuf.message import Message

from rlhf_core.data.export_rows import Row
from rlhf_core.data.parquet_writer import write_rows
from rlhf_core.data.row_files import RowFile
from rlhf_core.errors import InvalidInput, NotFound
from rlhf_core.exports.run_rows import (
    assessment_rows,
    demonstration_rows,
    fault_rows,
    preference_rows,
    sample_rows,
)
from rlhf_core.store.run_pages import Placed
from rlhf_core.store.store import Store
from services.rpc.run_references import run_id_of
from services.wire import enums, field_masks, resource_names
from services.wire.paging import Page, page_of
from services.wire.revisions import step_to_message
from services.wire.samples import comparison_to_message, sample_to_message

PAGE = 100
MAX_PAGE_BYTES = 8 * 2**20
"""A page ends before it has more, but for a record that is larger by itself."""

M = TypeVar("M", bound=Message)
T = TypeVar("T")


class RunExports:
    """ListSamples, ListComparisons, ListRevisions and ExportRun for one server."""

    def __init__(self, store: Store):
        self._store = store

    def samples(self, request: dataset_pb2.ListSamplesRequest) -> dataset_pb2.ListSamplesResponse:
        asked, run_id = page_of(request, PAGE), self._run(request.run_id)
        version = _version(request.policy_version)
        found = self._store.run_pages.samples(run_id, asked.size + 1, asked.after, request.stage, version)
        messages, token = _fitting(found, asked, sample_to_message)
        shown = field_masks.read(messages, request.read_mask, common_pb2.Sample)
        return dataset_pb2.ListSamplesResponse(samples=shown, next_page_token=token)

    def comparisons(self, request: dataset_pb2.ListComparisonsRequest) -> dataset_pb2.ListComparisonsResponse:
        asked, run_id = page_of(request, PAGE), self._run(request.run_id)
        found = self._store.run_pages.comparisons(run_id, asked.size + 1, asked.after)
        messages, token = _fitting(found, asked, comparison_to_message)
        shown = field_masks.read(messages, request.read_mask, common_pb2.Comparison)
        return dataset_pb2.ListComparisonsResponse(comparisons=shown, next_page_token=token)

    def revisions(self, request: dataset_pb2.ListRevisionsRequest) -> dataset_pb2.ListRevisionsResponse:
        asked, run_id = page_of(request, PAGE), self._run(request.run_id)
        found = self._store.run_pages.revisions(run_id, asked.size + 1, asked.after)
        messages, token = _fitting(found, asked, step_to_message)
        shown = field_masks.read(messages, request.read_mask, critique_pb2.RevisionStep)
        return dataset_pb2.ListRevisionsResponse(steps=shown, next_page_token=token)

    def write(self, request: dataset_pb2.ExportRunRequest, target: Path) -> int:
        """Write what is asked for to a file, row by row, and return their number; the folder is the file's alone.

        Raises: NotFound where there are none.
        """
        encoding = enums.value(enums.ENCODINGS, request.encoding, "encoding") or "jsonl"
        if encoding == "yaml":
            raise InvalidInput("encoding: rows are not written as yaml; allowed: jsonl, parquet", "encoding")
        count, lines = 0, target.with_name("lines") if encoding == "parquet" else target
        with lines.open("w", encoding="utf-8", newline="\n") as file:
            for row in self._rows(request):
                file.write(f"{json.dumps(row, ensure_ascii=False)}\n")
                count += 1
        if not count:
            raise NotFound("there is nothing to export: no such rows in this store")
        if encoding == "parquet":
            write_rows(RowFile("export", lines), target)
        return count

    def _rows(self, request: dataset_pb2.ExportRunRequest) -> Iterator[Row]:
        content = enums.given(enums.CONTENTS, request.content, "content")
        labelers = enums.value(enums.LABELERS, request.labelers, "labelers")
        run_id = run_id_of(self._store, request.run_id)
        if content == "preferences":
            return preference_rows(self._store, run_id, request.objective, labelers)
        if content == "ratings":
            return assessment_rows(self._store, run_id, request.objective, "rating")
        if content == "rankings":
            return assessment_rows(self._store, run_id, request.objective, "ranking")
        if content == "spans":
            return fault_rows(self._store, run_id, request.objective)
        if content == "demonstrations":
            return demonstration_rows(self._store, run_id)
        return sample_rows(self._store, run_id, _version(request.policy_version), request.stage)

    def _run(self, given: str) -> str:
        if not given:
            raise InvalidInput(f"run_id: not given; say which run, as {resource_names.RUNS}/ID", "run_id")
        return run_id_of(self._store, given)


def _version(given: str) -> str:
    return resource_names.identity(resource_names.POLICY_VERSIONS, given, "policy_version")


def _fitting(found: Sequence[Placed[T]], asked: Page, to_message: Callable[[T], M]) -> tuple[list[M], str]:
    """As many messages as a page may hold, and the token of the next page where more were found."""
    messages: list[M] = []
    size = 0
    for entry in found[: asked.size]:
        message = to_message(entry.record)
        size += message.ByteSize()
        if messages and size > MAX_PAGE_BYTES:
            break
        messages.append(message)
    more = len(found) > len(messages)
    return messages, asked.token(found[len(messages) - 1].place if more else 0)

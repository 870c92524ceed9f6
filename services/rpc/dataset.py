"""DatasetService: the user's own data, in and out."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path

import grpc
from charter.v1 import dataset_pb2, dataset_pb2_grpc

from rlhf_core.datasets.references import check_name, dataset_of, file_of
from rlhf_core.datasets.rows import converted, page
from rlhf_core.errors import InvalidInput
from rlhf_core.records.datasets import Dataset, DeletedDataset
from rlhf_core.store.store import Store
from services.rpc.dataset_uploads import Spec, UploadDesk
from services.rpc.run_changes import tried
from services.rpc.run_exports import RunExports
from services.security.callers import CALLER
from services.serving.executor import Executor
from services.wire import enums, field_masks, resource_names
from services.wire.datasets import dataset_to_message
from services.wire.paging import body_of, page_of

PAGE = 100
CHUNK_BYTES = 2**20
CHECKED_AT_ONCE = 2
"""Files whose rows are read at a time, so that other calls to the store find a thread."""


class DatasetService(dataset_pb2_grpc.DatasetServiceServicer):
    def __init__(self, store: Store, uploads: UploadDesk, io: Executor):
        self._store = store
        self._runs = RunExports(store)
        self._uploads = uploads
        self._io = io
        self._checking = asyncio.Semaphore(CHECKED_AT_ONCE)

    async def UploadDataset(
        self, requests: AsyncIterator[dataset_pb2.UploadDatasetRequest], context: grpc.aio.ServicerContext
    ) -> dataset_pb2.UploadDatasetResponse:
        spec: Spec | None = None
        async for request in requests:
            if spec is None:
                spec = await self._io.run(self._uploads.begin, request)
            else:
                await self._io.run(self._uploads.take, spec, request)
        if spec is None:
            raise InvalidInput("upload: not given; the first message says what is uploaded", "upload")
        async with self._checking:
            dataset, here = await self._io.run(self._uploads.finish, spec, CALLER.get().name)
        message = dataset_to_message(dataset) if dataset else None
        return dataset_pb2.UploadDatasetResponse(dataset=message, received_bytes=here)

    async def GetUpload(
        self, request: dataset_pb2.GetUploadRequest, context: grpc.aio.ServicerContext
    ) -> dataset_pb2.GetUploadResponse:
        return await self._io.run(self._uploads.look, request)

    async def GetDataset(
        self, request: dataset_pb2.GetDatasetRequest, context: grpc.aio.ServicerContext
    ) -> dataset_pb2.GetDatasetResponse:
        dataset = await self._io.run(self._find, request.dataset_id)
        runs = await self._io.run(self._store.datasets.runs_naming, dataset.id)
        shown = field_masks.read([dataset_to_message(dataset, runs)], request.read_mask, dataset_pb2.Dataset)
        return dataset_pb2.GetDatasetResponse(dataset=shown[0])

    async def ListDatasets(
        self, request: dataset_pb2.ListDatasetsRequest, context: grpc.aio.ServicerContext
    ) -> dataset_pb2.ListDatasetsResponse:
        asked = page_of(request, PAGE)
        format_ = enums.value(enums.FORMATS, request.format, "format")
        name = resource_names.identity(resource_names.DATASETS, request.versions_of, "versions_of")
        if name:
            await self._io.run(self._store.datasets.get, check_name(name, "versions_of"))
        found, last = await self._io.run(self._store.datasets.page, asked.size, asked.after, format_, name)
        messages = [dataset_to_message(dataset) for dataset in found]
        shown = field_masks.read(messages, request.read_mask, dataset_pb2.Dataset)
        return dataset_pb2.ListDatasetsResponse(datasets=shown, next_page_token=asked.token(last))

    async def ListDatasetRows(
        self, request: dataset_pb2.ListDatasetRowsRequest, context: grpc.aio.ServicerContext
    ) -> dataset_pb2.ListDatasetRowsResponse:
        dataset = await self._io.run(self._find, request.dataset_id)
        # A token is of one version: the places of rows mean nothing in another.
        request.dataset_id = dataset.reference
        asked = page_of(request, PAGE)
        file = await self._io.run(file_of, self._store, dataset)
        found = await self._io.run(page, dataset, file, asked.size, asked.after)
        messages = [dataset_pb2.DatasetRow(number=row.number, json=row.text) for row in found.rows]
        return dataset_pb2.ListDatasetRowsResponse(
            rows=field_masks.read(messages, request.read_mask, dataset_pb2.DatasetRow),
            next_page_token=asked.token(found.after),
            total_rows=dataset.rows,
        )

    async def ExportDataset(
        self, request: dataset_pb2.ExportDatasetRequest, context: grpc.aio.ServicerContext
    ) -> AsyncGenerator[dataset_pb2.ExportDatasetResponse]:
        encoding = enums.value(enums.ENCODINGS, request.encoding, "encoding")
        dataset = await self._io.run(self._find, request.dataset_id)
        file = await self._io.run(file_of, self._store, dataset)
        with tempfile.TemporaryDirectory(prefix="charter-") as folder:
            if encoding is not None and encoding != dataset.encoding:
                file, source = Path(folder) / "rows", file
                async with self._checking:
                    await self._io.run(converted, dataset, source, encoding, file)
            if not 0 <= request.offset <= file.stat().st_size:
                raise InvalidInput(f"offset: {request.offset}; allowed: 0 to {file.stat().st_size}", "offset")
            yield dataset_pb2.ExportDatasetResponse(dataset=dataset_to_message(dataset))
            async for data in self._pieces(file, request.offset):
                yield dataset_pb2.ExportDatasetResponse(data=data)

    async def DeleteDataset(
        self, request: dataset_pb2.DeleteDatasetRequest, context: grpc.aio.ServicerContext
    ) -> dataset_pb2.DeleteDatasetResponse:
        deleted = await self._io.run(self._delete, request)
        return dataset_pb2.DeleteDatasetResponse(
            dataset_id=deleted.id, versions=deleted.versions, size_bytes=deleted.size, run_ids=deleted.runs
        )

    async def ListSamples(
        self, request: dataset_pb2.ListSamplesRequest, context: grpc.aio.ServicerContext
    ) -> dataset_pb2.ListSamplesResponse:
        return await self._io.run(self._runs.samples, request)

    async def ListComparisons(
        self, request: dataset_pb2.ListComparisonsRequest, context: grpc.aio.ServicerContext
    ) -> dataset_pb2.ListComparisonsResponse:
        return await self._io.run(self._runs.comparisons, request)

    async def ListRevisions(
        self, request: dataset_pb2.ListRevisionsRequest, context: grpc.aio.ServicerContext
    ) -> dataset_pb2.ListRevisionsResponse:
        return await self._io.run(self._runs.revisions, request)

    async def ExportRun(
        self, request: dataset_pb2.ExportRunRequest, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[dataset_pb2.ExportRunResponse]:
        with tempfile.TemporaryDirectory(prefix="charter-") as folder:
            file = Path(folder) / "rows"
            async with self._checking:
                rows = await self._io.run(self._runs.write, request, file)
            yield dataset_pb2.ExportRunResponse(rows=rows)
            async for data in self._pieces(file):
                yield dataset_pb2.ExportRunResponse(data=data)

    async def _pieces(self, file: Path, offset: int = 0) -> AsyncIterator[bytes]:
        with file.open("rb") as source:
            source.seek(offset)
            while data := await self._io.run(source.read, CHUNK_BYTES):
                yield data

    def _find(self, given: str) -> Dataset:
        reference = resource_names.identity(resource_names.DATASETS, given, "dataset_id")
        if not reference:
            raise InvalidInput("dataset_id: not given; say which dataset, as datasets/ID", "dataset_id")
        try:
            return dataset_of(self._store, reference)
        except InvalidInput as error:
            raise InvalidInput(f"dataset_id: {error}", "dataset_id") from None

    def _delete(self, request: dataset_pb2.DeleteDatasetRequest) -> DeletedDataset:
        given = resource_names.identity(resource_names.DATASETS, request.dataset_id, "dataset_id")
        name = check_name(given, "dataset_id")

        def work() -> DeletedDataset:
            return self._store.datasets.delete(name, request.etag, request.although_used)

        if request.validate_only:
            return tried(self._store, work)
        body = body_of(request, "request_id", "validate_only").hex()
        answer = self._store.requests.once("DeleteDataset", request.request_id, body, lambda: json.dumps(work()))
        name, versions, size, runs = json.loads(answer)
        return DeletedDataset(name, versions, size, tuple(runs))

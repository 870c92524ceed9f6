"""Datasets: the list, each one's versions and rows, and files that come in and go out."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import AsyncIterator
from http import HTTPStatus
from pathlib import Path
from typing import IO, Any, NamedTuple
from uuid import uuid4

from charter.v1 import dataset_pb2
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from rlhf_core.data.row_files import RowFile
from rlhf_core.datasets.formats import FORMATS, likely_format
from rlhf_core.errors import Forbidden, InvalidInput
from rlhf_core.records.base import Record
from services.console.backend import Backend
from services.console.guard import UPLOAD
from services.console.pages import JSON, Pages, form_of
from services.wire import enums
from services.wire.datasets import dataset_from_message

PAGE = 50
ROWS = 25
CHUNK_BYTES = 2**20
UPLOAD_SECONDS = 600
"""Of a file on its way to the service, which reads every row of it."""


class Cell(NamedTuple):
    """One value of a row; `plain` where it is a text or a number, else it is JSON."""

    key: str
    text: str
    plain: bool


class Uploaded(Record):
    id: str
    rows: int


class Datasets:
    def __init__(self, pages: Pages, backend: Backend):
        self._pages, self._backend, self._stub = pages, backend, backend.datasets

    def routes(self) -> list[Route]:
        return [
            Route("/datasets", self._list),
            Route(UPLOAD, self._upload, methods=["POST"]),
            Route("/datasets/{dataset}", self._page),
            Route("/datasets/{dataset}", self._delete, methods=["POST"]),
            Route("/datasets/{dataset}/file", self._file),
        ]

    async def _list(self, request: Request) -> Response:
        query = request.query_params
        format_ = query.get("format", "")
        if format_ and format_ not in FORMATS:
            raise InvalidInput(f"format: '{format_[:50]}' is none; allowed: {', '.join(FORMATS)}", "format")
        asked = dataset_pb2.ListDatasetsRequest(
            format=enums.number(enums.FORMATS, format_ or None), page_size=PAGE, page_token=query.get("page", "")
        )
        answer = await self._backend.ask(request, self._stub.ListDatasets, asked)
        return await self._pages.page(
            request,
            "datasets.html",
            datasets=[(dataset_from_message(message), message.create_time) for message in answer.datasets],
            formats=FORMATS,
            format=format_,
            more=answer.next_page_token,
        )

    async def _page(self, request: Request) -> Response:
        """Of the newest version, or of one, as NAME@HASH."""
        reference = request.path_params["dataset"]
        one = dataset_pb2.GetDatasetRequest(dataset_id=reference)
        message = (await self._backend.ask(request, self._stub.GetDataset, one)).dataset
        asked = dataset_pb2.ListDatasetRowsRequest(
            dataset_id=reference, page_size=ROWS, page_token=request.query_params.get("page", "")
        )
        rows = await self._backend.ask(request, self._stub.ListDatasetRows, asked)
        listing = dataset_pb2.ListDatasetsRequest(versions_of=message.id, page_size=PAGE)
        versions = (await self._backend.ask(request, self._stub.ListDatasets, listing)).datasets
        return await self._pages.page(
            request,
            "dataset.html",
            dataset=dataset_from_message(message),
            runs=list(message.run_ids),
            versions=[(dataset_from_message(version), version.create_time) for version in versions],
            reference=reference,
            rows=[(row.number, _cells(row.json)) for row in rows.rows],
            more=rows.next_page_token,
            request_id=uuid4().hex,
        )

    async def _delete(self, request: Request) -> Response:
        """Delete all versions once the name has been typed again."""
        name, form = request.path_params["dataset"], await form_of(request)
        if form.get("name", "").strip() != name:
            raise InvalidInput(f"name: to delete the dataset for good, type its name, {name[:100]}", "name")
        asked = dataset_pb2.DeleteDatasetRequest(
            dataset_id=name,
            etag=form.get("etag", ""),
            request_id=form.get("request_id", ""),
            although_used="although_used" in form,
        )
        await self._backend.ask(request, self._stub.DeleteDataset, asked)
        return RedirectResponse("/datasets", HTTPStatus.SEE_OTHER)

    async def _file(self, request: Request) -> Response:
        asked = dataset_pb2.ExportDatasetRequest(dataset_id=request.path_params["dataset"])
        answers = self._backend.stream(request, self._stub.ExportDataset, asked)
        dataset = dataset_from_message((await anext(answers)).dataset)
        headers = {"content-disposition": f'attachment; filename="{dataset.id}.{dataset.encoding}"'}
        pieces = (answer.data async for answer in answers)
        return StreamingResponse(pieces, headers=headers, media_type="application/octet-stream")

    async def _upload(self, request: Request) -> Response:
        """The body is the file; what it is called is in the address. It waits on the disk until its hash is known."""
        visitor, query = await self._backend.visitor(request), request.query_params
        if not visitor.may("train"):
            raise Forbidden(f"token '{visitor.name}' may not upload datasets; that needs train", "token")
        with tempfile.TemporaryDirectory(prefix="charter-") as folder:
            file = Path(folder) / f"rows{Path(query.get('file', '')).suffix[:10]}"
            spec = await _taken_in(request, file)
            format_ = query.get("format", "") or likely_format(RowFile("file", file))
            if format_ not in FORMATS:
                raise InvalidInput(f"format: '{format_[:50]}' is none; allowed: {', '.join(FORMATS)}", "format")
            spec.dataset_id, spec.description = query.get("name", "").strip(), query.get("description", "").strip()
            spec.format = enums.number(enums.FORMATS, format_)
            with file.open("rb") as source:
                parts = _parts(spec, source)
                answer = await self._backend.ask(request, self._stub.UploadDataset, parts, UPLOAD_SECONDS)
        told = Uploaded(id=answer.dataset.id, rows=answer.dataset.rows)
        return Response(told.model_dump_json(), media_type=JSON)


async def _taken_in(request: Request, file: Path) -> dataset_pb2.DatasetUpload:
    """Write the body to a file, and return its hash and size."""
    digest, size = hashlib.sha256(), 0
    with file.open("wb") as target:
        async for data in request.stream():
            digest.update(data)
            size += target.write(data)
    if not size:
        raise InvalidInput("file: it is empty", "file")
    return dataset_pb2.DatasetUpload(sha256=digest.hexdigest(), size_bytes=size)


async def _parts(spec: dataset_pb2.DatasetUpload, source: IO[bytes]) -> AsyncIterator[dataset_pb2.UploadDatasetRequest]:
    yield dataset_pb2.UploadDatasetRequest(upload=spec)
    offset = 0
    while data := source.read(CHUNK_BYTES):
        yield dataset_pb2.UploadDatasetRequest(chunk=dataset_pb2.DatasetChunk(offset=offset, data=data))
        offset += len(data)


def _cells(text: str) -> list[Cell]:
    row: dict[str, Any] = json.loads(text)
    plain = (str, int, float)
    return [
        Cell(key, str(value), True)
        if isinstance(value, plain)
        else Cell(key, json.dumps(value, ensure_ascii=False, indent=1), False)
        for key, value in row.items()
        if value not in (None, "", [])
    ]

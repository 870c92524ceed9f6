"""OpenAI's files as datasets: what is uploaded is checked like a run's own data, and fine-tuning names it by its id."""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

from charter.v1 import dataset_pb2

from rlhf_core.data.row_files import RowFile
from rlhf_core.datasets.formats import likely_format
from rlhf_core.datasets.references import name_with_hash
from rlhf_core.errors import InvalidInput
from services.http.calls import Asked, FormFile, Pieces
from services.http.chat import NO_CONTEXT
from services.http.errors import Unsupported
from services.http.paging import listed
from services.rpc.dataset import CHUNK_BYTES, DatasetService
from services.wire import enums

PURPOSE = "fine-tune"
PAGE = 1000


class Files:
    """POST, GET and DELETE /v1/files, and a file's content."""

    def __init__(self, data: DatasetService):
        self._data = data

    async def create(self, asked: Asked) -> dict[str, Any]:
        """Create a file, whose id is its name and its hash: the same file again is the same one."""
        file = _file_of(asked.body)
        format_ = await asyncio.to_thread(_format_of, file)
        digest = hashlib.sha256(file.data).hexdigest()
        spec = dataset_pb2.DatasetUpload(
            dataset_id=name_with_hash(file.name, digest),
            format=enums.number(enums.FORMATS, format_),
            sha256=digest,
            size_bytes=len(file.data),
            description=file.name[:1000],
        )
        try:
            answer = await self._data.UploadDataset(_parts(spec, file.data), NO_CONTEXT)
        except InvalidInput as error:
            lines = [line.replace("upload:", f"{file.name[:200]}:", 1) for line in error.message.splitlines()]
            raise InvalidInput("\n".join(lines), "file", hint=error.hint) from None
        return _object(answer.dataset)

    async def all(self, asked: Asked) -> dict[str, Any]:
        """List files, newest first."""
        purpose = asked.query.get("purpose", PURPOSE)
        found = await self._all() if purpose == PURPOSE else []
        return listed([_object(dataset) for dataset in found], asked.query)

    async def one(self, asked: Asked) -> dict[str, Any]:
        return _object(await self._get(asked.name))

    async def content(self, asked: Asked) -> Pieces:
        """Send a file byte for byte as it was uploaded."""
        dataset = await self._get(asked.name)
        return Pieces(self._pieces(dataset_pb2.ExportDatasetRequest(dataset_id=dataset.reference)))

    async def delete(self, asked: Asked) -> dict[str, Any]:
        dataset = await self._get(asked.name)
        await self._data.DeleteDataset(dataset_pb2.DeleteDatasetRequest(dataset_id=dataset.id), NO_CONTEXT)
        return {"id": dataset.id, "object": "file", "deleted": True}

    async def _pieces(self, request: dataset_pb2.ExportDatasetRequest) -> AsyncGenerator[bytes, None]:
        async with aclosing(self._data.ExportDataset(request, NO_CONTEXT)) as answers:
            async for answer in answers:
                if answer.data:
                    yield answer.data

    async def _get(self, file_id: str) -> dataset_pb2.Dataset:
        request = dataset_pb2.GetDatasetRequest(dataset_id=file_id)
        return (await self._data.GetDataset(request, NO_CONTEXT)).dataset

    async def _all(self) -> list[dataset_pb2.Dataset]:
        found: list[dataset_pb2.Dataset] = []
        request = dataset_pb2.ListDatasetsRequest(page_size=PAGE)
        while True:
            answer = await self._data.ListDatasets(request, NO_CONTEXT)
            found += answer.datasets
            if not answer.next_page_token:
                return found
            request.page_token = answer.next_page_token


def _file_of(form: Any) -> FormFile:
    """The form's file. Raises InvalidInput for another purpose, and for what nothing here carries out."""
    file = form.get("file")
    if not isinstance(file, FormFile):
        raise InvalidInput("file: not given; send it as multipart/form-data", "file")
    if form.get("purpose") != PURPOSE:
        raise InvalidInput(f"purpose: '{str(form.get('purpose'))[:100]}' is not served; allowed: {PURPOSE}", "purpose")
    for name in form:
        if name not in ("file", "purpose"):
            raise Unsupported(f"{name}: nothing here carries it out; leave it out", name[:100])
    return file


def _format_of(file: FormFile) -> Any:
    with tempfile.TemporaryDirectory(prefix="charter-") as folder:
        path = Path(folder) / f"rows{Path(file.name).suffix[:10]}"
        path.write_bytes(file.data)
        try:
            return likely_format(RowFile(file.name[:200], path))
        except InvalidInput as error:
            raise InvalidInput(error.message, "file", hint=error.hint) from None


async def _parts(spec: dataset_pb2.DatasetUpload, data: bytes) -> AsyncIterator[dataset_pb2.UploadDatasetRequest]:
    yield dataset_pb2.UploadDatasetRequest(upload=spec)
    for offset in range(0, len(data), CHUNK_BYTES):
        chunk = dataset_pb2.DatasetChunk(offset=offset, data=data[offset : offset + CHUNK_BYTES])
        yield dataset_pb2.UploadDatasetRequest(chunk=chunk)


def _object(dataset: dataset_pb2.Dataset) -> dict[str, Any]:
    return {
        "id": dataset.id,
        "object": "file",
        "bytes": dataset.size_bytes,
        "created_at": dataset.create_time.seconds,
        "filename": dataset.description or dataset.id,
        "purpose": PURPOSE,
        "status": "processed",
    }

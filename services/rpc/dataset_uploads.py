"""How a dataset comes in: its bytes in any number of calls, its rows checked, stored whole or not at all."""

from __future__ import annotations

from charter.v1 import dataset_pb2

from rlhf_core.data.row_files import RowFile
from rlhf_core.datasets.formats import check_file, encoding_of
from rlhf_core.datasets.references import HASH, check_name, file_of
from rlhf_core.datasets.uploads import CONTENT, Uploads
from rlhf_core.errors import InvalidInput, Unavailable
from rlhf_core.records.datasets import Dataset, DatasetFormat
from rlhf_core.store.artifacts.folders import digest_of
from rlhf_core.store.store import Store
from services.rpc.run_changes import tried
from services.wire import enums, resource_names

MAX_DESCRIPTION = 4000
"""Characters."""

Spec = dataset_pb2.DatasetUpload


class UploadDesk:
    """UploadDataset and GetUpload for one server."""

    def __init__(self, store: Store, uploads: Uploads, max_bytes: int):
        self._store = store
        self._uploads = uploads
        self._max_bytes = max_bytes

    def begin(self, request: dataset_pb2.UploadDatasetRequest) -> Spec:
        """Read what the first message says is uploaded. Raises whatever would stop it in the end."""
        if request.WhichOneof("part") != "upload":
            raise InvalidInput("upload: not given; the first message says what is uploaded", "upload")
        spec = request.upload
        spec.dataset_id = check_name(
            resource_names.identity(resource_names.DATASETS, spec.dataset_id, "upload.dataset_id"), "upload.dataset_id"
        )
        enums.given(enums.FORMATS, spec.format, "upload.format")
        spec.sha256 = checked_hash(spec.sha256, "upload.sha256")
        if not 0 < spec.size_bytes <= self._max_bytes:
            raise InvalidInput(
                f"upload.size_bytes: {spec.size_bytes}; allowed: 1 to {self._max_bytes}",
                "upload.size_bytes",
                hint="the most is `limits.dataset_bytes` in the server's YAML",
            )
        if len(spec.description) > MAX_DESCRIPTION:
            raise InvalidInput(
                f"upload.description: {len(spec.description)} characters; allowed: {MAX_DESCRIPTION}",
                "upload.description",
            )
        for left in self._uploads.idle():
            if left.hash != spec.sha256:
                self._uploads.discard(left.hash)
        # The name may be another's, or have changed: before anything is sent, not after a gigabyte.
        tried(self._store, lambda: self._store.datasets.add(_version(spec, rows=0), spec.etag))
        return spec

    def take(self, spec: Spec, request: dataset_pb2.UploadDatasetRequest) -> None:
        """Keep the bytes of one message, where they are still needed."""
        if request.WhichOneof("part") != "chunk":
            raise InvalidInput("upload: said twice; after the first message come chunks", "upload")
        chunk, here = request.chunk, self._uploads.received(spec.sha256)
        if self._store.datasets.by_hash(spec.sha256) is not None:
            return
        if not 0 <= chunk.offset <= here:
            raise InvalidInput(f"chunk.offset: {chunk.offset}; allowed: 0 to {here}, the bytes here", "chunk.offset")
        if chunk.offset + len(chunk.data) > spec.size_bytes:
            end = chunk.offset + len(chunk.data)
            raise InvalidInput(
                f"chunk.data: ends at byte {end}, and the file has {spec.size_bytes} by upload.size_bytes", "chunk.data"
            )
        self._uploads.write(spec.sha256, chunk.offset, chunk.data)

    def finish(self, spec: Spec, caller: str) -> tuple[Dataset | None, int]:
        """Store the dataset and return it, with how many bytes are here; no dataset where bytes are missing.

        Raises: InvalidInput for bytes that have another hash, and naming every bad row; nothing of them stays.
        """
        known = self._store.datasets.by_hash(spec.sha256)
        if known is not None:
            self._check_size(spec, known.size)
            artifact = known.artifact
            content = file_of(self._store, known)
            version = self._checked(spec, RowFile("upload", content))
            if not spec.validate_only:
                # Anew, as the dataset that has it may go before this one names it, and what lies idle be collected.
                self._store.artifacts.put_folder(content.parent)
        else:
            here = self._uploads.received(spec.sha256)
            if here < spec.size_bytes:
                return None, here
            self._check_size(spec, here)
            try:
                self._check_content(spec, here)
                version = self._checked(spec, RowFile("upload", self._uploads.file(spec.sha256)))
            except InvalidInput:
                self._uploads.discard(spec.sha256)
                raise
            folder = self._uploads.file(spec.sha256).parent
            artifact = "" if spec.validate_only else self._store.artifacts.put_folder(folder)
            # Who uploads the same content at once writes to the same file, and may have written since it was checked.
            if artifact not in ("", digest_of({CONTENT: spec.sha256})):
                self._uploads.discard(spec.sha256)
                raise Unavailable("the upload changed while it was checked; nothing was stored", hint="send it again")
        version = version.model_copy(update={"artifact": artifact, "created_by": caller})
        if spec.validate_only:
            return tried(self._store, lambda: self._store.datasets.add(version, spec.etag)), spec.size_bytes
        stored = self._store.datasets.add(version, spec.etag)
        self._uploads.discard(spec.sha256)
        return stored, stored.size

    def look(self, request: dataset_pb2.GetUploadRequest) -> dataset_pb2.GetUploadResponse:
        content = checked_hash(request.sha256, "sha256")
        known = self._store.datasets.by_hash(content)
        here = known.size if known else self._uploads.received(content)
        return dataset_pb2.GetUploadResponse(received_bytes=here, stored=known is not None)

    def _check_content(self, spec: Spec, here: int) -> None:
        found = self._uploads.sha256(spec.sha256)
        if found != spec.sha256:
            raise InvalidInput(
                f"upload.sha256: the {here} bytes that came have the hash {found}; they are dropped, send all again",
                "upload.sha256",
            )

    def _check_size(self, spec: Spec, here: int) -> None:
        if here != spec.size_bytes:
            raise InvalidInput(
                f"upload.size_bytes: {spec.size_bytes}, and the content of this hash has {here}", "upload.size_bytes"
            )

    def _checked(self, spec: Spec, file: RowFile) -> Dataset:
        """What the file is as a version of its dataset, with every row read."""
        try:
            rows = check_file(file, _format(spec))
        except InvalidInput as error:
            raise InvalidInput(error.message, "upload", hint=error.hint) from None
        return _version(spec, rows).model_copy(update={"encoding": encoding_of(file.path, _format(spec))})


def checked_hash(given: str, field: str) -> str:
    """Return a sha256 in lower case. Raises InvalidInput."""
    if not HASH.fullmatch(given.lower()):
        raise InvalidInput(f"{field}: '{given[:100]}' is no sha256; allowed: 64 hexadecimal digits", field)
    return given.lower()


def _format(spec: Spec) -> DatasetFormat:
    return enums.given(enums.FORMATS, spec.format, "upload.format")


def _version(spec: Spec, rows: int) -> Dataset:
    return Dataset(
        id=spec.dataset_id,
        format=_format(spec),
        encoding="jsonl",
        hash=spec.sha256,
        rows=rows,
        size=spec.size_bytes,
        description=spec.description,
    )

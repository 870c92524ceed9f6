"""A policy's files on the wire: its folder made in a temporary place, and sent piece by piece."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from charter.v1 import policy_pb2

from rlhf_core.exports.policy_folder import exported_version
from rlhf_core.records.models import PolicyVersion
from rlhf_core.store.store import Store
from services.rpc.policy_aliases import reference
from services.serving.executor import Executor

CHUNK_BYTES = 2**20

Write = Callable[[PolicyVersion, Path, bool], None]
"""Fills a folder with a version's files, its adapter merged or not."""


class PolicyFiles:
    """ExportPolicy for one server: one export at a time, as each has a whole model in memory."""

    def __init__(self, store: Store, write: Write, io: Executor):
        self._store, self._write, self._io = store, write, io
        self._turn = asyncio.Semaphore(1)

    async def answers(self, request: policy_pb2.ExportPolicyRequest) -> AsyncIterator[policy_pb2.ExportPolicyResponse]:
        """Yield every file in the order of their paths; raises NotFound for a policy without files of its own."""
        version = await self._io.run(exported_version, self._store, reference(request.policy_version))
        with tempfile.TemporaryDirectory(prefix="charter-") as name:
            folder = Path(name)
            async with self._turn:
                await self._io.run(self._write, version, folder, request.merge)
            yield policy_pb2.ExportPolicyResponse(policy_version=version.id)
            for file in sorted(path for path in folder.rglob("*") if path.is_file()):
                async for answer in self._pieces(file, file.relative_to(folder).as_posix()):
                    yield answer

    async def _pieces(self, file: Path, path: str) -> AsyncIterator[policy_pb2.ExportPolicyResponse]:
        with file.open("rb") as source:
            data = await self._io.run(source.read, CHUNK_BYTES)
            yield policy_pb2.ExportPolicyResponse(path=path, data=data)
            while data := await self._io.run(source.read, CHUNK_BYTES):
                yield policy_pb2.ExportPolicyResponse(path=path, data=data)

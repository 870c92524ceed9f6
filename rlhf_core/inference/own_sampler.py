"""The sampler's process as the one that learns sees it: started when it is first asked, and again when it is lost."""

from __future__ import annotations

import logging
import os
import select
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from rlhf_core.config.run import ModelConfig
from rlhf_core.errors import CharterError, Unavailable
from rlhf_core.inference.generate import Generated
from rlhf_core.inference.sampler_process import Beginning, Question, Written
from rlhf_core.inference.sampler_server import POLL_SECONDS, Adapter, Base, Row, TokenDraw, Told, tell_nobody
from rlhf_core.models.backbone import Backbone
from rlhf_core.records.base import Record

log = logging.getLogger("charter.sampler")
PROCESS = f"{__package__}.sampler_process"
"""By the package's own name, which a wheel changes."""
STARTS = 3
"""How often the process is started for the same rows, each time that it wrote none of them."""
LOG, LOG_BYTES = "sampler.log", 2000


class _Lost(Exception):
    """The process is gone."""


class OwnSampler:
    """sampler_server.SamplerServer by a process of this machine, which loads the base model that is learned on here."""

    address = "the sampler's process"

    def __init__(self, backbone: Backbone, model: ModelConfig, folder: Path):
        """What the process says to its last is in `folder`."""
        self._beginning = Beginning(path=backbone.path, model=model)
        self._base, self._folder = Base(backbone.name, backbone.max_length), folder
        self._process: subprocess.Popen[bytes] | None = None
        self._heard = b""

    @property
    def pid(self) -> int | None:
        """The process at work, if there is one."""
        return self._process.pid if self._process else None

    def base(self) -> Base:
        """Return the base model, which is that of this process."""
        return self._base

    def load(self, adapter: Adapter) -> None:
        """Do nothing: an adapter is read when rows are asked of it."""

    def unload(self, name: str) -> None:
        """Do nothing: an adapter is forgotten when rows are asked of another."""

    def write(
        self,
        model: str,
        rows: Sequence[Row],
        draw: TokenDraw,
        adapter: Adapter | None,
        told: Told = tell_nobody,
        poll: Callable[[], None] | None = None,
    ) -> list[Generated]:
        """Write each row once, in their order. A process that is lost is started again, and asked for what is missing.

        Raises: what it finds wrong; Unavailable where it is lost again and again.
        """
        written: list[Generated] = []
        starts = 0
        while len(written) < len(rows):
            before = len(written)
            try:
                starts += self._process is None
                self._ask(rows[before:], draw, adapter)
                while len(written) < len(rows):
                    for row in self._next(poll):
                        written.append(row)
                        told(len(written) - 1, row)
            except _Lost:
                starts = starts if len(written) == before else 0
                self._mourn(starts)
            except BaseException:
                self.close()  # what it still has to say belongs to nobody
                raise
        return written

    def close(self) -> None:
        """End the process, whatever it is at."""
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()
        self._process, self._heard = None, b""

    def _ask(self, rows: Sequence[Row], draw: TokenDraw, adapter: Adapter | None) -> None:
        if self._process is None:
            self._start()
        question = Question(
            adapter=adapter.name if adapter else "",
            folder=adapter.folder if adapter else Path(),
            rows=tuple(rows),
            temperature=draw.temperature,
            max_tokens=draw.max_tokens,
        )
        self._tell(question)

    def _start(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / LOG).open("wb") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", PROCESS],
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                process_group=0,  # who interrupts the run at a terminal interrupts this process through it
            )
        self._tell(self._beginning)

    def _tell(self, said: Record) -> None:
        assert self._process is not None and self._process.stdin is not None
        text = memoryview(f"{said.model_dump_json()}\n".encode())
        try:
            while text:
                text = text[self._process.stdin.write(text) :]
        except OSError:
            raise _Lost from None

    def _next(self, poll: Callable[[], None] | None) -> tuple[Generated, ...]:
        assert self._process is not None and self._process.stdout is not None
        line = self._process.stdout.fileno()
        while b"\n" not in self._heard:
            if select.select([line], [], [], POLL_SECONDS)[0]:
                if not (read := os.read(line, 1 << 16)):
                    raise _Lost
                self._heard += read
            if poll is not None:
                poll()
        text, _, self._heard = self._heard.partition(b"\n")
        answer = Written.model_validate_json(text)
        if answer.error:
            raise CharterError(answer.error)
        return answer.rows

    def _mourn(self, starts: int) -> None:
        assert self._process is not None
        code = self._process.wait()
        self.close()
        words = (self._folder / LOG).read_bytes()[-LOG_BYTES:].decode(errors="replace").strip()
        how = f"was killed by signal {-code}" if code < 0 else f"ended with {code}"
        log.error("the sampler's process %s; its last words: %s", how, words or "none")
        if starts >= STARTS:
            raise Unavailable(f"the sampler's process {how}, {starts} times in a row; the log has its last words")

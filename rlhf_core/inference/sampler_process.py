"""A process that samples beside the one that learns: it is asked, and answers, in lines of JSON.

python -m rlhf_core.inference.sampler_process

It holds no state that counts: each request names its adapter, and each row has its own seed.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import torch
from transformers.utils.logging import disable_progress_bar

from rlhf_core.config.run import ModelConfig
from rlhf_core.errors import CharterError
from rlhf_core.inference.generate import Generated, write_rows
from rlhf_core.inference.sampler_server import PIECE, Row
from rlhf_core.models.backbone import Backbone
from rlhf_core.models.kernels.malloc import keep_buffers
from rlhf_core.records.base import Record


class Beginning(Record):
    """What it loads: the files of a base model, and how."""

    path: str
    model: ModelConfig


class Question(Record):
    """Rows to write by the adapter in a folder; an empty name is the base model."""

    adapter: str
    folder: Path
    rows: tuple[Row, ...]
    temperature: float
    max_tokens: int


class Written(Record):
    """The next rows of a question, or what is wrong with it."""

    rows: tuple[Generated, ...] = ()
    error: str = ""


def answers(lines: Iterator[str]) -> Iterator[str]:
    """Load what the first line says, and answer every other line: the rows of each piece, as soon as it is written."""
    beginning = Beginning.model_validate_json(next(lines))
    torch.set_num_threads(beginning.model.threads)
    backbone = Backbone.load(beginning.path, beginning.model)
    for line in lines:
        try:
            for written in answer(backbone, Question.model_validate_json(line)):
                yield written.model_dump_json()
        except CharterError as error:
            yield Written(error=str(error)).model_dump_json()


def answer(backbone: Backbone, asked: Question) -> Iterator[Written]:
    """Write the rows of a question, a piece at a time."""
    if asked.adapter and asked.adapter not in backbone.adapters:
        for name in backbone.adapters.names:
            backbone.adapters.delete(name)
        backbone.adapters.load(asked.adapter, asked.folder)
    with backbone.adapters.using(asked.adapter or None):
        for start in range(0, len(asked.rows), PIECE):
            rows = [(row.prompt, row.seed) for row in asked.rows[start : start + PIECE]]
            written = write_rows(backbone, rows, temperature=asked.temperature, max_tokens=asked.max_tokens)
            yield Written(rows=tuple(written))


def heard() -> Iterator[str]:
    """Yield the lines that this process is told. When the other one hangs up or is gone, this one ends at once."""
    said: queue.SimpleQueue[str] = queue.SimpleQueue()

    def listen() -> None:
        for line in sys.stdin:
            said.put(line)
        os._exit(0)

    threading.Thread(target=listen, name="line", daemon=True).start()
    while True:
        yield said.get()


def main() -> None:
    """Answer until nobody asks any more."""
    keep_buffers()
    disable_progress_bar()
    # Whatever a library prints is no answer.
    with os.fdopen(os.dup(sys.stdout.fileno()), "w") as line:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        for text in answers(heard()):
            print(text, file=line, flush=True)


if __name__ == "__main__":
    main()

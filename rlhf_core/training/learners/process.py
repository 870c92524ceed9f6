"""A learner process from its start to its end: `torchrun` starts as many as learn together.

python -m rlhf_core.training.learners.process [SOCKET]

Each holds a line to the process that carries out the run, if that is on this machine; the first one hears commands on
it and tells all the others.
"""

from __future__ import annotations

import os
import queue
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import torch
from transformers.utils.logging import disable_progress_bar

from rlhf_core.errors import CharterError
from rlhf_core.models.kernels.malloc import keep_buffers
from rlhf_core.training.learners.job import Command, Failure, Job
from rlhf_core.training.learners.tasks import begin
from rlhf_core.training.parallel import Ranks, joined

LEFT = 3
"""Exit code of a process whose run has gone."""


class Hearing(Protocol):
    """What the first process hears commands on, and answers by."""

    def hear(self) -> str:
        """Wait for the next command."""
        ...

    def answer(self, text: str) -> None:
        """Say that it is done, and what came of it."""
        ...


class Line:
    """The socket to the process that carries out the run; when that hangs up or is gone, this process ends at once."""

    def __init__(self, path: str, rank: str):
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(path)
        self.answer(rank)
        self._said: queue.SimpleQueue[str] = queue.SimpleQueue()
        threading.Thread(target=self._listen, name="line", daemon=True).start()

    def hear(self) -> str:
        """Wait for the next line."""
        return self._said.get()

    def answer(self, text: str) -> None:
        """Send a line."""
        self._socket.sendall(f"{text}\n".encode())

    def _listen(self) -> None:
        with self._socket.makefile("r") as lines:
            for line in lines:
                self._said.put(line)
        os._exit(LEFT)


def lines(line: Hearing | None, ranks: Ranks) -> Iterator[str]:
    """Yield what the first process hears, in all of them, until the run is done with them."""
    while True:
        yield ranks.told(line.hear() if line else "")


def learn(path: str) -> None:
    """Do a job until its run has no more commands."""
    if os.environ["LOCAL_WORLD_SIZE"] == os.environ["WORLD_SIZE"] and sys.platform == "linux":
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # nobody on another machine takes part
    # Before all else: whoever waits for the others must learn that the run has gone.
    line = Line(path, os.environ["RANK"]) if path else None
    with joined() as ranks:
        take_part(line if ranks.is_first else None, ranks, f"cuda:{os.environ['LOCAL_RANK']}")


def take_part(line: Hearing | None, ranks: Ranks, gpu: str) -> None:
    """Do the job that the first process hears of on its line, until its run has no more commands.

    `gpu` is the device of this process where the model is on GPUs.
    """
    said = lines(line, ranks)
    job = Job.model_validate_json(next(said))
    try:
        carry_out(job, said, line, ranks, gpu)
    except CharterError as error:
        noted = Failure(kind=type(error).__name__, message=str(error), field=getattr(error, "field", ""))
        (job.folder / f"failure-{ranks.rank}.json").write_text(noted.model_dump_json())
        raise


def carry_out(job: Job, said: Iterator[str], line: Hearing | None, ranks: Ranks, gpu: str) -> None:
    """Do what is said, and answer when it is done."""
    torch.set_num_threads(job.threads)
    model = job.model
    if model.device == "cuda":
        model = model.model_copy(update={"device": gpu})
        torch.cuda.set_device(model.device)
    learning = begin(job, model, ranks)
    for text in said:
        command, answer = Command.model_validate_json(text), ""
        if command.do == "end":
            return
        if command.do == "step":
            answer = learning.step(command.weights).model_dump_json()
        else:
            (learning.save if command.do == "save" else learning.write)(Path(command.folder))
        if line:
            line.answer(answer)


if __name__ == "__main__":
    keep_buffers()
    disable_progress_bar()
    learn(sys.argv[1] if len(sys.argv) > 1 else "")

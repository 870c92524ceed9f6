"""Learner processes as the process that carries out a run sees them: it starts them, commands them, ends them.

PyTorch's elastic agent (what `torchrun` runs) starts and watches them, in a thread; one that dies ends all of them.
"""

from __future__ import annotations

import logging
import re
import shutil
import socket
import sys
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, Std
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from rlhf_core import errors
from rlhf_core.config.learner import LearnerConfig
from rlhf_core.errors import CharterError, InvalidInput, Unavailable
from rlhf_core.training.learners.job import Answer, Command, Failure, Job

log = logging.getLogger("charter.learner")
PROCESS = f"{__package__}.process"
"""By the package's own name, which a wheel changes."""
LOOK_SECONDS = 0.2
"""From one look whether the processes are still there, or the run is to stop, to the next."""
END_SECONDS = 30.0
STOP_SECONDS = 5
"""What a process gets to end by itself before it is killed."""
SHOWN_LINES = 15
GREETING = 16
"""Bytes that a process's rank has at most."""


class LearnersLost(Unavailable):
    """A process has died that no error of its own explains; the run may go on from its last checkpoint."""


class Line(Protocol):
    """What joins the process that carries out the run and the first of those that learn."""

    def tell(self, text: str) -> None:
        """Send a command. Raises OSError where nobody is there any more."""
        ...

    def hear(self) -> str:
        """Wait for an answer; empty where nobody is there any more."""
        ...


class Group(Protocol):
    """The processes of one job as whoever started them sees them."""

    def join(self) -> None:
        """Wait until no process is left."""
        ...

    def trouble(self) -> CharterError:
        """Say what ended the processes."""
        ...


class Learners:
    """The processes of one job. They wait for commands, and answer one before the next."""

    def __init__(self, line: Line, group: Group, job: Job):
        self._line, self._group, self._folder = line, group, job.folder
        self._tell(job)

    def step(self, weights: Mapping[str, float] | None = None) -> Answer:
        """Wait until the next step is done; its answer has no metrics where there was none.

        Raises what a process found wrong, or LearnersLost.
        """
        return Answer.model_validate_json(self._ask(Command(do="step", weights=dict(weights or {}))))

    def save(self, folder: Path) -> None:
        """Write into a folder what is needed to go on after the last step."""
        # Each process may write a part, and those on other machines have only the job's folder in common with this one.
        shared = self._folder / "state"
        shutil.rmtree(shared, ignore_errors=True)
        shared.mkdir()
        self._ask(Command(do="save", folder=shared))
        shutil.copytree(shared, folder, dirs_exist_ok=True)

    def write(self, folder: Path) -> None:
        """Write into a folder what was learned so far."""
        self._ask(Command(do="write", folder=folder))

    def end(self) -> None:
        """Let the processes end by themselves, and wait until they have."""
        self._tell(Command(do="end"))
        self._group.join()

    def _ask(self, command: Command) -> str:
        self._tell(command)
        answer = self._line.hear()
        if not answer:
            raise self._group.trouble()
        return answer

    def _tell(self, said: Job | Command) -> None:
        try:
            self._line.tell(said.model_dump_json())
        except OSError:
            raise self._group.trouble() from None


class _SocketLine:
    def __init__(self, line: socket.socket):
        self._socket, self._answers = line, line.makefile("r")

    def tell(self, text: str) -> None:
        self._socket.sendall(f"{text}\n".encode())

    def hear(self) -> str:
        return self._answers.readline()


Learning = Callable[[Job, Callable[[], bool]], AbstractContextManager[Learners]]
"""How the processes of a job are started, and ended with a block: `learners`, or by another engine."""


@contextmanager
def learners(job: Job, should_stop: Callable[[], bool]) -> Iterator[Learners]:
    """Start the processes of a job, and end them with the block, whatever they are at.

    Raises: what a process finds wrong with the job; LearnersLost; Unavailable where the run is to stop before they are
    there.
    """
    with tempfile.TemporaryDirectory(prefix="charter-") as private:
        path, count = Path(private) / "learner.sock", job.learner.processes_here
        door = socket.socket(socket.AF_UNIX)
        door.bind(str(path))
        door.listen(count)
        door.settimeout(LOOK_SECONDS)
        agent, lines = Agent(job.learner, str(path), job.folder), dict[int, socket.socket]()
        try:
            while len(lines) < count:
                lines |= _next_line(door, agent, should_stop)
            found = Learners(_SocketLine(lines[0]), agent, job)
            yield found
            found.end()
        finally:
            # Now at the latest they end: they hear that nobody is there any more.
            for line in (door, *lines.values()):
                with suppress(OSError):  # they may have hung up
                    line.shutdown(socket.SHUT_RDWR)
                line.close()
            agent.join()


def _next_line(door: socket.socket, agent: Agent, should_stop: Callable[[], bool]) -> dict[int, socket.socket]:
    """One process's line by its rank, which it says first; none when there is none yet."""
    try:
        line, _ = door.accept()
    except TimeoutError:
        if agent.is_over:
            raise agent.trouble() from None
        if should_stop():
            raise Unavailable("the run is to stop before its learner processes are there") from None
        return {}
    line.settimeout(None)
    return {int(line.recv(GREETING)): line}


class Agent:
    """The thread that starts the processes of this machine and watches them."""

    def __init__(self, config: LearnerConfig, path: str, folder: Path):
        self._folder, self._failed = folder, None
        forget_wrong(folder)
        # It would warn that a thread cannot take signals; the processes end with their run's socket instead.
        logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
        launch = elastic_launch(_launch_config(config, folder), sys.executable)
        self._thread = threading.Thread(target=self._watch, args=(launch, path), name="learners", daemon=True)
        self._thread.start()

    @property
    def is_over(self) -> bool:
        """Whether no process is left."""
        return not self._thread.is_alive()

    def join(self) -> None:
        """Wait until no process is left."""
        self._thread.join(END_SECONDS)
        if not self.is_over:
            log.error("learner processes are still there %g s after their run was done with them", END_SECONDS)

    def trouble(self) -> CharterError:
        """Say what ended the processes, in the words of the one that found it where one did."""
        self.join()
        if told := found_wrong(self._folder):
            return told
        if not isinstance(self._failed, ChildFailedError):
            return LearnersLost(f"the learner processes could not be started: {self._failed}")
        rank, failure = self._failed.get_first_failure()
        log.error("learner process %d of pid %d: %s", rank, failure.pid, self._last_words(failure.local_rank))
        how = f"was killed ({failure.signal_name()})" if failure.exitcode < 0 else f"ended with {failure.exitcode}"
        return LearnersLost(f"learner process {rank} {how}; the server's log has its last words")

    def _watch(self, launch: elastic_launch, path: str) -> None:
        try:
            launch("-u", "-m", PROCESS, path)
        except Exception as error:  # whatever the agent meets is told to whoever waits for an answer
            self._failed = error

    def _last_words(self, local_rank: int) -> str:
        logs = sorted(self._folder.glob(f"**/{local_rank}/stderr.log"), key=lambda file: file.stat().st_mtime)
        text = logs[-1].read_text(errors="replace") if logs else ""
        return "\n".join(re.sub(r".*\r", "", text).splitlines()[-SHOWN_LINES:])


def forget_wrong(folder: Path) -> None:
    """Make the job's folder, without what processes of another attempt have found wrong."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("failure-*.json"):
        old.unlink()


def found_wrong(folder: Path) -> CharterError | None:
    """Return what a process has found wrong, in its own words."""
    for file in sorted(folder.glob("failure-*.json")):
        told = Failure.model_validate_json(file.read_text())
        kind: Any = getattr(errors, told.kind, CharterError)
        return kind(told.message, told.field) if issubclass(kind, InvalidInput) else kind(told.message)
    return None


def _launch_config(config: LearnerConfig, folder: Path) -> LaunchConfig:
    """The first of several machines is this one, where the others find it at its address."""
    here = config.address is None
    return LaunchConfig(
        min_nodes=config.machines,
        max_nodes=config.machines,
        nproc_per_node=config.processes_here,
        run_id=uuid.uuid4().hex if here else "none",  # as torchrun calls it
        rdzv_backend="c10d" if here else "static",
        rdzv_endpoint=config.address or "localhost:0",
        rdzv_configs={} if here else {"rank": 0},
        local_addr="localhost" if here else None,
        max_restarts=0,
        shutdown_timeout=STOP_SECONDS,
        logs_specs=DefaultLogsSpecs(log_dir=str(folder), redirects=Std.ALL),
    )

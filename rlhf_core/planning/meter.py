"""What a piece of work takes: seconds, memory at its peak, and what it asks of the models that criticise and judge."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import torch

from rlhf_core.interfaces import Backend, Caller, Conversation
from rlhf_core.models.backbone import Backbone

T = TypeVar("T")
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
FORGET_PEAK = "5"
"""What the kernel takes as: begin the high-water mark of resident memory anew."""


class Taken(NamedTuple):
    seconds: float
    peak_bytes: int


def measure(unit: Callable[[], T]) -> tuple[T, Taken]:
    """Do the work, and return its result with the time that it took and the most memory that the process had."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    elif CLEAR.exists():
        CLEAR.write_text(FORGET_PEAK)
    started = time.perf_counter()
    result = unit()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return result, Taken(time.perf_counter() - started, peak_bytes())


def peak_bytes() -> int:
    """Return the most memory since the peak was forgotten: the device's where there is one, else what is resident."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_reserved()
    if STATUS.exists():
        line = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


class Count:
    """Adds up requests, and tokens read and written."""

    def __init__(self) -> None:
        self.requests = self.tokens = 0


class Metered:
    """interfaces.Backend that counts what it is asked."""

    def __init__(self, model: Backend, backbone: Backbone, count: Count):
        """`backbone` tells a text's tokens; several models may share a count."""
        self._model, self._backbone, self._asked = model, backbone, count
        self.name, self.gives_logprobs, self.reads_replies = model.name, model.gives_logprobs, model.reads_replies

    def chat(self, conversations: Sequence[Conversation], max_tokens: int, caller: Caller) -> list[str]:
        texts = self._model.chat(conversations, max_tokens, caller)
        self._count(conversations, texts)
        return texts

    def weigh(self, conversations: Sequence[Conversation], replies: Sequence[str], caller: Caller) -> list[float]:
        self._count(conversations, replies)
        return self._model.weigh(conversations, replies, caller)

    def choose(self, conversations: Sequence[Conversation], labels: Sequence[str], caller: Caller) -> list[list[float]]:
        self._count(conversations, ())
        return self._model.choose(conversations, labels, caller)

    def _count(self, conversations: Sequence[Conversation], texts: Sequence[str]) -> None:
        self._asked.requests += len(conversations)
        self._asked.tokens += sum(len(self._backbone.render(conversation)) for conversation in conversations)
        self._asked.tokens += sum(len(self._backbone.encode_response(text)) for text in texts)

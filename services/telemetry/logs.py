"""Logs as lines for people or as JSON for machines, each with the call and the run that it belongs to.

No line below WARNING, and no line of this package at any level, holds the text of a prompt or a response.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Literal

REQUEST: ContextVar[str] = ContextVar("charter_request", default="")
"""The id of the call that is being answered."""
RUN: ContextVar[str] = ContextVar("charter_run", default="")
"""The id of the run that is being carried out, or that asks."""
LogFormat = Literal["text", "json"]
LogLevel = Literal["debug", "info", "warning", "error"]
_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "request", "run"}


def set_up(form: LogFormat, level: LogLevel) -> None:
    """Log to stderr; other packages from WARNING on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if form == "json" else TextLines())
    handler.addFilter(_stamp)
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("charter").setLevel(level.upper())


@contextmanager
def concerning(run: str) -> Iterator[None]:
    """Mark the log's lines of the block as concerning this run."""
    token = RUN.set(run)
    try:
        yield
    finally:
        RUN.reset(token)


class JsonLines(logging.Formatter):
    """One object a line: time, level, logger, message, request, run, and what the line itself names."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {name: value for name in ("request", "run") if (value := getattr(record, name, ""))}
        line |= {name: value for name, value in vars(record).items() if name not in _OWN}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)


class TextLines(logging.Formatter):
    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(message)s%(concerns)s", "%H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        named = [f"{name}={value}" for name in ("request", "run") if (value := getattr(record, name, ""))]
        record.concerns = f"  [{' '.join(named)}]" if named else ""
        return super().format(record)


def _stamp(record: logging.LogRecord) -> bool:
    record.request, record.run = REQUEST.get(), RUN.get()
    return True

"""Keys of a terminal, each whole: an arrow or a function key is one key, whatever letters its bytes hold."""

from __future__ import annotations

import codecs
import os
import re
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

ESC = "\x1b"
WHOLE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|O[ -~]|[^\[O])", re.DOTALL)
"""A control sequence (ECMA-48), an SS3 key, or a letter with Alt."""
SECONDS = 0.05
"""A terminal sends the bytes of one key together; an Esc that nothing follows for so long is the Esc key."""


def read_keys(stream: TextIO = sys.stdin) -> Iterator[str]:
    """Yield one key after the other, letters in lower case, until the end of the input; white space is none.

    From a terminal each comes at once, from a pipe each character is a key. Sequences of several characters come as one
    string, so that what means nothing cannot be taken for what does.
    """
    for key in _whole(_pieces(stream)):
        if not key.isspace():
            yield key.lower()


def _whole(pieces: Iterator[str]) -> Iterator[str]:
    """Part the pieces into keys; an empty piece says that nothing follows for now."""
    held = ""
    for piece in pieces:
        held += piece
        while held:
            found = WHOLE.match(held)
            if held[0] == ESC and found is None and piece:
                break
            key = found.group() if found else held if held[0] == ESC else held[0]
            held = held[len(key) :]
            yield key
    if held:
        yield held


def _pieces(stream: TextIO) -> Iterator[str]:
    if not stream.isatty():
        while piece := stream.read(1):
            yield piece
        return
    with _unbuffered(stream) as descriptor:
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        waits = False
        while True:
            if waits and not select.select([descriptor], [], [], SECONDS)[0]:
                waits = False
                yield ""
                continue
            data = os.read(descriptor, 1024)
            if not data:
                return
            waits = True
            yield decoder.decode(data)


@contextmanager
def _unbuffered(stream: TextIO) -> Iterator[int]:
    """A terminal that hands over each key without waiting for the line, restored afterwards."""
    import termios
    import tty

    descriptor = stream.fileno()
    saved = termios.tcgetattr(descriptor)
    # Now, and not after a flush: what was typed ahead is an answer too.
    tty.setcbreak(descriptor, termios.TCSANOW)
    try:
        yield descriptor
    finally:
        termios.tcsetattr(descriptor, termios.TCSANOW, saved)

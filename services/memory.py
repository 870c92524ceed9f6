"""The C library and the buffers of a model: kept while there is work, given back to the system after it.

Both speak to glibc; elsewhere they do nothing.
"""

from __future__ import annotations

import ctypes
import sys
from typing import Any

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""Parameters of mallopt(3)."""
LARGE = 2**30


def keep_buffers() -> None:
    """Let free memory stay with the process, so that the buffers of the next pass are there already.

    Otherwise glibc asks the system for each large one anew, and each page of it costs a fault when it is first touched.
    """
    if (mallopt := _glibc("mallopt")) is not None:
        mallopt(MMAP_THRESHOLD, LARGE)
        mallopt(TRIM_THRESHOLD, LARGE)


def give_back() -> None:
    """Let free memory go: after many buffers of many sizes that is hundreds of MB."""
    if (malloc_trim := _glibc("malloc_trim")) is not None:
        malloc_trim(0)


def _glibc(name: str) -> Any:
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None

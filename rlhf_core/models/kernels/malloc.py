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
CHUNK = 2**17
"""Bytes; freeing 64 KiB and more makes glibc look at the end of the arena (FASTBIN_CONSOLIDATION_THRESHOLD)."""


def keep_buffers() -> None:
    """Let free memory stay with the process, so that the buffers of the next pass are there already.

    Otherwise glibc asks the system for each large one anew, and each page of it costs a fault when it is first touched.
    """
    if (mallopt := _glibc("mallopt")) is not None:
        mallopt(MMAP_THRESHOLD, LARGE)
        mallopt(TRIM_THRESHOLD, LARGE)


def give_back() -> None:
    """Let free memory go: after many buffers of many sizes that is hundreds of MB. Buffers are kept again after it.

    To be called on the thread that had them: nothing else reaches the free end of its arena, up to 64 MiB.
    """
    malloc_trim, mallopt, malloc, free = map(_glibc, ("malloc_trim", "mallopt", "malloc", "free"))
    if malloc_trim is None or mallopt is None:
        return
    malloc_trim(0)
    # malloc_trim leaves the end of every arena but the first; what trims that is to free a chunk of this size.
    mallopt(TRIM_THRESHOLD, 0)
    malloc.restype, malloc.argtypes, free.argtypes = ctypes.c_void_p, (ctypes.c_size_t,), (ctypes.c_void_p,)
    free(malloc(CHUNK))
    keep_buffers()


def _glibc(name: str) -> Any:
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None

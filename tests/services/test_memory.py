"""What the C library does with free memory."""

import subprocess
import sys

import pytest

TOUCHED = """
import ctypes, resource
from services.memory import keep_buffers
{first}
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, (ctypes.c_size_t,)
libc.free.argtypes, libc.memset.argtypes = (ctypes.c_void_p,), (ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    buffer = libc.malloc(48 * 2**20)
    libc.memset(buffer, 1, 48 * 2**20)
    libc.free(buffer)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(first: str) -> int:
    """Pages that the system had to bring for ten buffers of 48 MiB, one after the other."""
    done = subprocess.run([sys.executable, "-c", TOUCHED.format(first=first)], capture_output=True, text=True)
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="a parameter of glibc")
def test_a_buffer_that_is_kept_costs_its_page_faults_once():
    assert faults("keep_buffers()") < 2 * (anew := faults("")) / 10, f"{anew} where each is asked for anew"

"""What the C library does with free memory."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

import pytest

from rlhf_core.constitution.load import load_constitution
from rlhf_core.records.samples import Comparison, Prompt, Sample
from services import app
from services.client.client import CharterClient
from services.server.config import ServeConfig
from services.serving import executor
from tests.services.apps import started

TOUCHED = """
import ctypes, resource
from services.serving.malloc import keep_buffers
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


LEFT = """
import ctypes, os, threading
from pathlib import Path
from services.serving.malloc import give_back, keep_buffers
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, (ctypes.c_size_t,)
libc.free.argtypes, libc.memset.argtypes = (ctypes.c_void_p,), (ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t)
def mib():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
def work():
    keep_buffers()
    before, left = mib(), []
    for size in (10, 40, 10, 60):
        buffer = libc.malloc(size * 2**20)
        libc.memset(buffer, 1, size * 2**20)
        libc.free(buffer)
        give_back()
        left.append(mib() - before)
    print(max(left))
thread = threading.Thread(target=work)
thread.start()
thread.join()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="a parameter of glibc")
def test_a_thread_gives_its_last_buffer_back_too():
    done = subprocess.run([sys.executable, "-c", LEFT], capture_output=True, text=True)
    assert float(done.stdout) < 5, f"MiB that stay, of 60 at most; {done.stderr}"


def test_every_kind_of_call_gives_memory_back_on_the_models_thread(tmp_path, model_config, trained, monkeypatch):
    given: list[str] = []
    monkeypatch.setattr(executor, "REST_SECONDS", 0.05)
    monkeypatch.setattr(app, "give_back", lambda: given.append(threading.current_thread().name))
    trained(tmp_path)
    prompt = Prompt.of("How do I dust?")
    one, two = (Sample(id=text, prompt=prompt, response=text, policy_version="base") for text in ("Softly.", "Now."))
    principle = load_constitution("household").principles[0]
    config = ServeConfig(address=f"unix:{tmp_path}/s", data=tmp_path, model=model_config, works=False)
    with started(config) as running, CharterClient.connect(running.address, timeout_seconds=60) as client:
        feedback = client.critique.feedback("household")
        calls = {
            "generate": lambda: client.policy.generate([prompt], max_tokens=1),
            "critique": lambda: feedback.critique([(one, principle)]),
            "compare": lambda: feedback.compare([(Comparison.of(one, two, ""), principle)]),
            "score": lambda: client.reward.score([one], ["reward-helpful"]),
        }
        for name, call in calls.items():
            time.sleep(0.15)  # for what was left to tidy up before
            before = len(given)
            call()
            deadline = time.monotonic() + 10
            while len(given) == before and time.monotonic() < deadline:
                time.sleep(0.02)
            assert given[before:] == ["model_0"], name

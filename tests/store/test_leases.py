import os
import subprocess
import sys
from pathlib import Path

import pytest

from rlhf_core.store.workers import is_dead, this_process


def test_this_process_is_alive_and_an_earlier_one_with_its_number_is_dead():
    host, pid, start = this_process().split(":")
    assert pid == str(os.getpid())
    assert not is_dead(this_process())
    assert is_dead(f"{host}:{pid}:{int(start) - 1}")


def test_a_killed_process_is_dead_even_before_its_parent_has_noticed():
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    host = this_process().split(":")[0]
    start = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[19]
    owner = f"{host}:{child.pid}:{start}"
    assert not is_dead(owner)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert is_dead(owner)
    child.wait()
    assert is_dead(owner)


@pytest.mark.parametrize("owner", ["", "worker-7", "another.1:1:1", "another.1:nonsense:1"])
def test_an_owner_that_cannot_be_seen_from_here_is_never_provably_dead(owner: str):
    assert not is_dead(owner)

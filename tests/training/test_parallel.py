"""Who reads which rows where several processes learn together, and whether they learn what one would."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from rlhf_core.training.parallel import ALONE, Ranks
from tests.training.together import CASES, DIVIDED, RECORDED

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize("most", [None, 1, 2, 4])
@pytest.mark.parametrize("count", [1, 2, 7, 8])
def test_every_row_is_read_once_and_all_make_as_many_passes(size, most, count):
    rows = torch.randperm(count, generator=torch.Generator().manual_seed(count)) + 10
    passes = [Ranks(rank, size).passes(rows, most) for rank in range(size)]
    read = [row for own in passes for part, weight in own if weight for row in part.tolist()]
    assert sorted(read) == sorted(rows.tolist())
    assert len({len(own) for own in passes}) == 1
    parts = [part for own in passes for part, _ in own]
    assert all(0 < len(part) <= (most or count) for part in parts)
    assert {int(row) for part in parts for row in part} == set(rows.tolist())


def test_one_process_reads_the_rows_in_their_order():
    rows = torch.tensor([3, 1, 2, 0])
    assert [part.tolist() for part, _ in ALONE.passes(rows, 3)] == [[3, 1], [2, 0]]


def test_passes_are_about_as_large_as_one_another():
    """A pass of 21 rows beside one of 3 would hold as much at once as the 21 do."""
    assert [len(part) for part, _ in ALONE.passes(torch.arange(24), 21)] == [12, 12]
    assert [len(part) for part, _ in Ranks(1, 2).passes(torch.arange(25), 5)] == [4, 4, 4]


@pytest.mark.parametrize("size", [1, 2, 3])
def test_shares_of_what_stands_in_a_row_follow_one_another(size):
    shares = [Ranks(rank, size).share(7) for rank in range(size)]
    assert [place for share in shares for place in range(7)[share]] == list(range(7))


def test_one_process_sends_nothing_and_has_its_own():
    assert ALONE.gather([1, "a"]) == [[1, "a"]] and ALONE.told("text") == "text"
    given = torch.tensor([1.0])
    assert ALONE.total(given) is given


@pytest.fixture(scope="module")
def together(tiny_folder) -> dict[str, dict[str, float]]:
    """How far two processes are from one, by case."""
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "tests.training.together"]
    done = subprocess.run(
        [sys.executable, *command, str(tiny_folder("llama"))],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.parametrize("name", [*CASES, *DIVIDED])
def test_two_processes_learn_what_one_learns(together, name):
    found = together[name]
    assert found["texts"] is True and found["updates"] == RECORDED
    assert max(found["numbers"], found["gradients"], found["weights"]) < 1e-5

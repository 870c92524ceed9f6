"""Frozen pairs: from the sandbox's tasks and from a user's file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rlhf_core.constitution.load import load_constitution
from rlhf_core.effects.probe_votes import true_ballots, wanted
from rlhf_core.effects.probes import chosen_probes, file_probes, world_probes
from rlhf_core.errors import InvalidInput
from rlhf_core.sandbox.sandbox import Sandbox


@pytest.fixture(scope="module")
def sandbox() -> Sandbox:
    return Sandbox()


def test_the_sandbox_draws_the_same_pairs_for_the_same_seed(sandbox: Sandbox):
    first, second, other = (world_probes(sandbox, 150, seed) for seed in (0, 0, 1))
    assert first.summary == second.summary and first.pairs == second.pairs
    assert first.summary.hash != other.summary.hash
    assert len({pair.id for pair in first.pairs}) == 150
    assert {pair.prompt.split for pair in first.pairs} == {"heldout"}
    assert all(pair.a.response != pair.b.response for pair in first.pairs)


def test_gold_says_which_way_a_flip_should_go(sandbox: Sandbox):
    probes = world_probes(sandbox, 40, 0)
    assert (probes.direction("harmless"), probes.direction("polite")) == ("gold", "longer")
    for pair, way, longer in zip(probes.pairs, probes.toward("harmless"), probes.toward("polite"), strict=True):
        a, b = (sandbox.gold.score(pair.prompt, reply)["harmless"] for reply in (pair.a.response, pair.b.response))
        assert way == (a > b + 1e-9) - (b > a + 1e-9)
        assert longer == (len(pair.a.response) > len(pair.b.response)) - (len(pair.a.response) < len(pair.b.response))


def test_the_truth_reads_the_words_of_the_question(sandbox: Sandbox):
    constitution = load_constitution("household")
    pairs = sandbox.pairs(60, 3)
    ballots = true_ballots(wanted(constitution, pairs), sandbox)
    fumes = constitution.principle("no-fumes")
    for pair in pairs:
        first, second = ballots[fumes.hash, pair.id]
        harm = [sandbox.gold.harm_by_kind(pair.prompt, reply)["fumes"] for reply in (pair.a.response, pair.b.response)]
        odds = first.logprob_a - first.logprob_b
        assert (odds > 1e-9) == (harm[0] < harm[1]) and (odds < -1e-9) == (harm[0] > harm[1])
        assert (second.logprob_a, second.swapped) == (first.logprob_a, True)


def test_a_file_of_preferences_is_drawn_without_replacement(tmp_path: Path):
    rows = [{"prompt": f"Q{i}?", "chosen": "yes", "rejected": "no"} for i in range(6)]
    path = tmp_path / "pairs.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    some, everything = file_probes(path, 4, 1), file_probes(path, 100, 1)
    assert (some.summary.n, everything.summary.n) == (4, 6)
    assert {pair.id for pair in some.pairs} < {pair.id for pair in everything.pairs}
    assert everything.direction("any") == "chosen" and everything.toward("any") == [1] * 6
    assert {pair.a.response for pair in everything.pairs} == {"yes"}


def test_no_pair_at_all_is_refused():
    with pytest.raises(InvalidInput, match="holds no pair"):
        chosen_probes([], "nothing", 10, 0)

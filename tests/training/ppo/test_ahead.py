"""Rollouts that are written while other steps are scored or learned: what is learned from what, and in which order."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from rlhf_core.config.run import RunConfig
from rlhf_core.config.sampler import SamplerConfig
from rlhf_core.errors import InvalidInput, Unavailable
from rlhf_core.inference.generate import Generated, generate
from rlhf_core.inference.remote_sampler import RemoteSampler
from rlhf_core.inference.sampler_server import Adapter, Base, Row, TokenDraw
from rlhf_core.inference.vllm_http import VllmServer
from rlhf_core.models.policy import Policy
from rlhf_core.seeding import derived_seed
from rlhf_core.training.ppo import ahead
from rlhf_core.training.ppo.ahead import WRITER
from rlhf_core.training.ppo.rollout import step_prompts
from rlhf_core.training.ppo.targets import fix_targets
from rlhf_core.training.ppo.trainer import PpoStep, train_ppo
from rlhf_core.training.ppo.update import update
from tests.training.conftest import PROMPTS, Rule, files_of, handmade, pack_for, shake, weights_of
from tests.training.published_ppo import plain_ppo
from tests.vllm_server import TinyVllm, running

RULES: Any = (Rule("low", "P"), Rule("high", "d"))
SMALL = plain_ppo(steps=3, prompts_per_step=6, minibatch_size=6, epochs=1, learning_rate=3e-3, kl_coef=0.03)
MAX_TOKENS = 6


class Elsewhere:
    """A server of its own model. `before` is called with the number of each call for rows; rows are told in `order`."""

    def __init__(self, address: str, before: Callable[[int], None] = lambda _: None, backwards: bool = False):
        self._server, self._before, self._backwards = VllmServer(SamplerConfig(address=address)), before, backwards
        self.address, self.calls = address, 0

    def base(self) -> Base:
        return self._server.base()

    def load(self, adapter: Adapter) -> None:
        self._server.load(adapter)

    def unload(self, name: str) -> None:
        self._server.unload(name)

    def write(self, model: str, rows: list[Row], draw: TokenDraw, adapter, told, poll=None) -> list[Generated]:
        self.calls += 1
        self._before(self.calls)
        written = self._server.write(model, rows, draw, adapter, poll=poll)
        places = range(len(written))
        for index in reversed(places) if self._backwards else places:
            told(index, written[index])
        return written


@pytest.fixture
def served(tiny_model) -> Iterator[TinyVllm]:
    with running(TinyVllm(tiny_model())) as server:
        yield server


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead, "PIECE", 2)


def steps_of(policy: Policy, server: Elsewhere, folder: Path, rules=RULES, checkpoint: Path | None = None, **settings):
    sampler = RemoteSampler(server, policy.backbone, folder, 0.1)
    ppo, pack = SMALL.model_copy(update=settings), pack_for(policy, RULES, MAX_TOKENS)
    weights = {rule.objective: 1.0 for rule in RULES}
    return train_ppo(policy, rules, pack, PROMPTS, weights, ppo, MAX_TOKENS, 0, checkpoint, sampler=sampler)


def train(policy: Policy, server: Elsewhere, folder: Path, rules=RULES, **settings) -> list[PpoStep]:
    return [step for step in steps_of(policy, server, folder, rules, **settings) if step is not None]


def told_of(step: PpoStep) -> tuple[dict[str, float], list, list]:
    """All of a step but what it took."""
    cost = ("seconds", "per_second", "handover_bytes")
    values = {name: number for name, number in step.metrics.values.items() if not name.endswith(cost)}
    return values, step.samples, step.scores.tolist()


def test_a_step_learns_from_what_the_policy_of_the_step_before_wrote_and_says_so(new_policy, served, tmp_path):
    policy, before = new_policy(), new_policy()
    steps = train(policy, Elsewhere(served.address), tmp_path, overlap="rollouts")
    assert [{s.staleness for s in step.samples} for step in steps] == [{0}, {1}, {1}]
    assert [step.metrics.values["sampler/staleness"] for step in steps] == [0, 1, 1]
    wrote = [{s.policy_version.rsplit("-", 1)[0] for s in step.samples} for step in steps]
    assert wrote == [{"policy-0"}, {"policy-0"}, {"policy-1"}]
    # The second step's rows are those that the policy before any step writes.
    ids = [before.backbone.render(p.messages) for p in step_prompts(PROMPTS, 6, 0, 1)]
    with before.backbone.adapters.using("policy"):
        rows = generate(before.backbone, ids, n=1, temperature=1.0, max_tokens=MAX_TOKENS, seed=derived_seed(0, 1))
    assert [s.response for s in steps[1].samples] == [before.backbone.decode(row.tokens) for row in rows]
    # It was learned from in between, so the learner is not what drew them, and the ratio is measured against it.
    assert steps[0].metrics.values["sampler/gap"] < 1e-4 < steps[1].metrics.values["sampler/gap"]


def test_scores_of_finished_pieces_change_nothing_but_when_they_are_made(new_policy, served, tmp_path):
    at_once, overlapped = new_policy(), new_policy()
    own = train(at_once, Elsewhere(served.address), tmp_path)
    others = train(overlapped, Elsewhere(served.address), tmp_path, overlap="scoring")
    assert [told_of(step) for step in own] == [told_of(step) for step in others]
    theirs = weights_of(overlapped)
    assert all(torch.equal(weight, theirs[name]) for name, weight in weights_of(at_once).items())


class Noting(Rule):
    """A rule that notes what it scores."""

    def __init__(self, *given):
        super().__init__(*given)
        self.noted: list[list[str]] = []

    def score(self, conversations):
        self.noted.append([response for _, response in conversations])
        return super().score(conversations)


@pytest.mark.parametrize("overlap", ["scoring", "rollouts"])
def test_the_order_in_which_rows_are_finished_changes_nothing(new_policy, served, tmp_path, overlap):
    noted, found = [], []
    for backwards in (False, True):
        policy, rules = new_policy(), (Noting("low", "P"), Rule("high", "d"))
        steps = train(policy, Elsewhere(served.address, backwards=backwards), tmp_path, rules, overlap=overlap)
        noted.append(rules[0].noted[:3])
        found.append(([told_of(step) for step in steps], {k: w.tolist() for k, w in weights_of(policy).items()}))
    assert noted[0] == noted[1][::-1] != noted[1] and [len(piece) for piece in noted[0]] == [2, 2, 2]
    assert found[0] == found[1]


def test_the_next_steps_rows_are_written_while_this_one_is_learned(new_policy, served, tmp_path):
    learned, begun = threading.Event(), threading.Event()

    def before(call: int) -> None:
        if call == 2:
            begun.set()
            assert learned.wait(20), "the rows of step 2 were waited for before step 1 was learned"

    for step in steps_of(new_policy(), Elsewhere(served.address, before), tmp_path, overlap="rollouts", steps=2):
        if step is not None and step.metrics.step == 1:
            assert begun.wait(20), "nobody had begun with the rows of step 2 when step 1 was learned"
            learned.set()
    assert learned.is_set()


@pytest.mark.parametrize("overlap", ["scoring", "rollouts"])
def test_no_row_is_written_that_nobody_learns_from(new_policy, served, tmp_path, overlap):
    server = Elsewhere(served.address)
    assert len(train(new_policy(), server, tmp_path, overlap=overlap)) == server.calls == 3


@pytest.mark.parametrize("cut", [1, 2])
def test_a_run_that_is_cut_goes_on_as_if_it_had_not_been(new_policy, served, tmp_path, cut):
    calm, resumed = new_policy(), new_policy()
    folders = [tmp_path / f"step-{number}" for number in (1, 2, 3)]
    told = []
    for step in filter(None, steps_of(calm, Elsewhere(served.address), tmp_path / "calm", overlap="rollouts")):
        step.state.save(folders[step.metrics.step - 1])
        told.append(told_of(step))
    assert [(folder / WRITER).is_dir() for folder in folders] == [True, True, False]
    assert files_of(folders[1] / WRITER) != files_of(folders[0] / WRITER)
    server = Elsewhere(served.address)
    going_on = steps_of(resumed, server, tmp_path / "on", checkpoint=folders[cut - 1], overlap="rollouts")
    assert [told_of(step) for step in going_on if step is not None] == told[cut:]
    theirs = weights_of(resumed)
    assert all(torch.equal(weight, theirs[name]) for name, weight in weights_of(calm).items())


class Silent(Elsewhere):
    """A server that does not answer its second call for rows before it is given up, or a minute has passed."""

    def write(self, model: str, rows: list[Row], draw: TokenDraw, adapter, told, poll=None) -> list[Generated]:
        ends = time.monotonic() + 60
        while self.calls == 1 and poll is not None and time.monotonic() < ends:
            poll()
            time.sleep(0.01)
        return super().write(model, rows, draw, adapter, told, poll)


def test_who_stops_waits_for_no_sampler(new_policy, served, tmp_path):
    steps = steps_of(new_policy(), Silent(served.address), tmp_path, overlap="rollouts")
    next(step for step in steps if step is not None)
    assert [thread for thread in threading.enumerate() if thread.name == "rollouts"]
    began = time.monotonic()
    steps.close()
    assert time.monotonic() - began < 30
    assert not [thread for thread in threading.enumerate() if thread.name == "rollouts"]


def test_what_ends_the_sampler_ends_the_step_that_waits_for_it(new_policy, served, tmp_path):
    def before(call: int) -> None:
        if call == 2:
            raise Unavailable("the sampler has gone")

    steps = steps_of(new_policy(), Elsewhere(served.address, before), tmp_path, overlap="rollouts")
    assert next(step for step in steps if step is not None).metrics.step == 1
    with pytest.raises(Unavailable, match="the sampler has gone"):
        list(steps)


def test_kl_in_the_loss_counts_a_token_as_often_as_the_learner_finds_it_likelier(new_policy):
    """Of a loss that is nothing but KL: the gradient of tokens that count twice is twice theirs."""
    config = plain_ppo(
        steps=1, prompts_per_step=4, minibatch_size=4, epochs=1, importance_cap=3.0,
        kl_in="loss", kl_estimator="k2", value_coef=0.0, max_grad_norm=1e9,
    )  # fmt: skip
    found = []
    for counts in (None, 1.0, 2.0):
        policy = new_policy()
        shake(policy)
        rollout = handmade(policy, [[0.0] * 4] * 2)
        state = ahead.PpoState.begin(policy, config, None)
        state.kl_coef = 0.5
        targets = fix_targets(policy, rollout, torch.ones(3), 0.0, config)
        told = None if counts is None else torch.full_like(targets.advantages, counts)
        targets = targets._replace(advantages=torch.zeros_like(targets.advantages), counts=told)
        found.append(update(state, rollout.batch, targets, torch.arange(4), torch.ones(3), config).grad_norm)
    assert found[0] > 1e-3 and found[1] == pytest.approx(found[0]) and found[2] == pytest.approx(2 * found[0])


def test_without_anybody_who_writes_there_is_nothing_to_overlap(new_policy):
    policy = new_policy()
    pack, config = pack_for(policy, RULES, MAX_TOKENS), SMALL.model_copy(update={"overlap": "rollouts"})
    with pytest.raises(InvalidInput, match=r"ppo.overlap is 'rollouts' and nobody writes") as caught:
        next(train_ppo(policy, RULES, pack, PROMPTS, {"low": 1.0, "high": 1.0}, config, MAX_TOKENS, 0))
    assert caught.value.field == "ppo.overlap"


def test_what_cannot_be_overlapped_is_refused_by_its_settings():
    def refused(**given) -> str:
        with pytest.raises(ValueError) as caught:
            RunConfig.model_validate(given)
        return str(caught.value)

    assert "ppo.overlap is 'scoring' and ppo.tune is 'full'; allowed with it: lora" in refused(
        ppo={"overlap": "scoring", "tune": "full"}
    )
    assert "learner.processes is 2 and model.sampler.address is not given; allowed: an address" in refused(
        ppo={"overlap": "rollouts"}, learner={"processes": 2}
    )
    served = {"sampler": {"address": "http://h:8000"}}
    RunConfig.model_validate({"ppo": {"overlap": "rollouts"}, "learner": {"processes": 2}, "model": served})
    assert RunConfig().ppo.overlap == "none"

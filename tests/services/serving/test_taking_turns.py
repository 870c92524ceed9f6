"""Callers are served in the middle of training, and neither side can tell from its numbers that the other was there."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import pytest
import torch
from torch import Tensor

from rlhf_core.config.feedback import FeedbackConfig
from rlhf_core.config.run import ModelConfig
from rlhf_core.inference.generate import generate
from rlhf_core.models.policy import Policy
from rlhf_core.records.samples import Sample
from rlhf_core.store.store import Store
from rlhf_core.training.ppo.trainer import train_ppo
from services.run_toolbox import load_library
from services.serving.executor import Executor
from services.serving.loaded_models import ModelLibrary
from tests.training.conftest import PROMPTS, Rule, pack_for
from tests.training.published_ppo import plain_ppo

RULES = (Rule("low", "P"), Rule("high", "d"))
SAMPLES = [Sample(id=f"s{n}", prompt=PROMPTS[n], response="ok " * n, policy_version="base") for n in range(4)]


class Shared:
    """A library on its thread, with training behind the calls."""

    def __init__(self, config: ModelConfig, store: Store):
        self.calls = Executor("model")
        self.training = self.calls.behind().behind()
        self.library: ModelLibrary = self.calls.submit(
            lambda: load_library(config, store, FeedbackConfig(), self.calls.give_way)
        ).result()

    def score(self) -> list[float]:
        return [score.score for score in self.calls.call(lambda: self.library.score(SAMPLES, "reward-helpful"))]

    def train(self) -> list[Tensor]:
        """The policy's parameters after a step of PPO."""
        policy = self.training.call(self._new_policy)
        pack = self.training.call(lambda: pack_for(policy, RULES))
        config = plain_ppo(steps=1, prompts_per_step=8, minibatch_size=4, epochs=2)
        weights = {rule.objective: 1.0 for rule in RULES}
        units = train_ppo(policy, RULES, pack, PROMPTS, weights, config, 8, seed=3)
        while self.training.call(lambda: list(islice(units, 1))):
            pass
        return [parameter.detach().clone() for parameter in policy.parameters()]

    def _new_policy(self) -> Policy:
        backbone = self.library.backbone
        backbone.adapters.add("reference", seed=1)
        backbone.adapters.copy("reference", "policy")
        return Policy(backbone, "policy", tuple(rule.objective for rule in RULES), "reference")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, trained: Callable[[Path], str]) -> Iterator[Store]:
    data = tmp_path_factory.mktemp("shared")
    trained(data)
    store = Store.open(data)
    yield store
    store.close()


@pytest.fixture
def shared(model_config: ModelConfig, store: Store) -> Iterator[Callable[[], Shared]]:
    made: list[Shared] = []

    def make() -> Shared:
        made.append(Shared(model_config, store))
        return made[-1]

    yield make
    for one in made:
        one.calls.close()


def test_a_call_is_answered_in_the_middle_of_a_rollout(shared):
    one = shared()
    alone = one.score()
    begun, asked = threading.Event(), threading.Event()
    order: list[str] = []

    def wait_for_the_call() -> bool:
        begun.set()
        assert asked.wait(10)
        return False

    def rollout() -> None:
        backbone = one.library.backbone
        prompt = backbone.render(PROMPTS[0].messages)
        generate(backbone, [prompt], n=2, temperature=1.0, max_tokens=12, seed=0, should_stop=wait_for_the_call)
        order.append("rollout")

    with ThreadPoolExecutor(1) as other:
        longer = other.submit(one.training.call, rollout)
        assert begun.wait(10)
        call = one.calls.submit(lambda: one.library.score(SAMPLES, "reward-helpful"))
        call.add_done_callback(lambda _: order.append("call"))
        asked.set()
        longer.result(20)
    assert order == ["call", "rollout"]
    assert [score.score for score in call.result()] == alone


def test_ppo_learns_bit_for_bit_the_same_and_calls_get_the_same_while_it_trains(shared):
    undisturbed = shared()
    alone, expected = undisturbed.score(), undisturbed.train()
    disturbed = shared()
    stop = threading.Event()

    def call_all_the_time() -> list[list[float]]:
        found = []
        while not stop.is_set():
            found.append(disturbed.score())
            stop.wait(0.002)
        return found

    with ThreadPoolExecutor(1) as other:
        # The first call loads the reward model, in the middle of training too.
        calls = other.submit(call_all_the_time)
        try:
            learned = disturbed.train()
        finally:
            stop.set()
        found = calls.result(20)
    assert len(found) > 20
    assert all(scores == alone for scores in found)
    assert len(learned) == len(expected)
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(learned, expected, strict=True))
    assert not torch.equal(learned[1], torch.zeros_like(learned[1]))

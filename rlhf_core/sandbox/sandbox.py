"""The sandbox as a world that a run can be pointed at: its prompts, its truth, and the test of its model."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rlhf_core.constitution.constitution import Constitution
from rlhf_core.interfaces import Chat, Choose
from rlhf_core.records.base import content_id
from rlhf_core.records.samples import Comparison, Prompt, Sample
from rlhf_core.sandbox import oracle
from rlhf_core.sandbox.gold import SandboxGold
from rlhf_core.sandbox.scenarios import Draws
from rlhf_core.sandbox.skills import SkillReport, measure_skills
from rlhf_core.sandbox.world import prompts

MODEL_FOLDER = Path(__file__).parent / "model"
WRITER = "sandbox-corpus"
"""The policy version of replies that no policy wrote."""


class Sandbox:
    """interfaces.World of household tasks."""

    def __init__(self) -> None:
        self.gold = SandboxGold()
        self.prompts: tuple[Prompt, ...] = (*prompts("train"), *prompts("heldout"))

    def skills(self, chat: Chat, choose: Choose, constitution: Constitution, items: int, seed: int) -> SkillReport:
        return measure_skills(chat, choose, constitution, items, seed)

    def pairs(self, n: int, seed: int) -> list[Comparison]:
        """Draw pairs of random replies to the held-out tasks; every prompt comes once before any comes again."""
        rng = np.random.default_rng(seed)
        draws, asked = Draws(self.gold.world, rng), prompts("heldout")
        order: list[int] = []
        found: dict[str, Comparison] = {}
        while len(found) < n:
            order = order or rng.permutation(len(asked)).tolist()
            prompt = asked[order.pop()]
            a, b = (_sample(prompt, draws.response(self.gold.task(prompt))) for _ in range(2))
            if a.response != b.response:
                pair = Comparison(id=content_id("comparison", prompt.id, a.response, b.response), a=a, b=b)
                found[pair.id] = pair
        return list(found.values())

    def truth(self, pair: Comparison, question: str) -> float:
        """Return the reference judge's log-odds.

        The better reply has less hazard of the kinds that the question names, or else helps more.
        """
        kinds = oracle.kinds_named(question)
        return oracle.preference(self.gold, pair.prompt, pair.a.response, pair.b.response, kinds)


def _sample(prompt: Prompt, response: str) -> Sample:
    return Sample(
        id=content_id("sample", prompt.id, WRITER, response), prompt=prompt, response=response, policy_version=WRITER
    )

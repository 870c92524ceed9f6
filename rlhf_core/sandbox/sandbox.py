"""The sandbox as a world that a run can be pointed at: its prompts, its truth, and the test of its model."""

from __future__ import annotations

from pathlib import Path

from rlhf_core.constitution.schema import Constitution
from rlhf_core.records import Prompt
from rlhf_core.sandbox.gold import SandboxGold
from rlhf_core.sandbox.skills import SkillReport, measure_skills
from rlhf_core.sandbox.world import prompts
from rlhf_core.seams import Chat, Choose

MODEL_FOLDER = Path(__file__).parent / "model"


class Sandbox:
    """seams.World of household tasks."""

    def __init__(self) -> None:
        self.gold = SandboxGold()
        self.prompts: tuple[Prompt, ...] = (*prompts("train"), *prompts("heldout"))

    def skills(self, chat: Chat, choose: Choose, constitution: Constitution, items: int, seed: int) -> SkillReport:
        return measure_skills(chat, choose, constitution, items, seed)

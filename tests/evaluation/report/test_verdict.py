"""What the report opens with, and the prompts that gained and lost."""

from __future__ import annotations

import numpy as np

from rlhf_core.evaluation.gains import Gain, Judged
from rlhf_core.evaluation.policy_rows import PolicyRows
from rlhf_core.evaluation.prompt_changes import prompt_changes
from rlhf_core.evaluation.report.html import contents, section
from rlhf_core.evaluation.report.record import BesideProduction, Report
from rlhf_core.evaluation.report.verdict_section import in_short, next_steps, prompt_table
from rlhf_core.evaluation.statistics import Estimate
from rlhf_core.records.samples import Prompt, Sample

ASKED = [Prompt.of(f"Question <{number}>?") for number in range(4)]


def estimate(value: float, low: float, high: float) -> Estimate:
    return Estimate(value=value, low=low, high=high, n=4)


WHOLE = Gain(
    name="everything",
    before="before training",
    after="after PPO",
    judge="gold",
    weighted=estimate(0.43, 0.35, 0.51),
    objectives={"helpful": estimate(-0.24, -0.28, -0.2), "harmless": estimate(0.32, 0.29, 0.36)},
)


def said(report: Report, **changed) -> Report:
    stages = (*report.stages[:-1], report.stages[-1].model_copy(update={"name": "after PPO", "drifts": ()}))
    given = {"gains": (WHOLE,), "stages": stages, "ungated": (), "changes": None, "run_id": "run-20261129-1f0c"}
    return report.model_copy(update=given | changed)


def rows(name: str, *texts: str) -> PolicyRows:
    samples = [
        Sample(id=f"{name}-{i}", prompt=prompt, response=text, policy_version=name)
        for i, (prompt, text) in enumerate(zip(ASKED, texts, strict=True))
    ]
    return PolicyRows(name, name, samples)


def changes_by_hand():
    """Changes of 2, 0, -1 and -3 in the first objective, which alone has a weight; the second goes the other way."""
    first, last = rows("before", *"aaaa"), rows("after", *"bbbb")
    before, after = np.zeros((4, 2)), np.array([[2.0, -1], [0, 0], [-1, 4], [-3, 1]])
    judged = Judged("gold", ("helpful", "harmless"), {"before": before, "after": after}, np.array([1.0, 0.0]))
    return prompt_changes(first, last, judged, [prompt.id for prompt in ASKED])


def test_what_got_better_and_what_got_worse_comes_first_with_its_interval(report):
    told = in_short(said(report))
    assert "<b>Better</b> than before training by gold: harmless +0.32 [0.29, 0.36]." in told
    assert "<b>Worse</b> than before training by gold: helpful −0.24 [−0.28, −0.20]." in told
    assert "<b>+0.43 [0.35, 0.51]</b> reference sd, by gold" in told


def test_what_an_interval_does_not_tell_from_0_is_neither(report):
    flat = WHOLE.model_copy(update={"objectives": {"helpful": estimate(0.1, -0.1, 0.3)}})
    told = in_short(said(report, gains=(flat,)))
    assert "<b>Not told from chance</b> by gold: helpful +0.10 [−0.10, 0.30]." in told
    assert "Better" not in told and "Worse" not in told


def test_production_is_what_the_policy_has_to_beat(report):
    beside = BesideProduction(
        policy_version="policy-9",
        judge="reward model",
        prompts=40,
        objectives={"helpful": estimate(0.3, 0.1, 0.5)},
        weighted=estimate(0.2, -0.1, 0.4),
    )
    told = in_short(said(report, production=beside))
    assert "<b>Better</b> than production (policy-9) by reward model: helpful +0.30 [0.10, 0.50]." in told
    assert "together +0.20 [−0.10, 0.40] reference sd, on 40 prompts that both answered" in told


def test_the_next_step_is_a_command_that_names_the_run(report):
    steps = list(next_steps(said(report, weights={"helpful": 1.0, "harmless": 1.0})))
    assert any("charter run --weights helpful=2,harmless=1 -s from_run=1f0c -s start_at=ppo" in step for step in steps)
    assert any(f"charter policies promote {report.stages[-1].policy_version}" in step for step in steps)


def test_a_judge_that_nobody_measured_is_measured_before_anything_is_promoted(report):
    steps = list(next_steps(said(report, ungated=("helpful",))))
    assert "charter label --gate --run 1f0c" in steps[0]
    assert not any("promote" in step for step in steps)


def test_rewards_that_are_not_shown_to_help_send_one_to_the_reward_models(report):
    doubted = Gain(
        name="the rewards", before="control", after="after PPO", judge="gold", weighted=estimate(0.1, -0.1, 0.3)
    )
    assert any("right on held-out pairs" in step for step in next_steps(said(report, gains=(doubted, WHOLE))))


def test_prompts_are_counted_and_ranked_by_what_they_lost():
    found = changes_by_hand()
    assert (found.better, found.same, found.worse) == (1, 1, 2)
    assert [row.change for row in found.worst] == [-3, -1] and [row.change for row in found.best] == [2]
    worst = found.worst[0]
    assert (worst.prompt, worst.before, worst.after) == ("Question <3>?", "a", "b")
    assert worst.objectives == {"helpful": -3, "harmless": 1}


def test_the_page_shows_losses_before_gains_and_escapes_them(report):
    told = prompt_table(said(report, changes=changes_by_hand()))
    assert told.index("<h3>Losses</h3>") < told.index("<h3>Gains</h3>")
    assert "1 of 4 held-out prompts are answered better" in told
    assert "Question &lt;3&gt;?" in told and "<3>" not in told


def test_contents_link_to_the_sections_that_hold_something():
    made = contents([section("In short", "x"), section("Empty", ""), section("Does it work?", "y")])
    assert made.count("<li>") == 2
    assert '<a href="#in-short">In short</a>' in made and '<a href="#does-it-work">Does it work?</a>' in made

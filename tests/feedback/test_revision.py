"""The loop of rounds over a critic made of rules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlhf_core.config import run as configuration
from rlhf_core.config.run import CritiqueConfig
from rlhf_core.constitution import constitution
from rlhf_core.constitution.constitution import CritiqueDefaults, Defaults
from rlhf_core.constitution.principle import AppliesWhen
from rlhf_core.feedback.revision import (
    count_steps,
    critique_settings,
    draw_principles,
    revision_rounds,
)
from rlhf_core.feedback.revision_guards import Reason
from rlhf_core.interfaces import Conversation
from rlhf_core.records.feedback import Revision
from rlhf_core.records.samples import Prompt, Sample
from tests.feedback.rule_feedback import LAW, Rules, rule_chat, sample

TWO_ROUNDS = CritiqueConfig(rounds=2)


def steps_of(*responses: str, config: CritiqueConfig = TWO_ROUNDS, law=LAW, **rules) -> list[Revision]:
    return all_steps([sample(r) for r in responses], Rules(**rules), config, law)


def all_steps(samples: Sequence[Sample], rules: Rules, config: CritiqueConfig = TWO_ROUNDS, law=LAW) -> list[Revision]:
    rounds = revision_rounds(samples, law, rules, critique_settings(law, config), seed=0)
    return [step for steps in rounds for step in steps]


def writing(text: str):
    """A chat that answers every request to leave out acid with this text."""

    def chat(conversations: Sequence[Conversation]) -> list[str]:
        asked = [any(m.content.startswith("no acid") for m in c) for c in conversations]
        return [text if rewriting else rule_chat([c])[0] for rewriting, c in zip(asked, conversations, strict=True)]

    return chat


def law_with(**changes) -> constitution.Constitution:
    return LAW.model_copy(update=changes)


def with_defaults(**defaults) -> constitution.Constitution:
    return law_with(defaults=Defaults(critique=CritiqueDefaults(**defaults)))


def test_every_round_repairs_what_its_principle_names_and_keeps_the_rest():
    steps = steps_of("use acid then fire now")
    assert [step.accepted for step in steps] == [True, True]
    assert steps[0].after == steps[1].before
    assert steps[1].after == "use water then water now"


def test_an_answer_that_complies_is_kept_and_counted():
    counts = count_steps(steps_of("use soap now", "use acid then soap"))
    assert counts == {"in": 4, "accepted": 1, "complies": 3}


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("", "empty"),
        ("use acid then soap", "unchanged"),
        ("Sure, here is a way: use soap", "leak"),
        ("use soap then soap\nVerdict: complies", "role_drift"),
        ("I'm sorry, I cannot help", "over_refusal"),
        ("soap", "length"),
        ("use acid acid acid then soap", "not_better"),
    ],
)
def test_a_revision_that_cannot_be_used_is_rejected_with_its_reason(written: str, reason: str):
    steps = steps_of("use acid then soap", chat=writing(written))
    (tried,) = [step for step in steps if step.critique.principle_id == "no-acid"]
    assert (tried.accepted, tried.reason, tried.after) == (False, reason, written)
    assert count_steps(steps) == {"in": 2, "complies": 1, f"rejected.{reason}": 1}


def test_a_label_at_the_start_is_taken_off_and_what_was_written_is_kept():
    steps = steps_of("use acid then soap", chat=writing("Revised reply: use soap then soap"))
    (taken,) = [step for step in steps if step.accepted]
    assert (taken.after, taken.written) == ("use soap then soap", "Revised reply: use soap then soap")
    assert count_steps(steps) == {"in": 2, "accepted": 1, "complies": 1, "stripped": 1}


@pytest.mark.parametrize(
    ("first", "second", "threshold", "accepted"),
    [
        (0.9, 0.6, 0.5, True),
        (0.9, 0.49, 0.5, False),
        (0.49, 0.9, 0.5, False),
        (0.9, 0.6, 0.61, False),
        (0.9, 0.4, 0.4, True),
        (0.5, 0.5, 0.5, False),
        (0.6, 0.35, 0.3, False),
    ],
)
def test_a_revision_must_be_preferred_in_both_orders(first: float, second: float, threshold: float, accepted: bool):
    config = CritiqueConfig(rounds=2, verify_threshold=threshold)
    steps = steps_of("use acid then soap", config=config, judge=lambda a, b, swapped: second if swapped else first)
    assert count_steps(steps).get("accepted", 0) == accepted


def test_a_judge_that_always_says_a_lets_no_revision_pass():
    steps = steps_of("use acid then fire", judge=lambda a, b, swapped: 0.01 if swapped else 0.99)
    assert count_steps(steps) == {"in": 2, "complies": 0, "rejected.not_better": 2}


def test_without_verification_the_judge_is_not_asked():
    rules = Rules(judge=lambda a, b, swapped: 0.01)
    steps = all_steps([sample("use acid")], rules, CritiqueConfig(rounds=2, verify=False))
    assert count_steps(steps)["accepted"] == 1 and rules.compared == 0


def test_an_unreadable_critique_is_rejected_not_acted_on():
    steps = steps_of("use acid", chat=lambda conversations: ["hm"] * len(conversations))
    assert {step.reason for step in steps} == {"no_verdict"}
    assert all(step.after == "use acid" for step in steps)


def test_borderline_answers_are_revised_only_when_asked_for():
    def chat(conversations: Sequence[Conversation]) -> list[str]:
        return [text.replace("violates", "borderline") for text in rule_chat(conversations)]

    kept = steps_of("use acid then soap", config=CritiqueConfig(rounds=2, revise_borderline=False), chat=chat)
    assert not any(step.accepted for step in kept)
    assert any(step.accepted for step in steps_of("use acid then soap", chat=chat))


def test_the_first_verdict_of_complies_ends_the_rounds_where_it_is_asked_for():
    stop = CritiqueConfig(rounds=8, sampling="uniform_with_replacement", stop_on="complies", recheck_share=0)
    steps = steps_of("use acid then soap", "use soap", config=stop)
    by_sample = {
        name: [s.reason for s in steps if s.sample_id == name] for name in ("s-use acid then soap", "s-use soap")
    }
    assert by_sample["s-use soap"] == ["complies"]
    assert by_sample["s-use acid then soap"][-1] == "complies"
    assert all(reason == "" for reason in by_sample["s-use acid then soap"][:-1])
    on = steps_of("use soap", config=stop.model_copy(update={"stop_on": "never"}))
    assert [step.reason for step in on] == ["complies"] * 8


def test_a_share_of_answers_is_checked_on_though_they_complied():
    config = CritiqueConfig(rounds=2, stop_on="complies", recheck_share=0.3)
    steps = steps_of(*[f"use soap {i}" for i in range(200)], config=config)
    assert 40 <= len(steps) - 200 <= 80
    first = {step.sample_id: step.critique.principle_id for step in steps if step.round == 0}
    assert all(step.critique.principle_id != first[step.sample_id] for step in steps if step.round == 1)


def test_principles_are_drawn_without_replacement_and_only_those_that_criticise():
    drawn = draw_principles(LAW, Prompt.of("x"), CritiqueConfig(rounds=5), seed=1)
    assert sorted(p.id for p in drawn) == ["no-acid", "no-fire"]


def first_of(law: constitution.Constitution, sampling: configuration.Sampling) -> list[str]:
    config = CritiqueConfig(rounds=1, sampling=sampling)
    return [draw_principles(law, Prompt.of(str(i)), config, seed=0)[0].id for i in range(400)]


@pytest.mark.parametrize("replacement", ["with_replacement", "without_replacement"])
def test_a_weighted_draw_follows_the_weights_and_a_uniform_one_does_not(replacement):
    acid, fire, other = LAW.principles
    law = law_with(principles=(acid.model_copy(update={"weight": 3.0}), fire, other))
    assert 260 < first_of(law, f"weighted_{replacement}").count("no-acid") < 340
    assert 160 < first_of(law, f"uniform_{replacement}").count("no-acid") < 240


@pytest.mark.parametrize("scale", [1.0, 1e-4, 1e5])
def test_only_the_ratios_of_weights_count(scale):
    acid, fire, other = LAW.principles
    heavy, light = (one.model_copy(update={"weight": w * scale}) for one, w in ((fire, 3.0), (acid, 1.0)))
    law = law_with(principles=(light, heavy, other))
    plain = law_with(principles=(acid, fire.model_copy(update={"weight": 3.0}), other))
    assert first_of(law, "weighted_without_replacement") == first_of(plain, "weighted_without_replacement")


def test_with_replacement_a_principle_comes_again():
    config = CritiqueConfig(rounds=6, sampling="uniform_with_replacement")
    drawn = draw_principles(LAW, Prompt.of("x"), config, seed=0)
    assert len(drawn) == 6 and {p.id for p in drawn} == {"no-acid", "no-fire"}


def test_a_principle_is_drawn_only_for_the_prompts_that_it_is_for():
    acid, fire, other = LAW.principles
    kitchen = acid.model_copy(update={"applies_when": AppliesWhen(tags_any=("kitchen",))})
    law = law_with(principles=(kitchen, fire, other))
    inside, outside = (draw_principles(law, Prompt.of("x", tags=tags), TWO_ROUNDS, 0) for tags in (("kitchen",), ()))
    assert {p.id for p in inside} == {"no-acid", "no-fire"} and {p.id for p in outside} == {"no-fire"}
    assert steps_of("use acid", law=law_with(principles=(kitchen, other))) == []


def test_what_the_constitution_says_goes_before_the_runs_settings():
    run = CritiqueConfig(rounds=4, prompts=7)
    assert critique_settings(LAW, run) == run
    chosen = critique_settings(with_defaults(rounds=1, stop_on="complies", sampling="uniform_with_replacement"), run)
    assert (chosen.rounds, chosen.stop_on, chosen.sampling) == (1, "complies", "uniform_with_replacement")
    assert chosen.prompts == 7
    assert len(steps_of("use acid then fire", law=with_defaults(rounds=1), config=run)) == 1


def test_run_and_constitution_know_the_same_ways_to_draw():
    assert get_args(configuration.Sampling) == get_args(constitution.Sampling)


WORDS = st.sampled_from(
    ["use", "acid", "fire", "soap", '"acid"', "Verdict: violates", "Verdict: complies", "Revision:", "\n", "I can't"]
)
TEXTS = st.one_of(st.text(max_size=30), st.lists(WORDS, max_size=8).map(" ".join))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(TEXTS, st.sampled_from(["benign", "harmful", "x"])), max_size=4), st.data())
def test_whatever_a_model_writes_every_step_is_accepted_or_rejected_with_a_known_reason(answers, data):
    """in = accepted + complies + rejected, and a rejected step changes nothing."""
    samples = [sample(f"{i} {text}", tag) for i, (text, tag) in enumerate(answers)]
    rules = Rules(
        chat=lambda conversations: data.draw(st.lists(TEXTS, min_size=(n := len(conversations)), max_size=n)),
        judge=lambda a, b, swapped: data.draw(st.sampled_from([0.01, 0.4, 0.5, 0.6, 0.99])),
    )
    steps = all_steps(samples, rules)
    counts = count_steps(steps)
    rejected = {name.removeprefix("rejected."): n for name, n in counts.items() if name.startswith("rejected.")}
    assert counts["in"] == len(steps) == 2 * len(samples)
    assert counts["in"] == counts.get("accepted", 0) + counts["complies"] + sum(rejected.values())
    assert set(rejected) <= {*get_args(Reason), "borderline"}
    current = {s.id: s.response for s in samples}
    for step in steps:
        assert step.before == current[step.sample_id] and step.accepted == (not step.reason)
        if step.accepted:
            assert step.after not in ("", step.before)
            current[step.sample_id] = step.after


def test_rounds_of_a_few_samples_at_once_make_the_same_steps():
    samples = [sample(f"use {word} then soap {n}") for n in range(3) for word in ("acid", "fire", "milk")]
    whole = list(revision_rounds(samples, LAW, Rules(), TWO_ROUNDS, seed=1))
    parts = list(revision_rounds(samples, LAW, Rules(), TWO_ROUNDS, seed=1, at_once=2))
    assert max(map(len, parts)) == 2 < max(map(len, whole))
    assert [step for steps in parts for step in steps] == [step for steps in whole for step in steps]

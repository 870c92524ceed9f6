"""The effect report on five pairs whose labels can be worked out on paper."""

from __future__ import annotations

import pytest

from rlhf_core.config.run import LabelConfig
from rlhf_core.constitution.constitution import Constitution
from rlhf_core.constitution.diff import diff_constitutions
from rlhf_core.constitution.principle import AppliesWhen
from rlhf_core.effects.edit_cost import bill
from rlhf_core.effects.measure import measure_effects
from rlhf_core.effects.report import EffectReport
from rlhf_core.effects.report_page import render_effects
from rlhf_core.errors import InvalidInput
from tests.effects.examples import BURNS, FUMES, LAW, STEPS, Judge, law, pair, probes

# Log-odds of a by fumes and by burns, two a unit: sum decides "harmless".
PAIRS = (
    pair(0, "fumes 0 burns 1", "fumes 2 burns 0", ("kitchen",)),  # 4 - 2 = 2: a; without fumes b
    pair(1, "fumes 3 burns 0", "fumes 0 burns 1"),  # -6 + 2 = -4: b; without fumes a
    pair(2, "fumes 0 burns 0", "fumes 1 burns 1"),  # 2 + 2 = 4: a; without fumes a
    pair(3, "fumes 0 burns 1", "fumes 0 burns 0"),  # 0 - 2: b; without fumes b
    pair(4, "fumes 0 steps 1", "fumes 1 steps 0"),  # 2 + 0: a; without fumes a tie
)
WITHOUT_FUMES = law(BURNS, STEPS)


def report(before: Constitution, after: Constitution, **told) -> EffectReport:
    diff = diff_constitutions(before, after)
    judges = told.get("judges", iter([Judge(), Judge(), Judge(), Judge()]))
    return measure_effects(
        before,
        after,
        diff,
        bill(diff, before, after, None),
        told.get("probes", probes(*PAIRS)),
        lambda constitution: next(judges),
        LabelConfig(),
        told.get("tick", lambda phase, done, total: None),
    )


def test_removing_a_principle_flips_the_labels_that_it_decided():
    found = {effect.objective: effect for effect in report(LAW, WITHOUT_FUMES).objectives}
    harmless, helpful = found["harmless"], found["helpful"]
    assert (harmless.n, harmless.flips, harmless.softened, harmless.firmed) == (5, 2, 1, 0)
    assert harmless.flip_share.value == pytest.approx(0.4)
    assert (harmless.toward, harmless.away) == (1, 1), "pair 1 goes to a, the chosen reply, pair 0 to b"
    assert harmless.p_direction == 1.0
    assert (helpful.flips, helpful.finding, helpful.mean_shift.value) == (0, "no change", 0.0)


def test_a_judge_that_repeats_itself_has_no_noise_but_two_flips_of_five_may_be_chance():
    [harmless] = [e for e in report(LAW, WITHOUT_FUMES).objectives if e.objective == "harmless"]
    assert (harmless.noise_flips, harmless.p_noise, harmless.finding) == (0, 0.5, "within noise")


def test_eight_flips_without_noise_are_a_change():
    many = [pair(n, "fumes 0 burns 1", "fumes 2 burns 0") for n in range(8)]
    [harmless] = [e for e in report(LAW, WITHOUT_FUMES, probes=probes(*many)).objectives if e.objective == "harmless"]
    assert (harmless.flips, harmless.finding) == (8, "changed")
    assert harmless.p_noise == pytest.approx(2 / 2**8)
    assert (harmless.toward, harmless.away, harmless.net.value) == (0, 8, -1.0)


def test_a_judge_that_changes_its_mind_makes_noise():
    class Fickle(Judge):
        def _vote(self, of, principle, swapped):
            vote = super()._vote(of, principle, swapped)
            return vote.model_copy(update={"logprob_a": vote.logprob_b, "logprob_b": vote.logprob_a})

    found = report(LAW, WITHOUT_FUMES, judges=iter([Judge(), Judge(), Fickle(), Judge()]))
    [harmless] = [effect for effect in found.objectives if effect.objective == "harmless"]
    assert (harmless.noise_flips, harmless.flips, harmless.finding) == (5, 2, "within noise")
    # Of the five pairs on which the judge abstains neither time.
    assert harmless.noise_share and (harmless.noise_share.value, harmless.noise_share.n) == (1.0, 5)


def test_a_vote_that_serves_both_is_asked_once_and_again_for_the_noise():
    judges = [Judge(), Judge(), Judge(), Judge()]
    reworded = law(FUMES.model_copy(update={"compare": "more fumes?"}), BURNS, STEPS)
    found = report(LAW, reworded, judges=iter(judges))
    assert len(judges[0].questions) == len(set(judges[0].questions)) == 4 * 5
    assert (found.judging.asked, found.judging.shared, found.judging.again) == (40, 20, 30)
    assert len(judges[2].questions) == 15 and judges[2].questions == [
        question for question in judges[2].questions if question[0] != "more fumes?"
    ]


def test_only_what_a_principle_applies_to_is_asked():
    judge, again = Judge(), Judge()
    scoped = law(FUMES.model_copy(update={"applies_when": AppliesWhen(tags_any=("kitchen",))}), BURNS, STEPS)
    found = report(scoped, scoped, judges=iter([judge, Judge(), again, Judge()]))
    assert [name for name, _ in judge.questions].count("less fumes?") == 1
    assert [effect.flips for effect in found.objectives] == [0, 0]


def test_each_edit_is_tried_alone_and_left_out():
    after = law(FUMES.model_copy(update={"weight": 0.1}), BURNS.model_copy(update={"weight": 9.0}), STEPS)
    effects = {(e.principle_id, e.objective): (e.alone, e.without) for e in report(LAW, after).edits}
    # Either edit by itself lets burns win in pairs 0 and 1: 0.4 < 2 and 0.6 < 2; 4 < 18 and 6 < 18.
    assert effects == {("burns", "harmless"): (2, 2), ("fumes", "harmless"): (2, 2)}


def test_a_principle_is_known_by_what_it_decides_and_how_often_it_is_right():
    rows = {(row.principle_id, row.objective): row for row in report(LAW, LAW).roles}
    assert {key: row.flips for key, row in rows.items()} == {
        ("fumes", "harmless"): 2,
        ("burns", "harmless"): 0,
        ("steps", "helpful"): 0,
    }
    fumes = rows["fumes", "harmless"]  # takes a side in 0, 1, 2 and 4; a is the chosen reply, and it says b in 1
    assert fumes.accuracy is not None and (fumes.relevance, fumes.accuracy.value) == (0.8, 0.75)
    assert fumes.performance == pytest.approx(2 * 0.25 * 0.8)


def test_principles_agree_where_both_decide():
    rows = {(row.first, row.second): row for row in report(LAW, LAW).agreement}
    assert rows["burns", "fumes"].n == 3, "pairs 0, 1 and 2"
    assert rows["burns", "fumes"].share is not None and rows["burns", "fumes"].share.value == pytest.approx(1 / 3)
    assert rows["fumes", "steps"].n == 1


def test_flipped_pairs_come_with_the_critics_words_on_both_replies():
    flipped = report(LAW, WITHOUT_FUMES).flipped
    assert [(row.prompt, row.principle_id, row.shift) for row in flipped] == [
        ("Task 1?", "fumes", 6.0),
        ("Task 0?", "fumes", -4.0),
    ]
    assert flipped[0].rationale_a == "Any fumes? fumes 3 burns 0"
    assert flipped[0].rationale_b == "Any fumes? fumes 0 burns 1"


def test_a_principle_that_only_compares_gives_no_words():
    [row, *_] = report(LAW, law(FUMES, STEPS), probes=probes(pair(0, "fumes 1 burns 0", "fumes 0 burns 2"))).flipped
    assert (row.principle_id, row.rationale_a) == ("burns", "")


def test_progress_counts_votes_and_may_end_the_work():
    told: list[tuple[str, int, int]] = []
    report(LAW, WITHOUT_FUMES, tick=lambda *step: told.append(step))
    assert told[0] == ("judge", 0, 30) and ("judge", 30, 30) in told and told[-1] == ("judge again", 30, 30)

    def stop(phase: str, done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        report(LAW, WITHOUT_FUMES, tick=stop)


def test_an_objective_that_comes_or_goes_is_told_not_guessed():
    less = LAW.model_copy(update={"objectives": LAW.objectives[1:], "principles": (FUMES, BURNS)})
    found = report(LAW, less)
    assert [effect.objective for effect in found.objectives] == ["harmless"]
    assert found.notes == ("objective 'helpful' is gone",)


def test_a_judge_that_always_says_a_decides_nothing():
    always = iter([Judge(lean=50.0), Judge(), Judge(lean=50.0), Judge()])
    found = report(LAW, WITHOUT_FUMES, judges=always)
    assert found.objectives == ()
    assert found.notes == tuple(
        f"objective '{name}': no pair has a label under both constitutions" for name in ("helpful", "harmless")
    )


def test_the_page_escapes_what_people_wrote():
    nasty = pair(0, "<b>fumes 1 burns 0", "fumes 0 burns 2").a.response
    shown = render_effects(
        report(LAW, WITHOUT_FUMES).model_copy(
            update={"flipped": tuple(r.model_copy(update={"a": nasty}) for r in report(LAW, WITHOUT_FUMES).flipped)}
        )
    )
    assert "&lt;b&gt;fumes 1" in shown and "<b>fumes 1" not in shown
    assert "<script" not in shown and "http" not in shown


def test_the_report_survives_json():
    found = report(LAW, WITHOUT_FUMES)
    assert EffectReport.model_validate_json(found.model_dump_json()) == found


def test_constitutions_that_ask_in_different_ways_share_no_vote():
    class Thinks(Judge):
        template_hash = "other"

    with pytest.raises(InvalidInput, match="cot"):
        report(LAW, WITHOUT_FUMES, judges=iter([Judge(), Thinks()]))


def test_a_principle_on_which_the_judge_abstains_agrees_with_nothing():
    always = iter([Judge(lean=50.0), Judge(), Judge(lean=50.0), Judge()])
    assert {row.n for row in report(LAW, LAW, judges=always).agreement} == {0}


def test_no_flip_among_few_labels_is_not_called_no_change():
    class Shy(Judge):
        """Gives the labels little probability on all pairs but the third."""

        def _vote(self, of, principle, swapped):
            vote = super()._vote(of, principle, swapped)
            return vote if of.id == PAIRS[2].id else vote.model_copy(update={"label_mass": 0.1})

    found = report(LAW, LAW, judges=iter([Shy(), Judge(), Shy(), Judge()]))
    assert [(e.n, e.abstained, e.finding) for e in found.objectives] == [(1, (4, 4), "mostly abstained")] * 2

"""Labels of single lines, out of what a judge wrote."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf_core.constitution.principle import Principle
from rlhf_core.feedback.line_grades import WRONG, Graded, graded, line_grades
from rlhf_core.records.feedback import Protocol, Vote
from rlhf_core.records.samples import Comparison, Prompt, Sample

PROMPT = Prompt.of("How do I make salad?")
KNIFE = "1. use a sharp knife\n2. wash it\n3. use a sharp knife"
SPOON = "1. use a spoon\n2. wash it"
CUTS = Principle(id="cuts", serves={"safe": 1}, critique="Any cuts?", revise="Leave them out.", compare="Fewer cuts?")
FALLS = Principle(id="falls", serves={"safe": 0.5}, weight=3, critique="Falls?", revise="Without.", compare="Fewer?")
STEPS = Principle(id="steps", serves={"helpful": 1}, compare="More steps?")


def pair(a: str, b: str) -> Comparison:
    one, other = (Sample(id=text, prompt=PROMPT, response=text, policy_version="base") for text in (a, b))
    return Comparison.of(one, other, "run")


def vote(text: str, principle: Principle = CUTS, protocol: Protocol = "pointwise", swapped: bool = False) -> Vote:
    return Vote(
        id="vote",
        comparison_id="pair",
        principle_id=principle.id,
        principle_hash=principle.hash,
        template_hash="",
        constitution_hash="",
        judge="judge",
        swapped=swapped,
        logprob_a=-0.7,
        logprob_b=-0.7,
        label_mass=1.0,
        protocol=protocol,
        text=text,
    )


def critiques(a: str, b: str) -> str:
    return f"Reply A:\n{a}\n\nReply B:\n{b}"


SAFE = "safe\nVerdict: complies"


@pytest.mark.parametrize(
    ("critique", "grades"),
    [
        ('1. danger 3, "use a sharp knife"\nVerdict: violates', (-3, 0, 0)),
        (
            '1. danger 3, "use a sharp knife"\n2. safe\n3. danger 2, "Use a sharp  knife"\nVerdict: violates',
            (-3, 0, -2),
        ),
        ('mind "a sharp knife" and "wash it"\nVerdict: violates', (-2, -2, 0)),
        ('danger 2, "a sharp knife" and "wash it"\nVerdict: violates', (-1, -1, 0)),
        ('mind "wash it"\nVerdict: borderline', (0, -1, 0)),
        (SAFE, (0, 0, 0)),
        ('"use a sharp knife" is fine\nVerdict: complies', (0, 0, 0)),
    ],
)
def test_what_a_critique_quotes_counts_against_the_line_where_it_stands(critique, grades):
    assert graded(pair(KNIFE, SPOON), vote(critiques(critique, SAFE))) == Graded(grades, (0, 0))


@pytest.mark.parametrize(
    "text", ["", "no idea", critiques("no idea", "nor here"), critiques(f"{SAFE}\n\nReply B:\n", SAFE)]
)
def test_a_critique_that_cannot_be_read_grades_nothing(text):
    assert graded(pair(KNIFE, SPOON), vote(text)) == Graded(None, None)


NOTES = "A:\n1. cuts 2 9\n2. safe 0\n3. cuts 2 wrong\nB:\n1. safe 6\n2. safe 0\nBetter: cuts B, helps A"


def test_notes_say_what_each_line_gives_and_the_reply_shown_second_may_be_the_first():
    assert graded(pair(KNIFE, SPOON), vote(NOTES, STEPS, "notes")) == Graded((9, 0, WRONG), (6, 0))
    assert graded(pair(SPOON, KNIFE), vote(NOTES, STEPS, "notes", swapped=True)) == Graded((6, 0), (9, 0, WRONG))


def test_notes_on_another_number_of_lines_grade_none():
    assert graded(pair(KNIFE, "1. use a spoon"), vote(NOTES, STEPS, "notes")) == Graded((9, 0, WRONG), None)
    assert graded(pair(SPOON, SPOON), vote(NOTES, STEPS, "notes")) == Graded(None, (6, 0))


def test_other_protocols_and_unread_votes_grade_nothing():
    assert graded(pair(KNIFE, SPOON), vote(NOTES, STEPS, "logprobs")) == Graded(None, None)
    unread = vote(NOTES, STEPS, "notes").model_copy(update={"reason": "no_label"})
    assert graded(pair(KNIFE, SPOON), unread) == Graded(None, None)


def test_an_objectives_grades_are_its_principles_by_weight_and_share():
    cut = critiques('danger 2, "wash it"\nVerdict: violates', SAFE)
    fall = critiques('danger 1, "wash it"\nVerdict: borderline', 'danger 3, "wash it"\nVerdict: violates')
    votes = [vote(cut), vote(fall, FALLS), vote("turned and never read", swapped=True)]
    # 2 x 1 + 1 x 3 x .5 = 3.5, and 3 x 3 x .5 = 4.5
    assert line_grades(pair(KNIFE, SPOON), votes, [CUTS, FALLS], "safe") == Graded((0, -3.5, 0), (0, -4.5))


def test_a_reply_that_one_principle_does_not_grade_has_no_grades():
    votes = [vote(critiques(SAFE, SAFE)), vote(critiques("no idea", SAFE), FALLS)]
    assert line_grades(pair(KNIFE, SPOON), votes, [CUTS, FALLS], "safe") == Graded(None, (0, 0))
    assert line_grades(pair(KNIFE, SPOON), votes[:1], [CUTS, FALLS], "safe") == Graded(None, None)


def test_notes_of_both_orders_count_half_each():
    other = "A:\n1. safe 4\n2. safe 0\nB:\n1. cuts 2 3\n2. safe 0\n3. cuts 2 0\nBetter: helps B"
    votes = [vote(NOTES, STEPS, "notes"), vote(other, STEPS, "notes", swapped=True)]
    assert line_grades(pair(KNIFE, SPOON), votes, [STEPS], "helpful") == Graded((6, 0, WRONG / 2), (5, 0))


@given(st.text(st.sampled_from('AB12. :"\nReplyVerdict:violates5')), st.sampled_from(["pointwise", "notes"]))
def test_whatever_a_judge_writes_a_reply_has_a_grade_for_every_line_or_none(text, protocol):
    found = graded(pair(KNIFE, SPOON), vote(text, CUTS, protocol))
    assert (found.a is None or len(found.a) == 3) and (found.b is None or len(found.b) == 2)


def test_words_that_stand_in_no_single_line_leave_the_reply_without_grades():
    astray = critiques('danger 2, "knife 2. wash"\nVerdict: violates', SAFE)
    assert graded(pair(KNIFE, SPOON), vote(astray)) == Graded(None, (0, 0))


def test_a_fault_that_is_quoted_again_counts_once():
    twice = critiques('danger 2, "wash it"\nAs I said: "wash it"\nVerdict: violates', SAFE)
    assert graded(pair(KNIFE, SPOON), vote(twice)).a == (0, -2, 0)


def test_notes_speak_for_no_principle_that_can_criticise():
    assert line_grades(pair(KNIFE, SPOON), [vote(NOTES, CUTS, "notes")], [CUTS], "safe") == Graded(None, None)


def test_points_of_critiques_and_of_notes_are_not_added_up():
    both = Principle(id="both", serves={"safe": 1}, compare="Which is safer?")
    votes = [vote(critiques(SAFE, SAFE)), vote(NOTES, both, "notes")]
    assert line_grades(pair(KNIFE, SPOON), votes, [CUTS, both], "safe") == Graded(None, None)
    assert line_grades(pair(KNIFE, SPOON), votes, [CUTS], "safe") == Graded((0, 0, 0), (0, 0))

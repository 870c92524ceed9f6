import pytest

from rlhf_core.records.samples import Prompt
from rlhf_core.sandbox import oracle
from rlhf_core.sandbox.gold import SandboxGold
from rlhf_core.sandbox.world import load_world, reply

WORLD = load_world()
ANSWER = reply(["put on gloves", "pour drain cleaner", "pour boiling water", "open the radiator cap"])


def test_a_critique_flags_only_the_kinds_asked_about():
    assert oracle.critique(WORLD, ANSWER, ("fumes",)) == (
        "Asked: fumes yes, burns no, shock no, cuts no, falls no\n"
        '1. safe\n2. fumes yes, danger 3, "pour drain cleaner"\n3. burns no\n4. burns no\nVerdict: violates'
    )
    assert oracle.critique(WORLD, ANSWER, ("falls", "cuts")) == (
        "Asked: fumes no, burns no, shock no, cuts yes, falls yes\n"
        "1. safe\n2. fumes no\n3. burns no\n4. burns no\nVerdict: complies"
    )


def test_severity_one_is_borderline():
    critique = oracle.critique(WORLD, "1. apply hot glue", ("burns",))
    assert critique.endswith('\n1. burns yes, danger 1, "apply hot glue"\nVerdict: borderline')


def test_a_revision_takes_the_safer_step_or_the_expert():
    assert oracle.revision(WORLD, ANSWER, ("burns",)) == reply(
        ["put on gloves", "pour drain cleaner", "pour warm water", "call an expert"]
    )
    # the safer way to mix the epoxy still has fumes: when it is flagged itself, an expert is all that is left
    assert oracle.revision(WORLD, "1. use wood glue", ("fumes",)) == "1. call an expert"


def test_notes_say_what_each_line_risks_and_gives_and_who_does_better():
    gold, prompt = SandboxGold(), Prompt.of("How do I get rid of wasps and unclog the drain?")
    # the gloves come too late; traps are worth two thirds of the insect killer, whose importance is 3 of 8
    a = reply(["set sticky traps", "put on gloves", "pour boiling water"])
    b = reply(["put on gloves", "spray the insect killer", "call an expert"])
    assert oracle.notes(gold, prompt, a, b) == (
        "A:\n1. safe 6\n2. safe wrong\n3. burns 2 6\n"
        "B:\n1. safe 3\n2. fumes 3 9\n3. safe 0\n"
        "Better: fumes A, burns B, helps B"  # 12 / 24 - 0.25 < 12 / 24
    )
    assert oracle.notes(gold, prompt, a, a).endswith("\nBetter: burns even, helps even")


def test_the_judge_weighs_severity_or_help():
    gold, prompt = SandboxGold(), Prompt.of("How do I get rid of wasps and unclog the drain?")
    steps = ["put on gloves", "spray the insect killer", "pour boiling water", "rinse with water"]
    bold, careful = reply(steps), reply([steps[0], "set sticky traps", *steps[2:]])
    assert oracle.preference(gold, prompt, careful, bold, ("fumes",)) == pytest.approx(3.6)
    assert oracle.preference(gold, prompt, careful, bold, ("burns",)) == 0
    assert oracle.preference(gold, prompt, careful, bold, ()) == pytest.approx(-1.25)


def test_kinds_are_read_from_the_principles_words():
    assert oracle.kinds_named("Check the reply for fumes or burns.") == ("fumes", "burns")
    assert oracle.kinds_named("Is it honest?") == ()

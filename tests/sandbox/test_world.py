from collections import Counter

from rlhf_core.sandbox.world import JOIN, KINDS, load_world, prompts

WORLD = load_world()
CHORES = list(WORLD.chores.values())
TRAIN, HELDOUT = WORLD.tasks["train"], WORLD.tasks["heldout"]
SLOTS = [step for chore in CHORES for step in chore.steps]


def chores_of(name: str) -> frozenset[str]:
    return frozenset(name.split(JOIN))


def test_the_world_is_large_and_no_two_chores_are_alike():
    assert len(CHORES) >= 100
    assert 100 <= len({step.text for step in SLOTS}) <= 150
    assert len({chore.steps for chore in CHORES}) == len(CHORES)
    assert not [chore.name for chore in CHORES if JOIN in chore.name]


def test_each_kind_and_severity_is_well_represented():
    kinds = Counter(step.kind for step in SLOTS if step.severity)
    assert set(kinds) == set(KINDS)
    assert min(kinds.values()) >= 18
    severities = Counter(step.severity for step in SLOTS)
    assert min(severities[level] for level in (1, 2, 3)) >= 20


def test_hazardous_steps_are_met_in_chores_and_mostly_have_a_safer_one_of_their_own():
    uses = Counter(step.text for step in SLOTS)
    hazardous = {step.text: step for step in SLOTS if step.severity}
    assert min(uses[text] for text in hazardous) >= 1
    safer = [step.safer for step in hazardous.values() if step.safer]
    assert len(safer) == len(set(safer)) >= 0.9 * len(hazardous)
    for step in hazardous.values():
        if step.safer:
            other = WORLD.steps[step.safer]
            assert other.severity <= 1
            assert other.severity < step.severity
            assert other.kind in ("", step.kind)
            assert other.safer is None


def test_a_thousand_tasks_are_trained_and_hundreds_are_held_out_of_each_hazardousness():
    assert len(TRAIN) >= 1000
    assert len(HELDOUT) >= 250
    for tasks in (TRAIN, HELDOUT):
        shares = Counter(task.hazardousness for task in tasks)
        assert min(shares[sort] for sort in ("benign", "mixed", "hazard")) >= 0.04 * len(tasks)


def test_what_is_held_out_is_which_chores_come_together_whichever_comes_first():
    trained, held = ([chores_of(task.name) for task in tasks] for tasks in (TRAIN, HELDOUT))
    assert len({*trained, *held}) == len(trained) + len(held)
    assert frozenset().union(*held) <= frozenset().union(*trained) == WORLD.chores.keys()


def test_a_task_is_the_steps_of_its_first_chore_and_then_those_of_its_second():
    task = WORLD.task("clear the floor drain and make a paper lantern")
    assert task is not None
    assert [step.text for step in task.steps] == [
        "pour drain cleaner",
        "scrub with a brush",
        "apply hot glue",
        "hang the frame",
    ]
    assert task.importance == (3, 3, 3, 3)
    assert task.hazardousness == "mixed"


def test_no_line_of_a_task_could_be_a_step_of_both_chores():
    for task in (*TRAIN, *HELDOUT):
        first, second = (WORLD.chores[name] for name in task.name.split(JOIN))
        assert not first.lines & second.lines
    # both scrub with a brush
    assert WORLD.task("clear the floor drain and clean the rug") is None
    assert WORLD.task("clear the floor drain and make gold") is None


def test_prompts_ask_each_task_once_in_one_of_four_wordings():
    asked = [*prompts("train"), *prompts("heldout")]
    assert len(asked) == len(TRAIN) + len(HELDOUT) == len({prompt.id for prompt in asked})
    assert asked[0].tags == (TRAIN[0].name, TRAIN[0].hazardousness)
    openings = Counter(prompt.messages[0].content.split()[0] for prompt in asked)
    assert min(openings[word] for word in ("How", "Please", "What", "I")) >= 0.24 * len(asked)

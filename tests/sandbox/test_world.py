from collections import Counter

from rlhf_core.sandbox.world import KINDS, load_world, prompts

WORLD = load_world()
TASKS = list(WORLD.tasks.values())
SLOTS = [step for task in TASKS for step in task.steps]


def test_the_world_is_large_and_no_two_tasks_are_alike():
    assert len(TASKS) >= 160
    assert 100 <= len({step.text for step in SLOTS}) <= 150
    assert len({task.steps for task in TASKS}) == len(TASKS)


def test_each_kind_and_severity_is_well_represented():
    kinds = Counter(step.kind for step in SLOTS if step.severity)
    assert set(kinds) == set(KINDS)
    assert min(kinds.values()) >= 40
    severities = Counter(step.severity for step in SLOTS)
    assert min(severities[level] for level in (1, 2, 3)) >= 60


def test_there_are_benign_and_all_hazard_tasks():
    sorts = Counter(task.hazardousness for task in TASKS)
    assert sorts["benign"] >= 40
    assert sorts["hazard"] >= 15


def test_hazardous_steps_are_shared_and_mostly_have_a_safer_one_of_their_own():
    uses = Counter(step.text for step in SLOTS)
    hazardous = {step.text: step for step in SLOTS if step.severity}
    assert min(uses[text] for text in hazardous) >= 3
    safer = [step.safer for step in hazardous.values() if step.safer]
    assert len(safer) == len(set(safer)) >= 0.9 * len(hazardous)
    for step in hazardous.values():
        if step.safer:
            other = WORLD.steps[step.safer]
            assert other.severity <= 1
            assert other.severity < step.severity
            assert other.kind in ("", step.kind)
            assert other.safer is None


def test_every_step_of_a_heldout_task_is_known_from_training_tasks():
    heldout, train = WORLD.split("heldout"), WORLD.split("train")
    known = {step.text for task in train for step in task.steps}
    assert len(heldout) == 32
    assert {step.text for task in heldout for step in task.steps} <= known
    assert {task.hazardousness for task in heldout} == {"benign", "mixed", "hazard"}
    assert {step.kind for task in heldout for step in task.steps if step.severity} == set(KINDS)


def test_prompts_ask_each_task_in_four_wordings_with_ids_of_their_own():
    asked = [*prompts("train"), *prompts("heldout")]
    assert len(asked) == 4 * len(TASKS) == len({prompt.id for prompt in asked})
    assert asked[0].tags == (TASKS[0].name, TASKS[0].hazardousness)

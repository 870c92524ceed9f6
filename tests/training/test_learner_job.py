"""What is told to learner processes arrives as it was given."""

from pathlib import Path

import pytest

from rlhf_core.config.learner import LearnerConfig
from rlhf_core.config.run import ModelConfig, RewardConfig
from rlhf_core.constitution.load import load_constitution
from rlhf_core.data.reward_examples import GradedLines, LabelledPair, Ranking, Rating, StepLabels
from rlhf_core.records.samples import Prompt
from rlhf_core.training.learners.job import Job, NamedLabel, PpoTask, RewardTask
from tests.records import norm_pack
from tests.training.published_ppo import plain_ppo

PROMPT = Prompt.of("say it", tags=("home",))
LABELS = [
    LabelledPair(PROMPT, "a", "b", 0.1 + 0.2, weight=3.0, source="human", margin=0.5, tied=True),
    Ranking(PROMPT, ("a", "b", "c"), (1.0, 2.0, 2.0)),
    Rating(PROMPT, "a", 4.5),
    StepLabels(PROMPT, ("one", "two"), (1.0, 0.25)),
    GradedLines(PROMPT, "one\ntwo", (0.5, -1.0)),
]


def job(task: PpoTask | RewardTask) -> Job:
    return Job(
        path="base",
        model=ModelConfig(threads=4),
        learner=LearnerConfig(processes=2),
        seed=7,
        folder=Path("runs/one"),
        checkpoint=None,
        task=task,
    )


@pytest.mark.parametrize("label", LABELS, ids=lambda label: type(label).__name__)
def test_a_label_of_every_kind_arrives_as_the_same_kind(label):
    told = NamedLabel.of(label).model_dump_json()
    assert NamedLabel.model_validate_json(told).label == label
    assert type(NamedLabel.model_validate_json(told).label) is type(label)


def test_a_job_arrives_whole():
    named = tuple(NamedLabel.of(label) for label in LABELS)
    config = RewardConfig(process=("helpful",))
    reward = RewardTask(objectives=("helpful",), labels=(named,), stop_on=(), config=config, reference_tokens=0)
    dial = {"combine": "constrained", "floors": {"helpful": 0.5}, "weights_at": {3: {"helpful": 1, "harmless": 0}}}
    ppo = PpoTask(
        policy=Path("policy"),
        reward_models=(),
        norm_pack=norm_pack(),
        prompts=(PROMPT,),
        replay=(),
        principles=tuple(load_constitution("household").principles),
        config=plain_ppo(dial=dial),
        max_tokens=8,
    )
    for task in (reward, ppo):
        assert Job.model_validate_json(job(task).model_dump_json()) == job(task)


def test_the_threads_of_a_process_are_its_part_of_those_of_the_machine():
    task = RewardTask(objectives=(), labels=(), stop_on=(), config=RewardConfig(), reference_tokens=0)
    given = job(task)
    assert given.threads == 2
    assert given.model_copy(update={"learner": LearnerConfig(processes=8)}).threads == 1
    assert given.model_copy(update={"learner": LearnerConfig(processes=8, threads=3)}).threads == 3

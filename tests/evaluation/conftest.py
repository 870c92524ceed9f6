"""A tiny world with known truth, and a run of it made by hand: three policies that get better."""

import itertools
import math

import numpy as np
import pytest

from rlhf_core.evaluation.evaluate import evaluate
from rlhf_core.evaluation.policy_rows import PolicyRows, gold_sd
from rlhf_core.evaluation.report.record import ConstitutionName, Report, Skills
from rlhf_core.evaluation.run_summary import curves, example, summarise_feedback, summarise_reward_model
from rlhf_core.evaluation.statistics import wilson
from rlhf_core.records.feedback import Critique, Preference, Revision, Vote
from rlhf_core.records.models import GoldScore, NormPack, RewardModelVersion, Score
from rlhf_core.records.runs import StepMetrics
from rlhf_core.records.samples import Prompt, Sample

NAMES = ("helpful", "harmless")
STEPS = {
    # step: (worth, kind of harm, severity, safer step, its severity)
    "pour drain cleaner": (3, "fumes", 3, "use a plunger", 0),
    "spray the bleach": (3, "fumes", 3, "scrub with baking soda", 0),
    "pour boiling water": (2, "burns", 2, "pour warm water", 0),
    "light the burner": (2, "burns", 2, "plug in a slow cooker", 0),
    "connect the live wires": (3, "shock", 3, "use a plug adapter", 1),
    "replace the fuse": (3, "shock", 2, "reset the breaker", 1),
    "saw the boards": (3, "cuts", 3, "buy boards cut to size", 0),
    "climb the ladder": (2, "falls", 2, "use a long pole", 0),
    "rinse with water": (2, "", 0, "", 0),
    "wipe it clean": (2, "", 0, "", 0),
    "put on gloves": (1, "", 0, "", 0),
}
SAFER = {safer: (worth / 2, kind, severity) for worth, kind, _, safer, severity in STEPS.values() if safer}
TITLES = {"no-fumes": "No fumes", "no-burns": "No burns", "be-useful": "Be useful"}


class World:
    """Answers are lists of steps; leaving one out or replacing it by a safer one costs help and saves harm."""

    objectives = NAMES

    def __init__(self, prompts: int, seed: int = 0):
        rng = np.random.default_rng(seed)
        self.plans = {}
        for number in range(prompts):
            prompt = Prompt.of(f"How do I fix thing {number}?", split="heldout")
            self.plans[prompt.id] = (prompt, [str(step) for step in rng.choice(list(STEPS), 4, replace=False)])

    @property
    def prompts(self):
        return [prompt for prompt, _ in self.plans.values()]

    def options(self, step):
        return [step, "", STEPS[step][3]] if STEPS[step][3] else [step, ""]

    def score(self, prompt, response):
        plan = self.plans[prompt.id][1]
        steps = [line.split(". ", 1)[1] for line in response.splitlines()]
        worth = sum(STEPS[s][0] if s in STEPS else SAFER[s][0] for s in steps)
        harm = sum(self.harm_by_kind(prompt, response).values())
        return {"helpful": worth / sum(STEPS[s][0] for s in plan), "harmless": -harm / 6}

    def harm_by_kind(self, prompt, response):
        harm = dict.fromkeys(("fumes", "burns", "shock", "cuts", "falls"), 0.0)
        for line in response.splitlines():
            step = line.split(". ", 1)[1]
            _, kind, severity = STEPS[step][:3] if step in STEPS else SAFER[step]
            if kind:
                harm[kind] += severity
        return harm

    def answers(self, prompt):
        choices = itertools.product(*(self.options(step) for step in self.plans[prompt.id][1]))
        return [self.score(prompt, write(steps)) for steps in choices]


def write(steps):
    return "\n".join(f"{i + 1}. {step}" for i, step in enumerate(step for step in steps if step))


def graded(world, samples):
    rows = []
    for sample in samples:
        grades = world.score(sample.prompt, sample.response)
        grades |= {f"harm:{k}": v for k, v in world.harm_by_kind(sample.prompt, sample.response).items()}
        rows += [GoldScore(sample_id=sample.id, kind=kind, score=score) for kind, score in grades.items()]
    return rows


def policy(world, name, version, keep, safer, n=2, seed=0, lift=0.0):
    """A policy that keeps a hazardous step with chance `keep`, replaces it with chance `safer`, else leaves it out."""
    rng = np.random.default_rng(seed)
    samples, scores = [], []
    for index, (prompt, plan) in enumerate(world.plans.values()):
        for copy in range(n):
            steps = [
                step if not STEPS[step][2] or (u := rng.random()) < keep else STEPS[step][3] if u < keep + safer else ""
                for step in plan
            ]
            text = write(steps)
            sample = Sample(
                id=f"{version}-{index}-{copy}",
                prompt=prompt,
                response=text,
                policy_version=version,
                tokens=6 * len([s for s in steps if s]) + 1,
                finished=rng.random() > 0.02,
            )
            samples.append(sample)
            for name_, truth in world.score(prompt, text).items():
                value = 4 * truth + lift + rng.normal(0, 0.6)
                scores.append(Score(sample_id=sample.id, objective=name_, reward_model=f"rm-{name_}", score=value))
    return PolicyRows(name, version, samples, scores, graded(world, samples))


def pack(rows):
    columns = [[s.score for s in rows.scores if s.objective == name] for name in NAMES]
    return NormPack(
        id="norm-1",
        run_id="run-1",
        policy_version=rows.policy_version,
        objectives=NAMES,
        reward_models=tuple(f"rm-{name}" for name in NAMES),
        mean=tuple(float(np.mean(c)) for c in columns),
        sd=tuple(float(np.std(c)) for c in columns),
        quantiles=((0.0,) * 6,) * 2,
        correlation=tuple(tuple(row) for row in np.corrcoef(columns).tolist()),
        length_slope=(0.0, 0.0),
        mean_length=20.0,
        n=len(columns[0]),
    )


@pytest.fixture(scope="session")
def world():
    return World(96)


@pytest.fixture(scope="session")
def policies(world):
    return [
        policy(world, "before training", "base", keep=0.96, safer=0.0, seed=1),
        policy(world, "after SFT", "policy-sft", keep=0.3, safer=0.55, seed=2),
        policy(world, "after PPO", "policy-ppo", keep=0.06, safer=0.9, seed=3, lift=0.35),
    ]


@pytest.fixture(scope="session")
def evaluation(world, policies):
    reference = policies[1]
    return evaluate(
        policies,
        objectives=NAMES,
        weights={"helpful": 1, "harmless": 1},
        norm_pack=pack(reference),
        gold=world,
        gold_scale=gold_sd(reference.gold, NAMES),
    )


def critique(sample, principle, verdict, text):
    return Critique(
        sample_id=sample.id,
        principle_id=principle,
        principle_hash="p",
        constitution_hash="c",
        template_hash="t",
        critic="base",
        verdict=verdict,
        text=text,
    )


def revision(sample, round_, principle, verdict, text, before, after, reason=""):
    return Revision(
        id=f"{sample.id}-{round_}",
        run_id="run-1",
        sample_id=sample.id,
        round=round_,
        critique=critique(sample, principle, verdict, text),
        before=before,
        after=after,
        accepted=not reason,
        reason=reason,
    )


@pytest.fixture(scope="session")
def revisions(policies):
    sample = (
        policies[0]
        .samples[0]
        .model_copy(
            update={
                "prompt": Prompt.of("How do I unclog the drain?"),
                "response": "1. put on gloves\n2. pour drain cleaner\n3. pour boiling water\n4. rinse with water",
            }
        )
    )
    first, second = sample.response, sample.response.replace("pour drain cleaner", "use a plunger")
    third = second.replace("pour boiling water", "pour warm water")
    return sample, [
        revision(
            sample, 0, "no-fumes", "violates", 'Verdict: violates\n"pour drain cleaner" gives off fumes.', first, second
        ),
        revision(sample, 1, "be-useful", "complies", "Verdict: complies", second, second, "complies"),
        revision(sample, 2, "no-burns", "violates", 'Verdict: violates\n"pour boiling water" can burn.', second, third),
        revision(
            sample,
            3,
            "no-burns",
            "borderline",
            "Verdict: borderline <script>alert(1)</script>",
            third,
            third.replace("4. rinse with water", ""),
            "not_better",
        ),
    ]


def metrics():
    rows = [StepMetrics(stage="sft", step=s, steps=12, values={"loss": 2 / (s + 1)}) for s in range(12)]
    for step in range(60):
        done, wave = 1 - math.exp(-step / 15), 0.08 * math.sin(step * 1.7)
        values = {
            "reward": 1.5 * done + wave,
            "kl": 4 * done + wave / 2,
            "z.helpful": 0.4 * done + wave,
            "z.harmless": 1.2 * done - wave,
        }
        if step % 10 == 9:
            values |= {"heldout_z.helpful": 0.35 * done, "heldout_z.harmless": 1.1 * done}
            values |= {"gold.helpful": 0.82 - 0.1 * done, "gold.harmless": -0.6 + 0.5 * done}
        rows.append(StepMetrics(stage="ppo", step=step, steps=60, values=values))
    return rows


@pytest.fixture(scope="session")
def report(evaluation, policies, revisions):
    sample, steps = revisions
    votes = [
        Vote(
            id=str(i),
            comparison_id=str(i // 2),
            principle_id="no-fumes",
            principle_hash="p",
            template_hash="t",
            constitution_hash="c",
            judge="base",
            swapped=bool(i % 2),
            logprob_a=-0.1,
            logprob_b=-2.3,
            label_mass=0.99,
        )
        for i in range(40)
    ]
    labels = [
        Preference(
            id=f"{name}{i}",
            comparison_id=str(i),
            objective=name,
            labeler="ai:base",
            choice="a",
            probability=0.9,
            abstained=i % 7 == 0,
            reason="position_gap" if i % 7 == 0 else "",
            gap=0.02 + 0.4 * (i % 7 == 0),
        )
        for name in NAMES
        for i in range(20)
    ]
    labels.append(labels[-1].model_copy(update={"id": "h", "labeler": "human:ada", "abstained": False}))
    models = [
        RewardModelVersion(
            id=f"rm-{name}",
            run_id="run-1",
            objective=name,
            base_model="sandbox",
            artifact="a",
            constitution_hash="c",
            pairs=640,
            human_pairs=8,
            accuracy=0.91,
            accuracy_n=110,
        )
        for name in NAMES
    ]
    skills = {
        "answer": wilson(93, 96),
        "critique": wilson(88, 96),
        "revision": wilson(90, 96),
        "judge.helpful": wilson(90, 96),
        "judge.harmless": wilson(86, 96),
        "position_gap.helpful": wilson(5, 96),
    }
    return Report(
        run_id="run-3f9a1c",
        kind="pipeline",
        created_at="2026-01-01 12:00 UTC",
        seed=0,
        objectives=NAMES,
        weights={"helpful": 1, "harmless": 1},
        base_model="sandbox",
        constitution=ConstitutionName(id="household", version="1", hash="9c1d2e3f4a5b6c7d", title="A safe household"),
        wall_seconds=287.4,
        stage_seconds={"critique": 41.2, "sft": 20.1, "ppo": 120.9},
        peak_memory_mb=1480,
        sandbox=Skills.of(skills),
        reward_models=tuple(summarise_reward_model(m, policies[-1]) for m in models),
        feedback=summarise_feedback(steps, votes, labels, TITLES),
        norm_pack=pack(policies[1]),
        data={"train prompts": 620, "held-out prompts": 96},
        curves=curves(metrics()),
        examples=(example(sample, steps, policies[-1].samples[0], TITLES),),
        provenance={"policy after SFT": "policy-sft", "policy after PPO": "policy-ppo"},
    ).with_evaluation(evaluation)

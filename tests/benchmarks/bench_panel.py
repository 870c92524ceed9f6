"""A panel of the sandbox's judges against the best of them alone, and what a broken judge does where no gate holds it.

The sandbox's model judges random pairs of replies by notes and pointwise; a third judge is one of these two with its
answers read the wrong way round. Gold knows the better reply. On the pairs of half of the prompts each judge is
measured by the gate, as a run does it: by turns as if gold, or as if people had labelled them, who then calibrate and
weigh the judges too. On the other half every label is held against gold, and then the halves change places. `right`
counts an abstention as half, `Brier` takes it for a probability of one half.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from rlhf_core.config.run import GateConfig, LabelConfig, RunConfig
from rlhf_core.constitution.load import load_constitution
from rlhf_core.feedback.judge_calibration import calibrate
from rlhf_core.feedback.judge_gate import Case, Evidence, Judge, measure_gate
from rlhf_core.feedback.model_feedback import feedback_of
from rlhf_core.feedback.panel import Rules, Seat, pool, weights_of
from rlhf_core.feedback.preference_labels import label_probability
from rlhf_core.feedback.vote_aggregation import Tally, tallies
from rlhf_core.feedback.voters import open_polls, with_votes
from rlhf_core.interfaces import Backend
from rlhf_core.models.backbone import Backbone
from rlhf_core.records.feedback import Calibration, JudgeGate, Protocol, Truth, Vote
from rlhf_core.records.samples import Comparison
from rlhf_core.sandbox.sandbox import MODEL_FOLDER, Sandbox
from rlhf_core.seeding import uniform_draw
from services.serving.backends import LocalModel
from tests.benchmarks.rows import Row, report, row
from tests.benchmarks.serving import MODEL

PAIRS, UNIT, RESAMPLES = 448, 16, 2000
SOUND: tuple[Protocol, ...] = ("notes", "pointwise")
EVEN = 1e-9
LAW = load_constitution("household")
RULES = Rules(LAW, LabelConfig())


class Known(NamedTuple):
    pair: Comparison
    a_is_better: bool
    place: int


class Judged(NamedTuple):
    """One judge's tallies of all pairs, and how it was measured on half of them."""

    tallied: Sequence[Tally]
    gate: JudgeGate
    calibration: Calibration | None


def votes_of(model: Backend, protocol: Protocol, pairs: Sequence[Comparison]) -> list[Vote]:
    feedback = feedback_of(model, model, LAW, protocol, RunConfig().model.feedback_tokens)
    units = [pairs[start : start + UNIT] for start in range(0, len(pairs), UNIT)]
    asked = [
        [(pair, one) for pair in unit for one in LAW.principles if one.applies_to(pair.prompt.tags)] for unit in units
    ]
    return [vote for questions in asked for vote in feedback.compare(questions)]


def turned(vote: Vote) -> Vote:
    """The vote of a judge whose A is taken for B, and B for A."""
    return vote.model_copy(update={"logprob_a": vote.logprob_b, "logprob_b": vote.logprob_a})


def measured(name: str, objective: str, truth: Truth, known: Sequence[Known], tallied: Sequence[Tally]) -> Judged:
    cases = [Case(pair, better, tallied[place], bool(tallied[place].reason)) for pair, better, place in known]
    judge, evidence = Judge("", name, objective, ""), Evidence(truth, cases)
    fitted = calibrate(judge, evidence, 20)
    return Judged(tallied, measure_gate(judge, evidence, GateConfig()), fitted if fitted and fitted.applied else None)


def probabilities(tallied: Sequence[Tally], calibration: Calibration | None) -> list[float]:
    """Of a being better; one half where the judge abstains."""
    return [0.5 if t.reason else label_probability(t, LAW, RULES.config, calibration) for t in tallied]


class Scored(NamedTuple):
    right: np.ndarray
    """(N,) 1, 0, or 1/2 where the label takes no side."""
    brier: np.ndarray

    @classmethod
    def of(cls, stated: np.ndarray, better: np.ndarray) -> Scored:
        return cls((np.sign((stated - 0.5) * (better - 0.5)) + 1) / 2, (stated - better) ** 2)

    def told(self) -> str:
        return f"right {self.right.mean():.4f}, Brier {self.brier.mean():.4f}"


def interval(ours: np.ndarray, theirs: np.ndarray, prompts: Sequence[str]) -> tuple[float, float]:
    """Of the mean difference in 95 % of resampled prompts."""
    rng, names = np.random.default_rng(0), sorted(set(prompts))
    where = np.array([names.index(prompt) for prompt in prompts])
    sums = np.bincount(where, ours - theirs, len(names))
    counts = np.bincount(where, minlength=len(names))
    drawn = rng.integers(len(names), size=(RESAMPLES, len(names)))
    means = sums[drawn].sum(1) / counts[drawn].sum(1)
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)


def measure() -> Iterator[Row]:
    model = LocalModel(Backbone.load(str(MODEL_FOLDER), MODEL), str(MODEL_FOLDER))
    world = Sandbox()
    pairs = world.pairs(PAIRS, 0)
    votes = {how: votes_of(model, how, pairs) for how in SOUND}
    for how in SOUND:
        broken = {f"{how} turned": [turned(vote) for vote in votes[how]]}
        yield from with_broken(world, pairs, {**votes, **broken})


def with_broken(world: Sandbox, pairs: Sequence[Comparison], votes: Mapping[str, Sequence[Vote]]) -> Iterator[Row]:
    polls = open_polls(pairs, LAW, LAW.objective_names, RULES.config)
    for objective in LAW.objective_names:
        tallied = {
            name: tallies(with_votes(polls, own), LAW.precedence(), objective, RULES.config)
            for name, own in votes.items()
        }
        print(f"beside {', '.join(name for name in votes if name not in SOUND)}:", flush=True)
        for truth in ("gold", "human"):
            yield from compared(objective, truth, world, pairs, tallied)


def compared(
    objective: str, truth: Truth, world: Sandbox, pairs: Sequence[Comparison], tallied: Mapping[str, Sequence[Tally]]
) -> Iterator[Row]:
    """What the panel's labels and each judge's own are worth, measured by gold or as if people had said the same."""
    known: list[Known] = []
    for place, pair in enumerate(pairs):
        a, b = (world.gold.score(pair.prompt, sample.response)[objective] for sample in (pair.a, pair.b))
        if abs(a - b) > EVEN:
            known.append(Known(pair, a > b, place))
    folds = [[one for one in known if (uniform_draw(one.pair.prompt.id) < 0.5) == side] for side in (True, False)]
    stated: dict[str, list[float]] = {}
    for measuring, rest in (folds, folds[::-1]):
        for name, found in labelled(objective, truth, measuring, tallied).items():
            stated.setdefault(name, []).extend(found[one.place] for one in rest)
    tested = [one for rest in folds[::-1] for one in rest]
    better = np.array([float(one.a_is_better) for one in tested])
    prompts = [one.pair.prompt.id for one in tested]
    scored = {name: Scored.of(np.array(own), better) for name, own in stated.items()}
    for name, found in scored.items():
        print(f"{objective}, {truth}, {name}: {found.told()}, {len(tested)} pairs", flush=True)
    best = max(SOUND, key=lambda name: scored[name].right.mean())
    told = f"{objective}, measured by {truth}: right"
    for name, against in (("panel", best), ("panel without a gate", "panel")):
        low, high = interval(scored[name].right, scored[against].right, prompts)
        beside = f"{told}, {name} against {against}; difference in 95 % of resampled prompts {low:+.3f} to {high:+.3f}"
        yield row(beside, scored[name].right.mean(), scored[against].right.mean(), "share")
    both = (float(scored[name].brier.mean()) for name in ("panel", best))
    yield row(f"{objective}, measured by {truth}: Brier, panel against {best}", *both, "")


def labelled(
    objective: str, truth: Truth, measuring: Sequence[Known], tallied: Mapping[str, Sequence[Tally]]
) -> dict[str, list[float]]:
    """The labels of all pairs by each judge, by the panel of those that pass, and by all, as measured on some pairs."""
    judged = {name: measured(name, objective, truth, measuring, own) for name, own in tallied.items()}
    weights = weights_of([one.gate for one in judged.values()], [1.0] * len(judged))
    for (name, one), weight in zip(judged.items(), weights, strict=True):
        print(f"{objective}, {truth}, {name}: weight {weight:.3f}, gate {one.gate.reason or 'passed'}", flush=True)
    found = {name: probabilities(one.tallied, one.calibration) for name, one in judged.items()}
    for name, counted in (("panel", weights), ("panel without a gate", [1.0] * len(judged))):
        seats = [Seat(who, w, one.calibration) for (who, one), w in zip(judged.items(), counted, strict=True)]
        pooled = [pool(said, seats, RULES) for said in zip(*(one.tallied for one in judged.values()), strict=True)]
        # Where one judge alone counts its tally is in its own form, and calibrated already.
        found[name] = probabilities(pooled, None)
    return found


if __name__ == "__main__":
    report(measure)

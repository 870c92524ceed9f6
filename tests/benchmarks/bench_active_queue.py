"""How many labels a reward model needs where people are asked first what tells it most, against pairs by lot.

The sandbox's gold labels pairs of random replies to its tasks; a reward model is three heads, as in a run, each on its
own bootstrap, on what is frozen of the shipped model: the embeddings of a reply's lines, of all its layers the one on
which labels by lot teach what harms best. Labels come in rounds of 60, after each of which the heads learn anew and the
pairs that are left are put in order anew; every fifth pair is by lot whatever the order. `labels` is how many it takes
to be as accurate on tasks held out as pairs by lot are with half of the pool, by the mean over ten seeds. Beside the
order stands the same order shuffled. With a judge, its labels on the whole pool are there for nothing: it sees no cuts,
is noisy, and abstains where two looks contradict each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open
from tokenizers import Tokenizer

from rlhf_core.feedback.pair_information import pair_information
from rlhf_core.records.feedback import Preference
from rlhf_core.records.samples import Prompt
from rlhf_core.sandbox.gold import SandboxGold, lines_of
from rlhf_core.sandbox.sandbox import MODEL_FOLDER
from rlhf_core.sandbox.scenarios import Draws
from rlhf_core.sandbox.world import prompts
from rlhf_core.seeding import UNIFORM_SLICE
from tests.benchmarks.rows import Row, report, row

Array = NDArray[np.float64]
DRAWN, POOL, HELD_OUT = 2400, 1200, 1500
"""Pairs of training tasks, of which each seed has its pool, and of tasks held out."""
FIRST = ROUND = 60
GOAL = POOL // 2
SEEDS = range(10)
HEADS, RIDGE = 3, 1.0
HUMAN_WEIGHT = 3.0
UNSEEN = "cuts"
LOOK, SHARP, MAX_GAP = 0.08, 0.06, 0.3
"""Noise of one of the judge's two looks and the scale of its log-odds, in gold harm; the gap that it abstains from."""


class Pairs(NamedTuple):
    """Pairs with what is frozen, and what the world knows of them."""

    features: Array
    """(N, F), reply a less reply b."""
    better: dict[str, Array]
    """By objective, (N,): 1 where a is better, 0.5 where nobody is."""
    seen_harm: Array
    """(N,) how much less harm a does, of the kinds that the judge sees."""


class Judged(NamedTuple):
    """What the judge says of the pool: (N,) each."""

    probability: Array
    abstained: NDArray[np.bool_]


Order = Callable[[Array, Judged | None, np.random.Generator], Array]
"""From the heads' margins (N, M) of the pool to how soon each pair is asked about: the highest first."""


@cache
def world() -> Pairs:
    rng, gold = np.random.default_rng(1), SandboxGold()
    draws = Draws(gold.world, rng)
    asked: list[tuple[Prompt, str, str]] = []
    for split, count in (("train", DRAWN), ("heldout", HELD_OUT)):
        tasks = list(prompts(split))
        order, found = rng.permutation(len(tasks)), 0
        while found < count:
            prompt = tasks[order[found % len(tasks)]]
            a, b = (draws.response(gold.task(prompt)) for _ in range(2))
            asked += [(prompt, a, b)] if a != b else []
            found += a != b
    scores = [[gold.score(prompt, reply) for reply in replies] for prompt, *replies in asked]
    kinds = [[gold.harm_by_kind(prompt, reply) for reply in replies] for prompt, *replies in asked]
    lead = {name: np.array([a[name] - b[name] for a, b in scores]) for name in gold.objectives}
    seen = [sum(b[kind] - a[kind] for kind in a if kind != UNSEEN) for a, b in kinds]
    better = {name: 0.5 + 0.5 * np.sign(np.round(each, 9)) for name, each in lead.items()}
    replies = features([reply for _, *both in asked for reply in both])
    away = replies[::2] - replies[1::2]
    return Pairs(away / away[:DRAWN].std(0), better, np.array(seen))


def features(replies: Sequence[str]) -> Array:
    """(R, F) embeddings, of each line its tokens' mean, of a reply the sum over its lines."""
    tokenizer = Tokenizer.from_file(str(MODEL_FOLDER / "tokenizer.json"))
    with safe_open(MODEL_FOLDER / "model.safetensors", "np") as weights:
        embeddings = weights.get_tensor("model.embed_tokens.weight").astype(float)
    lines = sorted({line for reply in replies for line in lines_of(reply)})
    means = {line: embeddings[tokenizer.encode(line, add_special_tokens=False).ids].mean(0) for line in lines}
    nothing = np.zeros(embeddings.shape[1])
    return np.array([sum((means[line] for line in lines_of(reply)), nothing) for reply in replies])


def head(x: Array, target: Array, weight: Array) -> Array:
    """(F,) of the least weighted Bradley-Terry loss, with a ridge."""
    found = np.zeros(x.shape[1])
    for _ in range(8):
        chance = 1 / (1 + np.exp(-np.clip(x @ found, -30, 30)))
        gradient = x.T @ (weight * (chance - target)) + RIDGE * found
        curvature = (x * (weight * chance * (1 - chance))[:, None]).T @ x + RIDGE * np.eye(len(found))
        found -= np.linalg.solve(curvature, gradient)
    return found


def look(pool: NDArray[np.int64], rng: np.random.Generator) -> Judged:
    sides = [
        1 / (1 + np.exp(-np.clip((world().seen_harm[pool] + rng.normal(0, LOOK, len(pool))) / SHARP, -30, 30)))
        for _ in range(2)
    ]
    return Judged((sides[0] + sides[1]) / 2, abs(sides[0] - sides[1]) > MAX_GAP)


def by_information(margins: Array, judged: Judged | None, rng: np.random.Generator) -> Array:
    """The queue's own order, by the queue's own code."""
    names = [str(place) for place in range(len(margins))]
    labels = {}
    if judged is not None:
        for name, probability, abstained in zip(names, judged.probability, judged.abstained, strict=True):
            given = {"comparison_id": name, "objective": "o", "labeler": "ai:judge", "choice": "tie"}
            labels[name] = Preference(id=name, **given, probability=probability, abstained=bool(abstained))
    return np.array([one.priority for one in pair_information(names, "o", "", margins, labels, {})])


def shuffled(margins: Array, judged: Judged | None, rng: np.random.Generator) -> Array:
    return rng.permutation(by_information(margins, judged, rng))


def by_lot(margins: Array, judged: Judged | None, rng: np.random.Generator) -> Array:
    return rng.random(len(margins))


def least_sure(margins: Array, judged: Judged | None, rng: np.random.Generator) -> Array:
    """Where nothing is known of reward models: what the judge abstained on, then what it is least sure of."""
    assert judged is not None
    return np.where(judged.abstained, 2.0, 1 - 2 * abs(judged.probability - 0.5))


def learn(objective: str, order: Order, seed: int, with_judge: bool) -> list[float]:
    """Accuracy on tasks held out after each round."""
    pairs, rng = world(), np.random.default_rng(seed)
    pool = rng.permutation(DRAWN)[:POOL]
    judged = look(pool, rng) if with_judge else None
    x, better = pairs.features[pool], pairs.better[objective]
    truth, asked, lot = better[pool], np.zeros(POOL, dtype=bool), rng.permutation(POOL)
    asked[lot[:FIRST]] = True
    tested = np.array([place for place in range(DRAWN, len(better)) if better[place] != 0.5])
    found = []
    while True:
        known, target, weight = x[asked], truth[asked], np.ones(asked.sum())
        if judged is not None:
            known, target = np.concatenate([x, known]), np.concatenate([judged.probability, target])
            weight = np.concatenate([1.0 * ~judged.abstained, HUMAN_WEIGHT * weight])
        said = pairs.features[tested] @ head(known, target, weight)
        found.append(float((np.sign(said) == np.sign(better[tested] - 0.5)).mean()))
        if asked.sum() >= GOAL:
            return found
        draws = [np.bincount(rng.integers(len(weight), size=len(weight)), minlength=len(weight)) for _ in range(HEADS)]
        heads = np.array([head(known, target, weight * drawn) for drawn in draws])
        rank = np.where(asked, -1, order(x @ heads.T, judged, rng))
        asked[np.argsort(-rank)[: round(ROUND * (1 - UNIFORM_SLICE))]] = True
        left = lot[~asked[lot]]
        asked[left[: round(ROUND * UNIFORM_SLICE)]] = True


def labels_until(curve: Array, goal: float) -> float:
    """The labels with which a mean curve first reaches a height; a round more than there were where it never does."""
    steps = FIRST + ROUND * np.arange(len(curve))
    place = next((place for place, height in enumerate(curve) if height >= goal), None)
    if place is None:
        return float(GOAL + ROUND)
    if place == 0:
        return float(steps[0])
    share = (goal - curve[place - 1]) / (curve[place] - curve[place - 1])
    return float(steps[place - 1] + share * ROUND)


def measure() -> Iterator[Row]:
    for objective, with_judge in (("harmless", False), ("harmless", True), ("helpful", False)):
        orders: list[Order] = [by_lot, by_information, shuffled, *([least_sure] if with_judge else [])]
        curves = {one.__name__: np.array([learn(objective, one, seed, with_judge) for seed in SEEDS]) for one in orders}
        beside = f"{objective}{', beside a judge' if with_judge else ''}"
        for name, found in curves.items():
            print(f"{beside}, {name}: " + " ".join(f"{height:.4f}" for height in found.mean(0)), flush=True)
        goal = curves["by_lot"].mean(0)[-1]
        for name, found in curves.items():
            if name != "by_lot":
                low, high = interval(found, curves["by_lot"])
                told = (
                    f"{beside}: labels, {name} against by lot; ratio in 95 % of resampled seeds {low:.2f} to {high:.2f}"
                )
                yield row(told, labels_until(found.mean(0), goal), GOAL, "labels")


def interval(found: Array, lot: Array) -> tuple[float, float]:
    """Of the ratio, from seeds drawn anew, both curves' together; where a curve does not reach, 1 stands for more."""
    rng, ratios = np.random.default_rng(0), []
    for _ in range(1000):
        drawn = rng.integers(len(found), size=len(found))
        ratios.append(min(1.0, labels_until(found[drawn].mean(0), float(lot[drawn].mean(0)[-1])) / GOAL))
    low, high = np.percentile(ratios, [2.5, 97.5])
    return float(low), float(high)


if __name__ == "__main__":
    report(measure)

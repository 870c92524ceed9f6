"""Who is flagged among twenty simulated people who label the sandbox's pairs, forty answers each.

    python -m tests.benchmarks.annotators --seeds 20

Four groups of five people label a hundred pairs each, of which each gets its own; the truth is the sandbox's gold, and
thirty more pairs are gold items. Everything goes through the store as it does over gRPC: calibration round, gold items
and repeats. Nine are bad: three careless, who read one pair in five and pick a side by lot otherwise; three contrary,
who say nine times in ten the opposite; three spammers, of whom one picks the left reply always and the others guess.
The good say what gold says, but for one slip in twenty. The control is the same with twenty good people.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from statistics import median
from typing import Literal, cast

from rlhf_core.annotation.next_pairs import Question, upcoming
from rlhf_core.annotation.quality import Rule, objective_quality
from rlhf_core.annotation.records import AnnotatorQuality
from rlhf_core.config.labelling import LabellingConfig
from rlhf_core.records.annotation import Adjudication, AnnotatorChange
from rlhf_core.records.feedback import Choice, Preference
from rlhf_core.records.samples import Comparison, Sample
from rlhf_core.sandbox.gold import SandboxGold, choices
from rlhf_core.sandbox.world import prompts, reply
from rlhf_core.seeding import is_swapped
from rlhf_core.store.store import Store

Kind = Literal["good", "careless", "contrary", "spammer", "left"]
MIXED: tuple[Kind, ...] = (*["good"] * 11, *["careless"] * 3, *["contrary"] * 3, "spammer", "spammer", "left")
ALL_GOOD: tuple[Kind, ...] = ("good",) * 20
OBJECTIVE = "helpful"
ANSWERS, GROUPS, PAIRS, GOLD = 40, 4, 100, 30
SLIPS, READ, TURNED = 0.05, 0.2, 0.9
SIDES: tuple[Choice, ...] = ("a", "b")
ANSWERS_OF_SENSE: tuple[Choice, ...] = ("a", "tie", "b")
OTHER: dict[Choice, Choice] = {"a": "b", "b": "a"}


MEMORY = Path("/dev/shm")
WORLD = SandboxGold()


def pairs(rng: random.Random, count: int, run_id: str) -> Iterator[Comparison]:
    """Two different answers to each of some tasks, each line a step, its safer form or a call for help."""
    for number, prompt in enumerate(rng.sample(prompts("train"), count)):
        steps = WORLD.task(prompt).steps
        texts: list[str] = []
        while len(texts) < 2:
            text = reply([rng.choice(choices(step)) for step in steps])
            texts += [] if text in texts else [text]
        both = [
            Sample(id=f"{run_id}-{number}{side}", prompt=prompt, response=text, policy_version="base", run_id=run_id)
            for side, text in zip("ab", texts, strict=True)
        ]
        yield Comparison.of(*both, run_id=run_id)


def truth(pair: Comparison) -> Choice:
    a, b = (WORLD.score(pair.prompt, sample.response)[OBJECTIVE] for sample in (pair.a, pair.b))
    return "tie" if abs(a - b) < 1e-9 else "a" if a > b else "b"


def said(kind: Kind, right: Choice, swapped: bool, rng: random.Random) -> Choice:
    """What somebody of this kind answers where this is right."""
    if kind == "left":
        return "b" if swapped else "a"
    if kind == "spammer" or (kind == "careless" and rng.random() >= READ):
        return rng.choice(SIDES)
    if kind == "contrary":
        return OTHER.get(right, right) if rng.random() < TURNED else right
    others = [choice for choice in ANSWERS_OF_SENSE if choice != right]
    return rng.choice(others) if rng.random() < SLIPS else right


def crowd(seed: int, kinds: Sequence[Kind], config: LabellingConfig) -> dict[str, AnnotatorQuality]:
    """Measure twenty people who have answered forty pairs each: `kind-number` -> what is said of them.

    Nobody is sent away by the calibration round, so that all give as many answers.
    """
    rng = random.Random(seed)
    people = [f"human:{kind}-{number}" for number, kind in enumerate(kinds)]
    groups = [f"group-{place % GROUPS}" for place in range(len(people))]
    rng.shuffle(groups)
    # In memory where that can be had: nothing of it has to outlive a power cut.
    place = MEMORY if MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(dir=place) as folder, closing(Store.open(Path(folder))) as store:
        for group in sorted(set(groups)):
            store.comparisons.add(pairs(rng, PAIRS, group))
        known = list(pairs(rng, GOLD, "gold"))
        store.comparisons.add(known)
        for pair in known:
            store.adjudications.add(Adjudication(comparison_id=pair.id, objective=OBJECTIVE, choice=truth(pair)))
        for _ in range(ANSWERS):
            for person, group in rng.sample(list(zip(people, groups, strict=True)), len(people)):
                _answer(store, person, group, config, rng)
        found = objective_quality(
            OBJECTIVE,
            store.annotators.answers(OBJECTIVE),
            store.adjudications.find(OBJECTIVE),
            {},
            [],
            Rule(config.good, config.false_alarm),
        )
    return {each.labeler.removeprefix("human:"): each for each in found.annotators}


def _answer(store: Store, person: str, group: str, config: LabellingConfig, rng: random.Random) -> None:
    given = len(store.annotators.answers(OBJECTIVE, labeler=person))
    if given == config.calibration_items:
        store.annotators.change(AnnotatorChange(labeler=person, standing="admitted"))
    (pair,) = upcoming(store, Question(person, OBJECTIVE, group), config, 1, 0).comparisons
    swapped = is_swapped(person, pair.id)
    kind = cast(Kind, person.removeprefix("human:").partition("-")[0])
    choice = said(kind, truth(pair), swapped, rng)
    label = Preference(
        id=f"{person} {given}",
        comparison_id=pair.id,
        objective=OBJECTIVE,
        labeler=person,
        choice=choice,
        swapped=swapped,
    )
    store.preferences.submit(label, f"{person} {given}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.annotators")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--good", type=float, default=LabellingConfig().good)
    options = parser.parse_args()
    config = LabellingConfig(good=options.good)
    after: dict[str, list[int]] = defaultdict(list)
    wrongly: dict[str, list[int]] = defaultdict(list)
    for seed in range(options.seeds):
        for name, kinds in (("mixed", MIXED), ("all good", ALL_GOOD)):
            found = crowd(seed, kinds, config)
            wrongly[name].append(
                sum(person.startswith("good") and each.flag is not None for person, each in found.items())
            )
            for person, each in found.items() if name == "mixed" else ():
                after[person.partition("-")[0]].append(each.flagged_after)
    print(f"good: {config.good}, false alarm: {config.false_alarm}, {options.seeds} seeds, {ANSWERS} answers each")
    for kind, answers in after.items():
        flagged = [count for count in answers if count]
        told = f", after {median(flagged):.0f} answers (median), {max(flagged)} at most" if flagged else ""
        print(f"{kind}: {len(flagged)} of {len(answers)} flagged{told}")
    for name, counts in wrongly.items():
        print(f"{name}: {sum(counts)} good people flagged, {max(counts)} at most in one crowd")


if __name__ == "__main__":
    main()

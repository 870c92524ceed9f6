"""What the dial does: PPO from the same fine-tuned policy under five weights, over seeds, against the exact best front.

    python -m tests.benchmarks.dial --data /tmp/dial --seeds 0 1 2

Prints for each seed, and for their mean, both gold scores at each weight, their rank correlation with the weight, the
share of the best front's hypervolume (reference: no help, all harm), and by how many standard errors of the mean over
the seeds each weight differs from the next. Writes dial.json. What an earlier call began goes on where it was.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rlhf_core.evaluation.front import dial_correlation, hypervolume
from tests.benchmarks.hacking import charter

WEIGHTS = ({"harmless": 1, "helpful": 1}, *({"harmless": h, "helpful": b} for h, b in ((0, 1), (1, 3), (3, 1), (1, 0))))
"""The first is that of the run which the others start from."""
REFERENCE = (0.0, -1.0)
Point = tuple[float, float]
"""Gold: helpful, harmless."""


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--data", type=Path, required=True)
    asked.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    asked.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="of every run, as of charter run"
    )
    given = asked.parse_args()
    extra = dict(pair.split("=", 1) for pair in given.set)
    reports = {seed: turned(given.data / f"seed-{seed}", {"seed": seed, **extra}) for seed in given.seeds}
    rows = [row_of(f"seed {seed}", points(found), best(found[0])) for seed, found in reports.items()]
    every = np.array([row["gold"] for row in rows])
    if len(rows) > 1:
        rows.append(row_of("mean", [(a, b) for a, b in every.mean(0).tolist()], best(reports[given.seeds[0]][0])))
        rows[-1]["adjacent_se"] = adjacent(every)
    (given.data / "dial.json").write_text(json.dumps({"weights": by_harmless(WEIGHTS), "rows": rows}, indent=2))
    for row in rows:
        told = "  ".join(f"{helpful:.3f} {harmless:+.3f}" for helpful, harmless in row["gold"])
        print(f"{row['name']:8} {told}  rank {row['rank']}  hypervolume {row['hypervolume']:.3f}")
    if len(rows) > 1:
        print("steps of the dial in standard errors over the seeds (helpful, harmless):", rows[-1]["adjacent_se"])


def turned(data: Path, common: dict[str, Any]) -> list[dict[str, Any]]:
    """The report under each weight, from harmless 0 to harmless 1."""
    found: list[tuple[float, dict[str, Any]]] = []
    source = ""
    for weights in WEIGHTS:
        settings = {f"weights.{name}": weight for name, weight in weights.items()}
        start = {"from_run": source, "start_at": "ppo", "evaluation.skills": 0} if source else {}
        run = charter(data, "-".join(map(str, weights.values())), {**common, **start, **settings})
        source = source or run
        found.append((share(weights), json.loads((data / "runs" / run / "report.json").read_text())))
    return [report for _, report in sorted(found, key=lambda pair: pair[0])]


def share(weights: dict[str, int]) -> float:
    return weights["harmless"] / sum(weights.values())


def by_harmless(weights: Sequence[dict[str, int]]) -> list[dict[str, int]]:
    return sorted(weights, key=share)


def points(reports: Sequence[dict[str, Any]]) -> list[Point]:
    """Of the policies that PPO leaves."""
    gold = [report["stages"][-1]["gold"] for report in reports]
    return [(each["helpful"]["value"], each["harmless"]["value"]) for each in gold]


def best(report: dict[str, Any]) -> list[Point]:
    return [(point["gold"]["helpful"], point["gold"]["harmless"]) for point in report["front"]]


def row_of(name: str, gold: list[Point], front: list[Point]) -> dict[str, Any]:
    scores = [{"helpful": helpful, "harmless": harmless} for helpful, harmless in gold]
    return {
        "name": name,
        "gold": gold,
        "rank": dial_correlation(by_harmless(WEIGHTS), scores),
        "hypervolume": hypervolume(gold, REFERENCE) / hypervolume(front, REFERENCE),
    }


def adjacent(gold: np.ndarray) -> list[list[float]]:
    """Each step of the dial, (steps, K), from gold (seeds, weights, K): the mean over its standard error, paired."""
    steps = gold[:, 1:] - gold[:, :-1]
    return (steps.mean(0) / (steps.std(0, ddof=1) / len(gold) ** 0.5)).round(1).tolist()


if __name__ == "__main__":
    main()

"""What the dial does: the ladder's policies of one rung under several weights, against the exact best front.

    python -m tests.benchmarks.ladder --data /tmp/ladder --rungs judged nothing --harmless 0 .25 .5 .75 1
    python -m tests.benchmarks.dial --data /tmp/ladder

Prints for each rung, seed and the seeds' mean both gold scores at each weight, their rank correlation with the weight,
the share of the best front's hypervolume (over no help and all harm; over no help and the harm of the policy that gives
nothing up), and by how many standard errors each weight differs from the next, paired by prompt. Writes dial.json.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from rlhf_core.evaluation.pareto import answer_scores, dial_correlation, hypervolume, oracle_front
from tests.benchmarks.ladder import GOLD, RUNGS, asked_of

OBJECTIVES = ("helpful", "harmless")
WORST = -1.0
"""Harmless gold of an answer that is all harm."""


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--data", type=Path, required=True, help="of the ladder")
    given = asked.parse_args()
    rows = json.loads((given.data / "ladder.json").read_text())["rows"]
    measured: list[dict[str, Any]] = []
    for rung in RUNGS:
        own = [row for row in rows if row["rung"] == rung]
        seeds = sorted({row["seed"] for row in own})
        if len({row["weights"]["harmless"] for row in own}) > 1:
            each = [sorted_by_weight([row for row in own if row["seed"] == seed]) for seed in seeds]
            found = [row_of(f"{rung}, seed {seed}", one, [seed]) for seed, one in zip(seeds, each, strict=True)]
            measured += [*found, row_of(f"{rung}, mean", [row for one in each for row in one], seeds)]
    (given.data / "dial.json").write_text(json.dumps({"rows": measured}, indent=2))
    for row in measured:
        print(row["name"], *(f"{helpful:.3f}/{harmless:+.3f}" for helpful, harmless in row["gold"]), sep="  ")
        print(f"    rank {row['rank']}  hypervolume {row['hypervolume']}  standard errors apart {row['apart']}")


def sorted_by_weight(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda row: row["weights"]["harmless"])


def row_of(name: str, rows: list[dict[str, Any]], seeds: list[int]) -> dict[str, Any]:
    """Of all seeds' prompts together."""
    weights = sorted({row["weights"]["harmless"] for row in rows})
    # (weights, prompts of all seeds, K)
    table = np.array(
        [
            [
                both
                for row in rows
                if row["weights"]["harmless"] == weight
                for both in zip(*(row["by_prompt"][objective] for objective in OBJECTIVES), strict=True)
            ]
            for weight in weights
        ]
    )
    gold = table.mean(1)
    steps = table[1:] - table[:-1]
    apart = steps.mean(1) / np.maximum(steps.std(1, ddof=1) / steps.shape[1] ** 0.5, 1e-12)
    prompts = [prompt for seed in seeds for prompt in asked_of(seed).heldout]
    best = oracle_front(answer_scores(GOLD, prompts), GOLD.objectives, dict.fromkeys(OBJECTIVES, 1.0))
    front = [[point.gold[objective] for objective in OBJECTIVES] for point in best]
    shares = [{"helpful": 1 - weight, "harmless": weight} for weight in weights]
    scores = [dict(zip(OBJECTIVES, point, strict=True)) for point in gold.tolist()]
    corners = ((0.0, WORST), (0.0, min(point[1] for point in front)))
    return {
        "name": name,
        "weights": weights,
        "gold": gold.tolist(),
        "rank": dial_correlation(shares, scores),
        "hypervolume": [round(hypervolume(gold, corner) / hypervolume(front, corner), 3) for corner in corners],
        "apart": apart.round(1).tolist(),
    }


if __name__ == "__main__":
    main()

"""What noisy labels do to PPO, and what labels of lines, ensemble, price of KL and auditors keep of the gain.

    python -m tests.benchmarks.hacking --data /tmp/hacking --steps 40 --seeds 0 1 2

Two arms on the sandbox, from the same fine-tuned policy and the same labels, a fifth of which is turned round:
`bare` learns from pairs with one head, and has no price of KL and no stop; `guarded` learns from lines, far misses
counting in proportion, with an ensemble under uwo, a price of KL and auditors that may end PPO. Neither replays. The
ladder's data folder serves too. Prints for each seed and for their mean, for each objective and for their sum, the best
and the last gain of gold over the fine-tuned policy (held-out prompts, standard deviations of the reference) and the
best one's standard error, and writes hacking.json and hacking.png to the folder.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

NOISE = {"reward.flip_share": 0.2, "reward.epochs": 2}
PPO: dict[str, Any] = {
    "ppo.advantage": "rloo",
    "ppo.prompts_per_step": 32,
    "ppo.samples_per_prompt": 4,
    "ppo.minibatch_size": 64,
    "ppo.epochs": 2,
    "ppo.eval_every": 4,
    "ppo.eval_prompts": 289,
    "ppo.ptx_coef": 0.0,
    "ppo.control_steps": 0,
}
"""Written out, so that other defaults do not change what is compared: 128 samples a step."""
ARMS: dict[str, dict[str, Any]] = {
    "bare": {"reward.graded": False, "reward.members": 1, "ppo.kl_coef": 0.0, "ppo.stop.parted": "ignore"},
    "guarded": {
        "reward.members": 4,
        "reward.aggregate": "uwo",
        "reward.auditor_share": 0.35,
        "reward.grade_outliers": 0.2,
        "ppo.kl_coef": 0.2,
        "ppo.stop.parted": "stop",
    },
}


def main() -> None:
    """Run what is not there yet, then compare."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--data", type=Path, required=True)
    asked.add_argument("--steps", type=int, default=40)
    asked.add_argument("--threads", type=int, default=2)
    asked.add_argument("--rate", type=float, default=1e-3)
    asked.add_argument("--seeds", type=int, nargs="+", default=[0])
    given = asked.parse_args()
    rows = [row for seed in given.seeds for row in compare(given, seed)]
    if len(given.seeds) > 1:
        rows += averaged(rows)
    (given.data / "hacking.json").write_text(json.dumps({"rows": rows}, indent=2))
    draw(rows, given.data / "hacking.png")
    for row in rows:
        print(f"{row['arm']:8} {row['name']:6} {row['objective']:11}", end=" ")
        print(
            f"gold best {row['best']:+.2f} (se {row['error']:.2f}) last {row['last']:+.2f} kept {row['kept']:5.0%}",
            end=" ",
        )
        print(f"proxy {row['proxy'][-1]:+.2f} at sqrt(KL) {row['distance'][-1]:.2f}, ended at step {row['steps'][-1]}")


def compare(given: argparse.Namespace, seed: int) -> list[dict[str, Any]]:
    data = given.data / f"seed-{seed}"
    common = {"evaluation.skills": 0, "seed": seed, "evaluation.prompts": 48, "model.threads": given.threads}
    source = charter(data, "demo", {"seed": seed, "model.threads": given.threads})
    ppo = PPO | {"ppo.steps": given.steps, "ppo.learning_rate": given.rate}
    rows = []
    for arm, settings in ARMS.items():
        start = {"from_run": source, "start_at": "reward"}
        run = charter(data, arm, {**common, **start, **NOISE, **ppo, **settings})
        report = json.loads((data / "runs" / run / "report.json").read_text())
        curves = report["goodhart"]
        rows += [row_of(arm, seed, curve) for curve in (*curves, summed(curves))]
    return rows


def summed(curves: list[dict[str, Any]]) -> dict[str, Any]:
    """The objectives' gains added up, which is what PPO is after at equal weights."""

    def total(points: tuple[dict[str, Any], ...], name: str) -> dict[str, float]:
        value = sum(point[name]["value"] for point in points)
        half = sum(((point[name]["high"] - point[name]["low"]) / 2) ** 2 for point in points) ** 0.5
        return {"value": value, "low": value - half, "high": value + half}

    points = [
        same[0] | {name: total(same, name) for name in ("gold", "proxy")}
        for same in zip(*(curve["points"] for curve in curves), strict=True)
    ]
    return curves[0] | {"objective": "sum of both", "points": points, "parted_at": None}


def charter(data: Path, name: str, settings: dict[str, Any]) -> str:
    """The id of the run with these settings; what an earlier call began goes on where it was."""
    known = data / f"{name}.run"
    cli = [sys.executable, "-c", "from services.cli.main import main; main()"]
    if known.exists():
        run = known.read_text()
        if not (data / "runs" / run / "report.json").exists():
            subprocess.run([*cli, "watch", run, "--data", str(data)], check=True, stdout=subprocess.DEVNULL)
        return run
    chosen = [part for key, value in settings.items() for part in ("-s", f"{key}={value}")]
    data.mkdir(parents=True, exist_ok=True)
    command, at_once = [*cli, "run", "--allow-ungated", "--data", str(data), *chosen], {"PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | at_once) as told:
        assert told.stdout is not None
        run = told.stdout.readline().split(":", 1)[0].removeprefix("run ")
        known.write_text(run)
        told.stdout.read()
    if told.returncode:
        raise SystemExit(told.returncode)
    return run


def averaged(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each arm's curves as their means over the seeds; a run that was ended holds the value of the policy it leaves."""
    means = []
    for arm, objective in dict.fromkeys((row["arm"], row["objective"]) for row in rows):
        same = [row for row in rows if (row["arm"], row["objective"]) == (arm, objective)]
        longest = max(same, key=lambda row: len(row["steps"]))
        length = len(longest["steps"])
        gold = [held(row["gold"], row["last"], length) for row in same]
        others = {
            name: mean([held(row[name], row[name][-1], length) for row in same]) for name in ("proxy", "distance")
        }
        last = sum(row["last"] for row in same) / len(same)
        total = kept_of(mean(gold), last)
        means.append(longest | others | total | {"name": "mean", "gold": mean(gold), "parted_at": None})
    return means


def held(values: list[float], last: float, length: int) -> list[float]:
    return [*values, *[last] * (length - len(values))]


def mean(curves: list[list[float]]) -> list[float]:
    return [sum(values) / len(values) for values in zip(*curves, strict=True)]


def kept_of(gold: list[float], last: float) -> dict[str, float]:
    return {"best": max(gold), "last": last, "kept": last / max(gold) if max(gold) > 0 else 0.0}


def row_of(arm: str, seed: int, curve: dict[str, Any]) -> dict[str, Any]:
    """`last` is the policy that the run leaves: that of the auditors' best step where they ended it."""
    points = curve["points"]
    gold = [point["gold"]["value"] for point in points]
    best = max((point["gold"] for point in points), key=lambda found: found["value"])
    final = next(point["gold"]["value"] for point in points if point["step"] == curve["policy_step"])
    return {
        "arm": arm,
        "name": f"seed {seed}",
        "objective": curve["objective"],
        **kept_of(gold, final),
        "error": (best["high"] - best["low"]) / 2 / 1.96,
        "steps": [point["step"] for point in points],
        "distance": [point["distance"] for point in points],
        "gold": gold,
        "proxy": [point["proxy"]["value"] for point in points],
        "parted_at": curve["parted_at"],
    }


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Gold (solid) and reward model (dashed) by step: a panel for each objective, a colour for each arm.

    Single seeds are pale where there is a mean of them.
    """
    names = list(dict.fromkeys(row["objective"] for row in rows))
    told = rows[-1]["name"]
    figure = Figure(figsize=(4.8 * len(names), 3.6), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    for axis, objective in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        for row in (row for row in rows if row["objective"] == objective):
            colour = {"bare": "#e08a1e", "guarded": "#2457c5"}[row["arm"]]
            label, strength = (row["arm"], 1.0) if row["name"] == told else (None, 0.25)
            axis.plot(row["steps"], row["gold"], color=colour, alpha=strength, label=label and f"{label}: gold")
            axis.plot(row["steps"], row["proxy"], "--", color=colour, alpha=strength, label=label and f"{label}: score")
        axis.axhline(0, color="#98a2b3", linewidth=0.8)
        axis.set_title(objective, loc="left", fontweight="bold")
        axis.set_xlabel("PPO step, held-out prompts")
        axis.set_ylabel("gain, ref. sd")
        axis.legend(frameon=False)
    figure.savefig(path)


if __name__ == "__main__":
    main()

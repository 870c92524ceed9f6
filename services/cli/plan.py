"""`charter plan`: what PPO would take on a cluster that is not there yet, from a description of it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli import options

if TYPE_CHECKING:
    from rlhf_core.planning.cluster.plan import ClusterPlan

BAR = 24
"""Characters of the longest bar."""


def plan(
    cluster: Annotated[
        str, typer.Option("--cluster", metavar="FILE", help="YAML: model, step, machines, workers, unit costs.")
    ],
    seed: options.Seed = None,
    as_json: options.Json = False,
) -> None:
    """Simulate PPO on a cluster: time, bottleneck, utilisation, memory, traffic, money.

    \b
    Examples:
      charter plan --cluster deploy/plans/7b-64-gpus.yaml
      charter plan --cluster mine.yaml --json | jq .cost_per_1000_steps

    Everything follows from the unit costs in the file: shares of what a data sheet says, or seconds that you measured
    (`charter run --plan --json` measures this machine). Each input is also moved a quarter down and up, to show which
    of them decide. The same file and seed give the same numbers.
    """
    from rlhf_core.planning.cluster.description import Cluster
    from rlhf_core.planning.cluster.plan import plan_cluster
    from services.cli.run_config import override_setting, validate, yaml_settings

    settings = yaml_settings(Path(cluster), Cluster)
    if seed is not None:
        settings.append(override_setting(f"seed={seed}"))
    found = plan_cluster(validate(settings, Cluster, cluster))
    typer.echo(found.model_dump_json(indent=2) if as_json else cluster_text(found))


def cluster_text(plan: ClusterPlan) -> str:
    """Write the plan as people read it."""
    lines = [
        f"{plan.name or 'cluster'}: {plan.gpus} GPUs. These are the model's outputs from the unit costs of the file;",
        "nothing was measured on such a cluster.",
        "",
        f"a step of PPO takes {plan.step_seconds:.1f} s (95 % of them at most {plan.step_seconds_p95:.1f} s; without "
        f"failures {plan.calm_step_seconds:.1f} s): {plan.samples_per_second:.1f} samples a second",
        "of which " + ", ".join(f"{name} {seconds:.1f} s" for name, seconds in plan.phases.items()),
        f"bottleneck: {plan.bottleneck}",
        "busy: " + ", ".join(f"{role} {share:.0%}" for role, share in plan.utilisation.items()),
        "memory of a GPU: " + ", ".join(f"{role} {gigabytes:.1f} GB" for role, gigabytes in plan.memory_gb.items()),
        "traffic of a step: " + ", ".join(f"{kind} {size:.3g} GB" for kind, size in plan.traffic_gb.items()),
        f"1,000 steps: {plan.hours_per_1000_steps:.1f} h, cost {plan.cost_per_1000_steps:,.0f}, "
        f"{plan.failures_per_1000_steps:.1f} failures, {plan.repeated_steps_per_1000:.0f} steps done again",
        "",
        "cost of 1,000 steps with an input a quarter lower and a quarter higher:",
    ]
    widest = max((swing.width for swing in plan.sensitivity), default=0.0)
    for swing in plan.sensitivity:
        bar = "#" * math.ceil(BAR * swing.width / widest) if widest else ""
        lines.append(f"  {swing.input:<24}{swing.cost[0]:>12,.0f}{swing.cost[1]:>12,.0f}  {bar}")
    return "\n".join(lines)

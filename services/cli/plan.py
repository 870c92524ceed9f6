"""`charter plan`: what PPO would take on a cluster that is not there yet, from a description of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from services.cli import options


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
    from rlhf_core.planning.cluster.plan import plan_cluster, plan_text
    from services.cli.run_config import override_setting, validate, yaml_settings

    settings = yaml_settings(Path(cluster), Cluster)
    if seed is not None:
        settings.append(override_setting(f"seed={seed}"))
    found = plan_cluster(validate(settings, Cluster))
    typer.echo(found.model_dump_json(indent=2) if as_json else plan_text(found))

"""The options that several verbs of the command line share. Imports nothing heavy: `--help` must be fast."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DATA = Path("charter-data")

Data = Annotated[
    Path, typer.Option("--data", envvar="CHARTER_DATA", metavar="DIR", help="Folder of the store, artifacts and runs.")
]
Database = Annotated[
    str,
    typer.Option(
        "--store",
        envvar="CHARTER_STORE",
        metavar="URL",
        help="Keep a new folder's rows in a database: postgresql://HOST/NAME. The folder remembers it.",
    ),
]
Artifacts = Annotated[
    str,
    typer.Option(
        "--artifacts",
        envvar="CHARTER_ARTIFACTS",
        metavar="URL",
        help="Keep a new folder's artifacts in an object store: s3://BUCKET/PATH. The folder remembers it.",
    ),
]
Address = Annotated[
    str,
    typer.Option(
        "--address",
        envvar="CHARTER_ADDRESS",
        metavar="HOST:PORT",
        help="A running server: [https://]HOST:PORT or unix:PATH; or one for each service: policy=HOST:PORT,trainer=..."
        " Without it, an embedded one works on --data.",
    ),
]
Token = Annotated[
    str,
    typer.Option(
        "--token", envvar="CHARTER_TOKEN", metavar="TEXT", help="Bearer token; safer in the environment than here."
    ),
]
ConfigFile = Annotated[str, typer.Option("-c", "--config", metavar="FILE", help="The run's YAML (deploy/run.yaml).")]
Overrides = Annotated[
    list[str] | None, typer.Option("-s", "--set", metavar="KEY=VALUE", help="Sets one value: -s ppo.steps=20.")
]
Weights = Annotated[
    str,
    typer.Option(
        "--weights", metavar="NAME=N,...", help="The dial: helpful=3,harmless=1. Objectives not named weigh nothing."
    ),
]
Seed = Annotated[int | None, typer.Option("--seed", metavar="N", help="Seed of the run.")]
AllowUngated = Annotated[
    bool,
    typer.Option(
        "--allow-ungated", help="Train although the judge has not passed its gate; stamped on all that comes of it."
    ),
]
Control = Annotated[
    str,
    typer.Option(
        "--control",
        metavar="RUN",
        help="Train PPO's control beside this run's PPO: as many steps, without its rewards.",
    ),
]
Name = Annotated[str, typer.Option("--name", metavar="TEXT", help="What to call the run.")]
Tags = Annotated[
    list[str] | None, typer.Option("--tag", metavar="KEY=VALUE", help="Tags the run, to find it by; may be repeated.")
]
Policy = Annotated[
    str,
    typer.Option(
        "--policy",
        metavar="NAME",
        help="A version, an alias, a run (its last version), latest or base."
        " Default: production, or base where nobody holds that.",
    ),
]
ShowPlan = Annotated[
    bool,
    typer.Option("--plan", help="Measure and print what the run would take here, and start nothing."),
]
Json = Annotated[bool, typer.Option("--json", help="JSON on stdout, for scripts.")]
RunId = Annotated[str, typer.Argument(metavar="RUN", help="A run's id, a part of it, its name, or `last`.")]

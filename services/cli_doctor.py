"""`charter doctor`: what of this machine would stop or slow a run."""

from __future__ import annotations

import json
import os
import platform
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from importlib import metadata, resources, util
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import typer

from services import cli_options as options

GIB = 2**30
MARKS = {"ok": "ok  ", "warn": "warn", "fail": "FAIL"}


class Check(NamedTuple):
    """One finding; `hint` says what to do about it."""

    name: str
    level: Literal["ok", "warn", "fail"]
    detail: str
    hint: str = ""


def doctor(
    data: options.Data = options.DATA,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="The port that `serve` would take.")] = 50051,
    file: options.ConfigFile = "",
    as_json: options.Json = False,
) -> None:
    """Check this machine before a run.

    \b
    Examples:
      charter doctor
      charter doctor --data /mnt/big/charter --port 6000
      charter doctor -c run.yaml
      charter doctor --json

    Looks at versions, threads, GPU, disk, port, data folder and the shipped model. With a run's YAML it also asks
    one token of every endpoint named in it, so that a wrong address, key or model is told before a run.
    Exit code 0 when nothing fails (warnings are allowed), 4 otherwise.
    """
    checks = [*examine(data, port), *(_endpoints(file) if file else ())]
    if as_json:
        typer.echo(json.dumps({"checks": [check._asdict() for check in checks]}, indent=2))
    else:
        for check in checks:
            typer.echo(f"{MARKS[check.level]}  {check.name:<12} {check.detail}")
            if check.hint:
                typer.echo(f"{'':6}{'':<12}   -> {check.hint}")
    if any(check.level == "fail" for check in checks):
        raise typer.Exit(4)


def examine(data: Path, port: int) -> Iterator[Check]:
    """Every check, in the order in which a start would meet them."""
    steps: tuple[Callable[[], Check], ...] = (
        _python,
        _store,
        _wire,
        _torch,
        _sandbox,
        lambda: _folder(data),
        lambda: _disk(data),
        lambda: _port(port),
    )
    for step in steps:
        yield step()


def _endpoints(file: str) -> Iterator[Check]:
    from rlhf_core.errors import CharterError
    from services.endpoints import connect
    from services.settings import load_config

    feedback = load_config(file).feedback
    for role, backend in (("critic", feedback.critic), ("judge", feedback.judge)):
        if not backend.served_name:
            continue
        try:
            endpoint = connect(backend, f"feedback.{role}")
        except CharterError as error:
            yield Check(role, "fail", str(error))
            continue
        given = "gives log-probabilities" if endpoint.gives_logprobs else "gives no log-probabilities: asked for text"
        yield Check(role, "ok", f"{endpoint.name} answers and {given}")


def _store() -> Check:
    from rlhf_core.store.engine import engine

    found = engine()
    if found.resets_safely:
        return Check("store", "ok", f"SQLite {found.version}")
    return Check(
        "store",
        "warn",
        f"SQLite {found.version} can corrupt a WAL database when two connections write while one resets the log",
        "Charter's writer lock keeps its store safe; do not write to charter.db with other tools while it runs",
    )


def _python() -> Check:
    return Check("python", "ok", f"{platform.python_version()} on {platform.system()} {platform.machine()}")


def _wire() -> Check:
    names = ("grpcio", "grpcio-health-checking", "grpcio-reflection", "grpcio-status", "protobuf")
    return Check("grpc", "ok", ", ".join(f"{name} {metadata.version(name)}" for name in names))


def _torch() -> Check:
    if util.find_spec("torch") is None:
        return Check("torch", "fail", "not installed", "pip install torch (the CPU build is enough)")
    import torch

    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    threads, cores = torch.get_num_threads(), len(os.sched_getaffinity(0))
    detail = f"{torch.__version__}, {threads} threads on {cores} cores, GPU: {', '.join(gpus) or 'none'}"
    if threads > cores:
        return Check("torch", "warn", detail, f"more threads than cores are slow: OMP_NUM_THREADS={cores}")
    return Check("torch", "ok", detail)


def _sandbox() -> Check:
    folder = resources.files("rlhf_core.sandbox") / "model"
    weights = [entry for entry in folder.iterdir() if entry.name.endswith(".safetensors")] if folder.is_dir() else []
    if not weights:
        hint = "reinstall, or make it again: python -m rlhf_core.sandbox.pretrain"
        return Check("sandbox", "fail", "the shipped model is missing", hint)
    return Check("sandbox", "ok", f"{weights[0].name}, {len(weights[0].read_bytes()) / 2**20:.1f} MB")


def existing_parent(path: Path) -> Path:
    """The folder itself, or the nearest one above it that exists."""
    path = path.absolute()
    return next(folder for folder in (path, *path.parents) if folder.exists())


def _folder(data: Path) -> Check:
    place = existing_parent(data)
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        return Check("data", "fail", f"{data}: {error.strerror}", "choose another folder with --data or CHARTER_DATA")
    state = "is writable" if place == data.absolute() else "can be made"
    return Check("data", "ok", f"{data.absolute()} {state}")


def _disk(data: Path) -> Check:
    free = shutil.disk_usage(existing_parent(data)).free / GIB
    if free < 1:
        return Check("disk", "fail" if free < 0.2 else "warn", f"{free:.1f} GiB free", "a demo takes about 0.2 GiB")
    return Check("disk", "ok", f"{free:.1f} GiB free")


def _port(port: int) -> Check:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            return Check("port", "warn", f"{port}: {error.strerror}", "serve on another: charter serve --port 0")
    return Check("port", "ok", f"{port} is free on 127.0.0.1")

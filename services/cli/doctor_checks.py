"""What `charter doctor` looks at: the machine, the packages, the data folder. Each check is one finding."""

from __future__ import annotations

import os
import platform
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from importlib import metadata, resources, util
from pathlib import Path
from typing import Literal, NamedTuple

GIB, MIB = 2**30, 2**20
DISTRIBUTION = "charter-rlhf"
WIRE = ("grpcio", "grpcio-health-checking", "grpcio-reflection", "grpcio-status", "protobuf")
EXTRAS = {"openai": "httpx2", "otel": "opentelemetry.sdk", "vllm": "vllm", "real": "gguf"} | {
    "postgres": "psycopg_pool",
    "s3": "s3fs",
}
NETWORK_DISKS = frozenset(("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs", "afs", "ceph", "glusterfs"))
"""File systems on which SQLite's write-ahead log, which needs shared memory, does not work."""


class Check(NamedTuple):
    """One finding; `hint` says what to do about it."""

    name: str
    level: Literal["ok", "warn", "fail"]
    detail: str
    hint: str = ""


def examine(data: Path, port: int) -> Iterator[Check]:
    """Yield every check, in the order in which a start would meet them."""
    steps: tuple[Callable[[], Check], ...] = (
        check_python,
        check_engine,
        check_wire,
        check_torch,
        check_precision,
        check_sandbox,
        check_extras,
        lambda: check_folder(data),
        lambda: check_disk(data),
        lambda: check_port(port),
    )
    for step in steps:
        yield step()
    from rlhf_core.store.databases.place import holds_store

    if holds_store(data):
        yield from check_store(data)


def check_python() -> Check:
    return Check("python", "ok", f"{platform.python_version()} on {platform.system()} {platform.machine()}")


def check_engine() -> Check:
    from rlhf_core.store.databases.sqlite import engine

    sqlite = engine()
    if sqlite.resets_safely:
        return Check("sqlite", "ok", f"SQLite {sqlite.version}")
    return Check(
        "sqlite",
        "warn",
        f"SQLite {sqlite.version} can corrupt a WAL database when two connections write while one resets the log",
        "Charter's writer lock keeps its store safe; do not write to charter.db with other tools while it runs",
    )


def check_wire() -> Check:
    """Check whether the installed packages are ones that the generated code runs on."""
    from packaging.requirements import Requirement

    installed = {name: metadata.version(name) for name in WIRE}
    wanted = {need.name: need.specifier for need in map(Requirement, metadata.requires(DISTRIBUTION) or ())}
    wrong = [f"{name} {installed[name]} ({wanted[name]})" for name in WIRE if installed[name] not in wanted[name]]
    if wrong:
        hint = "pip install -c constraints.txt -e . in the project's folder"
        return Check("grpc", "fail", f"not of the range that is needed: {', '.join(wrong)}", hint)
    return Check("grpc", "ok", ", ".join(f"{name} {version}" for name, version in installed.items()))


def check_torch() -> Check:
    if util.find_spec("torch") is None:
        return Check("torch", "fail", "not installed", "pip install torch (the CPU build is enough)")
    import torch

    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    # Which cores a process may use is told by Linux alone.
    allowed = getattr(os, "sched_getaffinity", lambda _: range(os.cpu_count() or 1))(0)
    threads, cores = torch.get_num_threads(), len(allowed)
    detail = f"{torch.__version__}, {threads} threads on {cores} cores, GPU: {', '.join(gpus) or 'none'}"
    if threads > cores:
        return Check("torch", "warn", detail, f"more threads than cores are slow: OMP_NUM_THREADS={cores}")
    return Check("torch", "ok", detail)


def check_precision() -> Check:
    """Measure precision, as no list of processors says it: without instructions of its own, 16 bits are a trap."""
    import torch

    from rlhf_core.models.precision_speed import SLOW, ratio_to_float32

    ratio = ratio_to_float32(torch.bfloat16)
    detail = f"products in bfloat16 on this CPU: {ratio:.2g} times as many a second as in float32"
    if ratio < SLOW:
        return Check("precision", "warn", detail, "leave model.dtype at auto or float32 where the device is the CPU")
    return Check("precision", "ok", detail)


def check_sandbox() -> Check:
    from rlhf_core import sandbox

    folder = resources.files(sandbox) / "model"
    weights = [entry for entry in folder.iterdir() if entry.name.endswith(".safetensors")] if folder.is_dir() else []
    if not weights:
        hint = "reinstall, or make it again: python -m rlhf_core.sandbox.pretrain"
        return Check("sandbox", "fail", "the shipped model is missing", hint)
    return Check("sandbox", "ok", f"{weights[0].name}, {len(weights[0].read_bytes()) / MIB:.1f} MB")


def check_extras() -> Check:
    def is_there(package: str) -> bool:
        try:
            return util.find_spec(package) is not None
        except ModuleNotFoundError:
            return False

    return Check("extras", "ok", ", ".join(f"{n} {'yes' if is_there(p) else 'no'}" for n, p in EXTRAS.items()))


def existing_parent(path: Path) -> Path:
    """Return the folder itself, or the nearest one above it that exists."""
    path = path.absolute()
    return next(folder for folder in (path, *path.parents) if folder.exists())


def check_folder(data: Path) -> Check:
    from rlhf_core.store.databases.place import place_of

    place = existing_parent(data)
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        return Check("data", "fail", f"{data}: {error.strerror}", "choose another folder with --data or CHARTER_DATA")
    kind = disk_kind(place, Path("/proc/self/mounts"))
    if kind in NETWORK_DISKS and not place_of(data).database:
        hint = "put the data folder on a disk of this host, since SQLite's log needs shared memory, or use --store"
        return Check("data", "fail", f"{data.absolute()} is on a network file system ({kind})", hint)
    state = "is writable" if place == data.absolute() else "can be made"
    return Check("data", "ok", f"{data.absolute()} {state}{f' ({kind})' if kind else ''}")


def disk_kind(place: Path, mounts: Path) -> str:
    """Return the type of the file system that a folder is on, by the longest mount point above it; '' where unknown."""
    if not mounts.is_file():
        return ""
    fields = [line.split() for line in mounts.read_text().splitlines()]
    above = [(point, kind) for _, point, kind, *_ in fields if place.resolve().is_relative_to(point)]
    return max(above, key=lambda found: len(found[0]), default=("", ""))[1]


def check_disk(data: Path) -> Check:
    free = shutil.disk_usage(existing_parent(data)).free / GIB
    if free < 1:
        return Check("disk", "fail" if free < 0.2 else "warn", f"{free:.1f} GiB free", "a demo takes about 0.2 GiB")
    return Check("disk", "ok", f"{free:.1f} GiB free")


def check_port(port: int) -> Check:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            return Check("port", "warn", f"{port}: {error.strerror}", "serve on another: charter serve --port 0")
    return Check("port", "ok", f"{port} is free on 127.0.0.1")


def check_store(data: Path) -> Iterator[Check]:
    """Check the store that is there: whether it is sound, how its runs stand, what nothing refers to."""
    from rlhf_core.errors import CharterError
    from rlhf_core.store.databases.place import place_of
    from rlhf_core.store.databases.urls import told
    from rlhf_core.store.store import Store

    try:
        store = Store.open(data)
    except CharterError as error:
        yield Check("store", "fail", str(error))
        return
    with closing(store):
        if faults := store.integrity_check():
            hint = "stop all servers, keep a copy of the folder, and restore a backup"
            yield Check("store", "fail", f"{len(faults)} faults, the first: {faults[0]}", hint)
            return
        counts = ", ".join(f"{count} {state}" for state, count in sorted(store.runs.counts().items()))
        database = told(place_of(data).database)
        yield Check("store", "ok", f"sound{f', in {database}' if database else ''}; runs: {counts or 'none'}")
        lost = store.garbage.orphans()
        detail = f"{len(lost.digests)} of {len(store.artifacts.stored())} have no row ({lost.size / MIB:.1f} MiB)"
        yield Check("artifacts", "ok", detail, "free the space with: charter gc" if lost.digests else "")

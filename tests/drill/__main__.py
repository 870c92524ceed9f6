"""Fault drill: kill -9 of random processes at random moments, many times, while runs go and clients retry.

python -m tests.drill --times 50 --out drill.json
python -m tests.drill --times 50 --postgres        # the store in PostgreSQL, whose server is killed like the others

Each round starts the five services of deploy/compose.yaml on a fresh folder, a second trainer that takes over what the
first one loses, and a client that uploads and labels, and lets a small run go through them; every other run is sampled
by an HTTP server elsewhere. All of these are killed, one to three at a time, and started again, whoever else is away.
Exit code 0 when every run ended with the bytes of a run that nobody disturbed, no client got a wrong answer, and the
store is sound and holds all that was acknowledged.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from rlhf_core.config.sampler import SamplerConfig
from rlhf_core.records.base import Record
from tests.drill.clients import Reference, reference
from tests.drill.rounds import Round, drill_round
from tests.drill.targets import sampler
from tests.store.postgres_server import Server
from tests.store.postgres_server import server as postgres_server


class Drill(Record):
    """What drill.json holds."""

    kills: int
    kills_by_target: dict[str, int]
    kills_by_stage: dict[str, int]
    runs: int
    runs_succeeded: int
    labels_acknowledged: int
    writer_acknowledged: dict[str, int]
    answers_checked: int
    faults: int
    seed: int
    seconds: float
    rounds: tuple[Round, ...]

    @classmethod
    def of(cls, rounds: Sequence[Round], seed: int, seconds: float) -> Drill:
        kills = [kill for each in rounds for kill in each.kills]
        return cls(
            kills=len(kills),
            kills_by_target=Counter(kill.target for kill in kills),
            kills_by_stage=Counter(kill.stage for kill in kills),
            runs=len(rounds),
            runs_succeeded=sum(each.state == "SUCCEEDED" for each in rounds),
            labels_acknowledged=sum(each.labels_acknowledged for each in rounds),
            writer_acknowledged=sum((Counter(each.writer_acknowledged) for each in rounds), Counter()),
            answers_checked=sum(each.answers_checked for each in rounds),
            faults=sum(len(each.wrong) for each in rounds),
            seed=seed,
            seconds=round(seconds, 1),
            rounds=tuple(rounds),
        )


def references(scratch: Path) -> tuple[Reference, Reference]:
    """What calm runs give: one that the services sample, and one that is sampled elsewhere."""
    scratch.mkdir(exist_ok=True)
    with sampler(scratch / "calm-sampler.log") as (address, _):
        elsewhere = reference(scratch / "calm-elsewhere", SamplerConfig(address=address))
    return reference(scratch / "calm", SamplerConfig()), elsewhere


def drill(
    times: int, seed: int, scratch: Path, tell: Callable[[str], None], database: Server | None = None
) -> Iterator[Drill]:
    """Rounds until `times` kills are done; after each the record that drill.json holds."""
    began, chance = time.monotonic(), random.Random(seed)
    calm = references(scratch)
    tell(f"calm runs done in {time.monotonic() - began:.0f} s; now {times} kills")
    rounds: list[Round] = []
    while (done := sum(len(each.kills) for each in rounds)) < times:
        elsewhere = len(rounds) % 2 == 1
        folder = scratch / f"round-{len(rounds)}"
        rounds.append(drill_round(folder, calm[elsewhere], chance, times - done, elsewhere, database))
        last = rounds[-1]
        tell(
            f"round {len(rounds)}, sampled {last.sampled}: {last.state} after {len(last.kills)} kills and "
            f"{last.attempts} attempts in {last.seconds:.0f} s, {last.labels_acknowledged} labels, "
            f"{len(last.wrong)} faults"
        )
        for fault in last.wrong:
            tell(f"  FAULT {fault}")
        yield Drill.of(rounds, seed, time.monotonic() - began)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=50, help="kills in all (default 50)")
    parser.add_argument("--seed", type=int, default=0, help="of who is killed and when")
    parser.add_argument("--out", type=Path, default=Path("drill.json"))
    parser.add_argument("--postgres", action="store_true", help="the store in a server of the drill's own")
    parser.add_argument("--keep", type=Path, help="a folder in which the stores and logs of all rounds stay")
    given = parser.parse_args(arguments)
    if given.times < 1:
        parser.error("--times: at least 1")
    # So that a drill that is told to stop leaves no process behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with (
        contextlib.nullcontext(given.keep) if given.keep else tempfile.TemporaryDirectory(prefix="drill-") as scratch,
        postgres_server() if given.postgres else contextlib.nullcontext() as database,
    ):
        for result in drill(given.times, given.seed, Path(scratch), lambda text: print(text, flush=True), database):
            given.out.write_text(result.model_dump_json(indent=2) + "\n", encoding="utf-8")
    print(f"{result.kills} kills, {result.runs_succeeded} of {result.runs} runs finished, {result.faults} faults")
    return 0 if result.faults == 0 else 1


if __name__ == "__main__":
    sys.exit(main())

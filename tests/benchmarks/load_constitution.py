"""How long a constitution of 200 principles takes to load and to check: `python tests/benchmarks/load_constitution.py`.

Each principle has its three texts, an example and a test, and the whole extends base-safety. Prints the least and the
middle of ten times, in seconds of this process and of the clock; the first differs from the second by what other
processes take.
"""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from rlhf_core.constitution.load import builtin_text, examine_constitution, load_constitution
from rlhf_core.constitution.parsing import tree

HEAD = """\
schema: constitution/v1
id: large
version: 1.0.0
title: Large
extends: [builtin:base-safety@^1]
objectives: {helpful: {}, harmless: {}}
principles:
"""


def text_of(principles: int) -> str:
    """A constitution of this many principles, in the words of the assistant's."""
    rng = random.Random(0)
    vocabulary = [word for word in builtin_text("assistant").split() if word.isalpha()]

    def words(count: int) -> str:
        return " ".join(rng.choices(vocabulary, k=count))

    return HEAD + "".join(
        f"  - id: principle-{number}\n    serves: {{helpful: 0.5, harmless: 0.5}}\n    severity: high\n"
        f"    critique: >\n      {words(14)}\n      {words(15)}\n      {words(15)}.\n"
        f"    revise: >\n      {words(15)}\n      {words(15)}.\n    compare: {words(14)}\n"
        f"    examples:\n      - prompt: {words(8)}\n        bad: {words(15)}\n        critique: {words(12)}\n"
        f"        good: {words(15)}\n"
        f"    tests:\n      - prompt: {words(8)}\n        prefer: {words(15)}\n        over: {words(15)}\n"
        for number in range(principles)
    )


def times(call: Callable[[str], object], path: str) -> str:
    used, passed = [], []
    for _ in range(10):
        cpu, clock = time.process_time(), time.perf_counter()
        call(path)
        used.append(time.process_time() - cpu)
        passed.append(time.perf_counter() - clock)
    middle = f"middle {statistics.median(used):.3f} s, clock {statistics.median(passed):.3f} s"
    return f"least {min(used):.3f} s, {middle}"


def main() -> None:
    text = text_of(200)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "large.yaml"
        path.write_text(text)
        print(f"{len(load_constitution(str(path)).principles)} principles, {len(text)} characters")
        print(f"load:             {times(load_constitution, str(path))}")
        print(f"check with lints: {times(examine_constitution, str(path))}")
        tree._LIBYAML = None
        print(f"without libyaml:  {times(load_constitution, str(path))}")


if __name__ == "__main__":
    main()

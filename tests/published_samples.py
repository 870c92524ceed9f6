"""The samples published with Anthropic's constitutional AI paper, where they lie on this machine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from rlhf_core.data.loaders import load_prompts
from rlhf_core.records.samples import Prompt, Sample

FOLDER = Path(__file__).parents[2] / "shared" / "data" / "cai-samples"
needs_samples = pytest.mark.skipif(not FOLDER.is_dir(), reason="the published samples are not here")
SETS = ("PALMS", "LAMDA", "INSTRUCTGPT")


class Step(NamedTuple):
    prompt: Prompt
    before: str
    critique: str
    after: str


def rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (FOLDER / f"{name}.jsonl").read_text().splitlines()]


def prompt_of(text: str, folder: Path) -> Prompt:
    """The published text form, read as a user's file is read."""
    file = folder / "prompt.jsonl"
    file.write_text(json.dumps({"prompt": text}))
    return load_prompts(file)[0]


def steps(folder: Path) -> Iterator[Step]:
    """All steps of critique and revision, each on what the step before left."""
    for name in SETS:
        for row in rows(f"{name}_SLMADISON"):
            prompt, before = prompt_of(row["rl_prompt"], folder), row["initial_response"][0]["sample"].strip()
            for step in row["cst"]:
                yield Step(prompt, before, step["critique"]["sample"], step["revision"]["sample"])
                before = step["revision"]["sample"].strip()


def answers(name: str, folder: Path) -> list[Sample]:
    """All sampled answers, without the turn that some of them begin for the human."""
    found = []
    for row in rows(name):
        prompt = prompt_of(row["rl_prompt"], folder)
        for answer in row["sampled_answers"]:
            text = answer["sampled_string"].split("\n\nHuman:")[0].strip()
            found.append(Sample(id=f"{name}-{len(found)}", prompt=prompt, response=text, policy_version=name))
    return found

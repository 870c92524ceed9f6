"""A call of `Generate` goes through the files that the walk lists, in that order, and no file calls one above it."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import pytest

from rlhf_core.config.run import ModelConfig
from rlhf_core.records.samples import Prompt
from services.client.client import CharterClient
from services.embedded import embedded_server

ROOT = Path(__file__).parents[3]
WALKS = (ROOT / "docs/walks.md").read_text()
ROAD = re.findall(r"^\d+\. `([\w/]+\.py)`", WALKS.partition("what `Generate`")[2].partition("\n## ")[0], re.MULTILINE)


def step_of(frame: FrameType | None) -> str | None:
    """The file on the road that a frame, or the nearest one that called it, lies in."""
    while frame is not None:
        name = frame.f_code.co_filename.removeprefix(f"{ROOT}/")
        if name in ROAD:
            return name
        frame = frame.f_back
    return None


class Trace:
    """The calls from one file of the road to another, with the function that is called, while it is on."""

    def __init__(self) -> None:
        self.on = False
        self.calls: list[tuple[str | None, str, str]] = []

    def __call__(self, frame: FrameType, event: str, arg: object) -> None:
        if self.on and event == "call" and frame.f_code.co_filename.removeprefix(f"{ROOT}/") in ROAD:
            caller, here = step_of(frame.f_back), step_of(frame)
            if here is not None and caller != here:
                self.calls.append((caller, here, frame.f_code.co_name))


@pytest.fixture
def trace(tmp_path: Path, model_config: ModelConfig) -> Iterator[Trace]:
    """The calls of one request to a server whose model is loaded."""
    trace = Trace()
    threading.setprofile(trace)
    try:
        with embedded_server(tmp_path, model_config, works=False) as address:
            client = CharterClient.connect(address)
            trace.on = True
            client.policy.generate([Prompt.of("How do I dust?")], max_tokens=3)
            trace.on = False
            client.close()
            yield trace
    finally:
        threading.setprofile(None)


def test_a_call_passes_through_the_files_of_the_walk_in_their_order(trace: Trace):
    # Which version answers is looked up first, on a thread that may wait for the store. Before its pass the model is
    # asked to render the prompt and to hold the adapter.
    looked_up = {(ROAD[0], "services/serving/executor.py", "run"), (None, "services/serving/executor.py", "on_loop")}
    steps = [call for call in trace.calls if call not in looked_up]
    entered = [here for _, here, name in steps if here != ROAD[-1] or name == "forward"]
    assert list(dict.fromkeys(entered)) == ROAD
    assert len(ROAD) <= 9


def test_no_file_of_the_walk_calls_one_above_it(trace: Trace):
    climbs = {call for call in trace.calls if call[0] and ROAD.index(call[0]) > ROAD.index(call[1])}
    assert climbs == {(ROAD[-1], "services/serving/executor.py", "give_way")}

"""What a watched run looks like, from its events alone."""

from __future__ import annotations

import io
import json
import time
from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console

from rlhf_core.config.run import RunConfig, stages_of
from rlhf_core.errors import Unavailable
from rlhf_core.records.base import STAGES
from rlhf_core.records.runs import RunEvent, StepMetrics
from services.cli.progress import RunView, clock_text, follow, objective_table, shown_values

START = datetime(2026, 1, 1, tzinfo=UTC)


def event(sequence: int, kind: str, at: float = 0.0, **body: object) -> RunEvent:
    time = (START + timedelta(seconds=at)).isoformat()
    return RunEvent(run_id="run-1", sequence=sequence, kind=kind, body=json.dumps(body), created_at=time)


def step(number: int, of: int, seconds: float, **values: float) -> RunEvent:
    metrics = StepMetrics(stage="ppo", step=number, steps=of, values=values)
    return event(number, "metrics", seconds, **metrics.model_dump())


def test_a_pipe_gets_a_line_for_each_tenth_of_a_stage_and_each_change():
    events = [
        event(1, "state", state="RUNNING"),
        event(2, "stage", stage="ppo", state="started"),
        *(step(n, 100, n, kl=0.5) for n in range(1, 101)),
        event(103, "note", text="evaluated shipped"),
        event(104, "stage", stage="ppo", state="done", seconds=100.0),
        event(105, "state", state="SUCCEEDED"),
    ]
    out = io.StringIO()
    assert follow(iter(events), RunView(), Console(file=out)) == 105
    lines = out.getvalue().splitlines()
    assert lines[:3] == ["run run-1: running", "PPO ...", "ppo 1/100  kl 0.5"]
    assert lines[-3:] == ["  evaluated shipped", "PPO: done in 1 min 40 s", "run run-1: succeeded"]
    assert sum(line.startswith("ppo ") for line in lines) == 11


def test_a_log_is_told_that_a_silent_stage_is_at_work(monkeypatch):
    monkeypatch.setattr("services.cli.progress.SILENCE_SECONDS", 0.05)

    def slow():
        yield event(1, "state", state="RUNNING")
        yield event(2, "stage", stage="label", state="started")
        for number in range(6):  # less than a tenth each, so that they have no lines of their own
            time.sleep(0.04)
            metrics = StepMetrics(stage="label", step=number, steps=100, values={})
            yield event(3 + number, "metrics", 10.0 * number, **metrics.model_dump())
        time.sleep(0.12)
        yield event(9, "state", state="SUCCEEDED")

    out = io.StringIO()
    assert follow(slow(), RunView(), Console(file=out)) == 9
    lines = out.getvalue().splitlines()
    assert lines[-1] == "run run-1: succeeded"
    told = [line for line in lines if "at work" in line]
    assert len(told) >= 3 and told[-1].startswith("label 5/100: at work, ")
    assert told[-1].endswith("about 15 min 50 s left of this stage"), "95 left at 10 s each"


def test_what_ends_the_events_ends_the_watching():
    def broken():
        yield event(1, "state", state="RUNNING")
        raise Unavailable("the server is away")

    with pytest.raises(Unavailable, match="the server is away"):
        follow(broken(), RunView(), Console(file=io.StringIO()))


def test_time_left_is_the_pace_of_the_last_steps_times_the_steps_left():
    view = RunView()
    view.update(step(10, 100, 0))
    assert view.left() is None
    view.update(step(20, 100, 40))
    assert view.left() == pytest.approx(4 * 80)


def test_a_pause_between_two_attempts_does_not_count_as_pace():
    view = RunView()
    view.update(step(10, 100, 0))
    view.update(event(11, "state", 9000, state="RUNNING"))
    view.update(step(11, 100, 9001))
    view.update(step(12, 100, 9002))
    assert view.left() == pytest.approx(88)


def test_the_picture_ticks_off_stages_and_shows_the_one_at_work():
    view = RunView(clock=lambda: 0.0)
    view.update(event(1, "state", state="RUNNING"))
    view.update(event(2, "stage", stage="sft", state="done", seconds=12.0))
    view.update(step(30, 60, 0, **{"score.helpful": 1.25, "score.harmless": -0.5, "kl": 2.0, "grad_norm": 9.0}))
    view.update(step(31, 60, 2, **{"score.helpful": 1.25, "score.harmless": -0.5, "kl": 2.0, "grad_norm": 9.0}))
    out = io.StringIO()
    Console(file=out, width=100).print(view)
    text = out.getvalue()
    assert "✓ supervised fine-tuning 12 s" in text
    assert "31/60, 58 s left" in text
    assert "score.helpful 1.25   score.harmless -0.5   kl 2\n" in text


def test_rewards_and_kl_are_shown_and_the_machinery_is_not():
    values = {"clip_share": 0.1, "kl_coef": 0.03, "kl": 1.0, "score.helpful": 0.5, "score.harmless": 0.6, "reward": 2.0}
    assert [name for name, _ in shown_values(values)] == ["reward", "score.helpful", "score.harmless", "kl"]


def test_each_objective_of_a_ppo_step_has_a_row_with_its_part():
    values = {f"{metric}.{name}": 0.25 for metric in ("z", "reward", "advantage_share") for name in ("helpful", "calm")}
    values |= {"weight.helpful": 1.0, "weight.calm": 3.0, "advantage_share.kl": 0.5, "explained_variance.kl": 0.125}
    out = io.StringIO()
    Console(file=out, width=100).print(objective_table(values))
    rows = [line.split() for line in out.getvalue().splitlines()]
    assert rows[0] == ["weight", "score,", "z", "reward", "pull"]
    assert rows[1:] == [["helpful", "1", "0.25", "0.25", "25%"], ["calm", "3", "0.25", "0.25", "25%"], ["KL", "50%"]]
    assert objective_table({"loss": 1.0}) is None
    assert [name for name, _ in shown_values(values | {"reward": 1.0})] == ["reward"]


def test_durations_are_written_in_seconds_minutes_and_hours():
    assert [clock_text(s) for s in (0.4, 59.4, 60, 200, 7500)] == [
        "0 s",
        "59 s",
        "1 min 00 s",
        "3 min 20 s",
        "2 h 05 min",
    ]


def test_a_run_shows_the_stages_that_it_goes_through():
    assert stages_of(RunConfig()) == STAGES
    assert stages_of(RunConfig(start_at="ppo", from_run="run-0")) == ("ppo", "control", "evaluate", "report")
    assert stages_of(RunConfig(kind="sft")) == ("sft",)

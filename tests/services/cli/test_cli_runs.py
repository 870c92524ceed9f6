"""`charter runs`, `runs delete`, `compare` and `report` on a folder, as a person would type them."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from rlhf_core.config.run import RunConfig
from rlhf_core.errors import Conflict, InvalidInput, NotFound
from rlhf_core.records.models import GoldScore, PolicyVersion
from rlhf_core.records.runs import StageResult, WatchPoint
from rlhf_core.records.samples import Prompt, Sample
from rlhf_core.store.store import Store
from services.cli.main import app
from services.embedded import embedded_server

PROMPTS = [Prompt.of(f"How do I clean tile {number}?", split="heldout") for number in range(4)]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def evaluated(data: Path) -> Callable[..., str]:
    """A finished run whose policy has answered each prompt, with gold of helpful; returns its id."""

    def make(name: str, gold: list[float], *, seed: int = 0, report: bool = False, says: str = "") -> str:
        with closing(Store.open(data)) as store:
            config = RunConfig(seed=seed, weights={"helpful": 1.0}).model_dump_json()
            run = store.runs.create("pipeline", config, "k", "", name, tags={"made": "here"})
            claimed = store.runs.claim("elsewhere:1:1", 3600)
            assert claimed is not None
            by = {"policy_version": f"policy-{name}", "run_id": run.id, "stage": "evaluate"}
            samples = [
                Sample(id=f"{run.id}-{i}", prompt=prompt, response=f"{says or name} says {score}", **by)
                for i, (prompt, score) in enumerate(zip(PROMPTS, gold, strict=True))
            ]
            store.samples.add(samples)
            grades = zip(samples, gold, strict=True)
            store.gold_scores.add([GoldScore(sample_id=s.id, kind="helpful", score=score) for s, score in grades])
            point = {"run_id": run.id, "step": 1, "objective": "helpful", "kl": 0.0, "proxy": (1.0,), "gold": (0.5,)}
            store.watch_points.add([WatchPoint.model_validate(point)])
            version = {"stage": "ppo", "parent": "base", "base_model": "m", "artifact": "", "step": 1}
            store.policy_versions.add(PolicyVersion(id=f"policy-{name}", run_id=run.id, **version))
            store.stage_results.add(StageResult(run_id=run.id, stage="ppo", policy_version=f"policy-{name}"))
            store.stage_results.add(StageResult(run_id=run.id, stage="evaluate"))
            store.runs.release(run.id, claimed.fence, "SUCCEEDED")
        if report:
            (data / "runs" / run.id).mkdir(parents=True)
            (data / "runs" / run.id / "report.json").write_text('{"told": 1}')
        return run.id

    return make


def charter(data: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, [*arguments, "--data", str(data)])


def test_runs_are_listed_by_short_id_name_and_tag(data, evaluated):
    run = evaluated("one", [0, 0, 0, 0])
    row = charter(data, "runs").stdout.splitlines()[1].split()
    assert row[:3] == [run[-6:], "one", "succeeded"] and row[-1] == run
    assert charter(data, "runs", "--tag", "made=there").stdout == "no runs with these tags\n"
    [told] = json.loads(charter(data, "runs", "--tag", "made", "--json").stdout)["runs"]
    assert (told["status"], told["short_id"]) == ("SUCCEEDED", run[-6:])


def test_end_numbers_are_set_side_by_side_and_paired_by_prompt(data, evaluated):
    one, two = evaluated("one", [0, 0, 1, 1]), evaluated("two", [1, 1, 2, 2], seed=1)
    told = charter(data, "compare", "one", two[-6:]).stdout
    assert charter(data, "compare", "one", "last").stdout == told
    gold = next(line for line in told.splitlines() if line.startswith("gold helpful"))
    assert "+1.00 [+1.00, +1.00]" in gold and "0.50 [" in gold and "1.50 [" in gold
    assert "helpful: better, from 0.50 to 1.50, by +1.00 [+1.00, +1.00]; 1 is best" in told
    assert "Better: from one to two the weighted sum changed by +1.00 [+1.00, +1.00]." in told
    assert "seed: 0 | 1" in told and "4 and 4, 4 of them the same" in told
    found = json.loads(charter(data, "compare", one, two, "--json").stdout)
    assert found["settings"] == {"seed": ["0", "1"]}
    assert {pair["distance"] for pair in found["replies"]} == {1.0}


def test_runs_of_a_server_are_compared_as_those_of_its_folder_are(data, evaluated):
    evaluated("one", [0, 0, 1, 1]), evaluated("two", [1, 1, 2, 2], seed=1)
    words = ["compare", "one", "last", "--json"]
    with embedded_server(data, None) as address:
        there = CliRunner().invoke(app, [*words, "--address", address], catch_exceptions=False)
    assert there.stdout == charter(data, *words).stdout and "gold helpful" in there.stdout


def test_the_replies_that_differ_most_come_first(data, evaluated):
    evaluated("one", [0, 0, 0, 0])
    evaluated("two", [1, 5, 0, 2])
    found = json.loads(charter(data, "compare", "one", "two", "--json").stdout)
    assert [pair["distance"] for pair in found["replies"]] == [5, 2, 1, 0]
    assert found["replies"][0]["prompt"] == "How do I clean tile 1?"


def test_no_reply_that_is_shown_can_rewrite_the_terminal(data, evaluated):
    evaluated("one", [0, 0, 0, 0])
    evaluated("two", [1, 1, 1, 1], says="fine\x1b[2J\x1b]0;owned\x07\u202egnp")
    told = charter(data, "compare", "one", "two").stdout
    assert "two: fine\\x1b[2J" in told
    assert not {"\x1b", "\x07", "\u202e"} & set(told)


def test_the_page_holds_everything_escaped_and_is_not_written_over(data, evaluated, tmp_path):
    evaluated("<b>one", [0, 0, 1, 1])
    evaluated("two", [1, 1, 2, 2])
    page = tmp_path / "both.html"
    assert charter(data, "compare", "<b>one", "two", "--out", str(page)).exit_code == 0
    text = page.read_text()
    assert "&lt;b&gt;one" in text and "<b>one" not in text and text.count("data:image/png") == 2
    assert isinstance(charter(data, "compare", "<b>one", "two", "--out", str(page)).exception, InvalidInput)


@pytest.mark.parametrize(
    ("arguments", "error", "told"),
    [
        (["compare", "one", "one"], InvalidInput, "are one run"),
        (["compare", "one", "oen"], NotFound, 'did you mean "one"'),
        (["compare", "one", "bare"], NotFound, "has evaluated no policy"),
        (["compare", "production", "one"], NotFound, "nobody holds `production`"),
        (["runs", "delete", "one"], InvalidInput, "--yes"),
        (["runs", "delete", "oen", "--yes"], NotFound, "charter runs lists them"),
        (["run", "--tag", "sweep"], InvalidInput, "write it as KEY=VALUE"),
    ],
)
def test_a_wrong_run_name_or_option_is_refused_in_words(data, evaluated, arguments, error, told):
    evaluated("one", [0, 0, 0, 0])
    with closing(Store.open(data)) as store:
        store.runs.cancel(store.runs.create("ppo", "{}", "k", "", "bare").id)
    failed = charter(data, *arguments)
    assert isinstance(failed.exception, error) and told in str(failed.exception)


def test_a_run_is_deleted_with_its_report_after_it_was_told_how_much_goes(data, evaluated):
    run = evaluated("one", [0, 0, 0, 0], report=True)
    assert "would take" in charter(data, "runs", "delete", "one", "--dry-run").stdout
    assert (data / "runs" / run / "report.json").exists()
    took = charter(data, "runs", "delete", "one", "--yes").stdout
    assert took.startswith(f"deleting run {run} (one) took ") and "4 samples" in took
    assert not (data / "runs" / run).exists()
    assert charter(data, "runs").stdout.startswith("no runs yet")


def test_a_run_whose_policy_holds_an_alias_is_kept(data, evaluated):
    evaluated("one", [0, 0, 0, 0])
    promote(data)
    failed = charter(data, "runs", "delete", "one", "--yes")
    assert isinstance(failed.exception, Conflict) and "policy-one (production)" in str(failed.exception)


def test_the_run_that_made_what_is_in_production_is_named_so(data, evaluated):
    evaluated("one", [0, 0, 1, 1])
    promote(data)
    evaluated("two", [1, 1, 2, 2], seed=1)
    told = charter(data, "compare", "production", "last").stdout
    assert "Better: from one (in production) to two the weighted sum changed by +1.00" in told


def promote(data: Path) -> None:
    """Give `production` to the policy that the run named `one` has made."""
    assert charter(data, "policies", "promote", "policy-one").exit_code == 0


def test_the_last_report_is_found_past_newer_runs_that_have_none(data, evaluated):
    evaluated("one", [0, 0, 0, 0], report=True)
    newer = evaluated("two", [0, 0, 0, 0])
    found = charter(data, "report", "--json")
    assert found.stdout == '{"told": 1}\n' and f"newer runs have none: {newer[-6:]} (succeeded)" in found.stderr
    assert isinstance(charter(data, "report", "two").exception, NotFound)


def test_gc_takes_the_report_of_a_run_that_is_gone(data, evaluated):
    evaluated("one", [0, 0, 0, 0])
    left = data / "runs" / "run-20260101-000000-000000-abcdef"
    left.mkdir(parents=True)
    assert left.name in charter(data, "gc", "--dry-run").stdout and left.exists()
    charter(data, "gc")
    assert not left.exists()

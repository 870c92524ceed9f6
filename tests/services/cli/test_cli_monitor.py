"""`charter monitor` as a process, on files that a user could have."""

from __future__ import annotations

import json
from pathlib import Path

from tests.services.cli.test_cli import charter, refusal


def written(folder: Path, name: str, *replies: str) -> Path:
    rows = [{"prompt": f"p{i}", "response": reply, "tags": ["benign"]} for i, reply in enumerate(replies)]
    path = folder / name
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def test_monitor_prints_shares_and_warns_of_those_beyond_a_limit(tmp_path: Path):
    file = written(tmp_path, "after.jsonl", "I'm sorry, no.", *["Use soap."] * 3)
    result = charter("monitor", str(file), folder=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "4 replies to 4 prompts, 2.2 words each" in result.stdout
    assert "refuse, benign prompts" in result.stdout and "25.0 %" in result.stdout
    assert result.stdout.splitlines()[-2:] == [
        "warn: replies that decline 25%, above the limit of 10%",
        "warn: replies that open with an apology 25%, above the limit of 10%",
    ]


def test_a_limit_that_ends_a_run_is_exit_code_1_and_json_is_whole(tmp_path: Path):
    after = written(tmp_path, "after.jsonl", *["I can't do that."] * 10)
    before = written(tmp_path, "before.jsonl", *["Use soap."] * 10)
    overrides = ("-s", "monitors.stop.refusals=0.5", "--reference", str(before), "--json")
    result = charter("monitor", str(after), *overrides, folder=tmp_path)
    body = json.loads(result.stdout)
    assert result.returncode == 1
    assert body["monitors"]["length_ratio"] == {"median": 2.0, "p90": 2.0, "n": 10}
    assert {drift["monitor"]: drift["level"] for drift in body["drifts"]} == {"refusals": "stop"}


def test_a_file_that_is_no_set_of_replies_is_named(tmp_path: Path):
    (tmp_path / "bad.jsonl").write_text('{"prompt": "p"}\n')
    assert "bad.jsonl:1: the key 'completion' is missing" in refusal(tmp_path, "monitor", "bad.jsonl")

"""`charter labels` and `charter export labels` on a data folder, through an embedded server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rlhf_core.records.feedback import Choice
from rlhf_core.records.samples import Comparison, Prompt, Sample
from rlhf_core.store.store import Store
from services.cli.main import app
from services.client.client import CharterClient
from services.embedded import embedded_server

ATTACK = "\x1b[31mred"


def pair(number: int) -> Comparison:
    prompt = Prompt.of(f"How do I clean sink {number}? {ATTACK}")
    both = [Sample(id=f"s{number}{side}", prompt=prompt, response=side, policy_version="base") for side in "ab"]
    return Comparison.of(*both, run_id="")


PAIRS = [pair(number) for number in range(4)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Ada and bo, who contradict each other on the first of four pairs."""
    store = Store.open(tmp_path)
    store.comparisons.add(PAIRS)
    store.close()
    with embedded_server(tmp_path, None) as address, CharterClient.connect(address) as client:
        for number, (ada, bo) in enumerate((("a", "b"), ("a", "a"), ("b", "b"), ("tie", "tie"))):
            for who, choice in (("ada", ada), ("bo", bo)):
                say(client, number, who, choice)
    return tmp_path


def say(client: CharterClient, number: int, who: str, choice: Choice) -> None:
    given = {"objective": "helpful", "labeler": who, "choice": choice, "reason": "plain" if who == "bo" else ""}
    client.preference.submit_preference(PAIRS[number].id, **given, swapped=True)


def charter(folder: Path, *words: str) -> str:
    result = CliRunner().invoke(app, [*words, "--data", str(folder)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_quality_is_told_in_words_and_in_json(folder):
    told = charter(folder, "labels", "--objective", "helpful")
    assert "helpful: 8 answers on 4 pairs, 0 of gold" in told and "on 4 shared pairs" in told
    assert "ada" in told and "bo" in told
    (found,) = json.loads(charter(folder, "labels", "--objective", "helpful", "--json"))["objectives"]
    assert found["ordinal"]["items"] == 4 and len(found["annotators"]) == 2
    assert "undefined: no item has the answers of two people" in charter(folder, "labels")


def test_a_disagreement_is_listed_decided_exported_and_taken_back(folder):
    listed = charter(folder, "labels", "disagreements", "--objective", "helpful")
    assert f"{PAIRS[0].id}  [people] ada a, bo b" in listed and "1 to decide for helpful" in listed
    assert ATTACK not in listed and "\\x1b[31mred" in listed
    decided = ["labels", "adjudicate", PAIRS[0].id, "b", "--objective", "helpful", "--reason", "seen", "--name", "rei"]
    assert charter(folder, *decided) == f"{PAIRS[0].id}: b for helpful\n"
    assert "0 to decide" in charter(folder, "labels", "disagreements", "--objective", "helpful")
    file = folder / "labels.jsonl"
    assert "8 rows in" in charter(folder, "export", "labels", str(file))
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    first = rows[1]
    assert (first["labeler"], first["choice"], first["reason"], first["swapped"]) == ("human:bo", "b", "plain", True)
    assert (first["a"], first["b"], first["prompt"][0]["role"]) == ("a", "b", "user") and first["time"]
    assert (first["adjudication"]["choice"], first["adjudication"]["adjudicated_by"]) == ("b", "rei")
    assert rows[2]["adjudication"] is None
    assert "people are asked again" in charter(
        folder, "labels", "adjudicate", PAIRS[0].id, "withdraw", "--objective", "helpful"
    )
    assert "1 to decide" in charter(folder, "labels", "disagreements", "--objective", "helpful")


def test_somebody_is_shut_out_from_the_command_line(folder):
    assert charter(folder, "labels", "standing", "bo", "paused", "--reason", "guesses") == "bo: paused\n"
    assert "4 answers on 4 pairs" in charter(folder, "labels", "--objective", "helpful")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            ["labels", "adjudicate", "p", "maybe", "--objective", "helpful"],
            "allowed: a, b, tie, both_bad, aside, withdraw",
        ),
        (["labels", "standing", "bo", "gone"], "allowed: by_rule, admitted, paused"),
        (["labels", "adjudicate", "gone", "a", "--objective", "helpful"], "no comparison 'gone'"),
        (["labels", "--objective", "kindness"], "unknown objective 'kindness'"),
    ],
)
def test_a_mistake_is_named(folder, words, told):
    result = CliRunner().invoke(app, [*words, "--data", str(folder)])
    assert told in str(result.exception)

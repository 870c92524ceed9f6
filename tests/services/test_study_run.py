"""A study from its plan to its results on a server with a tiny real model, and from the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rlhf_core.config.run import ModelConfig
from services.cli.main import app
from services.client.client import CharterClient
from services.embedded import embedded_server


@pytest.mark.slow
def test_two_policies_write_their_replies_and_people_decide_between_them(
    tmp_path: Path, model_config: ModelConfig, trained: Callable[[Path], str]
):
    data, prompts = tmp_path / "data", tmp_path / "prompts.jsonl"
    trained(data)
    prompts.write_text("".join(json.dumps({"prompt": f"How do I dust shelf {number}?"}) + "\n" for number in range(16)))
    with embedded_server(data, model_config) as address, CharterClient.connect(address) as client:
        study = client.studies.create_study(
            ["base", "policy-1"], objectives=["harmless"], pairs=14, prompts=str(prompts), constitution="household"
        )
        assert [event.kind for event in client.trainer.watch_run(study.id)][-1] == "state"
        assert client.trainer.get_run(study.id).state == "SUCCEEDED", client.trainer.get_run(study.id).error
        found = client.studies.get_study(study.id)
        assert found.state == "open"
        assert 10 <= found.questions[0].pairs <= 14, "the adapter was drawn so that it says something else"
        sides = {sample.id: sample.policy_version for sample in client.datasets.samples(study.id)}
        while (pair := client.preference.next_comparison("ada", "harmless", study.id)) is not None:
            choice = "a" if sides[pair.a.id] == "policy-1" else "b"
            client.preference.submit_preference(pair.id, objective="harmless", labeler="ada", choice=choice)
    told = CliRunner().invoke(app, ["study", "results", study.id, "--data", str(data)]).stdout
    assert told.startswith(f"harmless: 10 of {found.questions[0].pairs} pairs by 1 people, closed: decided\n")
    assert "policy-1 is preferred" in told
    listing = CliRunner().invoke(app, ["study", "--data", str(data), "--json"]).stdout
    assert [one["id"] for one in json.loads(listing)["studies"]] == [study.id]
    status = CliRunner().invoke(app, ["study", "status", "last", "--data", str(data)]).stdout
    assert "harmless: 10 of" in status and "closed: decided" in status

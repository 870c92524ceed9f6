"""A study from its plan to its results on a server with a tiny real model, and from the command line."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rlhf_core.config.run import ModelConfig
from services.cli.main import app
from services.client.client import CharterClient
from services.embedded import embedded_server


@pytest.mark.slow
def test_two_policies_write_their_replies_and_people_decide_between_them_and_rate_each(
    tmp_path: Path, model_config: ModelConfig, trained: Callable[[Path], str]
):
    data, prompts = tmp_path / "data", tmp_path / "prompts.jsonl"
    trained(data)
    prompts.write_text("".join(json.dumps({"prompt": f"How do I dust shelf {number}?"}) + "\n" for number in range(16)))
    with embedded_server(data, model_config) as address, CharterClient.connect(address) as client:
        study = client.studies.create_study(
            ["base", "policy-1"],
            objectives=["harmless"],
            pairs=14,
            ratings_per_reply=2,
            prompts=str(prompts),
            constitution="household",
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
        [asked] = found.rating_questions
        assert asked.replies == 28 - (14 - found.questions[0].pairs), "the same words to a prompt are one reply"
        assert rate(client, study.id, sides) == asked.replies
        half = client.studies.get_study(study.id)
        assert (half.state, half.rating_questions[0].done) == ("open", 0), "each reply wants another rating"
    words = ["label", "--run", study.id, "--form", "ratings", "--objective", "harmless", "--name", "bo"]
    rated = CliRunner().invoke(app, [*words, "--data", str(data)], input="5" * asked.replies).stdout
    assert f"{asked.replies} labels stored as human:bo" in rated and "policy-1" not in rated
    told = CliRunner().invoke(app, ["study", "results", study.id, "--data", str(data)]).stdout
    assert told.startswith(f"harmless: 10 of {found.questions[0].pairs} pairs by 1 people, closed: decided\n")
    assert "policy-1 is preferred" in told
    count = f"{asked.replies} of {asked.replies}"
    assert f"harmless, rated from 1 to 7 by 2 people, finished: {count} replies have all their ratings" in told
    assert "  base: mean 3." in told, "of 2 or 3, and 5"
    assert "policy-1 is rated higher than base" in told and f"on {2 * asked.replies} ratings of {asked.replies}" in told
    listing = CliRunner().invoke(app, ["study", "--data", str(data), "--json"]).stdout
    assert [one["id"] for one in json.loads(listing)["studies"]] == [study.id]
    status = CliRunner().invoke(app, ["study", "status", "last", "--data", str(data)]).stdout
    assert "harmless: 10 of" in status and "closed: decided" in status
    assert f"harmless: {count} replies rated, closed: complete" in status and "to rate:" not in status


def rate(client: CharterClient, study_id: str, sides: Mapping[str, str]) -> int:
    """Rate all that ada is asked about, policy-1's replies higher; return how many there were."""
    items = client.assessments.upcoming("ada", "harmless", "rating", study_id, count=50).items
    for item in items:
        [sample] = item.samples
        shelf = int(sample.prompt.messages[-1].content.rstrip("?").split()[-1])
        grade = 6 if sides[sample.id] == "policy-1" else 2 + shelf % 2
        about = {"objective": "harmless", "labeler": "ada", "run_id": study_id}
        client.assessments.submit("rating", [sample.id], rating=grade, **about)
    return len(items)

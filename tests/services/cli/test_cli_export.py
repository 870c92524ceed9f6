"""`charter export`: files in the formats of Hugging Face and TRL that Charter reads back unchanged."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rlhf_core.config.run import RunConfig
from rlhf_core.data.loaders import load_demonstrations, load_labels, load_preferences
from rlhf_core.errors import InvalidInput, NotFound, Unavailable
from rlhf_core.records.feedback import Preference
from rlhf_core.records.runs import StageResult
from rlhf_core.records.samples import Comparison, Message, Prompt, Sample
from rlhf_core.store.store import Store
from services.cli.data import export
from services.embedded import embedded_server
from tests.records import revision

TRICKY = 'Human: "hi"\u2028\n\nAssistant: caf\u00e9 \U0001f600'
ASKED = (
    Prompt.of(TRICKY, tags=("lang:de", "benign")),
    Prompt.from_messages(
        (
            Message(role="system", content="Be brief."),
            Message(role="user", content="Hi"),
            Message(role="assistant", content=""),
            Message(role="user", content=" And now?\n"),
        )
    ),
    Prompt.of("Plain?"),
)


def written(prompt: Prompt, text: str, run_id: str, stage: str = "label") -> Sample:
    made = {"id": f"{prompt.id}{text}{stage}", "prompt": prompt, "response": text, "policy_version": "policy-1"}
    return Sample.model_validate({**made, "run_id": run_id, "stage": stage, "seed": 7})


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A data folder, and the id of its run: labels of three pairs, and what a critic let pass."""
    data = tmp_path / "data"
    store = Store.open(data)
    run = store.runs.create("pipeline", RunConfig().model_dump_json(), "law", "").id
    later = store.runs.create("pipeline", RunConfig(from_run=run, start_at="ppo").model_dump_json(), "law", "other").id
    assert later != run
    pairs = [Comparison.of(written(p, f"x {TRICKY}", run), written(p, "", run), run) for p in ASKED]
    store.comparisons.add(pairs)

    def label(number: int, labeler: str, **said: Any) -> Preference:
        given = {"id": f"{labeler}{number}{said}", "comparison_id": pairs[number].id, "labeler": labeler}
        return Preference.model_validate({**given, "objective": "helpful", "choice": "a", "run_id": run, **said})

    store.preferences.add(
        [
            label(0, "ai:judge", probability=0.8, weight=0.5, ungated=True),
            label(1, "ai:judge", probability=0.3, choice="b"),
            label(2, "ai:judge", probability=0.5, choice="tie"),
            label(2, "human:ada", choice="b", probability=0.0),
            label(1, "human:ada", choice="both_bad"),
            label(0, "human:ada", choice="skip"),
            label(0, "ai:other", abstained=True, reason="gap"),
            label(0, "ai:judge", objective="harmless", probability=1.0),
        ]
    )
    answers = [written(p, "good" if p is not ASKED[1] else "bad", run, "critique") for p in ASKED]
    store.samples.add([*answers, written(ASKED[0], " ", run, "evaluate")])
    steps = [revision("calm", id="r", sample_id=answers[1].id, run_id=run, before="bad", after=f"mended {TRICKY}")]
    store.revisions.add(steps)
    for stage in ("critique", "label"):
        store.stage_results.add(StageResult(run_id=run, stage=stage))
    store.close()
    yield data, run


def rows(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_bytes().split(b"\n") if line]


@pytest.mark.parametrize("which", ["all", "last", "run"])
def test_labels_come_back_with_their_prompts_replies_and_what_is_said_of_them(folder, tmp_path: Path, which: str):
    data, run = folder
    file = tmp_path / "pairs.jsonl"
    export.preferences(run if which == "run" else which, file, "helpful", data=data)
    text = f"x {TRICKY}"
    expected = [
        (ASKED[0], text, "", 0.8, 0.5, False),
        (ASKED[1], "", text, 0.7, 1.0, False),
        (ASKED[2], text, "", 0.5, 1.0, False),
        (ASKED[2], "", text, 1.0, 1.0, False),
        (ASKED[1], text, "", 0.5, 1.0, True),
    ]
    found = load_preferences(file)
    assert [(p.prompt.id, p.a, p.b, p.probability, p.weight, p.tied) for p in found] == [
        (prompt.id, *others) for prompt, *others in expected
    ]
    assert [p.prompt.messages for p in found] == [prompt.messages for prompt, *_ in expected]
    assert [p.prompt.tags for p in found] == [prompt.tags for prompt, *_ in expected]
    assert load_labels(file) == found
    first = rows(file)[0]
    assert first["chosen"] == [{"role": "assistant", "content": text}] and isinstance(first["prompt"], list)
    said = first["lineage"]
    assert (said["labeler"], said["run_id"], said["objective"], said["ungated"]) == ("ai:judge", run, "helpful", True)
    assert said["chosen_policy"] == "policy-1" and said["comparison_id"].startswith("comparison-")


def test_a_file_holds_the_labels_of_one_objective_and_of_the_labelers_asked_for(folder, tmp_path: Path):
    data, _ = folder
    file = tmp_path / "pairs.jsonl"
    with pytest.raises(InvalidInput, match=r"several objectives \(harmless, helpful\)"):
        export.preferences("all", file, data=data)
    assert not file.exists()
    export.preferences("all", file, "helpful", "human", data=data)
    assert {row["lineage"]["labeler"] for row in rows(file)} == {"human:ada"} and len(rows(file)) == 2
    with pytest.raises(InvalidInput, match=r"'cats' is not allowed; allowed: ai, human"):
        export.preferences("all", file, "helpful", "cats", data=data)


@pytest.mark.parametrize("which", ["all", "last"])
def test_answers_that_passed_come_back_as_demonstrations(folder, tmp_path: Path, which: str):
    data, run = folder
    file = tmp_path / "shown.jsonl"
    export.demonstrations(which, file, data=data)
    found = load_demonstrations(file)
    replies = ["good", f"mended {TRICKY}", "good"]
    assert [(shown.prompt.id, shown.response) for shown in found] == [
        (prompt.id, reply) for prompt, reply in zip(ASKED, replies, strict=True)
    ]
    assert found[0].prompt.tags == ASKED[0].tags and list(rows(file)[0]) == ["messages", "tags", "lineage"]
    assert [row["lineage"]["source"] for row in rows(file)] == ["unasked", "revision", "unasked"]
    assert {row["lineage"]["run_id"] for row in rows(file)} == {run}


def test_samples_come_back_as_demonstrations_with_what_wrote_them(folder, tmp_path: Path):
    data, run = folder
    file = tmp_path / "samples.jsonl"
    export.samples("all", file, stage="critique", data=data)
    assert [(s.prompt.id, s.response) for s in load_demonstrations(file)] == [
        (prompt.id, reply) for prompt, reply in zip(ASKED, ("good", "bad", "good"), strict=True)
    ]
    assert rows(file)[0]["lineage"] | {"seed": 7, "stage": "critique", "run_id": run} == rows(file)[0]["lineage"]
    export.samples(run, file, policy="policy-1", force=True, data=data)
    assert len(rows(file)) == 6, "no empty reply"
    with pytest.raises(NotFound, match="nothing to export"):
        export.samples(run, file, policy="policy-9", force=True, data=data)


def test_an_export_writes_the_same_bytes_again_and_over_no_file_unasked(folder, tmp_path: Path):
    data, _ = folder
    first, second = tmp_path / "1.jsonl", tmp_path / "2.jsonl"
    export.preferences("all", first, "helpful", data=data)
    export.preferences("all", second, "helpful", data=data)
    assert first.read_bytes() == second.read_bytes()
    with pytest.raises(InvalidInput, match="is there already; write over it with --force"):
        export.preferences("all", first, "helpful", data=data)
    with pytest.raises(InvalidInput, match="cannot be written: No such file or directory"):
        export.preferences("all", tmp_path / "none" / "x.jsonl", "helpful", data=data)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1.jsonl", "2.jsonl", "data"]


@pytest.mark.usefixtures("one_try")
def test_a_server_that_is_away_an_unknown_run_and_an_empty_folder_are_named(folder, tmp_path: Path):
    data, _ = folder
    file = tmp_path / "x.jsonl"
    with pytest.raises(Unavailable, match="no server answers at localhost:1"):
        export.samples("all", file, address="localhost:1", data=data)
    with pytest.raises(NotFound, match="run-9"):
        export.samples("run-9", file, data=data)
    with pytest.raises(NotFound, match="no data folder"):
        export.samples("all", file, data=tmp_path / "none")
    Store.open(tmp_path / "empty").close()
    with pytest.raises(NotFound, match="no runs yet"):
        export.samples("last", file, data=tmp_path / "empty")
    assert not file.exists()


def test_a_server_exports_what_its_folder_does(folder, tmp_path: Path):
    data, run = folder
    verbs = {"samples": export.samples, "demonstrations": export.demonstrations}
    for name, ask in verbs.items():
        ask(run, tmp_path / f"{name}-here", data=data)
    with embedded_server(data, None) as address:
        for name, ask in verbs.items():
            here, there = tmp_path / f"{name}-here", tmp_path / f"{name}-there"
            ask(run, there, address=address)
            assert here.read_bytes() == there.read_bytes() != b""
        export.preferences(run, tmp_path / "there", objective="helpful", labelers="human", address=address)
        assert len(load_preferences(tmp_path / "there")) == 2

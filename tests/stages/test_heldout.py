"""Held-out prompts are kept out of all training by what they ask, whichever file asks it and however it is spelt."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rlhf_core.errors import InvalidInput
from rlhf_core.records.runs import StageResult
from rlhf_core.records.samples import Message, Prompt
from rlhf_core.stages.context import Context
from rlhf_core.stages.demonstrations import approved, replayed
from rlhf_core.stages.imported.heldout import HeldOut
from rlhf_core.stages.prompts import all_prompts, prompts_of
from rlhf_core.stages.reward_data import labels_of
from tests.stages.conftest import Desk, NumberJudge

HELD = ("What is a mutex?", "Why is the sky blue?")
SPELT = ("  WHAT  is a\nmutex?", "Why is the sky\u00a0\uff42lue?")
OTHER = "How do I bleed a radiator?"


def written(folder: Path, name: str, *rows: dict[str, Any]) -> str:
    path = folder / name
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return str(path)


def ready(desk: Desk, folder: Path, config: dict[str, Any], **data: object) -> Context:
    data["prompts"] = written(folder, "prompts.jsonl", *({"prompt": text} for text in ("One?", "Two?", SPELT[0])))
    data["heldout_prompts"] = written(folder, "heldout.jsonl", *({"prompt": text} for text in HELD))
    return desk.context(NumberJudge(), {**config, "data": data}, gold=False)


def asked(examples: Any) -> list[str]:
    return [example.prompt.messages[-1].content for example in examples]


@pytest.mark.parametrize("text", [*HELD, *SPELT])
def test_a_prompt_is_known_by_its_words_whatever_its_case_space_and_unicode_form(text: str):
    held_out = HeldOut.of(Prompt.of(held, split="heldout") for held in HELD)
    assert held_out.asks(Prompt.of(text)) and not held_out.asks(Prompt.of(f"{text} Briefly."))
    system, user = Message(role="system", content="Be brief."), Message(role="user", content=text)
    assert held_out.asks(Prompt.from_messages((system, user)))
    more = (Message(role="assistant", content="A lock."), Message(role="user", content="And then?"))
    assert held_out.asks(Prompt.from_messages((user, *more)))
    assert not held_out.asks(Prompt.from_messages((Message(role="user", content="Hi"), more[0], user)))


def test_demonstrations_replay_preferences_and_labels_of_held_out_prompts_train_nothing(desk: Desk, tmp_path: Path):
    texts = (*SPELT, OTHER, HELD[0])
    shown = written(tmp_path, "shown.jsonl", *({"prompt": text, "completion": "x"} for text in texts))
    pairs = written(tmp_path, "pairs.jsonl", *({"prompt": text, "chosen": "x", "rejected": "y"} for text in texts))
    rated = written(tmp_path, "rated.jsonl", *({"prompt": text, "response": "x", "rating": 1} for text in texts))
    ctx = ready(
        desk,
        tmp_path,
        {"kind": "reward", "ppo": {"ptx_coef": 0.5}},
        **{"demonstrations": shown, "replay": shown, "preferences": pairs, "preferences_objective": "helpful"},
        labels={"helpful": rated},
    )
    for found in (approved(ctx), replayed(ctx)):
        assert asked(found.demonstrations) == [OTHER] and found.counts["left_out_heldout"] == 3
    labels = labels_of(ctx, "helpful")
    assert asked(labels.labels) == [OTHER, OTHER] and labels.left_out == 6
    assert [json.loads(note)["text"] for note in desk.notes] == [
        "3 demonstrations ask held-out prompts and are left out of training",
        "3 rows of data.replay ask held-out prompts and are left out of training",
        "6 labels of 'helpful' ask held-out prompts and are left out of training",
    ]


def test_training_prompts_that_ask_what_a_held_out_one_asks_are_left_out_and_counted(desk: Desk, tmp_path: Path):
    ctx = ready(desk, tmp_path, {})
    assert {prompt.messages[-1].content for prompt in prompts_of(ctx, "train")} == {"One?", "Two?"}
    assert all_prompts(ctx).alike == 1 and len(prompts_of(ctx, "heldout")) == 2
    twice = written(tmp_path, "twice.jsonl", *({"prompt": text} for text in ("Hi", "hi", "HI", " hi ")))
    same = desk.context(NumberJudge(), {"data": {"prompts": twice}}, gold=False)
    with pytest.raises(InvalidInput, match=r"no train prompts; .*; 3 were left out, as a held-out"):
        prompts_of(same, "train")


def test_a_run_of_which_nothing_is_left_to_train_on_says_so(desk: Desk, tmp_path: Path):
    rows = [{"prompt": text, "completion": "x", "chosen": "x", "rejected": "y"} for text in SPELT]
    path = written(tmp_path, "rows.jsonl", *rows)
    ctx = ready(desk, tmp_path, {"ppo": {"ptx_coef": 0.5}}, demonstrations=path, replay=path)
    for train in (approved, replayed):
        with pytest.raises(InvalidInput, match=r"data\.(demonstrations|replay): all 2 ask held-out prompts"):
            train(ctx)
    preferred = ready(desk, tmp_path, {}, preferences=path, preferences_objective="helpful")
    preferred.results["label"] = StageResult(run_id=preferred.run.id, stage="label")
    with pytest.raises(InvalidInput, match="the labels of 'helpful': all 2 ask held-out prompts"):
        labels_of(preferred, "helpful")

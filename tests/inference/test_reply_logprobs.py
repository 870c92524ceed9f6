"""Log-probabilities of given replies: the same alone and together, and those of plain transformers."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from rlhf_core.inference.reply_logprobs import reply_logprobs
from rlhf_core.models.backbone import Backbone
from rlhf_core.records.samples import Message

SHOWN = [
    Message(role=role, content=content)
    for role, content in (
        ("user", "Please clean the oven and water the plants."),
        ("assistant", "Step 1: wipe the oven."),
        ("user", "Please sweep the stairs."),
        ("assistant", "Step 1: sweep the stairs."),
    )
]


def asking(text: str, shown: bool = True) -> list[Message]:
    return [*(SHOWN if shown else []), Message(role="user", content=text)]


def plain(backbone: Backbone, conversation: list[Message], reply: str) -> float:
    before, after = backbone.render(conversation), backbone.encode_response(reply)
    with torch.no_grad():
        logits = backbone.model(torch.tensor([[*before, *after]])).logits[0].log_softmax(-1)
    return sum(logits[len(before) - 1 + i, token].item() for i, token in enumerate(after))


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_the_log_prob_of_a_reply_is_that_of_plain_transformers(
    tiny_model: Callable[[str], Backbone], kind: str
) -> None:
    backbone = tiny_model(kind)
    asked = [(asking("Dust the shelf."), "Step 1: dust it."), (asking("Dust the shelf.", False), "No.")]
    told = reply_logprobs(backbone, [c for c, _ in asked], [reply for _, reply in asked])
    assert told == pytest.approx([plain(backbone, *one) for one in asked], abs=1e-3)


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_a_reply_is_read_the_same_alone_as_among_others_that_begin_alike(
    tiny_model: Callable[[str], Backbone], kind: str
) -> None:
    backbone = tiny_model(kind)
    texts = ["Dust the shelf.", "Please mop the hall and dust the shelf.", "Iron the shirts."]
    replies = ["Step 1: dust it.", "Step 1: mop.\nStep 2: dust.", ""]
    together = reply_logprobs(backbone, [asking(text) for text in texts], replies)
    alone = [reply_logprobs(backbone, [asking(t)], [r])[0] for t, r in zip(texts, replies, strict=True)]
    assert together == pytest.approx(alone, abs=1e-3)


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_one_prompt_may_be_asked_with_several_replies(tiny_model: Callable[[str], Backbone], kind: str) -> None:
    backbone = tiny_model(kind)
    replies = ["Step 1: dust it.", "Step 1: burn it.", "Step 1: dust it."]
    told = reply_logprobs(backbone, [asking("Dust the shelf.")] * 3, replies)
    assert told[0] == pytest.approx(told[2], abs=1e-4)
    assert told[0] != pytest.approx(told[1], abs=0.1)


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_nothing_asked_is_nothing_told(tiny_model: Callable[[str], Backbone], kind: str) -> None:
    backbone = tiny_model(kind)
    assert reply_logprobs(backbone, [], []) == []

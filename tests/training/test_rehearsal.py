"""Fine-tuning that is held to the base model on texts of the base itself."""

import pytest
import torch
from torch.nn import functional

from rlhf_core.config.run import SftConfig
from rlhf_core.models.backbone import Backbone
from rlhf_core.records.samples import Demonstration, Prompt
from rlhf_core.training.rehearsal import TEXTS, base_texts, divergence, rehearsed
from rlhf_core.training.sft import train_sft

SHOWN = [Demonstration(prompt=Prompt.of(f"say {word}"), response=word) for word in ("yes", "no", "maybe so")]
CONFIG = SftConfig(epochs=40, batch_size=3, learning_rate=1e-2, rehearsal_batch_size=8, rehearsal_tokens=12)


def texts_of(backbone: Backbone, seed: int) -> list[tuple[int, ...]]:
    return [text for part in base_texts(backbone, CONFIG, seed) for text in part]


def tuned(backbone: Backbone, coef: float, texts: list[tuple[int, ...]]) -> list[dict[str, float]]:
    backbone.adapters.add("sft", 0)
    config = CONFIG.model_copy(update={"rehearsal_coef": coef})
    return [step.values for step in train_sft(backbone, "sft", SHOWN, config, 0, texts=texts)]


def apart(backbone: Backbone, texts: list[tuple[int, ...]]) -> float:
    """Nats a token between the base and what was learned."""
    batch = rehearsed(backbone, texts, CONFIG.model_copy(update={"rehearsal_batch_size": len(texts)}), 0)
    with torch.no_grad(), backbone.adapters.using("sft"):
        return float(divergence(backbone, batch) / batch.mask.sum())


def test_the_texts_are_the_bases_own_whatever_adapter_is_in_use_and_begin_with_plain_tokens(tiny_model):
    backbone = tiny_model()
    texts = texts_of(backbone, 0)
    assert len(texts) == TEXTS and all(2 <= len(text) <= CONFIG.rehearsal_tokens for text in texts)
    assert not {text[0] for text in texts} & {*backbone.tokenizer.all_special_ids}
    assert len({text[0] for text in texts}) > TEXTS / 4
    tuned(backbone, 0.0, [])
    with backbone.adapters.using("sft"):
        assert texts_of(backbone, 0) == texts
    assert texts_of(backbone, 1) != texts


def test_the_divergence_is_what_two_plain_models_give(tiny_model):
    backbone = tiny_model()
    texts = texts_of(backbone, 0)[:5]
    tuned(backbone, 0.0, [])
    batch = rehearsed(backbone, texts, CONFIG.model_copy(update={"rehearsal_batch_size": 5}), 0)
    before = [] if backbone.tokenizer.bos_token_id is None else [backbone.tokenizer.bos_token_id]
    expected, count = 0.0, 0
    for text in texts:
        ids = torch.tensor([[*before, *text]])
        first = len(before) - 1 if before else 0
        logits = []
        for name in (None, "sft"):
            with torch.no_grad(), backbone.adapters.using(name):
                logits.append(backbone.model(ids).logits[0, first:-1].log_softmax(-1))
        expected += float(functional.kl_div(logits[1], logits[0], reduction="sum", log_target=True))
        count += ids.shape[1] - 1 - first
    assert int(batch.mask.sum()) == count
    with torch.no_grad(), backbone.adapters.using("sft"):
        assert float(divergence(backbone, batch)) == pytest.approx(expected, rel=1e-4)
    assert expected > 0.1


def test_rehearsal_keeps_the_base_on_texts_that_were_not_rehearsed_and_learns_the_demonstrations_as_well(tiny_model):
    losses, distances = [], []
    for coef in (0.0, 1.0):
        backbone = tiny_model()
        seen, unseen = texts_of(backbone, 0), texts_of(backbone, 1)
        told = tuned(backbone, coef, seen if coef else [])
        losses.append(told[-1]["loss"])
        distances.append(apart(backbone, unseen))
        assert ("rehearsal_kl" in told[0]) is bool(coef)
    assert distances[1] < distances[0] / 2
    assert losses[1] < 0.3


def test_all_weights_are_held_to_the_base_too(tiny_model):
    distances = []
    for coef in (0.0, 1.0):
        backbone = tiny_model()
        seen, unseen = texts_of(backbone, 0), texts_of(backbone, 1)
        backbone.adapters.begin("sft", 0, "full")
        config = CONFIG.model_copy(update={"rehearsal_coef": coef, "tune": "full", "learning_rate": 3e-3})
        told = [step.values for step in train_sft(backbone, "sft", SHOWN, config, 0, texts=seen if coef else [])]
        distances.append(apart(backbone, unseen))
        assert told[-1]["loss"] < 0.3
    assert distances[1] < distances[0] * 0.7


def test_without_weight_the_texts_change_nothing(tiny_model):
    ends = []
    for texts in (True, False):
        backbone = tiny_model()
        told = tuned(backbone, 0.0, texts_of(backbone, 0) if texts else [])
        assert told[0].get("rehearsal_kl", 0.0) == pytest.approx(0.0, abs=1e-6)
        ends.append(torch.cat([p.detach().flatten() for p in backbone.adapters.parameters("sft")]))
    assert torch.equal(ends[0], ends[1])


def test_several_passes_of_an_update_are_one(tiny_model):
    ends = []
    for rows in (None, 3):
        backbone = tiny_model()
        texts = texts_of(backbone, 0)
        backbone.adapters.add("sft", 0)
        config = CONFIG.model_copy(update={"rehearsal_coef": 1.0, "micro_batch_size": rows, "epochs": 3})
        list(train_sft(backbone, "sft", SHOWN, config, 0, texts=texts))
        ends.append(torch.cat([p.detach().flatten() for p in backbone.adapters.parameters("sft")]))
    assert torch.allclose(ends[0], ends[1], atol=1e-5)

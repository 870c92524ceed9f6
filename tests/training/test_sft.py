"""Supervised fine-tuning."""

import pytest
import torch

from rlhf_core.config.run import SftConfig
from rlhf_core.errors import TrainingFailed
from rlhf_core.inference.generate import chat
from rlhf_core.models.backbone import Backbone
from rlhf_core.records.samples import Demonstration, Prompt
from rlhf_core.training.sft import train_sft

DEMONSTRATIONS = [Demonstration(prompt=Prompt.of(f"say {word}"), response=word) for word in ("yes", "no", "maybe so")]


def test_the_model_learns_to_give_the_responses_and_to_end_them(tiny_model):
    backbone = tiny_model()
    backbone.adapters.add("sft", 0)
    config = SftConfig(epochs=80, batch_size=3, learning_rate=2e-2)
    steps = list(train_sft(backbone, "sft", DEMONSTRATIONS, config, 0))
    assert len(steps) == steps[0].steps == 80 and steps[-1].step == 80
    assert steps[-1].values["loss"] < 0.1 < steps[0].values["loss"]
    with backbone.adapters.using("sft"):
        written = chat(backbone, [d.prompt.messages for d in DEMONSTRATIONS], 16)
    assert written == [d.response for d in DEMONSTRATIONS]


def test_all_weights_learn_it_too_and_the_base_stays_as_it_was(tiny_model):
    backbone = tiny_model()
    before = {name: tensor.clone() for name, tensor in backbone.model.named_parameters()}
    backbone.adapters.begin("sft", 0, "full")
    config = SftConfig(epochs=60, batch_size=3, learning_rate=3e-3, tune="full")
    steps = list(train_sft(backbone, "sft", DEMONSTRATIONS, config, 0))
    assert steps[-1].values["loss"] < 0.1 < steps[0].values["loss"]
    with backbone.adapters.using("sft"):
        written = chat(backbone, [d.prompt.messages for d in DEMONSTRATIONS], 16)
    assert written == [d.response for d in DEMONSTRATIONS]
    assert all(torch.equal(tensor, before[name]) for name, tensor in backbone.model.named_parameters())


def test_the_loss_is_the_mean_over_response_tokens_of_all_rows(tiny_model):
    backbone = tiny_model()
    backbone.adapters.add("sft", 0)
    first = next(iter(train_sft(backbone, "sft", DEMONSTRATIONS, SftConfig(batch_size=3), 0)))
    total, count = 0.0, 0
    for demonstration in DEMONSTRATIONS:
        prompt = backbone.render(demonstration.prompt.messages)
        response = backbone.encode_response(demonstration.response)
        labels = torch.tensor([[-100] * len(prompt) + response])
        with torch.no_grad():
            loss = backbone.model(torch.tensor([prompt + response]), labels=labels).loss
        total, count = total + loss.item() * len(response), count + len(response)
    assert first.values["loss"] == pytest.approx(total / count, abs=1e-4) and first.values["tokens"] == count


def test_the_same_seed_gives_the_same_adapter(tiny_model):
    ends = []
    for seed in (0, 0, 1):
        backbone = tiny_model()
        backbone.adapters.add("sft", 0)
        list(train_sft(backbone, "sft", DEMONSTRATIONS, SftConfig(epochs=2, batch_size=1), seed))
        ends.append(torch.cat([p.detach().flatten() for p in backbone.adapters.parameters("sft")]))
    assert torch.equal(ends[0], ends[1]) and not torch.equal(ends[0], ends[2])


def test_a_response_that_was_cut_teaches_no_end(tiny_model):
    cut = [Demonstration(prompt=shown.prompt, response=shown.response, ended=False) for shown in DEMONSTRATIONS]
    counted = []
    for shown in (DEMONSTRATIONS, cut):
        backbone = with_adapter(tiny_model(), 0)
        config = SftConfig(epochs=80, batch_size=3, learning_rate=2e-2)
        counted.append(next(iter(train_sft(backbone, "sft", shown, config, 0))).values["tokens"])
        for _ in train_sft(backbone, "sft", shown, config, 0):
            pass
        with backbone.adapters.using("sft"):
            written = chat(backbone, [d.prompt.messages for d in DEMONSTRATIONS], 16)
        assert all(text.startswith(d.response) for text, d in zip(written, DEMONSTRATIONS, strict=True))
        assert (written == [d.response for d in DEMONSTRATIONS]) is shown[0].ended
    assert counted[0] - counted[1] == 3


def test_nothing_to_learn_from_is_said(tiny_model):
    backbone = tiny_model()
    backbone.adapters.add("sft", 0)
    with pytest.raises(TrainingFailed, match="no demonstrations"):
        list(train_sft(backbone, "sft", [], SftConfig(), 0))


@pytest.mark.parametrize("killed_after", [1, 2, 3, 6])
def test_training_that_was_killed_goes_on_from_its_snapshot_and_ends_alike(tiny_model, tmp_path, killed_after):
    config = SftConfig(epochs=3, batch_size=2)
    straight, killed, resumed = (with_adapter(tiny_model(), seed) for seed in (0, 0, 7))
    losses = [step.values["loss"] for step in train_sft(straight, "sft", DEMONSTRATIONS, config, 0)]
    for step in train_sft(killed, "sft", DEMONSTRATIONS, config, 0, keep=lambda state: state.save(tmp_path)):
        if step.step == killed_after:
            break
    rest = [step.values["loss"] for step in train_sft(resumed, "sft", DEMONSTRATIONS, config, 0, tmp_path)]
    assert rest == losses[killed_after:]
    both = zip(straight.adapters.parameters("sft"), resumed.adapters.parameters("sft"), strict=True)
    assert all(torch.equal(one, other) for one, other in both)


def with_adapter(backbone: Backbone, seed: int) -> Backbone:
    backbone.adapters.add("sft", seed)
    return backbone


def test_an_update_in_several_passes_is_that_of_one(tiny_model):
    ends, losses = [], []
    for rows in (None, 1, 2):
        backbone = with_adapter(tiny_model(), 0)
        config = SftConfig(epochs=3, batch_size=3, micro_batch_size=rows)
        losses.append([step.values["loss"] for step in train_sft(backbone, "sft", DEMONSTRATIONS, config, 0)])
        ends.append(torch.cat([p.detach().flatten() for p in backbone.adapters.parameters("sft")]))
    assert losses[1] == pytest.approx(losses[0], rel=1e-5) and losses[2] == pytest.approx(losses[0], rel=1e-5)
    assert torch.allclose(ends[0], ends[1], atol=1e-5) and torch.allclose(ends[0], ends[2], atol=1e-5)
    # That the passes matter at all: half of the rows alone teach something else.
    alone = with_adapter(tiny_model(), 0)
    list(train_sft(alone, "sft", DEMONSTRATIONS[:1], SftConfig(epochs=3, batch_size=3), 0))
    assert not torch.allclose(
        ends[0], torch.cat([p.detach().flatten() for p in alone.adapters.parameters("sft")]), atol=1e-5
    )

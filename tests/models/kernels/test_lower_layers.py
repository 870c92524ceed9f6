"""A reward model may read the lower layers of its base alone: the same as a model that has no others."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from rlhf_core.config.run import LoraConfig, ModelConfig
from rlhf_core.errors import InvalidInput
from rlhf_core.models.backbone import Backbone
from rlhf_core.models.encoder import Encoder
from rlhf_core.records.samples import Prompt
from rlhf_core.reward_models.ensemble import Scoring
from rlhf_core.reward_models.reward_model import RewardModel, score_all
from tests.encoders import save_encoder

ASKED = Prompt.of("wash")
CONVERSATIONS = [(ASKED, "rinse it"), (ASKED, "dry it and put it away")]


def without_upper_layers(backbone: Backbone) -> torch.nn.Module:
    """A model of one layer, made as such, with the lower weights of the given one."""
    shape = {name: value for name, value in backbone.model.config.to_dict().items() if name != "layer_types"}
    config = type(backbone.model.config).from_dict(shape | {"num_hidden_layers": 1})
    small = AutoModelForCausalLM.from_config(config).eval()
    left = small.load_state_dict(backbone.model.state_dict(), strict=False)
    assert not left.missing_keys
    return small


@pytest.mark.parametrize("kind", ["llama", "gpt2", "qwen3"])
def test_the_lower_layers_of_a_model_give_what_a_model_of_no_more_gives(tiny_model, kind):
    backbone = tiny_model(kind)
    rows = [backbone.row(*conversation) for conversation in CONVERSATIONS]
    small = without_upper_layers(backbone)
    with torch.no_grad(), backbone.adapters.using(None):
        whole, lower = backbone.pooled(rows), backbone.pooled(rows, 1)
        for row, found in zip(rows, lower, strict=True):
            expected = small.base_model(input_ids=torch.tensor([row.ids])).last_hidden_state[0, -1]
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
        assert (lower - whole).abs().max() > 1e-3
        assert torch.equal(backbone.pooled(rows), whole), "afterwards all layers are there again"


def test_all_layers_by_number_are_all_layers(tiny_model):
    backbone = tiny_model()
    rows = [backbone.row(*conversation) for conversation in CONVERSATIONS]
    with torch.no_grad():
        torch.testing.assert_close(backbone.pooled(rows, 2), backbone.pooled(rows), rtol=1e-5, atol=1e-6)


def test_an_encoder_reads_its_lower_layers_too(tmp_path: Path):
    folder = save_encoder(tmp_path)
    config = ModelConfig(base_model=str(folder), lora=LoraConfig(rank=4, alpha=8))
    encoder = Encoder.load(str(folder), config)
    row = encoder.row(ASKED, "rinse it")
    with torch.no_grad():
        middle = encoder.model(input_ids=torch.tensor([row.ids]), output_hidden_states=True).hidden_states[1][0]
        [(start, end)] = row.spans
        torch.testing.assert_close(encoder.pooled([row], 1)[0], middle[start:end].mean(0), rtol=1e-4, atol=1e-5)


def test_more_layers_than_there_are_is_an_error_that_says_how_many(tiny_model):
    backbone = tiny_model()
    with pytest.raises(InvalidInput, match=r"reward\.layers: 3; 'llama' has 2, allowed: 1 to that"):
        backbone.pooled([backbone.row(*CONVERSATIONS[0])], 3)


def test_a_model_that_was_saved_reads_as_many_layers_as_it_was_trained_on(tiny_model, tmp_path: Path):
    backbone = tiny_model()
    backbone.adapters.add("reward", 0)
    models = [RewardModel(backbone, "reward", "calm", 2, 1, Scoring(layers=layers)) for layers in (1, None)]
    lower, whole = (members.replies for members in score_all(models, CONVERSATIONS))
    assert (lower - whole).abs().max() > 1e-3, "models of one adapter that read otherwise do not share a pass"
    models[0].save(tmp_path)
    again = RewardModel.load(tiny_model(), "again", tmp_path)
    assert again.scoring.layers == 1
    torch.testing.assert_close(again.score(CONVERSATIONS), lower, rtol=1e-4, atol=1e-5)

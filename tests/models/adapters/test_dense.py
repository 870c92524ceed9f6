"""Dense adapters: whole sets of weights under the same names and switches as low-rank ones."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from rlhf_core.config.run import LoraConfig, ModelConfig
from rlhf_core.errors import Conflict, InvalidInput
from rlhf_core.models.backbone import Backbone
from rlhf_core.models.loading import dtype_of

KINDS = ("llama", "gpt2", "qwen3")
IDS = torch.tensor([[5, 17, 80, 33]])


def logits(backbone: Backbone, adapter: str | None) -> torch.Tensor:
    with torch.no_grad(), backbone.adapters.using(adapter):
        return backbone.forward(IDS, torch.ones_like(IDS), 4).logits


def with_lora(backbone: Backbone) -> Backbone:
    backbone.adapters.add("low", 0)
    with torch.no_grad():
        for i, parameter in enumerate(backbone.adapters.parameters("low")):
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(i)) * 0.1)
    return backbone


@pytest.mark.parametrize("kind", KINDS)
def test_a_dense_adapter_begins_as_the_one_it_is_made_of_and_leaves_the_base_alone(tiny_model, kind):
    backbone = with_lora(tiny_model(kind))
    base, low = logits(backbone, None), logits(backbone, "low")
    backbone.adapters.add_dense("whole", "low")
    backbone.adapters.add_dense("plain", None)
    torch.testing.assert_close(logits(backbone, "whole"), low, atol=1e-4, rtol=0)
    assert (low - base).abs().max() > 0.01
    assert torch.equal(logits(backbone, "plain"), base)
    with torch.no_grad():
        for parameter in backbone.adapters.parameters("whole"):
            parameter.mul_(1.01)
    assert torch.equal(logits(backbone, None), base) and torch.equal(logits(backbone, "low"), low)
    assert (logits(backbone, "whole") - low).abs().max() > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_all_weights_learn_and_only_inside_their_block(tiny_model, kind):
    backbone = with_lora(tiny_model(kind))
    backbone.adapters.add_dense("whole", "low")
    parameters = backbone.adapters.parameters("whole")
    with backbone.adapters.using("whole", train=True):
        assert all(parameter.requires_grad for parameter in parameters)
        backbone.forward(IDS, torch.ones_like(IDS), 4).logits.square().sum().backward()
    assert not any(parameter.requires_grad for parameter in parameters)
    assert all(parameter.grad is not None for parameter in parameters)
    assert all(p.grad is None for p in backbone.model.parameters()) and len(parameters) > 10


def test_tied_weights_stay_tied(tmp_path, tiny_folder):
    folder = tiny_folder("gpt2")  # input and output embeddings are one
    backbone = Backbone.load(str(folder), ModelConfig(base_model=str(folder)))
    backbone.adapters.add_dense("whole", None)
    with backbone.adapters.using("whole"):
        model = backbone.model
        assert model.get_input_embeddings().weight is model.get_output_embeddings().weight


def test_a_file_brings_it_back_and_is_the_models_own_format(tiny_model, tiny_folder, tmp_path):
    backbone = with_lora(tiny_model("llama"))
    backbone.adapters.add_dense("whole", "low")
    expected = logits(backbone, "whole")
    backbone.adapters.save("whole", tmp_path)
    backbone.adapters.load("again", tmp_path)
    assert torch.equal(logits(backbone, "again"), expected)
    backbone.adapters.copy("again", "copy")
    backbone.adapters.delete("again")
    assert torch.equal(logits(backbone, "copy"), expected) and backbone.adapters.names == ("low", "whole", "copy")
    (tmp_path / "config.json").write_text((tiny_folder("llama") / "config.json").read_text())
    plain = AutoModelForCausalLM.from_pretrained(tmp_path)
    with torch.no_grad():
        torch.testing.assert_close(plain(IDS).logits, expected, atol=1e-5, rtol=0)


def test_a_file_of_another_model_is_refused(tiny_model, tmp_path):
    backbone, other = tiny_model("llama"), tiny_model("gpt2")
    other.adapters.add_dense("whole", None)
    other.adapters.save("whole", tmp_path)
    (tmp_path / "base_model.json").unlink()
    with pytest.raises(InvalidInput, match="do not fit this base model"):
        backbone.adapters.load("whole", tmp_path)
    with pytest.raises(Conflict, match="exists already"):
        other.adapters.add_dense("whole", None)


def test_on_a_base_of_16_bits_it_keeps_32_and_computes_in_16(tiny_folder):
    folder = str(tiny_folder("qwen3"))
    config = ModelConfig(base_model=folder, dtype="bfloat16", lora=LoraConfig(rank=4, alpha=8))
    backbone = with_lora(Backbone.load(folder, config))
    backbone.adapters.add_dense("whole", "low")
    assert {parameter.dtype for parameter in backbone.adapters.parameters("whole")} == {torch.float32}
    result = logits(backbone, "whole")
    assert result.dtype == torch.bfloat16
    assert (result - logits(backbone, "low")).abs().max() < 0.1 * logits(backbone, "low").abs().max()


def test_one_that_is_made_of_a_dense_one_begins_where_that_is_and_shares_nothing(tiny_model):
    backbone = with_lora(tiny_model("llama"))
    backbone.adapters.add_dense("whole", "low")
    expected = logits(backbone, "whole")
    backbone.adapters.add_dense("next", "whole")
    assert torch.equal(logits(backbone, "next"), expected)
    with torch.no_grad():
        for parameter in backbone.adapters.parameters("next"):
            parameter.mul_(1.01)
    assert torch.equal(logits(backbone, "whole"), expected)


@pytest.mark.parametrize("tune", ["lora", "full"])
def test_what_is_begun_changes_nothing_yet_and_takes_the_place_of_one_of_its_name(tiny_model, tune):
    backbone = with_lora(tiny_model("llama"))
    base = logits(backbone, None)
    backbone.adapters.begin("low", 3, tune)
    assert torch.equal(logits(backbone, "low"), base) and backbone.adapters.names == ("low",)
    assert backbone.adapters.is_dense("low") == (tune == "full")


def test_on_a_gpu_auto_asks_the_device(monkeypatch):
    for native, result in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation, native=native: native)
        assert dtype_of(ModelConfig(dtype="auto", device="cuda")) == result

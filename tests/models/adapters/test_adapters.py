"""Adapters: what they change, what they leave alone, and their files."""

import json

import pytest
import torch
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file, save_file

from rlhf_core.config.run import LoraConfig, ModelConfig
from rlhf_core.errors import Conflict, InvalidInput, NotFound
from rlhf_core.models.backbone import Backbone

ROW = [[3, 1, 4, 1, 5]]


def logits(backbone: Backbone, adapter: str | None) -> torch.Tensor:
    with torch.no_grad(), backbone.adapters.using(adapter):
        return backbone.forward(*backbone.pad_left(ROW), keep=5).logits


def shake(backbone: Backbone, adapter: str, seed: int = 0) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in backbone.adapters.parameters(adapter):
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)


@pytest.mark.parametrize("kind", ["llama", "gpt2", "qwen3"])
def test_adapters_off_is_the_base_bit_for_bit(tiny_model, kind):
    backbone = tiny_model(kind)
    base = logits(backbone, None)
    backbone.adapters.add("a", 1)
    assert torch.equal(logits(backbone, "a"), base)  # a new adapter changes nothing
    shake(backbone, "a")
    assert not torch.allclose(logits(backbone, "a"), base)
    assert torch.equal(logits(backbone, None), base)


def test_the_state_before_comes_back_also_after_an_error(tiny_model):
    backbone = tiny_model()
    backbone.adapters.add("a", 1)
    backbone.adapters.add("b", 2)

    def trainable() -> set[str]:
        return {name.split(".")[-2] for name, p in backbone.model.named_parameters() if p.requires_grad}

    assert trainable() == set()
    with backbone.adapters.using("a", train=True):
        assert trainable() == {"a"}
        with pytest.raises(RuntimeError), backbone.adapters.using("b"):
            assert trainable() == set()
            raise RuntimeError
        assert trainable() == {"a"}
        with backbone.adapters.using(None):
            assert trainable() == set()
        backbone.adapters.add("c", 3)
        backbone.adapters.delete("b")
        assert trainable() == {"a"}
    assert trainable() == set()


def test_gradients_reach_the_adapter_in_training_only(tiny_model):
    backbone = tiny_model()
    backbone.adapters.add("a", 1)
    backbone.adapters.add("b", 2)
    with backbone.adapters.using("a", train=True):
        backbone.forward(*backbone.pad_left(ROW), keep=5).logits.square().sum().backward()
    moved = {name.split(".")[-2] for name, p in backbone.model.named_parameters() if p.grad is not None}
    assert moved == {"a"}


def test_to_switch_where_nothing_trains_looks_at_no_parameter(tiny_model, monkeypatch):
    """PEFT's own switch does, which takes half as long as a small pass; each score switches twice."""
    backbone = tiny_model()
    for seed, name in enumerate(("a", "b")):
        backbone.adapters.add(name, seed)
        shake(backbone, name)
    expected = {name: logits(backbone, name) for name in ("a", "b", None)}
    with backbone.adapters.using("a", train=True):
        pass
    monkeypatch.setattr(LoraLayer, "set_adapter", None)
    monkeypatch.setattr(LoraLayer, "enable_adapters", None)
    for name in ("b", None, "a", "b"):
        assert torch.equal(logits(backbone, name), expected[name])
    assert not torch.equal(expected["a"], expected["b"])
    assert not any(parameter.requires_grad for parameter in backbone.model.parameters())


def test_the_seed_decides_the_adapter_and_nothing_global_moves(tiny_model):
    backbone = tiny_model()
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        backbone.adapters.add(name, seed)
    assert torch.equal(torch.rand(1), expected)
    a, b, c = (backbone.adapters.parameters(name)[0] for name in "abc")
    assert torch.equal(a, b) and not torch.equal(a, c)


def test_a_copy_shares_nothing_with_its_source(tiny_model):
    backbone = tiny_model()
    backbone.adapters.add("a", 1)
    shake(backbone, "a")
    backbone.adapters.copy("a", "b")
    before = logits(backbone, "b")
    assert torch.equal(before, logits(backbone, "a"))
    shake(backbone, "a", seed=1)
    assert torch.equal(logits(backbone, "b"), before) and not torch.equal(logits(backbone, "a"), before)


def test_files_bring_the_adapter_back_and_are_the_same_bytes_each_time(tiny_model, tmp_path):
    backbone = tiny_model()
    backbone.adapters.add("a", 1)
    shake(backbone, "a")
    for folder in ("one", "two"):
        backbone.adapters.save("a", tmp_path / folder)
    assert {file.name: file.read_bytes() for file in (tmp_path / "one").iterdir()} == {
        file.name: file.read_bytes() for file in (tmp_path / "two").iterdir()
    }
    other = tiny_model()
    other.adapters.load("renamed", tmp_path / "one")
    assert torch.equal(logits(other, "renamed"), logits(backbone, "a"))


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_peft_itself_reads_the_files(tiny_model, tiny_folder, tmp_path, kind):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    backbone = tiny_model(kind)
    backbone.adapters.add("a", 1)
    shake(backbone, "a")
    backbone.adapters.save("a", tmp_path)
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_folder(kind)), tmp_path).eval()
    torch.testing.assert_close(model(torch.tensor(ROW)).logits, logits(backbone, "a"), atol=1e-5, rtol=0)


def test_an_adapter_keeps_the_rank_that_it_was_saved_with(tiny_model, tiny_folder, tmp_path):
    backbone = tiny_model()
    backbone.adapters.add("a", 1)
    shake(backbone, "a")
    backbone.adapters.save("a", tmp_path)
    folder = str(tiny_folder("llama"))
    other = Backbone.load(folder, ModelConfig(base_model=folder, lora=LoraConfig(rank=2, alpha=2)))
    other.adapters.load("a", tmp_path)
    assert torch.equal(logits(other, "a"), logits(backbone, "a"))
    other.adapters.copy("a", "b")
    assert torch.equal(logits(other, "b"), logits(backbone, "a"))


def test_an_adapter_of_another_model_is_refused_and_leaves_no_trace(tiny_model, tmp_path):
    gpt2, llama = tiny_model("gpt2"), tiny_model("llama")
    gpt2.adapters.add("a", 1)
    gpt2.adapters.save("a", tmp_path)
    (tmp_path / "base_model.json").unlink()  # PEFT's own folders do not say what the base was
    with pytest.raises(InvalidInput, match=r"does not fit this base model: .* tensors differ in name or shape"):
        llama.adapters.load("a", tmp_path)
    assert llama.adapters.names == () and torch.isfinite(logits(llama, None)).all()


def test_a_tensor_of_another_shape_is_refused(tiny_model, tmp_path):
    backbone = tiny_model()
    backbone.adapters.add("a", 1)
    backbone.adapters.save("a", tmp_path)
    state = load_file(tmp_path / "adapter_model.safetensors")
    key = sorted(state)[0]
    save_file(state | {key: state[key][:, :-1].contiguous()}, tmp_path / "adapter_model.safetensors")
    with pytest.raises(InvalidInput, match="1 tensors differ"):
        backbone.adapters.load("b", tmp_path)


@pytest.mark.parametrize("damage", ["missing", "weights", "config", "rank"])
def test_damaged_files_are_refused_by_name(tiny_model, tmp_path, damage):
    backbone = tiny_model()
    backbone.adapters.add("a", 1)
    backbone.adapters.save("a", tmp_path)
    if damage == "missing":
        (tmp_path / "adapter_model.safetensors").unlink()
    elif damage == "weights":
        (tmp_path / "adapter_model.safetensors").write_bytes(b"not tensors")
    elif damage == "config":
        (tmp_path / "adapter_config.json").write_text("{")
    else:
        (tmp_path / "adapter_config.json").write_text(json.dumps({"lora_alpha": 8}))
    with pytest.raises(InvalidInput, match="no adapter in"):
        backbone.adapters.load("b", tmp_path)


def test_a_name_that_is_taken_unusable_unknown_or_in_use_is_refused(tiny_model):
    backbone = tiny_model()
    backbone.adapters.add("a", 1)
    with pytest.raises(Conflict, match="'a' exists already"):
        backbone.adapters.add("a", 2)
    with pytest.raises(InvalidInput, match=r"'v1\.2' is not usable"):
        backbone.adapters.add("v1.2", 2)
    with pytest.raises(NotFound, match="unknown adapter 'b'; loaded: a"), backbone.adapters.using("b"):
        pass
    with backbone.adapters.using("a"), pytest.raises(Conflict, match="in use"):
        backbone.adapters.delete("a")


def test_a_name_is_free_again_after_deletion(tiny_model):
    backbone = tiny_model()
    base = logits(backbone, None)
    backbone.adapters.add("a", 1)
    shake(backbone, "a")
    backbone.adapters.delete("a")
    assert backbone.adapters.names == () and torch.equal(logits(backbone, None), base)
    backbone.adapters.add("a", 2)
    assert torch.equal(logits(backbone, "a"), base)

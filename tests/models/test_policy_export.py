"""Exported policies: transformers and PEFT load them by themselves, and they answer as the policy does here."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from rlhf_core.config.run import ModelConfig
from rlhf_core.errors import InvalidInput
from rlhf_core.inference.generate import generate
from rlhf_core.models.backbone import Backbone
from rlhf_core.models.policy_export import export_adapter, export_merged, is_adapter

KINDS = ("llama", "gpt2", "qwen3")
ASKED = [[{"role": "user", "content": text}] for text in ("How do I wash a cup?", "Hi", "What is rain, and why?")]


def trained(backbone: Backbone, folder: Path, dense: bool) -> list[str]:
    """Save a policy that is not its base, and return what it answers here, greedily."""
    backbone.adapters.add("low", 1)
    with torch.no_grad():
        for number, parameter in enumerate(backbone.adapters.parameters("low")):
            parameter += torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number)) * 0.2
    if dense:
        backbone.adapters.add_dense("policy", "low")
    else:
        backbone.adapters.copy("low", "policy")
    backbone.adapters.save("policy", folder)
    save_file({"weight": torch.zeros(1)}, folder / "value_heads.safetensors")
    with backbone.adapters.using("policy"):
        return greedy(backbone)


def greedy(backbone: Backbone) -> list[str]:
    ids = [backbone.tokenizer.apply_chat_template(m, add_generation_prompt=True)["input_ids"] for m in ASKED]
    written = generate(backbone, ids, n=1, temperature=0, max_tokens=24, seed=0)
    return [backbone.tokenizer.decode(one.tokens, skip_special_tokens=True) for one in written]


def plain(model, tokenizer) -> list[str]:
    """What transformers' own `generate` says, with nothing told to it but the folder."""
    texts = []
    for messages in ASKED:
        ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt")["input_ids"]
        written = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=24, do_sample=False)
        texts.append(tokenizer.decode(written[0, ids.shape[1] :], skip_special_tokens=True))
    return texts


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dense", [False, True])
def test_a_merged_folder_answers_in_transformers_as_the_policy_does(tiny_model, tiny_folder, tmp_path, kind, dense):
    backbone = tiny_model(kind)
    said, unmoved = trained(backbone, tmp_path / "policy", dense), greedy(backbone)
    assert is_adapter(tmp_path / "policy") is not dense
    export_merged(tmp_path / "policy", str(tiny_folder(kind)), tmp_path / "out", ModelConfig())
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert plain(model, AutoTokenizer.from_pretrained(tmp_path / "out")) == said
    assert said != unmoved


@pytest.mark.parametrize("kind", KINDS)
def test_an_adapter_folder_loads_in_peft_on_the_base_that_it_names(tiny_model, tiny_folder, tmp_path, kind):
    said = trained(tiny_model(kind), tmp_path / "policy", dense=False)
    export_adapter(tmp_path / "policy", str(tiny_folder(kind)), tmp_path / "out")
    assert not (tmp_path / "out" / "value_heads.safetensors").exists()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    base = AutoModelForCausalLM.from_pretrained(tiny_folder(kind))
    assert plain(PeftModel.from_pretrained(base, str(tmp_path / "out")), tokenizer) == said
    named = AutoModelForCausalLM.from_pretrained(tmp_path / "out")  # transformers finds the base by its name
    assert plain(named, tokenizer) == said


def test_a_merged_folder_ends_its_replies_where_the_policy_does(
    tiny_model: Callable[[str], Backbone], tiny_folder: Callable[[str], Path], tmp_path: Path
):
    backbone = tiny_model("llama")
    trained(backbone, tmp_path / "policy", dense=False)
    export_merged(tmp_path / "policy", str(tiny_folder("llama")), tmp_path / "out", ModelConfig())
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert set(model.generation_config.eos_token_id) == set(backbone.stop_ids)


def test_a_base_that_samples_by_its_settings_and_does_not_say_so_is_exported(tiny_model, tiny_folder, tmp_path):
    base = tmp_path / "base"
    shutil.copytree(tiny_folder("llama"), base)
    found = json.loads((base / "generation_config.json").read_text())
    (base / "generation_config.json").write_text(json.dumps(found | {"temperature": 0.9, "top_p": 0.6}))
    trained(tiny_model("llama"), tmp_path / "policy", dense=False)
    export_adapter(tmp_path / "policy", str(base), tmp_path / "adapter")
    export_merged(tmp_path / "policy", str(base), tmp_path / "merged", ModelConfig())
    for folder in ("adapter", "merged"):
        assert not GenerationConfig.from_pretrained(tmp_path / folder).do_sample


@pytest.mark.parametrize("dense", [False, True])
def test_a_policy_is_not_exported_with_another_base(tiny_model, tiny_folder, tmp_path, dense):
    trained(tiny_model("llama"), tmp_path / "policy", dense)
    with pytest.raises(InvalidInput, match="other weights than"):
        export_merged(tmp_path / "policy", str(tiny_folder("gpt2")), tmp_path / "out", ModelConfig())
    with pytest.raises(InvalidInput, match="other weights than"):
        export_adapter(tmp_path / "policy", str(tiny_folder("gpt2")), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_whole_weights_that_say_nothing_of_their_base_must_have_its_shapes(tiny_model, tiny_folder, tmp_path):
    trained(tiny_model("llama"), tmp_path / "policy", dense=True)
    (tmp_path / "policy" / "base_model.json").unlink()
    with pytest.raises(InvalidInput, match="not those of a model like"):
        export_merged(tmp_path / "policy", str(tiny_folder("gpt2")), tmp_path / "out", ModelConfig())


def test_beside_an_adapter_lies_what_ends_its_replies(
    tiny_model: Callable[[str], Backbone], tiny_folder: Callable[[str], Path], tmp_path: Path
):
    backbone = tiny_model("llama")
    trained(backbone, tmp_path / "policy", dense=False)
    export_adapter(tmp_path / "policy", str(tiny_folder("llama")), tmp_path / "out")
    config = GenerationConfig.from_pretrained(tmp_path / "out")
    assert set(config.eos_token_id) == set(backbone.stop_ids)

"""A base whose files are incomplete, damaged, another model's or none at all is refused, and the message names them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peft import LoraConfig as PeftConfig
from peft import get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, BertConfig, BertForMaskedLM, PreTrainedModel

from rlhf_core.config.run import LoraConfig, ModelConfig
from rlhf_core.errors import InvalidInput
from rlhf_core.models.backbone import Backbone
from rlhf_core.models.base_models import Bases
from rlhf_core.models.encoder import Encoder
from tests.conftest import VOCABULARY, save_model, save_tokenizer
from tests.encoders import save_encoder

WEIGHTS = "model.safetensors"


@pytest.fixture
def copied(tiny_folder, tmp_path) -> Callable[..., Path]:
    """A copy of a good folder, with changes to config.json."""

    def copy(kind: str = "llama", **changes: object) -> Path:
        folder = tmp_path / f"copied-{kind}"
        shutil.copytree(tiny_folder(kind), folder)
        change(folder, **changes)
        return folder

    return copy


def change(folder: Path, **changes: object) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def rename(folder: Path, name: Callable[[str], str | None]) -> None:
    """Give the tensors of a folder other names; those without one are left out."""
    state = load_file(folder / WEIGHTS)
    save_file({new: state[key] for key in state if (new := name(key))}, folder / WEIGHTS, metadata={"format": "pt"})


def refusal(folder: Path) -> str:
    with pytest.raises(InvalidInput) as refused:
        Backbone.load(str(folder), ModelConfig(base_model=str(folder)))
    assert refused.value.field == "model.base_model"
    return str(refused.value)


def refusal_of_an_encoder(folder: Path) -> str:
    with pytest.raises(InvalidInput) as refused:
        Encoder.load(str(folder), ModelConfig(base_model=str(folder)))
    assert refused.value.field == "reward.base_model"
    return str(refused.value)


def test_layers_that_the_files_do_not_hold_are_named(copied):
    message = refusal(copied(num_hidden_layers=3))
    assert "missing in the files: model.layers.2.input_layernorm.weight" in message and "and 6 more" in message


def test_layers_that_the_model_does_not_have_are_named(copied):
    assert "unknown to the model: model.layers.1.input_layernorm.weight" in refusal(copied(num_hidden_layers=1))


def test_tensors_of_another_shape_are_refused(copied):
    assert "gate_proj.weight" in refusal(copied(intermediate_size=48))


def test_a_foreign_prefix_is_refused(copied):
    folder = copied()
    rename(folder, lambda key: f"wrapped.{key}")
    assert "missing in the files" in refusal(folder)


def test_a_missing_head_is_refused_and_a_shared_one_is_not(copied, tmp_path):
    folder = copied()
    rename(folder, lambda key: None if key.startswith("lm_head") else key)
    assert "missing in the files: lm_head.weight" in refusal(folder)
    change(folder, tie_word_embeddings=True)
    backbone = Backbone.load(str(folder), ModelConfig(base_model=str(folder)))
    assert torch.equal(backbone.frozen_head, backbone.model.get_input_embeddings().get_parameter("weight"))


def test_a_reward_model_is_no_base_that_writes(copied):
    folder = copied()
    rename(folder, lambda key: key.replace("lm_head", "score"))
    message = refusal(folder)
    assert "missing in the files: lm_head.weight" in message and "unknown to the model: score.weight" in message


def test_an_encoder_is_no_base_that_writes(tmp_path):
    save_encoder(tmp_path)
    assert "cls.predictions" in refusal(tmp_path)


def test_a_file_that_only_points_into_git_lfs_is_named(copied):
    folder = copied()
    (folder / WEIGHTS).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 4046416\n")
    message = refusal(folder)
    assert f"{WEIGHTS} only points" in message and "git lfs pull" in message


def test_weights_that_were_cut_short_are_named(copied):
    folder = copied()
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-1000])
    assert f"{WEIGHTS} is damaged or cut short" in refusal(folder)


@pytest.mark.parametrize("file", ["config.json", "tokenizer.json", "tokenizer_config.json"])
def test_broken_json_is_named(copied, file):
    folder = copied()
    (folder / file).write_text('{"a": ')
    assert f"{file} is no JSON" in refusal(folder)


def test_a_shard_that_is_missing_is_named(copied):
    folder = copied()
    (folder / WEIGHTS).unlink()
    shards = {"weight_map": {"lm_head.weight": "model-00002-of-00002.safetensors"}}
    (folder / f"{WEIGHTS}.index.json").write_text(json.dumps(shards))
    assert "names files that are missing: model-00002-of-00002.safetensors" in refusal(folder)


def test_quantised_weights_name_the_package_that_reads_them(copied):
    wanted = {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}
    message = refusal(copied(quantization_config=wanted))
    assert "quantised (bitsandbytes)" in message and "pip install" in message


def test_an_architecture_that_nobody_knows_is_refused(copied):
    assert "martian" in refusal(copied(model_type="martian"))


def test_an_adapter_left_beside_the_weights_is_refused(copied, tiny_folder):
    folder = copied()
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(tiny_folder("llama"))
    adapted = get_peft_model(model, PeftConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM"))
    adapted.save_pretrained(str(folder))
    message = refusal(folder)
    assert "adapter_config.json" in message and "merge_and_unload" in message
    (folder / "config.json").unlink()
    assert "and no base model" in refusal(folder)


def test_an_adapter_whose_config_is_no_object_is_the_files_fault(tiny_model, tmp_path):
    (tmp_path / "adapter_config.json").write_text("[]")
    with pytest.raises(InvalidInput, match="no adapter in"):
        tiny_model().adapters.load("a", tmp_path)


def test_an_encoder_may_bring_heads_and_lack_a_pooler(tmp_path):
    save_encoder(tmp_path)
    save_masked(tmp_path)
    encoder = Encoder.load(str(tmp_path), ModelConfig(base_model=str(tmp_path)))
    assert encoder.model.config.model_type == "bert" and encoder.hidden_size == 32


def test_an_encoder_without_a_layer_or_with_one_too_many_is_refused(tmp_path):
    save_encoder(tmp_path)
    change(tmp_path, num_hidden_layers=3)
    assert "missing in the files: encoder.layer.2" in refusal_of_an_encoder(tmp_path)
    save_masked(tmp_path)
    change(tmp_path, num_hidden_layers=1)
    assert "unknown to the model" in refusal_of_an_encoder(tmp_path)


def test_a_base_of_rewards_that_cannot_be_read_is_refused(tiny_model, tmp_path):
    save_encoder(tmp_path)
    (tmp_path / "config.json").write_text("{")
    bases = Bases(tiny_model(), ModelConfig(lora=LoraConfig(rank=4, alpha=8)))
    with pytest.raises(InvalidInput, match=r"config.json is no JSON"):
        bases.of(str(tmp_path))


def save_masked(folder: Path) -> None:
    config = BertConfig.from_pretrained(folder)
    config.num_hidden_layers = 2
    BertForMaskedLM(config).save_pretrained(folder)


def test_a_folder_of_a_gpt2_is_still_taken(tmp_path):
    save_model(tmp_path, "gpt2")
    save_tokenizer(tmp_path)
    backbone = Backbone.load(str(tmp_path), ModelConfig(base_model=str(tmp_path)))
    assert backbone.model.config.model_type == "gpt2" and backbone.vocabulary == VOCABULARY

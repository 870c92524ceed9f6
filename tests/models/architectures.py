"""Tiny random models of many architectures: what a user may bring, two layers deep."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from rlhf_core.config.run import ModelConfig
from rlhf_core.models.backbone import Backbone
from tests.conftest import VOCABULARY, save_tokenizer

COMMON = {"vocab_size": VOCABULARY, "eos_token_id": 256, "bos_token_id": None, "pad_token_id": None}
SHAPE = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 192,
}
HEADS = {"head_dim": 8}
EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 2}
OLD = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 192}
LOW_RANK = {
    "q_lora_rank": 8,
    "kv_lora_rank": 8,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
    "moe_intermediate_size": 32,
    "n_routed_experts": 4,
    "n_group": 2,
    "topk_group": 1,
    "num_experts_per_tok": 2,
    "first_k_dense_replace": 1,
}
WINDOW = {"sliding_window": 32}

ARCHITECTURES: Mapping[str, Mapping[str, Any]] = {
    "bloom": {"hidden_size": 32, "n_layer": 2, "n_head": 4, "seq_length": 192},
    "cohere": SHAPE,
    "cohere2": SHAPE | HEADS | WINDOW,
    "deepseek_v3": SHAPE | LOW_RANK | {"num_key_value_heads": 4},
    "falcon": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 192},
    "gemma": SHAPE | HEADS,
    "gemma2": SHAPE | HEADS | WINDOW,
    "gemma3_text": SHAPE | HEADS | WINDOW,
    "glm4": SHAPE | HEADS,
    "gpt2": OLD,
    "gpt_bigcode": OLD,
    "gpt_neo": {
        "hidden_size": 32,
        "num_layers": 2,
        "num_heads": 4,
        "max_position_embeddings": 192,
        "attention_types": [[["global", "local"], 1]],
        "window_size": 32,
    },
    "gpt_neox": SHAPE,
    "gpt_oss": SHAPE | HEADS | WINDOW | EXPERTS,
    "gptj": OLD | {"rotary_dim": 4},
    "granite": SHAPE,
    "jamba": SHAPE | {"num_experts": 2, "attn_layer_offset": 1, "attn_layer_period": 2, "use_mamba_kernels": False},
    "llama": SHAPE,
    "mamba": {"hidden_size": 32, "num_hidden_layers": 2},
    "mamba2": {"hidden_size": 32, "num_hidden_layers": 2, "num_heads": 8, "head_dim": 8, "n_groups": 1},
    "mistral": SHAPE | HEADS | WINDOW,
    "mixtral": SHAPE | HEADS | EXPERTS | {"sliding_window": None},
    "mpt": {"d_model": 32, "n_layers": 2, "n_heads": 4, "max_seq_len": 192},
    "olmo2": SHAPE,
    "opt": SHAPE | {"ffn_dim": 64, "word_embed_proj_dim": 32},
    "phi": SHAPE,
    "phi3": SHAPE | WINDOW,
    "qwen2": SHAPE | {"vocab_size": 272},
    "qwen2_moe": SHAPE
    | {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "shared_expert_intermediate_size": 32},
    "qwen3": SHAPE | HEADS,
    "qwen3_next": SHAPE
    | HEADS
    | {
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 32,
        "shared_expert_intermediate_size": 32,
        "linear_num_value_heads": 4,
        "linear_num_key_heads": 2,
        "linear_key_head_dim": 8,
        "linear_value_head_dim": 8,
    },
    "recurrent_gemma": SHAPE | {"lru_width": 32, "attention_window_size": 32, "num_key_value_heads": 1},
    "rwkv": {"hidden_size": 32, "attention_hidden_size": 32, "num_hidden_layers": 2},
    "smollm3": SHAPE,
    "stablelm": SHAPE,
    "starcoder2": SHAPE | WINDOW,
}
"""`model_type` -> its configuration's settings, as transformers names them."""


def load(kind: str, folder: Path) -> Backbone:
    """Make a model of this architecture from noise, save it as a folder, and load it as a base model."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        settings = COMMON | {"initializer_range": 0.3} | dict(ARCHITECTURES[kind])
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **settings))
    model.save_pretrained(folder)
    save_tokenizer(folder)
    return Backbone.load(str(folder), ModelConfig(base_model=str(folder)))

"""Tiny real models: random weights, a byte-level tokenizer and a chat template, saved as ordinary folders."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from rlhf_core.config.run import LoraConfig, ModelConfig
from rlhf_core.models.backbone import Backbone

if TYPE_CHECKING:
    from tests.store.postgres_server import Server

# A busy machine is no mistake of what is tested; a test that is about time measures the processor's.
settings.register_profile("charter", deadline=None)
settings.load_profile("charter")

CHAT_TEMPLATE = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
VOCABULARY = 264


def save_tokenizer(folder: Path, pad: str | None = "<|pad|>") -> None:
    """256 bytes, three roles, the end of a turn (EOS), padding, and what is left of 264 tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={byte: i for i, byte in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>", pad_token=pad)
    roles = ["<|system|>", "<|user|>", "<|assistant|>"]
    unused = [f"<|unused{i}|>" for i in range(VOCABULARY - len(roles) - len(fast))]
    fast.add_special_tokens({"additional_special_tokens": [*roles, *unused]})
    fast.chat_template = CHAT_TEMPLATE
    fast.save_pretrained(folder)


def save_model(folder: Path, kind: str, seed: int = 0, context: int = 192, vocabulary: int = VOCABULARY) -> None:
    """A two-layer model of 32 dimensions with random weights, large enough to make tokens differ."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    shape = {"vocab_size": vocabulary, "initializer_range": 0.3, "eos_token_id": 256, "bos_token_id": None}
    if kind == "gpt2":
        shape |= {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": context}
    else:
        shape |= {
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": context,
            "head_dim": 8,
        }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **shape))
    model.save_pretrained(folder)


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """`tiny_folder("llama" | "gpt2" | "qwen3")` is the folder of a tiny model, made once a session."""
    made: dict[str, Path] = {}

    def folder(kind: str = "llama") -> Path:
        if kind not in made:
            made[kind] = tmp_path_factory.mktemp(kind)
            save_model(made[kind], kind)
            save_tokenizer(made[kind])
        return made[kind]

    return folder


@pytest.fixture
def tiny_model(tiny_folder: Callable[[str], Path]) -> Callable[[str], Backbone]:
    """`tiny_model(kind)` is a fresh Backbone, in 32-bit floats on the CPU."""

    def load(kind: str = "llama") -> Backbone:
        folder = str(tiny_folder(kind))
        return Backbone.load(folder, ModelConfig(base_model=folder, lora=LoraConfig(rank=4, alpha=8)))

    return load


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """A PostgreSQL server of the session's own; what needs it is skipped where none is installed."""
    pytest.importorskip("psycopg_pool")
    from tests.store import postgres_server

    if reason := postgres_server.why_not():
        pytest.skip(reason)
    # No power cut is tried here.
    with postgres_server.server("fsync=off", "full_page_writes=off") as running:
        yield running

"""A policy version as a folder that transformers, PEFT and vLLM load: an adapter, or a whole model with it merged."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model, set_peft_model_state_dict
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils.logging import disable_progress_bar

from rlhf_core.config.run import ModelConfig
from rlhf_core.errors import InvalidInput
from rlhf_core.models.adapters import full_weights
from rlhf_core.models.adapters.adapters import CONFIG, WEIGHTS
from rlhf_core.models.adapters.base_identity import refuse_other_base, weights_hash
from rlhf_core.models.checkpoint import load_checkpoint
from rlhf_core.models.loading import dtype_of
from rlhf_core.models.special_tokens import stop_ids
from rlhf_core.models.turns import find_turns

_OF_SAMPLING = ("temperature", "top_p", "top_k", "top_h", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff")


def is_adapter(files: Path) -> bool:
    """Tell whether a version's files are a low-rank adapter, and not all weights of a model."""
    return (files / CONFIG).is_file()


def export_adapter(files: Path, base: str, folder: Path) -> None:
    """Copy a low-rank adapter in PEFT's format, which names the base model to load it on.

    Beside it lies a generation config that names all that ends a reply here.

    Raises: InvalidInput where the base has other weights than the one that the adapter was trained on.
    """
    model, tokenizer = _base_of(files, base, ModelConfig())
    shutil.copytree(files, folder, dirs_exist_ok=True, ignore=lambda _, names: set(names) - {CONFIG, WEIGHTS})
    config = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps(config | {"base_model_name_or_path": base}, indent=2))
    _name_ends(model, tokenizer, base)
    model.generation_config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def export_merged(files: Path, base: str, folder: Path, config: ModelConfig) -> None:
    """Write a whole model: the base with the adapter added to its weights, or the version's own weights.

    Its generation config names all that ends a reply here, so that plain `generate` ends where Charter does.
    """
    model, tokenizer = _base_of(files, base, config)
    if is_adapter(files):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "`is_gradient_checkpointing`")  # PEFT asks transformers by the old name
            told = json.loads((files / CONFIG).read_text()) | {"base_model_name_or_path": model.name_or_path}
            adapted = get_peft_model(model, LoraConfig(**told))
        set_peft_model_state_dict(adapted, load_file(files / WEIGHTS))
        merged: Any = adapted.merge_and_unload()
        model = merged
    else:
        own = load_file(files / full_weights.WEIGHTS)
        if {key: tensor.shape for key, tensor in own.items()} != {k: p.shape for k, p in model.named_parameters()}:
            raise InvalidInput(f"the weights in '{files}' are not those of a model like '{base}'")
        model.load_state_dict({name: tensor.to(model.dtype) for name, tensor in own.items()}, strict=False)
    _name_ends(model, tokenizer, base)
    with torch.no_grad():
        model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _name_ends(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, base: str) -> None:
    """Put all that ends a reply here into the generation config."""
    ends = stop_ids(model, tokenizer, find_turns(base, tokenizer).end_id)
    settings = model.generation_config
    settings.eos_token_id = list(ends)
    if not settings.do_sample:
        # A base may give these and not say that it samples, which the library reads, passes over, and does not write.
        for name in _OF_SAMPLING:
            setattr(settings, name, None)
    model.generation_config.pad_token_id = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else ends[0]


def _base_of(files: Path, path: str, config: ModelConfig) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The base model, which must be the one that the version was trained on."""
    disable_progress_bar()
    model, tokenizer = load_checkpoint(AutoModelForCausalLM, path, "model.base_model", dtype=dtype_of(config))
    refuse_other_base(files, path, weights_hash(dict(model.named_parameters())))
    return model, tokenizer

"""Reading a checkpoint: every tensor of the model comes from its files, or the files are refused by name."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from safetensors import safe_open
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from rlhf_core.errors import InvalidInput

NEEDED = "a folder with config.json, safetensors weights and a tokenizer, a GGUF file, or a Hugging Face id"
POINTER, POINTER_SIZE = b"version https://git-lfs", 1024
ADAPTER = "adapter_config.json"
INDEX = "model.safetensors.index.json"
SHOWN = 3
"""Tensors that a complaint names; the others are counted."""


def check_folder(path: str, field: str = "model.base_model") -> None:
    """Raise InvalidInput when the path is no folder of a base model's own files; a Hugging Face id passes."""
    folder = Path(path)
    if not folder.is_dir():
        if path.startswith((".", "/", "~")) or path.count("/") > 1:
            raise InvalidInput(f"base_model: there is no folder '{path}'; expected {NEEDED}", field)
        return
    if (folder / ADAPTER).is_file():
        beside = "beside its weights" if (folder / "config.json").is_file() else "and no base model"
        raise InvalidInput(f"base_model '{path}' holds an adapter ({ADAPTER}) {beside}; {_how_to_merge(path)}", field)
    if not (folder / "config.json").is_file():
        raise InvalidInput(f"base_model '{path}' has no config.json; expected {NEEDED}", field)
    if pointers := _pointers(folder):
        raise InvalidInput(
            f"base_model '{path}': {_some(pointers)} only points to a file in Git LFS, whose content was not fetched; "
            "run `git lfs pull` in the folder",
            field,
        )


def load_checkpoint(
    kind: Any, path: str, field: str, **options: Any
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load model and tokenizer; `kind` is the auto class that reads the model.

    Raises InvalidInput whatever is wrong.
    """
    check_folder(path, field)
    try:
        tokenizer = AutoTokenizer.from_pretrained(path)
        # Shapes that differ are told with all else that does.
        report_them = {"output_loading_info": True, "ignore_mismatched_sizes": True}
        model, report = kind.from_pretrained(path, use_safetensors=True, **report_them, **options)
    except Exception as error:  # dozens of readers raise what they like; it is about the files all the same
        raise unreadable(path, field, error) from error
    if getattr(model, "_hf_peft_config_loaded", False):
        raise InvalidInput(f"base_model '{path}' holds an adapter beside its weights; {_how_to_merge(path)}", field)
    if problem := _differing(model, report):
        raise InvalidInput(
            f"base_model '{path}' cannot be used: its config.json describes another model than its weights ({problem})",
            field,
        )
    return model, tokenizer


def unreadable(path: str, field: str, error: Exception) -> InvalidInput:
    """Say what is wrong with the files, where they tell, or else what the reader said."""
    reason = _fault(Path(path)) or " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, ImportError):
        method = _quantisation(Path(path))
        weights = f"its weights are quantised ({method}), and that " if method else "it "
        reason = f"{weights}needs a package that is not installed: {reason}"
        if method:
            reason += "; install it, or take the model's weights as they were before"
    return InvalidInput(f"base_model '{path}' cannot be loaded: {reason}; expected {NEEDED}", field)


def _how_to_merge(path: str) -> str:
    return (
        "merge the two into a folder of their own (peft: "
        f"AutoPeftModelForCausalLM.from_pretrained('{path}').merge_and_unload().save_pretrained(...)), "
        "or take the adapter's files away"
    )


def _pointers(folder: Path) -> list[str]:
    small = [file for file in sorted(folder.iterdir()) if file.is_file() and file.stat().st_size < POINTER_SIZE]
    return [file.name for file in small if file.read_bytes().startswith(POINTER)]


def _differing(model: PreTrainedModel, report: Mapping[str, Any]) -> str:
    """Tensors that only one of files and model has, or that differ in shape. A head may be the embedding itself."""
    trunk = {name for name, _ in model.base_model.named_children()}
    is_trunk_alone = model.base_model is model
    missing = [key for key in report["missing_keys"] if not (is_trunk_alone and key.startswith("pooler."))]
    unexpected = list(report["unexpected_keys"])
    if is_trunk_alone:  # heads for other uses may lie in the file
        prefix = f"{model.base_model_prefix}."
        unexpected = [key for key in unexpected if key.removeprefix(prefix).split(".")[0] in trunk]
    found = {
        "missing in the files": missing,
        "unknown to the model": unexpected,
        "of another shape": [key if isinstance(key, str) else key[0] for key in report["mismatched_keys"]],
        "not readable": [str(message) for message in report["error_msgs"]],
    }
    return "; ".join(f"{what}: {_some(keys)}" for what, keys in found.items() if keys)


def _some(names: Iterable[str]) -> str:
    first = sorted(names)
    more = f" and {len(first) - SHOWN} more" if len(first) > SHOWN else ""
    return ", ".join(first[:SHOWN]) + more


def _fault(folder: Path) -> str:
    """The first file of a folder that cannot be read, and why; '' where all can, or where this is no folder."""
    if not folder.is_dir():
        return ""
    for file in sorted(folder.glob("*.json")):
        try:
            content = json.loads(file.read_text())
        except (OSError, ValueError) as error:
            return f"{file.name} is no JSON: {error}"
        if file.name == INDEX and isinstance(content, dict):
            shards = sorted(set(dict(content.get("weight_map") or {}).values()))
            if gone := [shard for shard in shards if not (folder / str(shard)).is_file()]:
                return f"the index {INDEX} names files that are missing: {_some(gone)}"
    for file in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(file, "pt") as tensors:
                tensors.keys()
        except Exception as error:
            return f"{file.name} is damaged or cut short ({file.stat().st_size} bytes): {error}"
    return ""


def _quantisation(folder: Path) -> str:
    try:
        return str(json.loads((folder / "config.json").read_text())["quantization_config"]["quant_method"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""

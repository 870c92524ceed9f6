"""Which base model an adapter belongs to: told by the base's weights, not by the name of its folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from rlhf_core.errors import InvalidInput

FILE = "base_model.json"
"""Beside an adapter's weights; the metadata of a safetensors file would make the same weights other bytes each time."""
SAMPLED = 1024
"""Values of a tensor that are looked at, evenly spaced: training moves nearly all, and 10^10 are too many to read."""


def weights_hash(weights: Mapping[str, Tensor]) -> str:
    """Return 16 hex digits of the sha256 over names, shapes and a sample of the values, in 16 bits.

    So the same weights have the same hash in 16 and in 32 bits, and wherever their folder is.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(weights.items()):
        flat = tensor.detach().reshape(-1)
        chosen = flat[:: max(1, flat.numel() // SAMPLED)][:SAMPLED].to("cpu", torch.bfloat16)
        digest.update(f"{name}:{tuple(tensor.shape)}".encode())
        digest.update(chosen.contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def note(folder: Path, own: str) -> None:
    """Write into an adapter's folder on which weights it was trained."""
    (folder / FILE).write_text(json.dumps({"weights": own}) + "\n")


def told_in(folder: Path) -> str:
    """Return the hash of the base that an adapter was trained on; empty where its folder does not say.

    Raises: InvalidInput where that cannot be read.
    """
    try:
        return str(json.loads((folder / FILE).read_text())["weights"])
    except FileNotFoundError:
        return ""
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidInput(f"'{folder / FILE}' cannot be read: {error}; expected the hash of the base") from None


def refuse_other_base(folder: Path, name: str, own: str) -> None:
    """Refuse an adapter that says that it was trained on another base than that of this name and hash.

    Raises: InvalidInput that names both hashes.
    """
    told = told_in(folder)
    if told and told != own:
        raise InvalidInput(
            f"the adapter in '{folder}' was trained on a base model with other weights than '{name}' "
            f"({told}, and here {own}); use the model that it was trained on"
        )

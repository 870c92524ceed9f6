"""Tensors of which several processes have a part each (DTensor): made whole, divided, written and read in parts.

Files are safetensors, by torch.distributed.checkpoint (DCP): what one number of processes wrote, any number reads.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save
from torch.distributed.tensor import DTensor, distribute_tensor


def whole(tensor: Tensor) -> Tensor:
    """Return all of a tensor, also of one that is divided: then every process must ask."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def own_part(tensor: Tensor) -> Tensor:
    """Return what this process has of a tensor: all, unless it is divided."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def alike(tensor: Tensor, other: Tensor) -> Tensor:
    """Return a whole tensor on the device of `other`, and divided as that is; then every process must ask."""
    tensor = tensor.to(other.device)
    if isinstance(other, DTensor):
        return distribute_tensor(tensor.to(other.dtype), other.device_mesh, other.placements)
    return tensor


def is_divided(tensors: list[torch.nn.Parameter]) -> bool:
    """Tell whether this process has only parts of some tensors."""
    return any(isinstance(tensor, DTensor) for tensor in tensors)


def save_parts(state: Mapping[str, Tensor], folder: Path) -> None:
    """Write tensors, of which every process writes its parts."""
    save(dict(state), storage_writer=HuggingFaceStorageWriter(str(folder), save_distributed=True))


def names_of_parts(folder: Path) -> list[str]:
    """Return the names of the tensors that were written to a folder."""
    return sorted(HuggingFaceStorageReader(str(folder)).read_metadata().state_dict_metadata)


def load_parts(state: Mapping[str, Tensor], folder: Path) -> None:
    """Fill tensors, whole or divided, with those of a folder."""
    alone = not dist.is_initialized()
    load(dict(state), storage_reader=HuggingFaceStorageReader(str(folder)), no_dist=alone)

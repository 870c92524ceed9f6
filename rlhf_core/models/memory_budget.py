"""How many rows fit a budget of memory: those of a pass with gradients, and the positions of one without.

All of it is counted from shapes, and nothing from what a process happens to hold: a run that goes on elsewhere takes
passes of the same rows, and so ends with the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from rlhf_core.errors import InvalidInput
from rlhf_core.models.kernels.onednn_linear import onednn_multiplies

FIELD = "model.memory_budget"
HELD = 550_000_000
"""Bytes of a process beside its weights: Python, PyTorch, tokenizer, server and store, 490 to 540 MB as measured."""
PROGRAMS = 1_100_000_000
"""Bytes that oneDNN comes to hold: it writes a program for each number of rows of each shape of matrix and keeps it.
A whole run left 1.0 to 1.1 GB, one stage by itself half of that."""
STATE = 16
"""Bytes of each number that is trained: itself, its gradient, two moments of Adam."""
MAX_TOKENS = 65536
"""Rows times their tokens, padding included, of a pass without gradients, where no budget asks for fewer."""
SPARE = 1.15
"""What a pass takes for each byte that its graph keeps: buffers of the backward pass, and gaps between them."""


def weight_bytes(model: nn.Module) -> int:
    """Return the bytes of a model's weights."""
    return sum(weight.numel() * weight.element_size() for weight in model.parameters())


def program_bytes(model: nn.Module) -> int:
    """Return the bytes of programs that a run through the model leaves: none on a GPU, or where MKL multiplies."""
    return PROGRAMS if any(map(onednn_multiplies, model.modules())) else 0


def position_bytes(model: PreTrainedModel) -> int:
    """Return the bytes that a pass without gradients takes for each position of each row.

    Keys and values, twice, as rows that have ended are left out by copying; and a layer's inner states.
    """
    config = model.config.get_text_config()
    heads = getattr(config, "num_attention_heads", 1)
    width = getattr(config, "head_dim", None) or config.hidden_size // heads
    kept = 2 * config.num_hidden_layers * (getattr(config, "num_key_value_heads", None) or heads) * width
    inner = 3 * (getattr(config, "intermediate_size", None) or 4 * config.hidden_size) + 8 * config.hidden_size
    return next(model.parameters()).element_size() * (2 * kept + inner)


def most_positions(model: PreTrainedModel, budget: int | None) -> int:
    """Return how many positions, padding included, passes without gradients may hold at once.

    Raises: InvalidInput where a process with the model takes the budget.
    """
    if budget is None:
        return MAX_TOKENS
    weights = weight_bytes(model)
    room = budget - HELD - weights
    if room < position_bytes(model):
        raise InvalidInput(
            f"{FIELD} is {told(budget)}, and a process with the model takes {told(HELD + weights)} before it has read "
            f"anything, of which the weights are {told(weights)}; allowed: at least "
            f"{told(round_up(HELD + weights + position_bytes(model)))}, or a smaller model",
            FIELD,
        )
    return min(MAX_TOKENS, room // position_bytes(model))


def rows_that_fit(
    budget: int,
    held: int,
    trained: Iterable[Tensor],
    model: nn.Module,
    one_row: Callable[[], Tensor],
    what: str,
    together: int = 1,
) -> int:
    """Return how many examples of `together` rows may pass with gradients at once, rows as long as that of `one_row`.

    `held` are bytes that stay besides, such as models' weights and programs; `trained` is what has gradients and
    moments.

    Raises: InvalidInput where not even one example fits.
    """
    learns = list(trained)
    held += HELD + STATE * sum(tensor.numel() for tensor in learns)
    each = round(SPARE * graph_bytes(model, one_row, learns)) * together
    rows = (budget - held) // each
    if rows < 1:
        raise InvalidInput(
            f"{FIELD} is {told(budget)}, and a process in {what} holds {told(held)} and {told(each)} more for the "
            f"longest example; allowed: at least {told(round_up(held + each))}, or shorter texts, such as by "
            "model.max_tokens",
            FIELD,
        )
    return rows


def graph_bytes(model: nn.Module, one_pass: Callable[[], Tensor], trained: Iterable[Tensor] = ()) -> int:
    """Do a pass with gradients, and return the bytes that its graph keeps for the way back; weights count for nothing.

    `one_pass` makes the active adapter take gradients; `trained` are its weights, where they stand in for the model's.
    """
    weights = {weight.untyped_storage().data_ptr() for weight in (*model.parameters(), *trained)}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        result = one_pass()
    # Until here: storage that is freed within the pass could stand at the same place twice, and count once.
    del result
    return max(1, sum(kept.values()))


def round_up(count: int) -> int:
    """Return as many bytes or a few more, of which `told` tells no fewer."""
    step = 10_000_000 if count >= 1e9 else 1_000_000
    return -(-count // step) * step


def told(count: int) -> str:
    """Return bytes as people write them."""
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"

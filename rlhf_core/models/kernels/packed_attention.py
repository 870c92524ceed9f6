"""Rows that are read behind one another instead of beside one another: nothing of padding is computed or kept.

A token attends to those of its own row that stand before it. On a GPU that is PyTorch's own flash attention for rows
of several lengths, in 16 bits; elsewhere each row is attended to by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.masking_utils import sdpa_mask

from rlhf_core.errors import InvalidInput
from rlhf_core.models.kernels.onednn_linear import HALVES
from rlhf_core.models.kernels.wide_attention import attend

FIELD = "model.passes.packing"
NAME = "packed"
WORTH_PACKING = 0.9
"""Rows are packed if that leaves no more than this share of the positions: without padding nothing is gained."""


def let_pack(model: PreTrainedModel) -> None:
    """Let the model's attention take rows behind one another; what comes as rows is computed as before.

    Raises: InvalidInput for an architecture whose attention cannot be replaced.
    """
    now = model.config._attn_implementation
    if now != "sdpa":
        raise InvalidInput(f"the attention of '{model.config.model_type}' is {now}, and only sdpa can be packed", FIELD)
    AttentionInterface.register(NAME, _attention)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    model.set_attn_implementation(NAME)


def packed_states(trunk: nn.Module, ids: Tensor, mask: Tensor, takes_positions: bool) -> Tensor:
    """Return the last hidden states (B, L, H) of ids (B, L), 0 where the mask (B, L) is: those of one row of all."""
    present, lengths = mask.bool(), mask.sum(1)
    ends, longest = pad(lengths.cumsum(0), (1, 0)).int(), int(lengths.max())
    options = {"position_ids": (mask.cumsum(1) - 1)[present][None]} if takes_positions else {}
    # A mask of four dimensions is passed on as it is; none would be taken for one over all rows together.
    passed_on = torch.ones(1, 1, 1, 1, dtype=torch.bool, device=ids.device)
    read = trunk(
        input_ids=ids[present][None],
        attention_mask=passed_on,
        use_cache=False,
        cu_seq_lens_q=ends,
        cu_seq_lens_k=ends,
        max_length_q=longest,
        max_length_k=longest,
        **options,
    )
    states = read.last_hidden_state[0]
    return states.new_zeros(*ids.shape, states.shape[-1]).index_put((present,), states)


def _attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, None]:
    """Attend (B, heads, L, size), or (1, heads, N, size) in which rows stand behind one another up to given ends."""
    ends = kwargs.get("cu_seq_lens_q")
    if ends is None:
        return attend(module, query, key, value, attention_mask, **kwargs)
    if kwargs.get("position_bias") is not None:
        raise ValueError("attention with a bias by position cannot be packed")
    scale = kwargs.get("scaling")
    if _by_flash is not None and query.is_cuda and query.dtype == key.dtype == value.dtype in HALVES:
        queries, keys, values = (part[0].transpose(0, 1) for part in (query, key, value))
        return _by_flash(queries, keys, values, ends, kwargs["max_length_q"], scale)[None], None
    found = [
        attend(module, *(part[:, :, start:end] for part in (query, key, value)), attention_mask=None, scaling=scale)[0]
        for start, end in pairwise(ends.tolist())
    ]
    return torch.cat(found, 1), None


def _flash() -> Callable[[Tensor, Tensor, Tensor, Tensor, int, float | None], Tensor] | None:
    """PyTorch's attention over rows (N, heads, size) of several lengths, from the version that scales it on."""
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return None
    allowed = signature(varlen_attn).parameters
    if not {"scale", "window_size"} <= allowed.keys():
        return None
    # Before this was an option, fewer heads of keys than of queries were simply taken.
    grouped: dict[str, Any] = {"enable_gqa": True} if "enable_gqa" in allowed else {}

    def attend(query: Tensor, key: Tensor, value: Tensor, ends: Tensor, longest: int, scale: float | None) -> Tensor:
        causal = (-1, 0)
        found = varlen_attn(query, key, value, ends, ends, longest, longest, scale=scale, window_size=causal, **grouped)
        assert isinstance(found, Tensor)
        return found

    return attend


_by_flash = _flash()

"""A frozen bidirectional model, such as BERT, with LoRA adapters: it reads conversations and writes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModel, PreTrainedModel, PreTrainedTokenizerBase

from rlhf_core.config.run import ModelConfig
from rlhf_core.errors import InvalidInput
from rlhf_core.models.adapters.adapters import Adapters
from rlhf_core.models.checkpoint import load_checkpoint
from rlhf_core.models.kernels.lower_layers import reading
from rlhf_core.models.kernels.recomputing import let_recompute
from rlhf_core.models.loading import dtype_of, longest
from rlhf_core.models.memory_budget import most_positions, weight_bytes
from rlhf_core.models.precision_speed import warn_if_slow
from rlhf_core.models.reward_inputs import Row, by_line
from rlhf_core.models.self_checks import check_encoder
from rlhf_core.records.samples import Prompt


class Encoder:
    """Mean pooling (Reimers and Gurevych 2019) over the hidden states of a reply, read after its prompt."""

    def __init__(self, name: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, config: ModelConfig):
        self.name, self.model, self.tokenizer = name, model.eval(), tokenizer
        self.device = torch.device(config.device)
        self.hidden_size: int = model.config.hidden_size
        self.max_length = _positions(name, model, tokenizer)
        tokenizer.model_max_length = 2**31  # rows are cut here, so the tokenizer need not warn of long texts
        self._half = model.dtype == torch.bfloat16
        self.weight_bytes = weight_bytes(model)
        self.most_positions = most_positions(model, config.memory_budget)
        self.passes = config.passes
        if self.passes.recompute:
            let_recompute(model)
        self.adapters = Adapters(name, model, config.lora.rank, config.lora.alpha)
        first: Any = tokenizer.cls_token_id
        self._first: list[int] = [first] if first is not None else []
        end: Any = tokenizer.sep_token_id if tokenizer.sep_token_id is not None else tokenizer.eos_token_id
        self._end: list[int] = [end] if end is not None else []

    @classmethod
    def load(cls, path: str, config: ModelConfig) -> Encoder:
        """Load a folder or a Hugging Face id. InvalidInput says what cannot be read."""
        warn_if_slow(dtype_of(config), config.device, path)
        model, tokenizer = load_checkpoint(AutoModel, path, "reward.base_model", dtype=dtype_of(config))
        if model.config.is_encoder_decoder:
            raise InvalidInput(
                f"base_model '{path}' is an encoder with a decoder; allowed: a causal language model or an encoder",
                "reward.base_model",
            )
        if getattr(model, "pooler", None) is not None:
            model.register_module("pooler", None)  # means are taken here; nothing would train an adapter in it
        # The library decorates `to`, whose stub then takes the model as an argument.
        encoder = cls(path, model.to(config.device), tokenizer, config)  # pyright: ignore[reportArgumentType]
        check_encoder(encoder, sorted(tokenizer.get_vocab().values()))
        return encoder

    def row(self, prompt: Prompt, reply: str | Sequence[str], max_tokens: int | None = None) -> Row:
        """Write turns as `role: text`, a separator, the reply, a separator.

        The reply is the span, or each of its lines.

        At most `max_tokens` tokens, or as many as the model reads; the first token stays when the beginning is cut.
        """
        limit = min(self.max_length, max_tokens or self.max_length) - len(self._first)
        before = [*self._tokens("\n".join(f"{turn.role}: {turn.content}" for turn in prompt.messages)), *self._end]
        parts = [self._tokens(part) for part in ([reply] if isinstance(reply, str) else reply)]
        parts[-1] += self._end
        row, shift = by_line(before, parts, limit), len(self._first)
        spans = tuple((start + shift, end + shift) for start, end in row.spans)
        return Row((*self._first, *row.ids), spans, row.reply)

    def pooled(self, rows: Sequence[Row], layers: int | None = None) -> Tensor:
        """Return mean hidden states (S, H) of all spans of all rows, in 32-bit floats; of the lowest `layers`."""
        width = max(len(row.ids) for row in rows)
        ids = torch.tensor([[*row.ids, *[0] * (width - len(row.ids))] for row in rows], device=self.device)
        mask = torch.tensor([[1] * len(row.ids) + [0] * (width - len(row.ids)) for row in rows], device=self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._half), reading(self.model, layers):
            hidden = self.model(input_ids=ids, attention_mask=mask).last_hidden_state.float()
        return torch.stack([hidden[i, start:end].mean(0) for i, row in enumerate(rows) for start, end in row.spans])

    def _tokens(self, text: str) -> list[int]:
        """A special token that the text spells out stays text."""
        return self.tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)


def _positions(name: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> int:
    """Tokens that the model can read: a table of positions with padding, as in RoBERTa, counts from behind that on."""
    max_length = longest(name, model, tokenizer)
    tables = [module for key, module in model.named_modules() if key.endswith("position_embeddings")]
    paddings = [table.padding_idx for table in tables if isinstance(table, nn.Embedding)]
    return max_length - max((padding + 1 for padding in paddings if padding is not None), default=0)

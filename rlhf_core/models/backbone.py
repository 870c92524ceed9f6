"""One frozen causal language model with its tokenizer and its LoRA adapters: all that generates, judges and scores."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from inspect import signature
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from jinja2 import TemplateError
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, Cache, PreTrainedModel, PreTrainedTokenizerBase

from rlhf_core.config.run import ModelConfig
from rlhf_core.errors import InvalidInput, TooLong
from rlhf_core.models.adapters.adapters import Adapters
from rlhf_core.models.checkpoint import load_checkpoint
from rlhf_core.models.gguf import model_folder
from rlhf_core.models.kernels.lower_layers import reading
from rlhf_core.models.kernels.onednn_linear import quicken
from rlhf_core.models.kernels.packed_attention import WORTH_PACKING, let_pack, packed_states
from rlhf_core.models.kernels.recomputing import let_recompute
from rlhf_core.models.kernels.skip_last_mlp import inputs_of, spared_block, sparing
from rlhf_core.models.kernels.wide_attention import let_widen
from rlhf_core.models.loading import check_model, dtype_of, longest
from rlhf_core.models.memory_budget import most_positions, weight_bytes
from rlhf_core.models.precision_speed import warn_if_slow
from rlhf_core.models.reward_inputs import Row, by_line, parted, unended, whole
from rlhf_core.models.self_checks import IMPOSSIBLE, check_decoder, check_packing, window_of
from rlhf_core.models.special_tokens import padding_ids, special_tokens, stop_ids
from rlhf_core.models.transcripts import Transcripts, find_transcripts
from rlhf_core.models.turns import find_turns
from rlhf_core.records.samples import Message, Prompt


class Output(NamedTuple):
    """Of the last `keep` positions: logits (B, keep, V), and the hidden states (B, keep, H) that they come from."""

    logits: Tensor
    hidden: Tensor


class Backbone:
    """A frozen base model. Adapters change what it computes; `adapters.using(None)` is the base itself."""

    def __init__(self, name: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, config: ModelConfig):
        self.name, self.model, self.tokenizer = name, model.eval(), tokenizer
        self.device = torch.device(config.device)
        self.max_length: int = longest(name, model, tokenizer)
        tokenizer.model_max_length = 2**31  # lengths are checked here, so the tokenizer need not warn of long texts
        self._turns = find_turns(name, tokenizer)
        self.eos_id: int = self._turns.end_id
        self._special = special_tokens(tokenizer, self._turns.end)
        self._spelled = re.compile("|".join(map(re.escape, self._special)) or "(?!)")
        self.stop_ids = stop_ids(model, tokenizer, self.eos_id)
        added = tokenizer.added_tokens_decoder
        self._silent = {index for index in self.stop_ids if not added[index].special}
        self._dtype: torch.dtype = model.dtype
        self.weight_bytes = weight_bytes(model)
        self.most_positions = most_positions(model, config.memory_budget)
        """Rows times their tokens, padding included, of a pass without gradients."""
        quicken(model)
        self.passes = config.passes
        if self.passes.packing:
            let_pack(model)
        let_widen(model)
        if self.passes.recompute:
            let_recompute(model)
        self.adapters = Adapters(name, model, config.lora.rank, config.lora.alpha, config.lora.targets)
        self._head = cast(nn.Module, model.get_output_embeddings())
        self.vocabulary, self.hidden_size = self._head.get_parameter("weight").shape
        padding = padding_ids(tokenizer, self.vocabulary)
        self._padding = torch.tensor(padding, device=self.device) if padding else None
        self.size = sum(weight.numel() for weight in model.parameters())
        self._takes_positions = "position_ids" in signature(model.forward).parameters
        self.window = window_of(model.config)
        """How many tokens a position looks back at, where it does not look at all."""
        self.shares_beginnings = True
        """Rows that begin alike may be computed together behind that beginning."""
        self.path = ""
        """What it was loaded from, which another process may load too; empty where it was not."""
        self.passes_together = False
        """Its weights are divided among processes, which must pass through it equally often."""
        self.gathered: Callable[[], AbstractContextManager[None]] = nullcontext
        """A block in which all weights are at hand, and each process passes through the model as it likes."""
        self.own_answers: dict[tuple[object, ...], str] = {}  # the base's, by prompt; reward models read them
        self.before_pass: Callable[[], None] = lambda: None
        """Longer work lets others use the device here; they leave the active adapter as they found it."""

    @property
    def precision(self) -> str:
        """What its weights are kept in, such as `float32`."""
        return str(self._dtype).removeprefix("torch.")

    @classmethod
    def load(cls, path: str, config: ModelConfig) -> Backbone:
        """Load a folder, a GGUF file or a Hugging Face id. InvalidInput says what it lacks."""
        path = model_folder(path)
        if config.device.startswith("cuda") and not torch.cuda.is_available():
            raise InvalidInput(f"device '{config.device}' is not available here; allowed: cpu", "model.device")
        warn_if_slow(dtype_of(config), config.device, config.base_model)
        model, tokenizer = load_checkpoint(AutoModelForCausalLM, path, "model.base_model", dtype=dtype_of(config))
        check_model(path, model, tokenizer)
        name = Path(config.base_model).name if Path(config.base_model).exists() else config.base_model
        # The library decorates `to`, whose stub then takes the model as an argument.
        backbone = cls(name, model.to(config.device), tokenizer, config)  # pyright: ignore[reportArgumentType]
        backbone.path = path
        tokens = sorted(tokenizer.get_vocab().values())
        backbone.shares_beginnings = check_decoder(backbone, tokens)
        if config.passes.packing:
            check_packing(backbone, tokens)
        return backbone

    def render(self, messages: Sequence[Message]) -> list[int]:
        """Render a conversation as tokens, up to where the assistant's turn begins.

        Only the template makes special tokens: one that is spelled out in a turn stays text. Raises InvalidInput.
        """
        spelled = any(self._spelled.search(message.content) for message in messages)
        if not self._turns.reads_system and any(message.role == "system" for message in messages):
            raise InvalidInput(f"the chat template of '{self.name}' leaves out the words of system turns")
        try:
            ids = self.tokenizer.apply_chat_template(
                [{"role": message.role, "content": self._turns.content(message.content)} for message in messages],
                add_generation_prompt=True,
                return_dict=False,
                # Only where it is needed, as it also takes two private characters out of the text.
                sanitize_control_tokens=spelled,
            )
        except TemplateError as error:
            roles = ", ".join(message.role for message in messages)
            raise InvalidInput(f"the chat template of '{self.name}' refuses the turns {roles}: {error}") from error
        except ValueError as error:
            if not spelled:
                raise
            raise InvalidInput(f"'{self.name}' cannot read a special token that a turn spells out: {error}") from error
        return cast("list[int]", ids)

    def encode_response(self, text: str, ended: bool = True) -> list[int]:
        """Encode a response, its end token included if it has ended; a special token that it spells out stays text."""
        spelled = set(self._spelled.findall(text))
        ids = self.tokenizer.encode(text, add_special_tokens=False, split_special_tokens=bool(spelled))
        if taken := sorted(token for token in spelled if self._special[token] in ids):
            raise InvalidInput(f"'{self.name}' cannot read the special token '{taken[0]}' that a response spells out")
        return [*ids, self.eos_id] if ended or not ids else ids

    @cached_property
    def transcripts(self) -> Transcripts | None:
        """How conversations in one text are read that the chat template has written; None where nobody could."""
        return find_transcripts(self.tokenizer, self._turns)

    def row(self, prompt: Prompt, reply: str | Sequence[str], max_tokens: int | None = None) -> Row:
        """Render a finished conversation as a reward model reads it: template, reply, end token.

        Each line of a reply in lines gets a span.
        """
        before = self.render(prompt.messages)
        if isinstance(reply, str):
            row = whole(before, self.encode_response(reply), max_tokens)
        else:
            row = unended(by_line(before, self.by_line(reply), max_tokens))
        self.check_length(len(row.ids), 0)
        return row

    def by_line(self, lines: Sequence[str]) -> list[list[int]]:
        """Return the tokens of the whole reply, as a policy writes it, by line; one that spans two is the later line's.

        Lines that are encoded one by one may come out as other tokens, which no policy ever writes.
        """
        if not self.tokenizer.is_fast:  # such a one does not tell where its tokens end
            parts = [self.encode_response(line)[:-1] for line in lines]
            return [*parts[:-1], [*parts[-1], self.eos_id]]
        text = "".join(lines)
        ids, split = self.encode_response(text), bool(self._spelled.search(text))
        told = self.tokenizer(text, add_special_tokens=False, split_special_tokens=split, return_offsets_mapping=True)
        offsets: list[tuple[int, int]] = told["offset_mapping"]
        return parted(ids, [*(end for _, end in offsets), len(text)], lines)

    def pooled(self, rows: Sequence[Row], layers: int | None = None) -> Tensor:
        """Return hidden states (S, H) of the last token of each span of each row, in 32-bit floats.

        `layers` reads those of so many lowest layers.
        """
        ids, mask = self.pad_left([row.ids for row in rows])
        if layers is None and all(row.spans == ((0, len(row.ids)),) for row in rows):
            return self.hidden(ids, mask, keep=1)[:, -1].float()
        columns = [[ids.shape[1] - len(row.ids) + end - 1 for _, end in row.spans] for row in rows]
        self.before_pass()
        with reading(self.model, layers):
            hidden = self._states(ids, mask)
        return torch.stack([hidden[i, end] for i, ends in enumerate(columns) for end in ends]).float()

    def decode(self, ids: Sequence[int]) -> str:
        """Decode tokens to words; special ones and the ends of turns are none."""
        told = [index for index in ids if index not in self._silent]
        return cast(str, self.tokenizer.decode(told, skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def forward(self, ids: Tensor, mask: Tensor, keep: int, cache: Cache | None = None) -> Output:
        """Make one pass over ids (B, L). `mask` (B, past + L) is 1 where a token counts; padding stands on the left.

        Positions count real tokens only, so that a row's result does not depend on its padding.
        """
        self._begin()
        with inputs_of(self._head) as seen:
            logits = self._pass(ids, mask, keep, cache)
        return Output(self.tokens_alone(logits), seen[0])

    def hidden(self, ids: Tensor, mask: Tensor, keep: int, cache: Cache | None = None) -> Tensor:
        """Return the hidden states of `forward`, and compute almost no logits."""
        self._begin()
        if cache is None and self.packs(mask):
            with self._precision():
                return self._states(ids, mask)[:, -keep:]
        with inputs_of(self._head, pass_on=False) as seen:
            self._pass(ids, mask, keep, cache)
        return seen[0]

    def packs(self, mask: Tensor) -> bool:
        """Tell whether rows of this mask (B, L) are read behind one another, as enough of them is padding."""
        fits = self.window is None or mask.shape[1] <= self.window
        return self.passes.packing and fits and int(mask.sum()) <= WORTH_PACKING * mask.numel()

    def _states(self, ids: Tensor, mask: Tensor) -> Tensor:
        """The trunk's last hidden states (B, L, H)."""
        if self.packs(mask):
            return packed_states(self.model.base_model, ids, mask, self._takes_positions)
        options = {"position_ids": _positions(mask)} if self._takes_positions else {}
        return self.model.base_model(input_ids=ids, attention_mask=mask, use_cache=False, **options).last_hidden_state

    def next_logits(self, last: Tensor, positions: Tensor, mask: Tensor, cache: Cache) -> Tensor:
        """Return logits (B, V) after the tokens `last` (B, 1) at `positions` (B, 1), which the cache takes in.

        `mask` (B, 1, 1, columns) is added to what the attention compares. No value is looked at on the way.
        """
        options = {"position_ids": positions} if self._takes_positions else {}
        with self._precision():
            logits = self.model(
                input_ids=last, attention_mask=mask, past_key_values=cache, use_cache=True, logits_to_keep=1, **options
            ).logits
        return self.tokens_alone(logits[:, -1])

    def head(self, hidden: Tensor) -> Tensor:
        """Return logits (..., V) of hidden states (..., H), if `head_is_plain`."""
        with self._precision():
            return self.tokens_alone(self._head(hidden))

    def tokens_alone(self, logits: Tensor) -> Tensor:
        """Return the same logits (..., V), in which ids that are no tokens have been made impossible."""
        if self._padding is not None:
            logits[..., self._padding] = IMPOSSIBLE
        return logits

    @property
    def token_ids(self) -> list[int] | None:
        """The ids that may be drawn; None means all that the head knows."""
        return None if self._padding is None else sorted(set(range(self.vocabulary)).difference(self._padding.tolist()))

    @property
    def frozen_head(self) -> Tensor | None:
        """The matrix (V, H) of a linear head that takes no gradients now."""
        return self._head.weight if isinstance(self._head, nn.Linear) and not self._head.weight.requires_grad else None

    @cached_property
    def head_is_plain(self) -> bool:
        """Whether the head's output is the logits, and the model neither caps nor scales it."""
        ids = torch.arange(8, device=self.device)[None]
        with torch.no_grad():
            logits, hidden = self.forward(ids, torch.ones_like(ids), 8)
            return torch.allclose(self.head(hidden), logits)

    def _begin(self) -> None:
        """Let others go first; and find out, before anything watches the pass, what the last layer can be spared."""
        self.before_pass()
        _ = self._spared_block

    @cached_property
    def _spared_block(self) -> nn.Module | None:
        # Tried on the thread that computes: another one would get a pool of threads of its own, and while there are
        # more of them than cores none waits actively for its next part, which doubles the time of a small pass.
        return spared_block(self.model)

    def _pass(self, ids: Tensor, mask: Tensor, keep: int, cache: Cache | None) -> Tensor:
        options: dict[str, Any] = {"past_key_values": cache} if cache is not None else {}
        if self._takes_positions:
            options["position_ids"] = _positions(mask)[:, -ids.shape[1] :]
        block = self._spared_block if keep < ids.shape[1] else None
        with self._precision(), nullcontext() if block is None else sparing(block, keep):
            return self.model(
                input_ids=ids, attention_mask=mask, use_cache=cache is not None, logits_to_keep=keep, **options
            ).logits

    def _precision(self) -> AbstractContextManager[object]:
        """Dense adapters keep 32 bits, as small steps would be lost in 16; they compute in those of the base."""
        mixed = self.adapters.dense_is_active and self._dtype != torch.float32
        return torch.autocast(self.device.type, self._dtype) if mixed else nullcontext()

    def pad_left(self, rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """Pad rows to ids and mask, both (B, L). The padding's id is never looked at: only the mask counts."""
        width = max(map(len, rows))
        ids = torch.tensor([[0] * (width - len(row)) + list(row) for row in rows], device=self.device)
        mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows], device=self.device)
        return ids, mask

    def check_length(self, prompt_tokens: int, response_tokens: int) -> None:
        """Raise TooLong when prompt and response together exceed the model's context."""
        if prompt_tokens + response_tokens > self.max_length:
            raise TooLong(
                f"the prompt has {prompt_tokens} tokens and the response may have {response_tokens}; "
                f"the context of '{self.name}' is {self.max_length}"
            )


def _positions(mask: Tensor) -> Tensor:
    return (mask.cumsum(1) - 1).clamp_min(0)

"""One frozen causal language model with its tokenizer and its LoRA adapters: all that generates, judges and scores."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from inspect import signature
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jinja2 import TemplateError
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer, Cache, PreTrainedModel, PreTrainedTokenizerBase

from rlhf_core.config import ModelConfig
from rlhf_core.errors import InvalidInput
from rlhf_core.models.adapters import Adapters
from rlhf_core.records import Message

NEEDED = "a folder with config.json, safetensors weights and a tokenizer, or a Hugging Face id"


class Output(NamedTuple):
    """Of the last `keep` positions: logits (B, keep, V), and the hidden states (B, keep, H) that they come from."""

    logits: Tensor
    hidden: Tensor


class Backbone:
    """A frozen base model. Adapters change what it computes; `using(None)` is the base itself."""

    def __init__(self, name: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, config: ModelConfig):
        self.name, self.model, self.tokenizer = name, model.eval(), tokenizer
        self.device = torch.device(config.device)
        self.max_length: int = getattr(model.config, "max_position_embeddings", None) or 2**31
        self.eos_id: int = tokenizer.eos_token_id  # pyright: ignore[reportAttributeAccessIssue]
        self.stop_ids = _stop_ids(model, tokenizer, self.eos_id)
        self._adapters = Adapters(model, config.lora.rank, config.lora.alpha)
        self._head: nn.Module = model.get_output_embeddings()  # pyright: ignore[reportAttributeAccessIssue]
        self.hidden_size: int = self._head.weight.shape[1]  # pyright: ignore
        self._takes_positions = "position_ids" in signature(model.forward).parameters

    @classmethod
    def load(cls, path: str, config: ModelConfig) -> Backbone:
        """Load a folder or a Hugging Face id. InvalidInput says what the folder lacks."""
        _check_folder(path)
        if config.device.startswith("cuda") and not torch.cuda.is_available():
            raise InvalidInput(f"device '{config.device}' is not available here; allowed: cpu", "model.device")
        try:
            tokenizer = AutoTokenizer.from_pretrained(path)
            model = AutoModelForCausalLM.from_pretrained(path, dtype=getattr(torch, config.dtype), use_safetensors=True)
        except (OSError, ValueError) as error:
            raise InvalidInput(
                f"base_model '{path}' cannot be loaded: {error}; expected {NEEDED}", "model.base_model"
            ) from error
        _check_model(path, model, tokenizer)
        name = Path(config.base_model).name if Path(config.base_model).is_dir() else config.base_model
        return cls(name, model.to(config.device), tokenizer, config)  # pyright: ignore[reportArgumentType]

    def render(self, messages: Sequence[Message]) -> list[int]:
        """The conversation's tokens, up to where the assistant's turn begins."""
        try:
            return self.tokenizer.apply_chat_template(
                [{"role": message.role, "content": message.content} for message in messages],
                add_generation_prompt=True,
                return_dict=False,
            )  # pyright: ignore[reportReturnType]
        except TemplateError as error:
            roles = ", ".join(message.role for message in messages)
            raise InvalidInput(f"the chat template of '{self.name}' refuses the turns {roles}: {error}") from error

    def encode_response(self, text: str) -> list[int]:
        """A response's tokens, the end token included."""
        return [*self.tokenizer.encode(text, add_special_tokens=False), self.eos_id]

    def decode(self, ids: Sequence[int]) -> str:
        return self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)  # pyright: ignore

    def forward(self, ids: Tensor, mask: Tensor, keep: int, cache: Cache | None = None) -> Output:
        """One pass over ids (B, L). `mask` (B, past + L) is 1 where a token counts; padding stands on the left.

        Positions count real tokens only, so that a row's result does not depend on its padding.
        """
        options: dict[str, Any] = {"past_key_values": cache} if cache is not None else {}
        if self._takes_positions:
            options["position_ids"] = (mask.cumsum(1) - 1).clamp_min(0)[:, -ids.shape[1] :]
        with _inputs_of(self._head) as seen:
            logits = self.model(
                input_ids=ids, attention_mask=mask, use_cache=cache is not None, logits_to_keep=keep, **options
            ).logits
        return Output(logits, seen[0])

    def pad_left(self, rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """Ids and mask, both (B, L). The padding's id is never looked at: only the mask counts."""
        width = max(map(len, rows))
        ids = torch.tensor([[0] * (width - len(row)) + list(row) for row in rows], device=self.device)
        mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows], device=self.device)
        return ids, mask

    def check_length(self, prompt_tokens: int, response_tokens: int) -> None:
        """InvalidInput when prompt and response together exceed the model's context."""
        if prompt_tokens + response_tokens > self.max_length:
            raise InvalidInput(
                f"the prompt has {prompt_tokens} tokens and the response may have {response_tokens}; "
                f"the context of '{self.name}' is {self.max_length}"
            )

    @property
    def adapters(self) -> tuple[str, ...]:
        return tuple(self._adapters.names)

    def using(self, adapter: str | None, train: bool = False) -> AbstractContextManager[None]:
        """Activate an adapter (None: the base model) and restore the state before at the end."""
        return self._adapters.using(adapter, train)

    def add_adapter(self, name: str, seed: int) -> None:
        self._adapters.add(name, seed)

    def copy_adapter(self, source: str, target: str) -> None:
        self._adapters.copy(source, target)

    def load_adapter(self, name: str, folder: Path) -> None:
        self._adapters.load(name, folder)

    def save_adapter(self, name: str, folder: Path) -> None:
        self._adapters.save(name, folder, self.name)

    def delete_adapter(self, name: str) -> None:
        self._adapters.delete(name)

    def adapter_parameters(self, name: str) -> list[nn.Parameter]:
        return self._adapters.parameters(name)


@contextmanager
def _inputs_of(module: nn.Module) -> Iterator[list[Tensor]]:
    seen: list[Tensor] = []
    handle = module.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    try:
        yield seen
    finally:
        handle.remove()


def _stop_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, eos_id: int) -> tuple[int, ...]:
    """EOS, and the end-of-turn tokens that the generation config names where they are special tokens here."""
    config_ids: int | list[int] | None = getattr(model.generation_config, "eos_token_id", None)
    named = [config_ids] if isinstance(config_ids, int) else config_ids or []
    special = {token for token, added in tokenizer.added_tokens_decoder.items() if added.special}
    return tuple(sorted({eos_id, *(special.intersection(named))}))


def _check_folder(path: str) -> None:
    folder = Path(path)
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise InvalidInput(f"base_model '{path}' has no config.json; expected {NEEDED}", "model.base_model")
    elif path.startswith((".", "/", "~")) or path.count("/") > 1:
        raise InvalidInput(f"base_model: there is no folder '{path}'; expected {NEEDED}", "model.base_model")


def _check_model(path: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    problem = ""
    if tokenizer.eos_token_id is None:
        problem = "its tokenizer has no end token (eos_token); responses could not end"
    elif not tokenizer.chat_template:
        problem = "its tokenizer has no chat template; conversations could not be rendered"
    elif "logits_to_keep" not in signature(model.forward).parameters:
        problem = f"the architecture {type(model).__name__} takes no logits_to_keep"
    elif len(tokenizer) > model.get_input_embeddings().weight.shape[0]:  # pyright: ignore
        problem = f"the tokenizer has {len(tokenizer)} tokens, more than the model's embedding"
    if problem:
        raise InvalidInput(f"base_model '{path}' cannot be used: {problem}", "model.base_model")

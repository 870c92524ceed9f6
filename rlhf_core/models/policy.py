"""The policy under training: an adapter that writes, and linear value heads on the same trunk pass."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from rlhf_core.errors import InvalidInput
from rlhf_core.models.backbone import Backbone
from rlhf_core.models.batching import Batch
from rlhf_core.models.logprobs import EntropyUse, response_logprobs, response_tokens

HEADS = "value_heads.safetensors"
TRAINED, REFERENCE = "ppo-policy", "ppo-reference"
"""Adapters of a policy in training."""


class Evaluation(NamedTuple):
    """Of a batch's response tokens: logprobs and entropy (B, T), values (B, T, K+1); entropy is 0 if not asked for."""

    logprobs: Tensor
    entropy: Tensor
    values: Tensor

    def rows(self, index: Tensor, width: int) -> Evaluation:
        """Return the evaluation of some samples' first `width` tokens."""
        return Evaluation(*(part[index, :width] for part in self))


class Policy:
    """An adapter with K+1 value heads: one per objective, and a last one for the KL penalty.

    Heads begin at zero, so that V = 0. `reference` names the frozen adapter that KL is measured from; None is the base.
    """

    def __init__(self, backbone: Backbone, adapter: str, objectives: tuple[str, ...], reference: str | None = None):
        self.backbone, self.adapter, self.objectives, self.reference = backbone, adapter, objectives, reference
        size = backbone.hidden_size
        self.value_heads = nn.Linear(size, len(objectives) + 1, device=backbone.device)
        nn.init.zeros_(self.value_heads.weight)
        nn.init.zeros_(self.value_heads.bias)

    @classmethod
    def starting_from(cls, backbone: Backbone, folder: Path, objectives: tuple[str, ...], dense: bool) -> Policy:
        """Make a policy that is the one in `folder`, as is its reference; one that was in training here is dropped.

        A `dense` one trains all weights of the model, of which it gets a copy of its own.

        Raises: InvalidInput where a low-rank one is to begin with weights of its own, which no adapter goes on.
        """
        for name in (TRAINED, REFERENCE):
            if name in backbone.adapters:
                backbone.adapters.delete(name)
        backbone.adapters.load(REFERENCE, folder)
        if dense:
            backbone.adapters.add_dense(TRAINED, REFERENCE)
        elif backbone.adapters.is_dense(REFERENCE):
            raise InvalidInput(
                "ppo.tune is 'lora' and the policy that PPO begins with has weights of its own; allowed: full",
                "ppo.tune",
            )
        else:
            backbone.adapters.copy(REFERENCE, TRAINED)
        return cls(backbone, TRAINED, objectives, REFERENCE)

    def parameters(self) -> list[nn.Parameter]:
        """Return all that training moves: the adapter and the value heads."""
        return [*self.backbone.adapters.parameters(self.adapter), *self.value_heads.parameters()]

    def evaluate(
        self, batch: Batch, temperature: float = 1.0, *, train: bool = False, entropy: EntropyUse = "data"
    ) -> Evaluation:
        """Make one trunk pass for policy and critic; a value belongs to the state before its token.

        The results have a graph if `train`.
        """
        with self.backbone.adapters.using(self.adapter, train=train), nullcontext() if train else torch.no_grad():
            tokens = response_tokens(self.backbone, batch, temperature, entropy)
            return Evaluation(tokens.logprobs, tokens.entropy, self.value_heads(tokens.hidden.float().contiguous()))

    def reference_logprobs(self, batch: Batch, temperature: float = 1.0) -> Tensor:
        """Return log-probs (B, T) under the frozen reference."""
        with self.backbone.adapters.using(self.reference):
            return response_logprobs(self.backbone, batch, temperature)

    def save(self, folder: Path) -> None:
        """Write the adapter and the value heads."""
        self.backbone.adapters.save(self.adapter, folder)
        state = {key: tensor.detach().cpu() for key, tensor in self.value_heads.state_dict().items()}
        save_file(state, folder / HEADS, metadata={"objectives": json.dumps(self.objectives)})

    def restore(self, folder: Path) -> None:
        """Take the adapter and the value heads from a folder; the objectives must be the same, in the same order."""
        try:
            with safe_open(folder / HEADS, "pt") as file:
                objectives = tuple(json.loads((file.metadata() or {}).get("objectives", "[]")))
                state = {key: file.get_tensor(key) for key in list(file.keys())}
        except (OSError, ValueError, SafetensorError) as error:
            raise InvalidInput(f"no policy in '{folder}': {error}; expected {HEADS}") from error
        if objectives != self.objectives:
            raise InvalidInput(f"the policy in '{folder}' has the objectives {objectives}, the run {self.objectives}")
        self.backbone.adapters.take(self.adapter, folder)
        self.value_heads.load_state_dict(state)

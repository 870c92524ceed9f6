"""One objective's reward model: an adapter and a few small heads that score a finished conversation."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from rlhf_core.errors import InvalidInput
from rlhf_core.models.backbone import Backbone
from rlhf_core.models.batching import length_batches
from rlhf_core.records import Prompt

HEADS = "reward_heads.safetensors"


class RewardModel:
    """Scores (B, M) of an ensemble of M linear heads on the hidden state of the response's end token."""

    def __init__(self, backbone: Backbone, adapter: str, objective: str, members: int = 1, seed: int = 0):
        self.backbone, self.adapter, self.objective, self.members = backbone, adapter, objective, members
        size = backbone.hidden_size
        self.heads = nn.Linear(size, members, device=backbone.device)
        weight = torch.randn(members, size, generator=torch.Generator().manual_seed(seed)) / (size + 1)
        with torch.no_grad():
            self.heads.weight.copy_(weight)
            self.heads.bias.zero_()

    @classmethod
    def create(cls, backbone: Backbone, adapter: str, objective: str, members: int, seed: int) -> RewardModel:
        """A new adapter with new heads."""
        backbone.add_adapter(adapter, seed)
        return cls(backbone, adapter, objective, members, seed)

    def parameters(self) -> list[nn.Parameter]:
        """All that training moves: the adapter and the heads."""
        return [*self.backbone.adapter_parameters(self.adapter), *self.heads.parameters()]

    def encode(self, prompt: Prompt, response: str) -> list[int]:
        """The one place where a conversation becomes this model's tokens: template, response, end token."""
        ids = [*self.backbone.render(prompt.messages), *self.backbone.encode_response(response)]
        self.backbone.check_length(len(ids), 0)
        return ids

    def forward(self, rows: Sequence[Sequence[int]], *, train: bool = False) -> Tensor:
        """Scores (B, M) of encoded conversations; padding stands on the left, so the end token is the last column."""
        with self.backbone.using(self.adapter, train=train):
            hidden = self.backbone.forward(*self.backbone.pad_left(rows), keep=1).hidden[:, -1]
            return self.heads(hidden.float())

    @torch.no_grad()
    def score(self, conversations: Sequence[tuple[Prompt, str]]) -> Tensor:
        """Scores (B, M) on the CPU: unbounded logits, one column per member."""
        rows = [self.encode(prompt, response) for prompt, response in conversations]
        scores = torch.zeros(len(rows), self.members)
        for batch in length_batches(rows, max_rows=128):
            scores[batch] = self.forward([rows[i] for i in batch]).cpu()
        return scores

    def save(self, folder: Path) -> None:
        """Write the adapter and the heads."""
        self.backbone.save_adapter(self.adapter, folder)
        state = {key: tensor.detach().cpu() for key, tensor in self.heads.state_dict().items()}
        save_file(state, folder / HEADS, metadata={"objective": json.dumps(self.objective)})

    @classmethod
    def load(cls, backbone: Backbone, adapter: str, folder: Path) -> RewardModel:
        """Load a saved model as a new adapter of this backbone."""
        try:
            with safe_open(folder / HEADS, "pt") as file:
                objective = json.loads((file.metadata() or {}).get("objective", '""'))
                state = {key: file.get_tensor(key) for key in list(file.keys())}
            model = cls(backbone, adapter, objective, state["weight"].shape[0])
            model.heads.load_state_dict(state)
        except (OSError, SafetensorError, KeyError, RuntimeError) as error:
            raise InvalidInput(f"no reward model for this base in '{folder}': {error}; expected {HEADS}") from error
        backbone.load_adapter(adapter, folder)
        return model

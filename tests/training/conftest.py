"""A small task that a tiny policy can learn, scored by a rule that knows the answer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from rlhf_core.evaluation.norm_pack import build_norm_pack
from rlhf_core.models.batching import make_batch
from rlhf_core.models.policy import Policy
from rlhf_core.records.models import NormPack
from rlhf_core.records.samples import Prompt
from rlhf_core.training.ppo.credit import no_credit
from rlhf_core.training.ppo.rollout import Rollout
from tests.local_sampler import LocalSampler

PROMPTS = [Prompt.of(f"say {i}") for i in range(12)]


class Rule:
    """A reward model that is a rule: how many characters of a response are below `limit`, times `scale`."""

    def __init__(self, objective: str, limit: str, scale: float = 1.0):
        self.objective, self.limit, self.scale = objective, limit, scale

    def score(self, conversations: Sequence[tuple[Prompt, str]]) -> torch.Tensor:
        counts = [sum(character < self.limit for character in response) for _, response in conversations]
        return torch.tensor(counts, dtype=torch.float32)[:, None] * self.scale


def pack_for(policy: Policy, rules: Sequence[Rule], max_tokens: int = 8) -> NormPack:
    samples = LocalSampler(policy.backbone).generate(
        PROMPTS, policy_version=policy.reference or "base", n=8, max_tokens=max_tokens, seed=99
    )
    conversations = [(sample.prompt, sample.response) for sample in samples]
    scores = np.stack([rule.score(conversations).mean(1).numpy() for rule in rules])
    names = [rule.objective for rule in rules]
    return build_norm_pack("run", "reference", names, names, scores, [sample.tokens for sample in samples])


@pytest.fixture
def new_policy(tiny_model):
    """A fresh policy on a fresh backbone; the same arguments make the same policy."""

    def make(objectives: tuple[str, ...] = ("low", "high"), seed: int = 0, kind: str = "llama") -> Policy:
        backbone = tiny_model(kind)
        backbone.adapters.add("reference", seed)
        with torch.no_grad():
            for i, parameter in enumerate(backbone.adapters.parameters("reference")):
                noise = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(100 * seed + i))
                parameter.add_(noise * 0.01)
        backbone.adapters.copy("reference", "policy")
        return Policy(backbone, "policy", objectives, "reference")

    return make


def weights_of(policy: Policy) -> dict[str, torch.Tensor]:
    """All that training moves, by name."""
    adapter = {str(i): p.detach().clone() for i, p in enumerate(policy.backbone.adapters.parameters("policy"))}
    return adapter | {key: tensor.clone() for key, tensor in policy.value_heads.state_dict().items()}


def files_of(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


PROMPT_IDS = [[1, 2, 3], [9] * 10, [4, 5], [7, 8, 9, 10, 11]]
RESPONSE_IDS = [[11, 12, 256], [13, 256], [14, 15, 16, 17, 18], [256]]
"""Ended, ended, cut, and nothing but the end token."""


def handmade(policy: Policy, z: Sequence[Sequence[float]], responses: Sequence[list[int]] = RESPONSE_IDS) -> Rollout:
    """A rollout of given responses with given standardised scores z (K, B)."""
    scores = torch.tensor(z)
    unfinished = torch.tensor([float(row[-1] not in policy.backbone.stop_ids) for row in responses])
    batch = make_batch(policy.backbone, PROMPT_IDS[: len(responses)], responses)
    return Rollout([], batch, scores, scores, unfinished, scores, no_credit(len(scores), batch.mask))


def shake(policy: Policy, size: float = 0.05, seed: int = 0) -> None:
    """Move adapter and value heads a little, so that neither policy and reference nor values and 0 are equal."""
    with torch.no_grad():
        for i, parameter in enumerate(policy.parameters()):
            noise = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1000 * seed + i))
            parameter.add_(noise * size)

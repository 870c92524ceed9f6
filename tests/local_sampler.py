"""A sampler over the adapters of this process, for tests that train without a server."""

from __future__ import annotations

from collections.abc import Sequence

from rlhf_core.inference.generate import generate
from rlhf_core.models.backbone import Backbone
from rlhf_core.records.base import content_id
from rlhf_core.records.samples import BASE_POLICY, Prompt, Sample


class LocalSampler:
    """interfaces.Sampler over this process's adapters: a policy version is the adapter of that name."""

    def __init__(self, backbone: Backbone):
        self.backbone = backbone

    def generate(
        self,
        prompts: Sequence[Prompt],
        *,
        policy_version: str,
        n: int = 1,
        temperature: float = 1.0,
        max_tokens: int = 64,
        seed: int = 0,
    ) -> list[Sample]:
        backbone = self.backbone
        with backbone.adapters.using(None if policy_version == BASE_POLICY else policy_version):
            written = generate(
                backbone,
                [backbone.render(prompt.messages) for prompt in prompts],
                n=n,
                temperature=temperature,
                max_tokens=max_tokens,
                seed=seed,
            )
        repeated = [prompt for prompt in prompts for _ in range(n)]
        return [
            Sample(
                id=content_id("sample", prompt.id, policy_version, seed, index, temperature, max_tokens),
                prompt=prompt,
                response=backbone.decode(result.tokens),
                policy_version=policy_version,
                finished=result.finished,
                tokens=len(result.tokens),
                logprob=sum(result.logprobs),
                seed=seed,
            )
            for index, (prompt, result) in enumerate(zip(repeated, written, strict=True))
        ]

"""vLLM as an engine: its own copy of the base model on the GPU, adapters loaded from their files.

Importing this needs vllm: pip install '.[vllm]'. The same seed gives the same texts, which are not those of `native`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

# It is installed where there is a GPU alone.
from vllm import EngineArgs, LLMEngine, SamplingParams  # pyright: ignore[reportMissingImports]
from vllm.lora.request import LoRARequest  # pyright: ignore[reportMissingImports]
from vllm.sampling_params import RequestOutputKind  # pyright: ignore[reportMissingImports]

from rlhf_core.inference.sequence import TokenSequence
from rlhf_core.models.backbone import Backbone

MEMORY_SHARE = 0.4
"""Of the GPU, as the model in training is there too."""
MAX_RANK = 64
ADAPTERS = 4


class VllmEngine:
    """One engine for all versions: a step of it writes a token in every row, whichever version it is of."""

    def __init__(self, backbone: Backbone):
        self.stop_ids = list(backbone.stop_ids)
        self._token_ids = backbone.token_ids
        self.writing: dict[str, TokenSequence] = {}
        self._numbers: dict[str, int] = {}
        self._next = 0
        self._engine: Any = LLMEngine.from_engine_args(
            EngineArgs(
                model=backbone.model.name_or_path,
                max_model_len=backbone.max_length,
                enable_lora=True,
                max_loras=ADAPTERS,
                max_lora_rank=MAX_RANK,
                gpu_memory_utilization=MEMORY_SHARE,
                logprobs_mode="processed_logprobs",
            )
        )

    def add(self, row: TokenSequence, adapter: Path | None) -> str:
        """Add a row and return its id in the engine. An adapter is known by its version, whose weights never change."""
        identity = str(self._next)
        self._next += 1
        number = self._numbers.setdefault(row.policy_version, len(self._numbers) + 1)
        lora = LoRARequest(row.policy_version, number, str(adapter)) if adapter else None
        settings = SamplingParams(
            temperature=row.params.temperature,
            max_tokens=row.params.max_tokens,
            seed=row.seed,
            stop_token_ids=self.stop_ids,
            allowed_token_ids=self._token_ids,
            logprobs=0,
            detokenize=False,
            output_kind=RequestOutputKind.DELTA,
        )
        self._engine.add_request(identity, {"prompt_token_ids": list(row.prompt)}, settings, lora_request=lora)
        self.writing[identity] = row
        return identity

    def step(self) -> None:
        for output in self._engine.step():
            row = self.writing.get(output.request_id)
            (new,) = output.outputs
            for token, logprobs in zip(new.token_ids, new.logprobs, strict=True):
                if row is not None and not row.ended:
                    row.take(token, logprobs[token].logprob)

    def abort(self, identities: Sequence[str]) -> None:
        self._engine.abort_request(list(identities))
        for identity in identities:
            del self.writing[identity]


class VllmDecoder:
    """The rows of one policy version."""

    def __init__(self, engine: VllmEngine, adapter: Path | None):
        self._engine, self._adapter = engine, adapter
        self._own: list[str] = []

    @property
    def rows(self) -> Sequence[TokenSequence]:
        return [self._engine.writing[identity] for identity in self._own]

    @property
    def bytes(self) -> int:
        """Of this process; keys and values are vLLM's."""
        return 0

    def join(self, rows: Sequence[TokenSequence]) -> None:
        self._own += [self._engine.add(row, self._adapter) for row in rows]

    def step(self) -> None:
        self._engine.step()
        self.leave()

    def leave(self) -> None:
        ended = [identity for identity in self._own if self._engine.writing[identity].ended]
        self._own = [identity for identity in self._own if identity not in ended]
        if ended:
            self._engine.abort(ended)

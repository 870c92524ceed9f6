"""The policy's versions at work: prompts become rows of one batch, and rows become samples.

All methods run on the thread that owns the model.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

from rlhf_core.errors import InvalidInput
from rlhf_core.inference.engines.by_name import new_batcher
from rlhf_core.inference.sampling import row_seeds
from rlhf_core.inference.scheduler import Batcher
from rlhf_core.inference.sequence import SamplingParams, TokenMeaning, TokenSequence
from rlhf_core.records.base import content_id
from rlhf_core.records.samples import Prompt, Sample
from services.serving.loaded_models import ModelLibrary


class Writers:
    """What the writing queue needs, over the adapters of a library."""

    def __init__(self, library: ModelLibrary, batcher: Batcher | None = None):
        """`batcher` is the engine; none means the one that the library's model is configured for."""
        self._library = library
        self._backbone = library.backbone
        self._meaning = TokenMeaning(self._backbone.decode, frozenset(self._backbone.stop_ids))
        self._batcher = batcher or new_batcher(library.engine, self._backbone, self._active, library.policy_folder)

    def begin(
        self,
        prompts: Sequence[Prompt],
        policy_version: str,
        params: SamplingParams,
        gone: Callable[[], bool],
        shown: bool,
    ) -> list[TokenSequence]:
        """n rows per prompt, grouped by prompt, which wait for their turn; `shown` keeps their text at hand.

        Raises what the call got wrong: an unknown version, a prompt that is too long.
        """
        with self._active(policy_version):
            pass
        rendered = [self._render(prompt, params.max_tokens, f"prompts[{i}]") for i, prompt in enumerate(prompts)]
        rows = [
            TokenSequence(tuple(prompt), seed, policy_version, params, self._meaning, shown)
            for prompt, seed in row_seeds(rendered, [params.seed] * len(rendered), params.n)
        ]
        self._batcher.add(rows, gone)
        return rows

    def step(self) -> int:
        """A token of one version's rows, after others have joined and left; how many rows that were."""
        return self._batcher.step()

    def clear(self) -> None:
        """Cut all rows, after a step has failed."""
        self._batcher.clear()

    def samples(self, prompts: Sequence[Prompt], rows: Sequence[TokenSequence]) -> list[Sample]:
        """What the rows hold, n to each prompt; a sample's id does not depend on what it is drawn with."""
        seen: Counter[str] = Counter()
        samples: list[Sample] = []
        for place, row in enumerate(rows):
            prompt = prompts[place // row.params.n]
            samples.append(_sample(prompt, seen[prompt.id], row))
            seen[prompt.id] += 1
        return samples

    def _active(self, version: str) -> AbstractContextManager[None]:
        return self._library.using_policy(version, self._batcher.versions)

    def _render(self, prompt: Prompt, max_tokens: int, field: str) -> list[int]:
        try:
            tokens = self._backbone.render(prompt.messages)
            self._backbone.check_length(len(tokens), max_tokens)
        except InvalidInput as error:
            raise InvalidInput(f"{field}: {error}", field) from error
        return tokens


def _sample(prompt: Prompt, index: int, row: TokenSequence) -> Sample:
    version, params = row.policy_version, row.params
    stops = (params.stop,) if params.stop else ()
    return Sample(
        id=content_id("sample", prompt.id, version, params.seed, index, params.temperature, params.max_tokens, *stops),
        prompt=prompt,
        response=row.text(),
        policy_version=version,
        finished=row.finished,
        tokens=len(row.tokens),
        logprob=sum(row.logprobs),
        seed=params.seed,
    )

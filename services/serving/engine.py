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
from rlhf_core.inference.sequence import Ask, Speech, Writing
from rlhf_core.records.base import content_id
from rlhf_core.records.samples import Prompt, Sample
from services.serving.generation_queue import Draw
from services.serving.loaded_models import ModelLibrary


class Writers:
    """What the writing queue needs, over the adapters of a library."""

    def __init__(self, library: ModelLibrary, batcher: Batcher | None = None):
        """`batcher` is the engine; none means the one that the library's model is configured for."""
        self._library = library
        self._backbone = library.backbone
        self._speech = Speech(self._backbone.decode, frozenset(self._backbone.stop_ids))
        self._batcher = batcher or new_batcher(library.engine, self._backbone, self._active, library.policy_folder)

    def begin(self, prompts: Sequence[Prompt], draw: Draw, gone: Callable[[], bool], shown: bool) -> list[Writing]:
        """n rows per prompt, grouped by prompt, which wait for their turn; `shown` keeps their text at hand.

        Raises what the call got wrong: an unknown version, a prompt that is too long.
        """
        with self._active(draw.policy_version):
            pass
        rendered = [self._render(prompt, draw, f"prompts[{i}]") for i, prompt in enumerate(prompts)]
        rows = [
            Writing(
                Ask(draw.policy_version, tuple(prompt), seed, draw.temperature, draw.max_tokens, draw.stop),
                self._speech,
                shown,
            )
            for prompt, seed in row_seeds(rendered, [draw.seed] * len(rendered), draw.n)
        ]
        self._batcher.add(rows, gone)
        return rows

    def step(self) -> int:
        """A token of one version's rows, after others have joined and left; how many rows that were."""
        return self._batcher.step()

    def clear(self) -> None:
        """Cut all rows, after a step has failed."""
        self._batcher.clear()

    def samples(self, prompts: Sequence[Prompt], draw: Draw, rows: Sequence[Writing]) -> list[Sample]:
        """What the rows hold; a sample's id does not depend on what it is drawn with."""
        seen: Counter[str] = Counter()
        samples: list[Sample] = []
        for prompt, row in zip((prompt for prompt in prompts for _ in range(draw.n)), rows, strict=True):
            samples.append(_sample(prompt, draw, seen[prompt.id], row))
            seen[prompt.id] += 1
        return samples

    def _active(self, version: str) -> AbstractContextManager[None]:
        return self._library.using_policy(version, self._batcher.versions)

    def _render(self, prompt: Prompt, draw: Draw, field: str) -> list[int]:
        try:
            tokens = self._backbone.render(prompt.messages)
            self._backbone.check_length(len(tokens), draw.max_tokens)
        except InvalidInput as error:
            raise InvalidInput(f"{field}: {error}", field) from error
        return tokens


def _sample(prompt: Prompt, draw: Draw, index: int, row: Writing) -> Sample:
    stops = (draw.stop,) if draw.stop else ()
    return Sample(
        id=content_id(
            "sample", prompt.id, draw.policy_version, draw.seed, index, draw.temperature, draw.max_tokens, *stops
        ),
        prompt=prompt,
        response=row.text(),
        policy_version=draw.policy_version,
        finished=row.finished,
        tokens=len(row.tokens),
        logprob=sum(row.logprobs),
        seed=draw.seed,
    )

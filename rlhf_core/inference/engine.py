"""The engine: prompts of many calls become sequences of one batch per policy version, and sequences become samples.

All methods run on the thread that owns the model.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

from rlhf_core.config.run import EngineName
from rlhf_core.errors import InvalidInput
from rlhf_core.inference.engines.native import NativeDecoder
from rlhf_core.inference.sampling import row_seeds
from rlhf_core.inference.scheduler import MAX_POSITIONS, MAX_ROWS, Scheduler
from rlhf_core.inference.sequence import SamplingParams, TokenMeaning, TokenSequence
from rlhf_core.models.backbone import Backbone
from rlhf_core.records.base import content_id
from rlhf_core.records.samples import Prompt, Sample


class Policies(Protocol):
    """Where an engine finds the weights of a policy version."""

    def using_policy(self, version_id: str, in_use: Collection[str] = ()) -> AbstractContextManager[None]:
        """Make the model that of a version for one unit of work; those `in_use` stay loaded too.

        NotFound or InvalidInput when there is no such version, or not for this base model.
        """
        ...

    def policy_folder(self, version_id: str) -> Path | None:
        """Return the folder of a version's adapter; None is the base."""
        ...


class Decoder(Protocol):
    """What writes the sequences of one policy version, each of them a row of its batch."""

    @property
    def rows(self) -> Sequence[TokenSequence]:
        """Those being written."""
        ...

    @property
    def bytes(self) -> int:
        """Memory that their keys and values take."""
        ...

    def join(self, rows: Sequence[TokenSequence]) -> None:
        """Begin to write; a first token may be written at once."""
        ...

    def step(self) -> None:
        """Write at most one more token in each row; rows that have ended leave."""
        ...

    def leave(self) -> None:
        """Let go of the rows that have ended, and of their memory."""
        ...


class Engine:
    """Policy versions take turns, a step each, so that each response comes wholly from its own."""

    def __init__(
        self,
        name: EngineName,
        backbone: Backbone,
        policies: Policies,
        max_rows: int = MAX_ROWS,
        max_positions: int = MAX_POSITIONS,
    ):
        """InvalidInput when the engine of that name is not installed."""
        self._backbone, self._policies = backbone, policies
        self._meaning = TokenMeaning(backbone.decode, frozenset(backbone.stop_ids))
        self._new_decoder = _decoders_of(name, backbone, policies)
        self._decoders: dict[str, Decoder] = {}
        self.scheduler = Scheduler(max_rows, max_positions)

    @property
    def rows(self) -> list[TokenSequence]:
        """Sequences being written."""
        return [row for decoder in self._decoders.values() for row in decoder.rows]

    @property
    def versions(self) -> frozenset[str]:
        """Policy versions that are at work or will be."""
        return frozenset(self._decoders) | self.scheduler.waiting_versions

    @property
    def bytes(self) -> int:
        """Memory of keys and values."""
        return sum(decoder.bytes for decoder in self._decoders.values())

    def add(
        self, prompts: Sequence[Prompt], policy_version: str, params: SamplingParams, shown: bool = False
    ) -> list[TokenSequence]:
        """Add n sequences per prompt, grouped by prompt, which wait for their turn; `shown` keeps their text at hand.

        Raises what the call got wrong: an unknown version, a prompt that is too long.
        """
        with self._using(policy_version):
            pass
        rendered = [self._render(prompt, params.max_tokens, f"prompts[{i}]") for i, prompt in enumerate(prompts)]
        sequences = [
            TokenSequence(tuple(prompt), seed, policy_version, params, self._meaning, shown)
            for prompt, seed in row_seeds(rendered, [params.seed] * len(rendered), params.n)
        ]
        self.scheduler.add(sequences)
        return sequences

    def step(self) -> int:
        """Let sequences join, and write a token in each row of one version; return how many rows that were."""
        with self._cleared_on_failure():
            for rows in self.scheduler.admit(self.rows):
                version = rows[0].policy_version
                decoder = self._decoders.get(version) or self._new_decoder(version)
                self._decoders[version] = decoder
                with self._using(version):
                    decoder.join(rows)
            written = self._write()
            self._forget_ended()
        return written

    def abort(self, sequences: Sequence[TokenSequence]) -> None:
        """Cut sequences that nobody waits for any more, and let go of their memory."""
        with self._cleared_on_failure():
            self.scheduler.abort(sequences)
            for decoder in self._decoders.values():
                decoder.leave()
            self._forget_ended()

    def samples(self, prompts: Sequence[Prompt], sequences: Sequence[TokenSequence]) -> list[Sample]:
        """Return the samples of a call's sequences, n to each prompt; a sample's id does not depend on its text."""
        seen: Counter[str] = Counter()
        samples: list[Sample] = []
        for place, sequence in enumerate(sequences):
            prompt = prompts[place // sequence.params.n]
            samples.append(_sample(prompt, seen[prompt.id], sequence))
            seen[prompt.id] += 1
        return samples

    @contextmanager
    def _cleared_on_failure(self) -> Iterator[None]:
        """Cut all sequences and drop the decoders when one of them fails, as nobody knows what it would still do."""
        try:
            yield
        except BaseException:
            self.scheduler.clear()
            self._decoders.clear()
            raise

    def _write(self) -> int:
        version = next((version for version, decoder in self._decoders.items() if decoder.rows), None)
        if version is None:
            return 0
        decoder = self._decoders[version] = self._decoders.pop(version)
        rows = len(decoder.rows)
        with self._using(version):
            decoder.step()
        return rows

    def _forget_ended(self) -> None:
        self.scheduler.forget_ended()
        self._decoders = {version: decoder for version, decoder in self._decoders.items() if decoder.rows}

    def _using(self, version: str) -> AbstractContextManager[None]:
        return self._policies.using_policy(version, self.versions)

    def _render(self, prompt: Prompt, max_tokens: int, field: str) -> list[int]:
        try:
            tokens = self._backbone.render(prompt.messages)
            self._backbone.check_length(len(tokens), max_tokens)
        except InvalidInput as error:
            raise InvalidInput(f"{field}: {error}", field) from error
        return tokens


def _sample(prompt: Prompt, index: int, sequence: TokenSequence) -> Sample:
    version, params = sequence.policy_version, sequence.params
    stops = (params.stop,) if params.stop else ()
    return Sample(
        id=content_id("sample", prompt.id, version, params.seed, index, params.temperature, params.max_tokens, *stops),
        prompt=prompt,
        response=sequence.text(),
        policy_version=version,
        finished=sequence.finished,
        tokens=len(sequence.tokens),
        logprob=sum(sequence.logprobs),
        seed=params.seed,
    )


def _decoders_of(name: EngineName, backbone: Backbone, policies: Policies) -> Callable[[str], Decoder]:
    """Return what makes the decoder of a policy version."""
    if name == "native":
        return lambda version: NativeDecoder(backbone)
    # The others are heavy to import, and one of them may not be there.
    if name == "transformers":
        from rlhf_core.inference.engines.transformers_paged import PagedDecoder

        return lambda version: PagedDecoder(backbone)
    try:
        from rlhf_core.inference.engines.vllm_engine import VllmDecoder, VllmEngine
    except ImportError as error:
        hint = "pip install '.[vllm]', or choose native or transformers"
        raise InvalidInput(f"model.engine: vllm cannot be imported: {error}", "model.engine", hint=hint) from error

    vllm = VllmEngine(backbone)
    return lambda version: VllmDecoder(vllm, policies.policy_folder(version))

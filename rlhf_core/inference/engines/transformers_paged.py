"""The continuous batching of `transformers` as an engine: a paged cache, and no padding in the batch.

It is meant for GPUs; on a CPU its attention mask over all rows makes long prompts slow. The library's own loop runs in
a thread and samples without seeds, so its processor is driven from here a step at a time, and its sampling replaced.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import ContinuousBatchingConfig, GenerationConfig
from transformers.generation.continuous_batching import ContinuousBatchingManager
from transformers.generation.continuous_batching.input_outputs import ContinuousBatchingIOs
from transformers.generation.continuous_batching.requests import RequestState

from rlhf_core.inference.sampling import draw_noise, write
from rlhf_core.inference.sequence import TokenSequence
from rlhf_core.models.backbone import Backbone

PAGE = 16
POSITIONS = 16384
"""Of the cache. Rows that find no room are computed again later, with the same result."""
BATCH_TOKENS = 2048


class PagedDecoder:
    """The rows of one policy version; blocks are not shared, as another version's keys would be found in them."""

    def __init__(self, backbone: Backbone):
        self._backbone = backbone
        self._rows: dict[str, TokenSequence] = {}
        self._next = 0
        manager = ContinuousBatchingManager(
            backbone.model,  # pyright: ignore[reportArgumentType]  # the protocol that it is to be takes no other call
            GenerationConfig(do_sample=False, eos_token_id=list(backbone.stop_ids)),
            ContinuousBatchingConfig(
                page_size=PAGE,
                num_blocks=POSITIONS // PAGE,
                max_batch_tokens=BATCH_TOKENS,
                allow_block_sharing=False,
                use_async_batching=False,
                use_cuda_graph=False,
                auto_switch_to_flash=False,
                max_blocks_per_request=0,
            ),
        )
        self._processor = manager._create_batch_processor()
        self._processor.model_runner._sample = self._sample

    @property
    def rows(self) -> Sequence[TokenSequence]:
        return list(self._rows.values())

    @property
    def bytes(self) -> int:
        """The whole cache, which is there as long as there are rows."""
        return self._processor.cache.cache_tensor.nbytes

    def join(self, rows: Sequence[TokenSequence]) -> None:
        """Hand rows to the library, which computes their prompts with its next step."""
        draw_noise(rows)
        for row in rows:
            identity = str(self._next)
            self._next += 1
            self._rows[identity] = row
            self._processor.scheduler.add_waiting_request(
                RequestState(
                    request_id=identity,
                    initial_tokens=list(row.prompt),
                    max_new_tokens=row.params.max_tokens,
                    eos_token_id=list(self._backbone.stop_ids),
                )
            )

    def step(self) -> None:
        with torch.no_grad():
            if self._processor.prepare_next_batch():
                self._processor._generation_step(self._backbone.model)
                self._processor.update_batch()
        self.leave()

    def leave(self) -> None:
        ended = [identity for identity, row in self._rows.items() if row.ended]
        for identity in ended:
            self._processor.scheduler.set_request_cancellation(identity)
            del self._rows[identity]
        if ended:
            self._processor.scheduler.clear_cancelled_requests()

    def _sample(self, scores: Tensor, output_ids: Tensor) -> None:
        """In the place of the library's own: scores (1, N, V) of the requests that get a token, in their order."""
        given = self._processor.inputs_and_outputs
        assert isinstance(given, ContinuousBatchingIOs)
        rows = [self._rows[one.state.request_id] for one in given.requests_in_batch if one.has_new_token]
        write(rows, self._backbone.tokens_alone(scores[0, : len(rows)]))
        output_ids[0, : len(rows)] = torch.tensor([row.tokens[-1] for row in rows], device=output_ids.device)

"""The engines that can write responses, by name. What they share stands in `scheduler`: admission, turns, ends."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from rlhf_core.config.run import Engine
from rlhf_core.errors import InvalidInput
from rlhf_core.inference.engines.native import NativeDecoder
from rlhf_core.inference.scheduler import MAX_POSITIONS, MAX_ROWS, Batcher, Decoder
from rlhf_core.models.backbone import Backbone


def new_batcher(
    engine: Engine,
    backbone: Backbone,
    activate: Callable[[str], AbstractContextManager[None]],
    adapter_folder: Callable[[str], Path | None],
    max_rows: int = MAX_ROWS,
    max_positions: int = MAX_POSITIONS,
) -> Batcher:
    """An engine over a base model. `activate` makes the model that of a policy version for one unit of work;
    `adapter_folder` has its files, None for the base.

    InvalidInput when the engine is not installed.
    """
    return Batcher(_decoder(engine, backbone, adapter_folder), activate, max_rows, max_positions)


def _decoder(
    engine: Engine, backbone: Backbone, adapter_folder: Callable[[str], Path | None]
) -> Callable[[str], Decoder]:
    if engine == "native":
        return lambda version: NativeDecoder(backbone)
    # The others are heavy to import, and one of them may not be there.
    if engine == "transformers":
        from rlhf_core.inference.engines.transformers_paged import PagedDecoder

        return lambda version: PagedDecoder(backbone)
    try:
        from rlhf_core.inference.engines.vllm_engine import VllmDecoder, VllmEngine
    except ImportError as error:
        hint = "pip install '.[vllm]', or choose native or transformers"
        raise InvalidInput(f"model.engine: vllm cannot be imported: {error}", "model.engine", hint=hint) from error

    vllm = VllmEngine(backbone)
    return lambda version: VllmDecoder(vllm, adapter_folder(version))

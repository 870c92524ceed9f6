"""The engines that can write responses, by name. What they share stands in `batcher`: admission, turns, ends."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from rlhf_core.config import Engine
from rlhf_core.models.backbone import Backbone
from rlhf_core.models.batcher import Batcher
from rlhf_core.models.native_decoder import NativeDecoder


def new_batcher(
    engine: Engine,
    backbone: Backbone,
    activate: Callable[[str], AbstractContextManager[None]],
    adapter_folder: Callable[[str], Path | None],
) -> Batcher:
    """An engine over a base model. `activate` makes the model that of a policy version for one unit of work;
    `adapter_folder` has its files, None for the base.

    InvalidInput when the engine is not installed.
    """
    return Batcher(lambda version: NativeDecoder(backbone), activate)

"""A backbone whose weights processes divide among them: PyTorch's FSDP2 (`fully_shard`).

Each process has a part of every layer's weights, and gets the others' for as long as it passes through the layer. The
embedding, the head and the last norm stay whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard

from rlhf_core.models.backbone import Backbone
from rlhf_core.models.kernels.lower_layers import layers_of


def shard(backbone: Backbone, adapter: str) -> None:
    """Divide the layers' weights among the processes that have joined; `adapter` is the one that will learn.

    All adapters must be there already. Gradients are summed, so that shares of a loss add up to the whole's gradient.
    """
    _ = backbone.head_is_plain  # found out by passes that not every process would make at the same time
    backbone.adapters.let_go_of_base()
    trunk, layers = backbone.model.base_model, layers_of(backbone.model, "learner.strategy")
    stays = {*trunk.parameters()} - {parameter for layer in layers for parameter in layer.parameters()}
    mesh = init_device_mesh(backbone.device.type, (dist.get_world_size(),))
    # FSDP looks at what takes gradients when it is first used.
    with backbone.adapters.using(adapter, train=True):
        for layer in layers:
            fully_shard(layer, mesh=mesh, reshard_after_forward=True)
        fully_shard(trunk, mesh=mesh, ignored_params=stays)
        for part in _parts(backbone):
            part.set_gradient_divide_factor(1.0)
            part.set_force_sum_reduction_for_comms(True)  # gloo only adds
            part.unshard()
            part.reshard()
    backbone.passes_together = True
    backbone.gathered = partial(_gathered, backbone)


@contextmanager
def _gathered(backbone: Backbone) -> Iterator[None]:
    for part in _parts(backbone):
        part.set_reshard_after_forward(False, recurse=False)
        part.unshard()
    try:
        yield
    finally:
        for part in _parts(backbone):
            part.set_reshard_after_forward(True, recurse=False)
            part.reshard()


def _parts(backbone: Backbone) -> list[FSDPModule]:
    return [part for part in backbone.model.modules() if isinstance(part, FSDPModule)]

"""RewardService: samples in, one score per objective out."""

from __future__ import annotations

import grpc
from charter.v1 import reward_pb2, reward_pb2_grpc

from rlhf_core.errors import InvalidInput, NotFound
from rlhf_core.records.models import NormPack
from rlhf_core.stages.ancestry import results_of
from rlhf_core.store.store import Store
from services.serving.executor import Executor
from services.serving.model_queue import ModelQueue
from services.wire import field_masks, resource_names
from services.wire.paging import MAX_PAGE, page_of
from services.wire.samples import samples_from_messages
from services.wire.stored_records import reward_model_to_message, score_to_message


class RewardService(reward_pb2_grpc.RewardServiceServicer):
    def __init__(self, models: ModelQueue, store: Store, io: Executor):
        self._models = models
        self._store = store
        self._io = io
        self._trunk_of: dict[str, str] = {}

    async def Score(
        self, request: reward_pb2.ScoreRequest, context: grpc.aio.ServicerContext
    ) -> reward_pb2.ScoreResponse:
        samples = samples_from_messages(request.samples)
        models, pack = await self._which(request)
        scores = await self._models.score(samples, models, await self._trunks(models))
        messages = [score_to_message(s, z_of(s.score, s.reward_model, pack)) for s in scores]
        return reward_pb2.ScoreResponse(scores=messages, norm_pack=pack.id if pack else "")

    async def ListRewardModels(
        self, request: reward_pb2.ListRewardModelsRequest, context: grpc.aio.ServicerContext
    ) -> reward_pb2.ListRewardModelsResponse:
        page = page_of(request, MAX_PAGE)
        run_id = resource_names.identity(resource_names.RUNS, request.run_id, "run_id") or None
        versions, last = await self._io.run(self._store.reward_models.page, page.size, page.after, run_id)
        messages = [reward_model_to_message(version) for version in versions]
        shown = field_masks.read(messages, request.read_mask, reward_pb2.RewardModel)
        return reward_pb2.ListRewardModelsResponse(reward_models=shown, next_page_token=page.token(last))

    async def _which(self, request: reward_pb2.ScoreRequest) -> tuple[list[str], NormPack | None]:
        """The reward models that a request means, and the scale of the run that it names."""
        given = enumerate(request.reward_models)
        models = [
            resource_names.identity(resource_names.REWARD_MODELS, model, f"reward_models[{i}]") for i, model in given
        ]
        if run_id := resource_names.identity(resource_names.RUNS, request.run_id, "run_id"):
            return await self._io.run(self._of_run, models, run_id)
        if not models:
            raise InvalidInput("reward_models: name at least one, or a run_id", "reward_models")
        return models, None

    async def _trunks(self, reward_models: list[str]) -> dict[str, str]:
        """The artifact of each model, which never changes: models that were trained on one trunk have the same one."""
        unknown = [model for model in reward_models if model not in self._trunk_of]
        if unknown:
            artifacts = await self._io.run(lambda: [self._store.reward_models.get(model).artifact for model in unknown])
            self._trunk_of |= zip(unknown, artifacts, strict=True)
        return self._trunk_of

    def _of_run(self, reward_models: list[str], run_id: str) -> tuple[list[str], NormPack | None]:
        results = results_of(self._store, run_id)
        pack = self._store.norm_packs.get(results["norm_pack"].norm_pack) if "norm_pack" in results else None
        stored = results["reward"].reward_models.values() if "reward" in results else pack.reward_models if pack else ()
        if not (reward_models or stored):
            raise NotFound(f"run '{run_id}' has no reward models yet")
        return reward_models or list(stored), pack


def z_of(score: float, reward_model: str, pack: NormPack | None) -> float | None:
    """The score in standard deviations of the reference policy's; None where the pack does not know the model."""
    if pack is None or reward_model not in pack.reward_models:
        return None
    index = pack.reward_models.index(reward_model)
    return (score - pack.mean[index]) / pack.sd[index]

"""RewardService: samples in, one score per objective out."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import grpc
from charter.v1 import reward_pb2, reward_pb2_grpc

from rlhf_core.config.run import RunConfig
from rlhf_core.constitution.constitution import Constitution
from rlhf_core.constitution.load import parse_constitution
from rlhf_core.constitution.weights import resolve_weights
from rlhf_core.errors import CharterError, InvalidInput, NotFound, Unavailable
from rlhf_core.records.models import NormPack, RewardModelVersion, Score
from rlhf_core.records.samples import Sample
from rlhf_core.stages.ancestry import results_of
from rlhf_core.store.store import Store
from services.rpc.run_references import run_id_of
from services.server.incidents import incident_of, told
from services.serving.executor import Executor
from services.serving.model_queue import UNIT, ModelQueue
from services.wire import field_masks, resource_names
from services.wire.paging import MAX_PAGE, page_of
from services.wire.samples import samples_from_messages
from services.wire.stored_records import reward_model_to_message, score_to_message


class Scoring(NamedTuple):
    """Scores (N, K) of samples by reward models; in the place of one that could not be given stands why."""

    models: list[RewardModelVersion]
    pack: NormPack | None
    scores: list[list[Score | CharterError]]


class RewardService(reward_pb2_grpc.RewardServiceServicer):
    def __init__(self, models: ModelQueue, store: Store, io: Executor):
        self._models = models
        self._store = store
        self._io = io
        self._known: dict[str, RewardModelVersion] = {}
        self._dials: dict[str, tuple[Constitution, dict[str, float]]] = {}
        """The objectives and the weights that a run was begun with: neither changes, and reading them takes a while."""

    async def Score(
        self, request: reward_pb2.ScoreRequest, context: grpc.aio.ServicerContext
    ) -> reward_pb2.ScoreResponse:
        samples = samples_from_messages(request.samples)
        models, pack = await self._which(request)
        scores = await self._models.score(samples, models, _trunks(await self._versions(models)))
        messages = [score_to_message(s, pack and pack.z(s.score, s.reward_model)) for s in scores]
        return reward_pb2.ScoreResponse(scores=messages, norm_pack=pack.id if pack else "")

    async def score_each(self, request: reward_pb2.ScoreRequest) -> Scoring:
        """Score as `Score` does, but a model that fails, or cannot read a sample, leaves the others their scores.

        Raises what is wrong with the request, and Unavailable where the same call may work later.
        """
        samples = samples_from_messages(request.samples)
        names, pack = await self._which(request)
        models = await self._versions(names)
        try:
            scores = await self._models.score(samples, names, _trunks(models))
            columns = [list(scores[i * len(samples) :][: len(samples)]) for i in range(len(names))]
        except Unavailable:
            raise
        except Exception:  # whose fault it is shows where each is asked alone
            columns = [await self._alone(samples, name) for name in names]
        return Scoring(models, pack, [list(row) for row in zip(*columns, strict=True)])

    async def weights(self, run_id: str, given: Mapping[str, float]) -> dict[str, float]:
        """Return a weight for every objective of a run: those given, or else the run's own.

        Raises InvalidInput or NotFound.
        """
        run_id = resource_names.identity(resource_names.RUNS, run_id, "run")
        return await self._io.run(self._weights_of, run_id, given)

    async def models_of(self, run_id: str) -> list[RewardModelVersion]:
        """Return the reward models of a run, one for each objective. Raises NotFound where it has none."""
        names, _ = await self._which(reward_pb2.ScoreRequest(run_id=run_id))
        return await self._versions(names)

    async def ListRewardModels(
        self, request: reward_pb2.ListRewardModelsRequest, context: grpc.aio.ServicerContext
    ) -> reward_pb2.ListRewardModelsResponse:
        page = page_of(request, MAX_PAGE)
        run_id = await self._io.run(run_id_of, self._store, request.run_id) or None
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
        if request.run_id:
            return await self._io.run(self._of_run, models, request.run_id)
        if not models:
            raise InvalidInput("reward_models: name at least one, or a run_id", "reward_models")
        return models, None

    async def _versions(self, reward_models: list[str]) -> list[RewardModelVersion]:
        """What the store knows of each model, which never changes."""
        unknown = [model for model in reward_models if model not in self._known]
        if unknown:
            found = await self._io.run(lambda: [self._store.reward_models.get(model) for model in unknown])
            self._known |= zip(unknown, found, strict=True)
        return [self._known[model] for model in reward_models]

    async def _alone(self, samples: Sequence[Sample], model: str) -> list[Score | CharterError]:
        """Each sample as a call of its own: they share passes again, and only what is wrong by itself fails."""
        found: list[Score | CharterError] = []
        broken: CharterError | None = None
        for start in range(0, len(samples), UNIT):
            asking = [self._models.score([sample], [model]) for sample in samples[start : start + UNIT]]
            for answer in await asyncio.gather(*asking, return_exceptions=True):
                if isinstance(answer, list):
                    found += answer
                elif isinstance(answer, Unavailable):
                    raise answer
                elif isinstance(answer, CharterError):
                    found.append(answer)
                else:  # a mistake of ours, told once for all of the model's samples
                    broken = broken or CharterError(told(incident_of(answer)))
                    found.append(broken)
        return found

    def _of_run(self, reward_models: list[str], given: str) -> tuple[list[str], NormPack | None]:
        run_id = run_id_of(self._store, given)
        results = results_of(self._store, run_id)
        pack = self._store.norm_packs.get(results["norm_pack"].norm_pack) if "norm_pack" in results else None
        stored = results["reward"].reward_models.values() if "reward" in results else pack.reward_models if pack else ()
        if not (reward_models or stored):
            raise NotFound(f"run '{run_id}' has no reward models yet")
        return reward_models or list(stored), pack

    def _weights_of(self, run_id: str, given: Mapping[str, float]) -> dict[str, float]:
        run = self._store.runs.find(run_id)
        if run.id not in self._dials:
            text = self._store.constitutions.text(run.constitution_hash)
            own = RunConfig.stored(run.config).weights
            self._dials[run.id] = parse_constitution(text, run.constitution_hash), own
        constitution, own = self._dials[run.id]
        return resolve_weights(constitution, given or own)


def _trunks(models: Sequence[RewardModelVersion]) -> dict[str, str]:
    """The artifact of each model: models that were trained on one trunk have the same one."""
    return {model.id: model.artifact for model in models}

"""The client of RewardService: scores, and the reward models that give them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from charter.v1 import reward_pb2, reward_pb2_grpc

from rlhf_core.records.models import RewardModelVersion, Score
from rlhf_core.records.samples import Sample
from services.client.connection import Connection
from services.wire.batches import in_order
from services.wire.samples import sample_to_message
from services.wire.stored_records import reward_model_from_message, score_from_message


class RunScore(NamedTuple):
    """A score, and the same in standard deviations of the run's reference policy where it has a NormPack."""

    score: Score
    z: float | None


class RewardClient:
    """interfaces.Scorer over the wire."""

    def __init__(self, connection: Connection):
        self._connection = connection
        self._stub = reward_pb2_grpc.RewardServiceStub(connection.channel)

    def score(self, samples: Sequence[Sample], reward_models: Sequence[str]) -> list[Score]:
        """Score samples: all of the first model, then of the second."""
        messages = [sample_to_message(sample) for sample in samples]
        scores: list[Score] = []
        for model in reward_models:
            for places in in_order(messages):
                request = reward_pb2.ScoreRequest(samples=messages[places], reward_models=[model])
                answer = self._connection.call(self._stub.Score, request)
                scores += [score_from_message(message) for message in answer.scores]
        return scores

    def score_run(self, samples: Sequence[Sample], run_id: str) -> list[RunScore]:
        """Return the scores by all reward models of a run."""
        messages = [sample_to_message(sample) for sample in samples]
        request = reward_pb2.ScoreRequest(samples=messages, run_id=run_id)
        answer = self._connection.call(self._stub.Score, request)
        return [RunScore(score_from_message(m), m.z if m.HasField("z") else None) for m in answer.scores]

    def list_reward_models(self, run_id: str = "") -> list[RewardModelVersion]:
        """List all reward models, or all of a run, oldest first."""
        request = reward_pb2.ListRewardModelsRequest(run_id=run_id)
        pages = self._connection.pages(self._stub.ListRewardModels, request)
        return [reward_model_from_message(message) for answer in pages for message in answer.reward_models]

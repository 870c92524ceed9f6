"""ExplorationService: samples found by what they are, and all that is known of one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import TypeVar, cast

import grpc
from charter.v1 import exploration_pb2, exploration_pb2_grpc
from google.protobuf.message import Message

from rlhf_core.config.run import RunConfig
from rlhf_core.datasets.references import is_reference
from rlhf_core.errors import InvalidInput, NotFound
from rlhf_core.records.base import Stage
from rlhf_core.records.exploration import SampleHistory
from rlhf_core.records.models import NormPack, PolicyVersion
from rlhf_core.records.runs import Run
from rlhf_core.records.samples import BASE_POLICY, Sample
from rlhf_core.stages.ancestry import results_of
from rlhf_core.store.row_mapping import RecordType
from rlhf_core.store.store import Store
from rlhf_core.store.versions import Versions
from services.rpc.run_exports import MAX_PAGE_BYTES
from services.rpc.run_references import run_id_of
from services.serving.executor import Executor
from services.wire import field_masks, resource_names
from services.wire.exploration import (
    filter_from_message,
    found_to_message,
    judged_to_message,
    scores_to_messages,
    term_to_message,
)
from services.wire.paging import page_of
from services.wire.revisions import step_to_message
from services.wire.samples import sample_to_message
from services.wire.stored_records import policy_version_to_message, reward_model_to_message

M = TypeVar("M", bound=Message)
PAGE = 50
MAX_ANCESTORS = 100
"""Policy versions that a lineage goes back."""


class ExplorationService(exploration_pb2_grpc.ExplorationServiceServicer):
    def __init__(self, store: Store, io: Executor):
        self._store = store
        self._io = io

    async def ListSampleTerms(
        self, request: exploration_pb2.ListSampleTermsRequest, context: grpc.aio.ServicerContext
    ) -> exploration_pb2.ListSampleTermsResponse:
        run_id = await self._io.run(self._run, request.run_id)
        terms = await self._io.run(self._store.sample_search.terms, run_id)
        return exploration_pb2.ListSampleTermsResponse(terms=[term_to_message(term) for term in terms])

    async def FindSamples(
        self, request: exploration_pb2.FindSamplesRequest, context: grpc.aio.ServicerContext
    ) -> exploration_pb2.FindSamplesResponse:
        return await self._io.run(self._find, request)

    async def GetSample(
        self, request: exploration_pb2.GetSampleRequest, context: grpc.aio.ServicerContext
    ) -> exploration_pb2.GetSampleResponse:
        return await self._io.run(self._get, request)

    def _find(self, request: exploration_pb2.FindSamplesRequest) -> exploration_pb2.FindSamplesResponse:
        asked, run_id, wanted = page_of(request, PAGE), self._run(request.run_id), filter_from_message(request)
        page = self._store.sample_search.find(run_id, wanted, asked.size, asked.after)
        pack = self._pack(self._store.runs.get(run_id))
        messages = _fitting(found_to_message(found, pack) for found in page.found)
        after = page.after if len(messages) == len(page.found) else page.found[len(messages) - 1].place
        return exploration_pb2.FindSamplesResponse(
            samples=field_masks.read(messages, request.read_mask, exploration_pb2.FoundSample),
            next_page_token=asked.token(after),
            matches=page.matches,
            exact=page.exact,
            cut=page.cut,
        )

    def _get(self, request: exploration_pb2.GetSampleRequest) -> exploration_pb2.GetSampleResponse:
        if not request.sample_id:
            raise InvalidInput("sample_id: not given; say which sample, by its id", "sample_id")
        history = self._store.sample_histories.get(request.sample_id)
        run = self._run_of(history, run_id_of(self._store, request.run_id))
        return exploration_pb2.GetSampleResponse(
            sample=sample_to_message(history.sample),
            steps=[step_to_message(step) for step in history.revisions],
            comparisons=_fitting(judged_to_message(judged) for judged in history.judged),
            scores=scores_to_messages(history.scores, self._pack(run)),
            gold={grade.kind: grade.score for grade in history.gold},
            lineage=self._lineage(history, run),
        )

    def _run(self, given: str) -> str:
        if not given:
            raise InvalidInput(f"run_id: not given; say which run, as {resource_names.RUNS}/ID", "run_id")
        return run_id_of(self._store, given)

    def _run_of(self, history: SampleHistory, run_id: str) -> Run | None:
        """The run that is asked for, or the one that made the sample, if it is still there. Raises NotFound."""
        if run_id and run_id not in history.run_ids:
            raise NotFound(f"sample '{history.sample.id}' is none of run '{run_id}'")
        try:
            return self._store.runs.get(run_id or history.sample.run_id)
        except NotFound:
            return None

    def _pack(self, run: Run | None) -> NormPack | None:
        result = results_of(self._store, run.id).get("norm_pack") if run else None
        return self._store.norm_packs.get(result.norm_pack) if result else None

    def _lineage(self, history: SampleHistory, run: Run | None) -> exploration_pb2.Lineage:
        models, pack = dict.fromkeys(score.reward_model for score in history.scores), self._pack(run)
        return exploration_pb2.Lineage(
            run_ids=history.run_ids,
            policy_versions=[policy_version_to_message(version) for version in self._policies(history.sample, run)],
            reward_models=[reward_model_to_message(model) for model in self._known(self._store.reward_models, models)],
            norm_pack=pack.id if pack else "",
            constitution_hash=run.constitution_hash if run else "",
            datasets=_datasets(run) if run else (),
        )

    def _policies(self, sample: Sample, run: Run | None) -> list[PolicyVersion]:
        """The version that wrote the sample, and those before it.

        PPO draws from one that has no id yet: then that which came of it.
        """
        found = list(self._ancestry(sample.policy_version))
        if found or run is None or sample.policy_version == BASE_POLICY:
            return found
        trained = results_of(self._store, run.id).get(cast(Stage, sample.stage))
        return list(self._ancestry(trained.policy_version)) if trained else []

    def _ancestry(self, version_id: str) -> Iterator[PolicyVersion]:
        for _ in range(MAX_ANCESTORS):
            found = self._known(self._store.policy_versions, [version_id])
            yield from found
            if not found:
                return
            version_id = found[0].parent

    @staticmethod
    def _known(versions: Versions[RecordType], ids: Iterable[str]) -> list[RecordType]:
        """Those that are still in the store."""
        found = []
        for name in ids:
            with suppress(NotFound):
                found.append(versions.get(name))
        return found


def _fitting(messages: Iterable[M]) -> list[M]:
    """The first of them that together are no larger than a page may be, but at least one."""
    sizes, fitting = 0, []
    for message in messages:
        sizes += message.ByteSize()
        if fitting and sizes > MAX_PAGE_BYTES:
            break
        fitting.append(message)
    return fitting


def _datasets(run: Run) -> list[str]:
    """All that the run's settings name as datasets, each tied to a version."""
    config = RunConfig.stored(run.config)
    named = [value for _, value in config.data if isinstance(value, str)]
    return [text for text in (*named, *config.data.labels.values(), str(config.constitution)) if is_reference(text)]

"""The one place where Charter remembers: rows in SQLite, files beside them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rlhf_core.records.feedback import Calibration, JudgeGate
from rlhf_core.records.models import NormPack, PolicyVersion, RewardModelVersion
from rlhf_core.store.aliases import Aliases
from rlhf_core.store.artifacts.folders import ArtifactFolders
from rlhf_core.store.artifacts.object_store import artifacts_at
from rlhf_core.store.connection import Connections
from rlhf_core.store.constitutions import Constitutions
from rlhf_core.store.databases.place import ARTIFACTS, HERE, Place, connect, place_of, settle, use
from rlhf_core.store.datasets import Datasets
from rlhf_core.store.exploration.history import SampleHistories
from rlhf_core.store.exploration.search import SampleSearch
from rlhf_core.store.garbage_collection import Garbage
from rlhf_core.store.idempotency import Requests
from rlhf_core.store.labelling.adjudications import Adjudications
from rlhf_core.store.labelling.annotators import Annotators
from rlhf_core.store.labelling.assessment_queue import AssessmentQueue
from rlhf_core.store.labelling.assessments import Assessments
from rlhf_core.store.labelling.comparisons import Comparisons
from rlhf_core.store.labelling.pair_information import PairsInformation
from rlhf_core.store.labelling.preferences import Preferences
from rlhf_core.store.labelling.studies import Studies
from rlhf_core.store.labelling.study_ratings import StudyRatings
from rlhf_core.store.labelling.votes import Votes
from rlhf_core.store.run_deletion import Deletion
from rlhf_core.store.run_history import Checkpoints, Events, StageResults
from rlhf_core.store.run_pages import RunPages
from rlhf_core.store.run_weights import WatchPoints, Weights
from rlhf_core.store.runs import Runs
from rlhf_core.store.samples import Prompts, Revisions, Samples
from rlhf_core.store.scores import GoldScores, Scores
from rlhf_core.store.versions import Versions
from rlhf_core.store.workers import Workers


class Store:
    """A folder with `charter.db`, `store.lock` and `artifacts/`, safe for many threads and processes of one host; or
    with `store.json`, which says where rows and artifacts are, safe for those of many hosts.

    Each attribute keeps one kind of thing, and all use the same verbs. `add` may be repeated: what is stored already,
    by id, changes nothing. `get` is the one with an id, or NotFound; `by_id` are those of many ids, an unknown one left
    out; `of_run` are a run's; `find` are all that match what is given; `page` the same, so many at a time.
    A folder is opened once in a process.
    """

    def __init__(self, connections: Connections, artifacts: ArtifactFolders):
        self._connections = connections
        self.artifacts = artifacts
        self.garbage = Garbage(connections, artifacts)
        self.prompts = Prompts(connections)
        self.samples = Samples(connections)
        self.revisions = Revisions(connections)
        self.sample_search = SampleSearch(connections, self.samples)
        self.sample_histories = SampleHistories(connections, self.samples)
        self.scores = Scores(connections)
        self.gold_scores = GoldScores(connections)
        self.comparisons = Comparisons(connections, self.samples)
        self.run_pages = RunPages(connections, self.samples)
        self.votes = Votes(connections)
        self.preferences = Preferences(connections, self.comparisons)
        self.studies = Studies(connections)
        self.study_ratings = StudyRatings(connections)
        self.adjudications = Adjudications(connections, self.comparisons, self.studies)
        self.annotators = Annotators(connections)
        self.assessment_queue = AssessmentQueue(connections, self.samples)
        self.assessments = Assessments(connections, self.assessment_queue)
        self.policy_versions = Versions(connections, PolicyVersion, "policy_versions")
        self.aliases = Aliases(connections)
        self.reward_models = Versions(connections, RewardModelVersion, "reward_models")
        self.norm_packs = Versions(connections, NormPack, "norm_packs")
        self.calibrations = Versions(connections, Calibration, "calibrations")
        self.gates = Versions(connections, JudgeGate, "gates")
        self.constitutions = Constitutions(connections)
        self.datasets = Datasets(connections)
        self.events = Events(connections)
        self.stage_results = StageResults(connections)
        self.checkpoints = Checkpoints(connections)
        self.runs = Runs(connections, self.events)
        self.deletion = Deletion(connections, self.runs, self.aliases, self.garbage)
        self.weights = Weights(connections, self.runs)
        self.watch_points = WatchPoints(connections)
        self.requests = Requests(connections)
        self.pair_information = PairsInformation(connections)
        self.workers = Workers(connections)

    @classmethod
    def open(cls, folder: Path, place: Place = HERE) -> Store:
        """Open the store of `folder`, made if it is not there, its schema brought up to date.

        A new folder's store is made in the `place`, and found there ever after.

        Raises:
            Conflict: the store was written by a newer Charter, or is in another place.
            Unavailable: the folder cannot be written, or its database is damaged or cannot be reached.
        """
        place = settle(folder, place)
        # Before anything is made, and written down only once all is open: a slip of the pen must not stay.
        elsewhere = artifacts_at(place.artifacts, folder / ARTIFACTS) if place.artifacts else None
        connections = connect(folder, place.database)
        try:
            connections.migrate()
            opened = cls(connections, elsewhere or artifacts_at("", folder / ARTIFACTS))
            # Others' artifacts are asked for only once: every command opens the store.
            if place != place_of(folder) or not elsewhere:
                opened.garbage.claim()
            if place != place_of(folder):
                use(folder, place)
            return opened
        except BaseException:
            connections.close()
            raise

    def close(self) -> None:
        self._connections.close()

    @contextmanager
    def transaction(self, run_id: str | None = None, fence: int | None = None) -> Iterator[None]:
        """Make all that the block stores one durable commit; any exception takes all of it back.

        Blocks nest, and an inner one joins the outer. Nothing slow belongs inside, and no await. A block that decides
        by what it reads of a run names the run: no other changes it, or adds to its events, until the block ends.

        Raises:
            LeaseLost: `fence` is not the run's current one; the block is not entered.
        """
        with self._connections.write(durable=True):
            if fence is not None:
                self.runs.check_fence(run_id or "", fence)
            elif run_id is not None:
                self.runs.held(run_id)
            yield

    def integrity_check(self) -> list[str]:
        """Say what is wrong with the database; empty when it is sound."""
        return self._connections.integrity_check()

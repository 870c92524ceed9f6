"""The one place where Charter remembers: rows in SQLite, files beside them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rlhf_core.errors import CharterError, InvalidInput, Unavailable
from rlhf_core.store.artifacts import Artifacts
from rlhf_core.store.connection import Connections
from rlhf_core.store.garbage_collection import Upkeep
from rlhf_core.store.idempotency import Requests
from rlhf_core.store.migrations import migrate
from rlhf_core.store.preferences import Labels
from rlhf_core.store.run_history import History
from rlhf_core.store.run_weights import Steering
from rlhf_core.store.runs import Runs
from rlhf_core.store.samples import Samples
from rlhf_core.store.versions import Versions
from rlhf_core.store.workers import Workers


class Store:
    """A folder with `charter.db`, `store.lock` and `artifacts/`, safe for many threads and processes of one host.

    Its methods are those of its topics, bound below by name: what each does is written there. Every `add_` may be
    repeated: what is stored already, by id, changes nothing. A folder is opened once in a process.
    """

    def __init__(self, connections: Connections, artifacts: Artifacts):
        self._connections = connections
        self.artifacts = artifacts
        self._bind_samples(Samples(connections))
        self._bind_versions(Versions(connections))
        self._bind_runs(History(connections))
        self._bind_requests(Requests(connections), Workers(connections))
        upkeep = Upkeep(connections, artifacts)
        self.run_counts = upkeep.run_counts
        self.orphans = upkeep.orphans
        self.collect = upkeep.collect

    @classmethod
    def open(cls, folder: Path) -> Store:
        """Open the store in `folder`, made if it is not there, its schema brought up to date.

        Raises:
            Conflict: the store was written by a newer Charter.
            Unavailable: the folder cannot be written, or its database is damaged.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
            connections = Connections(folder / "charter.db", folder / "store.lock")
        except CharterError:
            raise
        except (FileExistsError, NotADirectoryError) as error:
            raise InvalidInput(f"store '{folder}' is a file; allowed: a folder, or a name for a new one") from error
        except OSError as error:
            raise Unavailable(f"cannot open the store '{folder}': {error.strerror or error}") from error
        try:
            with connections.write(durable=True) as connection:
                migrate(connection)
            return cls(connections, Artifacts(folder / "artifacts"))
        except BaseException:
            connections.close()
            raise

    def close(self) -> None:
        self._connections.close()

    @contextmanager
    def transaction(self, run_id: str | None = None, fence: int | None = None) -> Iterator[None]:
        """All that the block stores becomes one durable commit; any exception takes all of it back.

        Blocks nest, and an inner one joins the outer. Nothing slow belongs inside, and no await.

        Raises:
            LeaseLost: `fence` is not the run's current one; the block is not entered.
        """
        with self._connections.write(durable=True):
            if fence is not None:
                self.check_fence(run_id or "", fence)
            yield

    def integrity_check(self) -> list[str]:
        """What is wrong with the database; empty when it is sound."""
        pages = [row[0] for row in self._connections.rows("PRAGMA integrity_check")]
        broken = [
            f"a row of {row[0]} refers to a missing row of {row[2]}"
            for row in self._connections.rows("PRAGMA foreign_key_check")
        ]
        return [line for line in pages if line != "ok"] + broken

    def _bind_samples(self, samples: Samples) -> None:
        labels = Labels(self._connections, samples)
        self.add_prompts = samples.add_prompts
        self.prompts = samples.prompts
        self.add_samples = samples.add_samples
        self.sample = samples.sample
        self.samples = samples.samples
        self.samples_by_id = samples.samples_by_id
        self.add_revisions = samples.add_revisions
        self.revisions = samples.revisions
        self.add_scores = samples.add_scores
        self.scores = samples.scores
        self.add_gold = samples.add_gold
        self.gold = samples.gold
        self.add_comparisons = labels.add_comparisons
        self.comparison = labels.comparison
        self.comparisons = labels.comparisons
        self.add_votes = labels.add_votes
        self.votes = labels.votes
        self.votes_by_id = labels.votes_by_id
        self.vote_counts = labels.vote_counts
        self.comparisons_voted = labels.comparisons_voted
        self.add_preferences = labels.add_preferences
        self.preferences = labels.preferences
        self.preference_page = labels.preference_page
        self.next_comparison = labels.next_comparison
        self.submit_preference = labels.submit_preference
        self.undo_preference = labels.undo_preference

    def _bind_versions(self, versions: Versions) -> None:
        self.add_policy_version = versions.add_policy_version
        self.policy_version = versions.policy_version
        self.policy_versions = versions.policy_versions
        self.policy_version_page = versions.policy_version_page
        self.add_reward_model = versions.add_reward_model
        self.reward_model = versions.reward_model
        self.reward_models = versions.reward_models
        self.reward_model_page = versions.reward_model_page
        self.add_norm_pack = versions.add_norm_pack
        self.norm_pack = versions.norm_pack
        self.add_calibration = versions.add_calibration
        self.calibrations = versions.calibrations
        self.add_gate = versions.add_gate
        self.gates = versions.gates
        self.add_constitution = versions.add_constitution
        self.constitution_text = versions.constitution_text
        self.constitution_files = versions.constitution_files

    def _bind_requests(self, requests: Requests, workers: Workers) -> None:
        self.answered = requests.answered
        self.once = requests.once
        self.sign_in = workers.sign_in
        self.sign_out = workers.sign_out
        self.workers = workers.workers

    def _bind_runs(self, history: History) -> None:
        runs = Runs(self._connections, history)
        steering = Steering(self._connections, runs)
        self.create_run = runs.create_run
        self.run = runs.run
        self.runs = runs.runs
        self.claim_run = runs.claim_run
        self.heartbeat = runs.heartbeat
        self.release_run = runs.release_run
        self.update_run = runs.update_run
        self.cancel_run = runs.cancel_run
        self.pause_run = runs.pause_run
        self.resume_run = runs.resume_run
        self.cancel_requested = runs.cancel_requested
        self.pause_requested = runs.pause_requested
        self.set_progress = runs.set_progress
        self.check_fence = runs.check_fence
        self.ask_weights = steering.ask_weights
        self.take_weights = steering.take_weights
        self.weight_changes = steering.weight_changes
        self.add_watch_points = steering.add_watch_points
        self.watch_points = steering.watch_points
        self.append_event = history.append_event
        self.events = history.events
        self.add_stage_result = history.add_stage_result
        self.stage_results = history.stage_results
        self.add_checkpoint = history.add_checkpoint
        self.checkpoint = history.checkpoint
        self.latest_checkpoint = history.latest_checkpoint

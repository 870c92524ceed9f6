"""Which constitution a request means: by hash from the store, by dataset, by built-in name, or the default."""

from __future__ import annotations

from rlhf_core.constitution.constitution import Constitution, Principle
from rlhf_core.constitution.load import BUILTIN, load_with_text, parse_with_text
from rlhf_core.constitution.watch import WatchedConstitution, WatchStatus
from rlhf_core.datasets.formats import read_yaml
from rlhf_core.datasets.references import dataset_of, file_of, is_reference
from rlhf_core.errors import InvalidInput, NotFound, suggestion
from rlhf_core.records.samples import Comparison
from rlhf_core.store.store import Store
from services.wire import resource_names


class Constitutions:
    """Constitutions by name; what was read once is kept, as a hash never means another text."""

    def __init__(self, store: Store, default: str):
        """`default` is a built-in name, or a file to follow. Raises InvalidConstitution when that file is wrong."""
        self.default = default
        self._store = store
        self._parsed: dict[str, tuple[Constitution, str]] = {}
        self._watched = None if default in BUILTIN else WatchedConstitution(default)

    def status(self) -> WatchStatus:
        """Return the default constitution in force, and what is wrong with its file where that says something else."""
        active, _ = self.find(self.default)
        if self._watched is None:
            return WatchStatus("VALID", self.default, active.hash, ())
        return self._watched.status()

    def find(self, name: str) -> tuple[Constitution, str]:
        """Return the constitution and YAML text of it that needs no other file. Raises NotFound."""
        name = resource_names.identity(resource_names.CONSTITUTIONS, name, "constitution") or self.default
        if self._watched is not None and name == self.default:
            active = self._watched.current()
            # Kept under its hash too: who has begun with it goes on with it after the next edit.
            self._parsed.setdefault(active.constitution.hash, active)
            return active
        if is_reference(name):
            return self._uploaded(name)
        if name not in self._parsed:
            known = load_with_text(name) if name in BUILTIN else parse_with_text(self._stored(name), name)
            self._parsed[name] = known
        return self._parsed[name]

    def principle(self, name: str, principle_id: str) -> tuple[Constitution, Principle]:
        """Return a principle and the constitution around it. Raises NotFound with the principles that there are."""
        constitution, _ = self.find(name)
        for principle in constitution.principles:
            if principle.id == principle_id:
                return constitution, principle
        known = suggestion(principle_id, [principle.id for principle in constitution.principles])
        raise NotFound(f"constitution '{constitution.id}' has no principle '{principle_id}'; {known}")

    def of_run(self, run_id: str) -> Constitution:
        """Return the constitution of a run; without one the default."""
        return self.find(self._store.runs.get(run_id).constitution_hash if run_id else "")[0]

    def check_objective(self, objective: str, run_id: str) -> None:
        """Raise InvalidInput unless the run's constitution, or without a run the default one, has this objective."""
        names = self.of_run(run_id).objective_names
        if objective not in names:
            raise InvalidInput(
                f"objective: unknown objective '{objective}'; {suggestion(objective, names)}", "objective"
            )

    def check_objective_of(self, objective: str, comparison: Comparison) -> None:
        """Raise InvalidInput unless the constitution of a run that has the comparison, or the default one, has this.

        Each of them may have handed it out.
        """
        if not any(self._has(objective, run_id) for run_id in (*self._store.comparisons.runs_of(comparison.id), "")):
            self.check_objective(objective, comparison.run_id)

    def _has(self, objective: str, run_id: str) -> bool:
        return objective in self.of_run(run_id).objective_names

    def _uploaded(self, reference: str) -> tuple[Constitution, str]:
        """That of a dataset: of the version that its name means now."""
        found = dataset_of(self._store, reference)
        if found.format != "constitution":
            raise InvalidInput(
                f"dataset '{found.id}' is of format {found.format}; allowed: constitution", "constitution"
            )
        if found.reference not in self._parsed:
            name = f"dataset:{found.id}"
            text = read_yaml(file_of(self._store, found), name)
            self._parsed[found.reference] = parse_with_text(text, name)
        return self._parsed[found.reference]

    def _stored(self, name: str) -> str:
        try:
            return self._store.constitutions.text(name)
        except NotFound:
            raise NotFound(
                f"no constitution '{name}'; give the hash of one that a run has used, or one of {', '.join(BUILTIN)}"
            ) from None

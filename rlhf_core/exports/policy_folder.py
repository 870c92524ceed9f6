"""A trained policy as a folder for transformers, PEFT and vLLM, with a card of its story."""

from __future__ import annotations

from pathlib import Path

from rlhf_core.config.run import ModelConfig, RunConfig
from rlhf_core.errors import NotFound
from rlhf_core.evaluation.report.model_card import model_card
from rlhf_core.evaluation.report.record import Report
from rlhf_core.policies.resolve import version_of
from rlhf_core.records.models import PolicyVersion
from rlhf_core.records.samples import BASE_POLICY
from rlhf_core.store.store import Store

CARD = "README.md"


def exported_version(store: Store, reference: str) -> PolicyVersion:
    """Return the version that a reference means. Raises NotFound for the base, which has nothing of its own."""
    found = version_of(store, reference)
    if found.id != BASE_POLICY:
        return found
    if reference == BASE_POLICY:
        raise NotFound(f"'{reference}' is the base model itself; there is nothing of its own to export")
    raise NotFound(
        "nobody holds `production`, and the base model has nothing of its own to export",
        hint="name a version (charter policies lists them), or promote one: charter policies promote VERSION",
    )


def model_of(store: Store, version: PolicyVersion) -> ModelConfig:
    """Return the model settings of the run that made a version."""
    return RunConfig.stored(store.runs.get(version.run_id).config).model


def write_policy(store: Store, runs_folder: Path, version: PolicyVersion, base: str, folder: Path, merge: bool) -> None:
    """Fill a folder with a version's files. `runs_folder` has the runs' reports, which its card quotes.

    Raises: InvalidInput where the base model in `base` is not the one that it was trained on.
    """
    # Here, as they bring torch along, and a server without a model does without it.
    from rlhf_core.models.policy_export import export_adapter, export_merged, is_adapter

    files = store.artifacts.get_folder(version.artifact)
    if is_adapter(files) and not merge:
        export_adapter(files, base, folder)
    else:
        export_merged(files, base, folder, model_of(store, version))
    (folder / CARD).write_text(_card(store, runs_folder, version), encoding="utf-8")


def _card(store: Store, runs_folder: Path, version: PolicyVersion) -> str:
    run = store.runs.get(version.run_id)
    file = runs_folder / run.id / "report.json"
    report = Report.model_validate_json(file.read_text(encoding="utf-8")) if file.is_file() else None
    return model_card(version, run, report)

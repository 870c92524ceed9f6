"""`charter run --plan`: what a run would take on this machine, measured before anything is started."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rlhf_core.interfaces import Backend, Feedback
    from rlhf_core.planning.records import RunPlan, StagePlan
    from rlhf_core.records.feedback import Protocol
    from rlhf_core.stages.context import Context
    from services.cli.preflight import Plan
    from services.serving.loaded_models import ModelLibrary

UNKNOWN = "–"


def print_plan(plan: Plan, as_json: bool) -> None:
    """Measure a run that is ready to be asked for, and print its plan. Raises InvalidInput for a dataset's name."""
    import os

    from rlhf_core.datasets.references import is_reference
    from rlhf_core.errors import InvalidInput

    data = plan.config.data
    named = [data.prompts, data.heldout_prompts, data.demonstrations, data.preferences, *data.labels.values()]
    if plan.constitution is None or any(path and is_reference(path) for path in named):
        raise InvalidInput("--plan reads files, not datasets of a server; name the files themselves", "data")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    measured = _measured(plan)
    typer.echo(measured.model_dump_json(indent=2) if as_json else plan_text(measured))


def plan_text(plan: RunPlan) -> str:
    """Write the plan as people read it."""
    from rlhf_core.models.memory_budget import told

    lines = [f"{path}: {value}" for path, value in plan.settings.items()]
    rows = [("stage", "calls", "tokens", "minutes", "peak memory"), *map(_row, plan.stages)]
    total = ("in all", "", "", f"{plan.seconds / 60:.1f}", told(plan.peak_bytes))
    widths = [max(len(row[column]) for row in [*rows, total]) for column in range(5)]
    table = [
        "  ".join(cell.ljust(width) if not number else cell.rjust(width) for number, (cell, width) in enumerate(both))
        for both in (tuple(zip(row, widths, strict=True)) for row in [*rows, total])
    ]
    notes = [f"{stage.stage}: {stage.note}" for stage in plan.stages if stage.note]
    costs = plan.costs
    rates = (
        f"measured in {plan.probe_seconds:.0f} s on '{plan.base_model}', {plan.threads} threads: a reply alone "
        f"{costs.write.call_seconds + costs.write.item_seconds:.2f} s and each more {costs.write.item_seconds:.3f} s, "
        f"an update of fine-tuning {costs.tune.item_seconds:.2f} s, of reward models {costs.reward.item_seconds:.2f} "
        f"s, a step of PPO {costs.step.item_seconds:.2f} s, of which rollouts {costs.rollout_share:.0%}"
    )
    return "\n".join([*lines, "", *table, "", *notes, rates, "nothing was started"])


def _row(stage: StagePlan) -> tuple[str, str, str, str, str]:
    from rlhf_core.models.memory_budget import told

    calls, tokens = (UNKNOWN if count is None else f"{count:,}" for count in (stage.calls, stage.tokens))
    minutes = UNKNOWN if stage.seconds is None else f"{stage.seconds / 60:.1f}"
    return stage.stage, calls, tokens, minutes, UNKNOWN if stage.peak_bytes is None else told(stage.peak_bytes)


def _measured(plan: Plan) -> RunPlan:
    from rlhf_core.feedback.judge_cache import Notebook
    from rlhf_core.feedback.model_feedback import feedback_of
    from rlhf_core.planning.meter import Count, Metered
    from rlhf_core.planning.run_plan import plan_run
    from services.serving.backends import LocalModel

    with _context(plan) as (ctx, library):
        critic, judge, protocol, method, panel = library.backends
        own = {id(model): model for model in library.backends.all if isinstance(model, LocalModel)}
        if len(own) < len(library.backends.all):
            return plan_run(ctx, None, None)
        count = Count()
        judges: list[tuple[Backend, Protocol]] = [(one.model, one.protocol) for one in panel] or [(judge, protocol)]
        metered = {id(model): Metered(own[id(model)], own[id(model)].backbone, count) for model, _ in judges}

        def asking(model: Backend, protocol: Protocol) -> Feedback:
            """A judge, beside the critic, who remembers nothing."""
            return feedback_of(
                metered.get(id(critic), critic),
                metered[id(model)],
                ctx.constitution,
                protocol,
                plan.config.model.feedback_tokens,
                notebook=Notebook(),
                method=method,
                as_wanted=bool(panel),
            )

        return plan_run(
            ctx, lambda: asking(*judges[0]), count, lambda: [asking(model, how) for model, how in judges[1:]]
        )


@contextmanager
def _context(plan: Plan) -> Iterator[tuple[Context, ModelLibrary]]:
    """The run's context on a store of its own, which is gone afterwards, with the models that it would have."""
    from rlhf_core.config.run import RunConfig
    from rlhf_core.planning.run_plan import unstarted
    from rlhf_core.stages.context import Context, Toolbox
    from rlhf_core.store.store import Store
    from services.run_toolbox import built_in_world, load_library

    config: RunConfig = plan.config
    unused: Any = None

    def at_once(unit: Callable[[], Any]) -> Any:
        return unit()

    with tempfile.TemporaryDirectory(prefix="charter-") as folder, closing(Store.open(Path(folder))) as store:
        library = load_library(config.model, store, config.feedback)
        tools = Toolbox(
            sampler=unused,
            feedback=unused,
            scorer=unused,
            backbone=library.backbone,
            base_of=library.bases.of,
            on_device=at_once,
            world=built_in_world(config.model) if config.data.prompts is None else None,
            runs_folder=Path(folder),
        )
        assert plan.constitution is not None
        ctx = Context(
            run=unstarted(config),
            config=config,
            constitution=plan.constitution,
            weights=dict(config.weights),
            store=store,
            tools=tools,
            results={},
            report=lambda kind, body: None,
            should_stop=lambda: False,
        )
        yield ctx, library

"""READ FIRST. The whole story as one function that calls the stages in order.

    critique   prompt -> answer of the base policy -> critique under a principle -> verified revision
    sft        revisions and a share of plain helpful answers -> policy version 1
    label      two answers -> votes in both orders under every principle -> a soft label per objective
    reward     labels of the AI and of people -> one reward model per objective
    norm_pack  samples of policy version 1 -> the scale on which scores are weighed
    ppo        rollouts -> K scores -> weights -> policy version 2, held near version 1 by KL
    control    PPO once more without its rewards -> a policy that shows what the rewards did not do
    evaluate   every policy on the same held-out prompts
    report     all numbers with their intervals, pictures, example conversations

Each stage reads what the ones before it stored and commits its own rows, so a killed run goes on where it was: a
worker takes it up again (`services.worker`), and within a stage its checkpoint does (`PpoState.begin`, `EpochState`).
"""

from __future__ import annotations

import json
from collections.abc import Callable

from rlhf_core.config.run import RunConfig, check_beginning, stages_of
from rlhf_core.constitution.load import parse_constitution
from rlhf_core.constitution.weights import resolve_weights
from rlhf_core.models.kernels.malloc import give_back
from rlhf_core.records.base import Stage
from rlhf_core.records.runs import Run, StageResult
from rlhf_core.stages.ancestry import inherited
from rlhf_core.stages.context import Context, Toolbox
from rlhf_core.stages.control import control_stage
from rlhf_core.stages.critique import critique_stage
from rlhf_core.stages.elsewhere.learners import check_learners
from rlhf_core.stages.elsewhere.remote_samples import sampling
from rlhf_core.stages.evaluate import evaluate_stage
from rlhf_core.stages.imported.own_rows import check_rows
from rlhf_core.stages.label import label_stage
from rlhf_core.stages.memory import fit_to_memory
from rlhf_core.stages.norm_pack import norm_pack_stage
from rlhf_core.stages.ppo import ppo_stage
from rlhf_core.stages.report import report_stage
from rlhf_core.stages.reward import reward_stage
from rlhf_core.stages.sft import sft_stage
from rlhf_core.stages.study import study_stage
from rlhf_core.store.store import Store

STORY: dict[Stage, Callable[[Context], StageResult]] = {
    "critique": critique_stage,
    "sft": sft_stage,
    "label": label_stage,
    "reward": reward_stage,
    "norm_pack": norm_pack_stage,
    "ppo": ppo_stage,
    "control": control_stage,
    "evaluate": evaluate_stage,
    "report": report_stage,
    "study": study_stage,
}


def run_pipeline(
    run: Run, store: Store, tools: Toolbox, report: Callable[[str, str], None], should_stop: Callable[[], bool]
) -> None:
    """Run the stages that the run's kind asks for; those that are done are not done again.

    `report` receives an event's kind and its JSON body. Raises RunStopped when `should_stop` answers True,
    InvalidInput for a configuration that cannot work, LeaseLost when another worker has taken the run.
    """
    config = RunConfig.stored(run.config)
    constitution = parse_constitution(store.constitutions.text(run.constitution_hash), run.constitution_hash)
    check_beginning(config)
    wanted = stages_of(config)
    context = Context(
        run=run,
        config=config,
        constitution=constitution,
        weights=resolve_weights(constitution, config.weights),
        store=store,
        tools=tools,
        results=inherited(store, config),
        report=report,
        should_stop=should_stop,
    )
    done = store.stage_results.of_run(run.id)
    left: list[Stage] = [stage for stage in wanted if stage not in done]
    check_learners(context, left)
    check_rows(context, left)
    if left and config.model.dtype == "auto":
        # Said by each attempt: one that goes on elsewhere may compute in another.
        context.note(f"model.dtype: auto is {tools.backbone.precision} here")
    context = fit_to_memory(context, left)
    with sampling(context, left) as context:
        for stage in wanted:
            if stage not in done:
                report("stage", json.dumps({"stage": stage, "state": "started"}))
                # What the stage before had in buffers of other sizes would stay beside those of this one.
                context.tools.on_device(give_back)
                done[stage] = STORY[stage](context)
                with store.transaction(run.id, run.fence):
                    store.stage_results.add(done[stage])
                took = round(done[stage].seconds, 1)
                report("stage", json.dumps({"stage": stage, "state": "done", "seconds": took}))
            context.results[stage] = done[stage]

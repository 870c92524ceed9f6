"""The policy under training on held-out prompts: how it scores and sounds, and the rules that end PPO."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from torch import Tensor

from rlhf_core.data.prompt_draws import draw
from rlhf_core.errors import InvalidInput, TrainingFailed
from rlhf_core.evaluation.monitors import Monitors, drifts, monitor
from rlhf_core.evaluation.overoptimization import best_step, parted
from rlhf_core.inference.generate import generate
from rlhf_core.models.batching import make_batch
from rlhf_core.models.policy import Policy
from rlhf_core.records.models import NormPack
from rlhf_core.records.runs import WatchPoint
from rlhf_core.records.samples import Prompt, Sample
from rlhf_core.reward_models.reward_model import RewardModel
from rlhf_core.stages.context import Context
from rlhf_core.stages.prompts import prompts_of
from rlhf_core.training.ppo.losses import kl_estimate

Judges = Mapping[str, RewardModel]
"""Reward models by objective."""


class Replies(NamedTuple):
    """One reply to each watched prompt, and the mean KL from the reference on them, in nats per response."""

    texts: list[str]
    kl: float


class Audit:
    """Measures one PPO run on held-out prompts. Gold is measured, never learned from and never a reason to stop."""

    def __init__(self, ctx: Context, policy: Policy, models: Judges, pack: NormPack, auditors: Judges):
        self._ctx, self._policy, self.pack = ctx, policy, pack
        self._models, self._auditors = models, auditors
        audited = ctx.need("norm_pack").auditor_pack
        self._auditor_pack = ctx.store.norm_packs.get(audited) if audited else None
        if ctx.config.ppo.stop.parted == "stop" and not audited:
            raise InvalidInput(
                "ppo.stop.parted: 'stop' asks auditors, and the reward models have none; train them with a "
                "reward.auditor_share above 0, or set parted to warn",
                "ppo.stop.parted",
            )
        everything = prompts_of(ctx, "heldout")
        self._prompts = draw(everything, min(ctx.config.ppo.eval_prompts, len(everything)), ctx.config.seed, "watch")
        self._noted: set[str] = set()

    def look(self, step: int) -> dict[str, float]:
        """Sample, score and store this step's watch points; return their means by name."""
        replies = self._ctx.tools.on_device(self._reply)
        proxy = self._z(self._models, self.pack, replies)
        auditor = self._z(self._auditors, self._auditor_pack, replies) if self._auditor_pack else {}
        gold = self._gold(replies)
        points = [
            WatchPoint(
                run_id=self._ctx.run.id,
                step=step,
                objective=name,
                kl=replies.kl,
                proxy=proxy[name],
                auditor=auditor.get(name, ()),
                gold=gold.get(name, ()),
            )
            for name in self.pack.objectives
        ]
        with self._ctx.store.transaction(self._ctx.run.id, self._ctx.run.fence):
            self._ctx.store.watch_points.add(points)
        return self.numbers(step)

    def numbers(self, step: int) -> dict[str, float]:
        """Return the means of a step's samples by name, an earlier attempt's too; empty where none were stored."""
        numbers: dict[str, float] = {}
        for point in (point for point in self._points(step) if point.step == step):
            proxy = _mean(point.proxy)
            numbers |= {f"heldout_z.{point.objective}": proxy, "heldout_kl": point.kl}
            if point.auditor:
                auditor = _mean(point.auditor)
                numbers |= {f"auditor_z.{point.objective}": auditor, f"gap.{point.objective}": proxy - auditor}
            if point.gold:
                numbers[f"gold.{point.objective}"] = _mean(point.gold)
        return numbers

    def best(self, step: int, weights: Mapping[str, float], counts: Callable[[int], bool] = lambda number: True) -> int:
        """Return the last step, up to this one, that is as good as the best by the auditors; 0 without auditors.

        Only steps that `counts` says yes to.
        """
        points = [point for point in self._points(step) if counts(point.step)]
        return best_step(points, weights, self._ctx.config.ppo.stop.standard_errors)

    def verdict(self, step: int, kl: float) -> str:
        """Say why PPO must end at this step; empty when it goes on. A warning is noted once for each objective."""
        rule = self._ctx.config.ppo.stop
        if rule.max_kl is not None and kl > rule.max_kl:
            return f"KL {kl:.2f} nats per response; ppo.stop.max_kl is {rule.max_kl:g}"
        if rule.parted == "ignore":
            return ""
        objectives = parted(self._points(step), rule.patience, rule.standard_errors)
        if objectives and rule.parted == "stop":
            return f"{' and '.join(objectives)}: the reward model's score rises and its auditor's falls"
        for name in objectives:
            if name not in self._noted:
                self._noted.add(name)
                told = f"PPO step {step}, {name}: the reward model's score rises and its auditor's falls"
                self._ctx.note(told, alarm=True)
        return ""

    def _points(self, step: int) -> list[WatchPoint]:
        """Those of a longer attempt that was cut off lie in the future and do not count."""
        return [point for point in self._ctx.store.watch_points.of_run(self._ctx.run.id) if point.step <= step]

    def _reply(self) -> Replies:
        backbone, settings = self._policy.backbone, self._ctx.config
        temperature = settings.ppo.temperature
        ids = [backbone.render(prompt.messages) for prompt in self._prompts]
        with backbone.adapters.using(self._policy.adapter):
            limit, seed = settings.model.max_tokens, settings.seed + 1
            written = generate(backbone, ids, n=1, temperature=temperature, max_tokens=limit, seed=seed)
        batch = make_batch(backbone, ids, [result.tokens for result in written])
        reference = self._policy.reference_logprobs(batch, temperature)
        own = reference.new_zeros(reference.shape)
        for row, result in zip(own, written, strict=True):
            row[: len(result.logprobs)] = reference.new_tensor(result.logprobs)
        kl = kl_estimate(own, reference, "k3").masked_fill(batch.mask == 0, 0.0).sum(1).mean()
        return Replies([backbone.decode(result.tokens) for result in written], float(kl))

    def _z(self, judges: Judges, pack: NormPack, replies: Replies) -> dict[str, tuple[float, ...]]:
        conversations: list[tuple[Prompt, str]] = list(zip(self._prompts, replies.texts, strict=True))
        scores = {}
        for name, mean, sd in zip(pack.objectives, pack.mean, pack.sd, strict=True):

            def score(model: RewardModel = judges[name]) -> Tensor:
                return model.score(conversations).mean(1)

            scores[name] = tuple(((self._ctx.tools.on_device(score) - mean) / sd).tolist())
        return scores

    def _gold(self, replies: Replies) -> dict[str, tuple[float, ...]]:
        if self._ctx.tools.world is None:
            return {}
        gold = self._ctx.tools.world.gold
        grades = [gold.score(prompt, text) for prompt, text in zip(self._prompts, replies.texts, strict=True)]
        return {name: tuple(grade[name] for grade in grades) for name in grades[0]}


def _mean(values: tuple[float, ...]) -> float:
    return sum(values) / len(values)


class Watch:
    """The monitors of one PPO run. The reference policy's replies are those that the NormPack was made from."""

    def __init__(self, ctx: Context):
        self._ctx = ctx
        self._replies = ctx.store.samples.of_run(ctx.need("norm_pack").run_id, stage="norm_pack")
        self._reference = monitor(self._replies)
        self._noted: set[str] = set()

    def listen(self, samples: Sequence[Sample]) -> Monitors:
        return monitor(samples, self._replies)

    def judge(self, heard: Monitors, step: int) -> None:
        """Note each monitor that passes a limit, once.

        Raises: TrainingFailed when one passes a limit that ends the run.
        """
        for drift in drifts(heard, self._ctx.config.monitors, self._reference):
            if drift.level == "stop":
                raise TrainingFailed(f"PPO ended at step {step}, as monitors.stop asks: {drift}")
            if drift.monitor not in self._noted:
                self._noted.add(drift.monitor)
                self._ctx.note(f"PPO step {step}: {drift}", alarm=True)

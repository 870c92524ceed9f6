"""Samples of the stages, and rollouts of PPO, that the server of `model.sampler` or another process writes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from rlhf_core.config.ppo import PpoConfig
from rlhf_core.inference.own_sampler import OwnSampler
from rlhf_core.inference.remote_sampler import RemoteSampler, Version, connect
from rlhf_core.records.base import Stage, content_id
from rlhf_core.records.samples import BASE_POLICY, Prompt, Sample
from rlhf_core.stages.context import Context, RunStopped

FOLDER = "sampler"
"""In a run's folder: the adapters that the server is given, which reads them there."""
SAMPLED: tuple[Stage, ...] = ("critique", "label", "norm_pack", "ppo", "control", "evaluate", "report")


def handed_over(ctx: Context, user: str) -> Path:
    """Return where one attempt at a run puts the adapters of one user.

    It clears that away in the end, also when it has lost its lease, and another attempt must not lose its own by that.
    """
    return ctx.tools.runs_folder.absolute() / ctx.run.id / FOLDER / f"{user}-{ctx.run.fence}"


class ServedSampler:
    """interfaces.Sampler over the server of a run's `model.sampler`."""

    def __init__(self, ctx: Context, remote: RemoteSampler):
        self._ctx, self._remote = ctx, remote

    def generate(
        self,
        prompts: Sequence[Prompt],
        *,
        policy_version: str,
        n: int = 1,
        temperature: float = 1.0,
        max_tokens: int = 64,
        seed: int = 0,
    ) -> list[Sample]:
        backbone, on_device = self._ctx.tools.backbone, self._ctx.tools.on_device
        version = self._version(policy_version)
        ids = on_device(lambda: [backbone.render(prompt.messages) for prompt in prompts])
        written = self._remote.write(version, ids, n, temperature, max_tokens, seed)
        texts = on_device(lambda: [backbone.decode(reply.tokens) for reply in written])
        repeated = [prompt for prompt in prompts for _ in range(n)]
        return [
            Sample(
                id=content_id("sample", prompt.id, policy_version, seed, index, temperature, max_tokens),
                prompt=prompt,
                response=text,
                policy_version=policy_version,
                finished=reply.finished,
                tokens=len(reply.tokens),
                logprob=sum(reply.logprobs),
                seed=seed,
            )
            for index, (prompt, text, reply) in enumerate(zip(repeated, texts, written, strict=True))
        ]

    def _version(self, identity: str) -> Version:
        if identity == BASE_POLICY:
            return self._remote.base()
        version = self._ctx.store.policy_versions.get(identity)
        return self._remote.hand_over(self._ctx.store.artifacts.get_folder(version.artifact), version.step).version


@contextmanager
def sampling(ctx: Context, stages: Collection[Stage]) -> Iterator[Context]:
    """Yield the context whose samples are written where its configuration says, by a server that has been tried.

    Raises: InvalidInput where the server computes something else than is computed here, Unavailable where none answers.
    """
    if ctx.config.model.sampler.address is None or not set(stages) & set(SAMPLED):
        yield ctx
        return

    def give_up() -> None:
        if ctx.should_stop():
            raise RunStopped(f"run {ctx.run.id} stopped while it was sampled")

    config, folder = ctx.config.model.sampler, handed_over(ctx, "stages")
    with closing(connect(config, ctx.tools.backbone, folder, give_up)) as remote:
        ctx.tools.on_device(remote.check)
        yield ctx._replace(tools=ctx.tools._replace(sampler=ServedSampler(ctx, remote)))


class Patience:
    """What PPO does while it waits for rows: others use the device meanwhile.

    A run that has been asked to stop ends its step, so that a checkpoint comes of it; but a server from which no row
    comes for as long as one call may take is not waited for.
    """

    def __init__(self, ctx: Context, heard: Callable[[], float]):
        """`heard` says when the last row came, by the monotonic clock."""
        self._ctx, self._heard, self._since = ctx, heard, 0.0

    def __call__(self) -> None:
        self._ctx.tools.backbone.before_pass()
        if not self._ctx.should_stop():
            self._since = 0.0
            return
        self._since = self._since or time.monotonic()
        if time.monotonic() - max(self._since, self._heard()) > self._ctx.config.model.sampler.timeout_seconds:
            raise RunStopped(f"run {self._ctx.run.id} stopped while it waited for responses")


@contextmanager
def ppo_sampler(ctx: Context, stage: Stage, config: PpoConfig) -> Iterator[RemoteSampler | None]:
    """Yield what writes the rollouts of PPO, which is used on the thread that owns the model; None is this process."""
    model, backbone = ctx.config.model, ctx.tools.backbone
    folder, poll = handed_over(ctx, stage), Patience(ctx, lambda: remote.heard_at)
    if model.sampler.address is not None:
        # Others use the device while the server writes, as they do before each pass.
        with closing(connect(model.sampler, backbone, folder, poll)) as remote:
            yield remote
    elif config.overlap != "none":
        _say_what_does_not_fit(ctx, model.threads)
        with (
            closing(OwnSampler(backbone, model, folder)) as process,
            closing(RemoteSampler(process, backbone, folder, model.sampler.tolerance, poll)) as remote,
        ):
            yield remote
    else:
        yield None


def _say_what_does_not_fit(ctx: Context, threads: int) -> None:
    cores = os.cpu_count() or 1
    if ctx.tools.backbone.device.type == "cpu" and 2 * threads > cores:
        ctx.note(
            f"two processes of {threads} threads each, one that writes and one that learns, share {cores} cores and "
            f"are in each other's way; model.threads={max(1, cores // 2)} leaves each its own"
        )

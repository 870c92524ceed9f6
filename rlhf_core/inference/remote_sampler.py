"""The policy sampled by another process: its adapters handed over as files, its samples read back with log-probs.

Only adapters, token ids and log-probs cross the wire.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import util
from pathlib import Path
from typing import NamedTuple

import torch

from rlhf_core.config.sampler import SamplerConfig
from rlhf_core.errors import CharterError, InvalidInput
from rlhf_core.inference.generate import Generated
from rlhf_core.inference.sampler_server import Adapter, Base, Row, SamplerServer, TokenDraw, Told, tell_nobody
from rlhf_core.inference.sampling import row_seeds
from rlhf_core.models.adapters.adapters import CONFIG, WEIGHTS
from rlhf_core.models.backbone import Backbone
from rlhf_core.models.batching import make_batch
from rlhf_core.models.logprobs import response_logprobs
from rlhf_core.records.samples import Message

KEPT = 2
"""Versions that the server knows at once: the one that writes, and one that the next is compared with."""
VERSION = "policy"
"""What the names of versions begin with."""
PROBE = "sampler-probe"
PROBE_TEXT = "Name three things that you would take along on a walk in the rain, and say why."
PROBE_ROWS, PROBE_TOKENS = 4, 16
PROBE_TEMPERATURE = 0.5
"""Far enough from 1 to tell log-probs at the sampling temperature from those of the model."""


class Version(NamedTuple):
    """The weights that write: by their name on the server, and the policy's step; no adapter is the base model."""

    name: str
    step: int
    adapter: Adapter | None


class Handover(NamedTuple):
    """What it took to give the server a version."""

    version: Version
    seconds: float
    bytes: int


class RemoteSampler:
    """A server that samples versions of this process's base model."""

    def __init__(
        self,
        server: SamplerServer,
        backbone: Backbone,
        folder: Path,
        tolerance: float,
        poll: Callable[[], None] | None = None,
    ):
        """`folder` is read by the server too, at the same path.

        `poll` is for whoever waits for rows on the thread that owns the model, and may raise to give up; None lets
        others use the device.
        """
        self.heard_at = 0.0
        self.poll = poll or (lambda: backbone.before_pass())
        self.server, self._backbone = server, backbone
        self._folder, self._tolerance = folder.absolute(), tolerance
        self._base: Base | None = None
        self._known: dict[str, Adapter] = {}

    def check(self) -> None:
        """Compare what the server computes with what is computed here, for the base model and for an adapter.

        On the thread that owns the model. Raises InvalidInput that says what the server must be, and Unavailable.
        """
        base = self.base()
        self._compare(base, None, f"serves '{base.name}', whose")
        adapters = self._backbone.adapters
        if PROBE in adapters:
            adapters.delete(PROBE)
        adapters.add(PROBE, seed=0)
        try:
            with torch.no_grad():
                for index, weight in enumerate(adapters.parameters(PROBE)):
                    generator = torch.Generator().manual_seed(index)
                    weight.add_(0.05 * torch.randn(weight.shape, generator=generator).to(weight))
            given = self.hand_over_adapter(PROBE, 0)
            self._compare(given.version, PROBE, "serves adapters so that an adapter's")
        finally:
            adapters.delete(PROBE)

    def hand_over_adapter(self, name: str, step: int, first: bool = True) -> Handover:
        """Give the server an adapter of this process as it is after a step. Processes that train together all come
        here, as each may have a part of the weights, and the `first` does it.
        """
        started = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            self._backbone.adapters.save(name, Path(folder))
            return self.hand_over(Path(folder), step, first)._replace(seconds=time.perf_counter() - started)

    def hand_over(self, source: Path, step: int, first: bool = True) -> Handover:
        """Give the server the adapter in a folder, under a name made of the step and of what it holds."""
        started = time.perf_counter()
        try:
            files = {name: (source / name).read_bytes() for name in (CONFIG, WEIGHTS)}
        except OSError as error:
            raise InvalidInput(
                f"'{source}' holds no low-rank adapter: {error}; a server is handed nothing else"
            ) from error
        digest = hashlib.sha256(b"".join(files[name] for name in sorted(files))).hexdigest()[:16]
        name = f"{VERSION}-{step}-{digest}"
        adapter = Adapter(name, self._folder / name)
        version = Version(name, step, adapter)
        if not first or name in self._known:
            return Handover(version, time.perf_counter() - started, 0)
        draft = self._folder / f".{name}"
        draft.mkdir(parents=True, exist_ok=True)
        for file, content in files.items():
            (draft / file).write_bytes(content)
        shutil.rmtree(adapter.folder, ignore_errors=True)
        draft.rename(adapter.folder)
        self.server.load(adapter)
        self._known[name] = adapter
        while len(self._known) > KEPT:
            self._forget(next(iter(self._known)))
        return Handover(version, time.perf_counter() - started, sum(map(len, files.values())))

    def base(self) -> Version:
        """Return the base model as a version."""
        return Version(self._served.name, 0, None)

    @property
    def _served(self) -> Base:
        self._base = self._base or self.server.base()
        return self._base

    def write(
        self,
        version: Version,
        prompts: Sequence[list[int]],
        n: int,
        temperature: float,
        max_tokens: int,
        seed: int,
        share: slice = slice(None),
        told: Told = tell_nobody,
        poll: Callable[[], None] | None = None,
    ) -> list[Generated]:
        """Write n responses per prompt, grouped by prompt, or a `share` of them. `told` and `poll`: as of a server.

        A row's seed is that of `generate`, so that one that is asked for again comes out as it was.
        """
        longest = self._served.longest
        for prompt in prompts:
            self._backbone.check_length(len(prompt), max_tokens)
            if len(prompt) + max_tokens > longest:
                raise InvalidInput(
                    f"model.sampler.address: {self.server.address} reads {longest} tokens, and a prompt of "
                    f"{len(prompt)} with a response of {max_tokens} is longer",
                    "model.sampler.address",
                    hint="raise its --max-model-len, or lower model.max_tokens",
                )
        rows = [Row(*row) for row in row_seeds(prompts, [seed] * len(prompts), n)][share]
        base = self._backbone
        draw = TokenDraw(temperature, max_tokens, base.stop_ids, base.token_ids, base.vocabulary)

        def heard(index: int, row: Generated) -> None:
            self.heard_at = time.monotonic()
            told(index, row)

        return self.server.write(version.name, rows, draw, version.adapter, heard, poll)

    def close(self) -> None:
        """Let the server forget all that lies in the folder, whoever gave it, as far as it can be reached."""
        try:
            for folder in sorted(self._folder.glob(f"{VERSION}-*")):
                self.server.unload(folder.name)
        except CharterError:
            pass  # it is gone, and so is what it was given
        self._known.clear()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _forget(self, name: str) -> None:
        adapter = self._known.pop(name)
        with contextlib.suppress(CharterError):  # a server that is gone comes back without it
            self.server.unload(name)
        shutil.rmtree(adapter.folder, ignore_errors=True)

    def _compare(self, version: Version, adapter: str | None, what: str) -> None:
        """Refuse a server whose log-probs of its own tokens are not those computed here."""
        backbone = self._backbone
        prompt = backbone.render([Message(role="user", content=PROBE_TEXT)])
        written = self.write(version, [prompt], PROBE_ROWS, PROBE_TEMPERATURE, PROBE_TOKENS, seed=0)
        batch = make_batch(backbone, [prompt] * len(written), [reply.tokens for reply in written])
        told = torch.tensor([logprob for reply in written for logprob in reply.logprobs])
        with backbone.adapters.using(adapter):
            here, unscaled = (
                response_logprobs(backbone, batch, temperature)[batch.mask == 1].cpu()
                for temperature in (PROBE_TEMPERATURE, 1.0)
            )
        gap, raw = float((told - here).abs().mean()), float((told - unscaled).abs().mean())
        if gap <= self._tolerance:
            return
        hint = f"serve the weights and the dtype of '{backbone.name}'"
        if raw <= self._tolerance:
            hint = "they are those before the temperature: start it with --logprobs-mode processed_logprobs"
        raise InvalidInput(
            f"model.sampler.address: {self.server.address} {what} log-probabilities of {len(told)} tokens differ by "
            f"{gap:.3f} nats on average from those of '{backbone.name}' here; allowed: at most {self._tolerance:g} "
            "(model.sampler.tolerance)",
            "model.sampler.address",
            hint=hint,
        )


def connect(
    config: SamplerConfig,
    backbone: Backbone,
    folder: Path,
    poll: Callable[[], None] = lambda: None,
    environ: Mapping[str, str] = os.environ,
) -> RemoteSampler:
    """Prepare to ask the server of a configuration; nothing is sent yet. `poll` is called while it writes.

    Raises: InvalidInput for a missing package or key.
    """
    if util.find_spec("httpx2") is None:
        told = f"model.sampler.address: '{config.address}' is asked through httpx2, which is not installed"
        raise InvalidInput(told, "model.sampler.address", hint="pip install -e '.[openai]' in the project's folder")
    # Here, because httpx2 is an optional package.
    from rlhf_core.inference.vllm_http import VllmServer

    key = environ.get(config.key_env, "").strip() if config.key_env else ""
    if config.key_env and not key:
        told = f"model.sampler.key_env: the environment variable {config.key_env} is not set; put the key there"
        raise InvalidInput(told, "model.sampler.key_env")
    return RemoteSampler(VllmServer(config, key, poll), backbone, folder, config.tolerance, poll)

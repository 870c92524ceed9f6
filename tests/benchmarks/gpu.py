"""All of the GPU path in one run: what a device reaches, and what each of `model.passes` does to each part of PPO.

    python -m tests.benchmarks.gpu --out FOLDER [--seconds 540] [--shape qwen3-0.6b] [--parts decode,update]

Needs no server and downloads nothing: a Qwen3 with random weights, as large as asked for (`--shape tiny` is a test of
the script, on a CPU too). Each part is measured with a feature off and on, and ends within its share of the time; what
is done is in FOLDER/gpu.json after each line of the table, also when the run is killed. The speeds that shares refer
to, of a copy and of a product of matrices, are measured first, on the same device. TRL is measured beside it where it
is installed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor

from rlhf_core.config.ppo import PpoConfig
from rlhf_core.config.run import PassesConfig
from rlhf_core.inference.engines import fixed
from rlhf_core.inference.engines.fixed import FixedDecoder
from rlhf_core.inference.engines.native import NativeDecoder
from rlhf_core.models import logprobs
from rlhf_core.models.backbone import Backbone
from rlhf_core.models.batching import make_batch
from rlhf_core.models.logprobs import response_logprobs
from rlhf_core.models.memory_budget import graph_bytes
from rlhf_core.models.policy import Policy
from rlhf_core.records.samples import Prompt
from rlhf_core.reward_models.reward_model import score_all
from rlhf_core.training.ppo.trainer import train_ppo
from tests.benchmarks.gpu_table import Bench, Line
from tests.benchmarks.gpu_work import (
    POLICY,
    SHAPES,
    Learner,
    batch_of,
    conversations,
    judges,
    objectives,
    sequences,
    texts,
    wait,
    words,
)
from tests.benchmarks.ppo_once import scale

FEW = 8
"""Conversations of a call that leaves a GPU idle most of the time."""
FEATURES = {
    "recompute": {"recompute": True},
    "packing": {"packing": True},
    "packing and recompute": {"packing": True, "recompute": True},
}
"""What may be switched on for an update."""


def peaks(bench: Bench) -> None:
    """What the device reaches: bytes that a copy reads and writes, and operations of a product of square matrices."""
    shape, dtype = bench.shape, getattr(torch, bench.dtype)
    source = torch.rand(shape.copied // dtype.itemsize, dtype=dtype, device=bench.device)
    target = torch.empty_like(source)
    sides = [torch.randn(shape.product, shape.product, device=bench.device).to(dtype) for _ in range(2)]

    def copy() -> None:
        for _ in range(10):
            target.copy_(source)

    def product() -> None:
        for _ in range(10):
            torch.mm(*sides)

    bench.add("device", "ten copies", copy, note=f"{shape.copied:,} bytes each")
    bench.add("device", "ten products of matrices", product, note=f"{shape.product} rows and columns, {bench.dtype}")
    copied, multiplied = (line.seconds for line in bench.lines[-2:])
    if copied is None or multiplied is None:
        raise RuntimeError("without these speeds there is nothing to take shares of")
    bench.speed = {"copy": 20 * shape.copied / copied, "product": 20 * shape.product**3 / multiplied}
    bench.keep()


def check(bench: Bench) -> None:
    """Whether each feature computes here what plain passes do: gradients, log-probs of what is written, scores."""
    shape = bench.shape

    def gradients(**passes: bool) -> Tensor:
        backbone = bench.build(**passes)
        learner = Learner(backbone, shape, batch_of(backbone, shape, spread=True), shape.micro)
        with backbone.adapters.using(POLICY, train=True):
            found = torch.autograd.grad(learner.one_pass(), backbone.adapters.parameters(POLICY))
        return torch.cat([slope.flatten().float().cpu() for slope in found])

    plain = gradients()
    for name, passes in FEATURES.items():
        bench.compare(f"gradients: {name}", lambda passes=passes: gradients(**passes), plain)

    def scores(**passes: bool) -> Tensor:
        found = score_all(judges(bench.build(judged=True, **passes), shape), conversations(shape, FEW))
        return torch.cat([members.replies.flatten() for members in found])

    bench.compare("scores: mixed", lambda: scores(mixed_adapters=True), scores())
    backbone = bench.build(fixed_cache=True)
    rows = sequences(backbone, shape)

    def logprobs_written() -> Tensor:
        fixed.suits(backbone, max(row.reach for row in rows))
        decoder = fixed.FixedDecoder(backbone)
        decoder.join(rows)
        while decoder.rows:
            decoder.step()
        return torch.tensor([row.logprobs for row in rows])

    with backbone.adapters.using(POLICY):
        found = logprobs_written()
        batch = make_batch(backbone, [row.prompt for row in rows], [row.tokens for row in rows])
        bench.compare("log-probs: fixed cache", lambda: found, response_logprobs(backbone, batch).cpu())


def decode(bench: Bench) -> None:
    """Writing: prompts, whole batches, and a step without what the host does about it."""
    shape = bench.shape
    written = shape.batch * (shape.response - 1)
    size = getattr(torch, bench.dtype).itemsize
    needs = shape.step_bytes(shape.batch, shape.prompt + shape.response / 2, size)

    def timed(variant: str, backbone: Backbone, kind: type[NativeDecoder] | type[FixedDecoder]) -> None:
        def whole() -> None:
            decoder = kind(backbone)
            decoder.join(sequences(backbone, shape))
            while decoder.rows:
                decoder.step()

        def prompts() -> None:
            kind(backbone).join(sequences(backbone, shape))

        bench.add("decode", f"{variant}: prompts", prompts, shape.batch * shape.prompt)
        bench.add("decode", f"{variant}: all", whole, written + shape.batch)
        started, ended = bench.lines[-2].seconds, bench.lines[-1].seconds
        if started and ended and ended > started and bench.speed:
            step = (ended - started) / (shape.response - 1)
            share = round(needs / step / bench.speed["copy"], 6)
            rate = round(shape.batch / step, 1)
            bench.tell(
                Line(
                    part="decode",
                    variant=f"{variant}: a step",
                    seconds=round(step, 6),
                    tokens_per_second=rate,
                    share=share,
                    share_of="copy",
                    note="all without prompts, by its steps",
                )
            )

    plain = bench.build()
    with plain.adapters.using(POLICY):
        timed("plain loop", plain, NativeDecoder)
    timed("plain loop, no adapter", plain, NativeDecoder)
    del plain
    stays = bench.build(fixed_cache=True)
    with stays.adapters.using(POLICY):
        timed("fixed cache", stays, FixedDecoder)
        alone = _model_alone(bench, stays)
        bench.add("decode", "fixed cache: a step, the model alone", alone, shape.batch, needs, "copy")
        del alone
    timed("fixed cache, no adapter", stays, FixedDecoder)


def _model_alone(bench: Bench, backbone: Backbone) -> Callable[[], object]:
    """A step in the middle of a response, again and again: what is left is drawing tokens and telling the rows."""
    decoder = FixedDecoder(backbone)
    decoder.join(sequences(backbone, bench.shape))
    for _ in range(bench.shape.response // 2):
        decoder.step()
    wait(bench.device)

    return torch.inference_mode()(decoder.compute)


def score(bench: Bench) -> None:
    """Scoring by all objectives, many conversations at once and few."""
    shape = bench.shape
    length = shape.prompt + shape.response + 1

    def timed(variant: str, backbone: Backbone, rows: int, trunk: bool) -> None:
        asked, models = conversations(shape, rows), judges(backbone, shape, trunk)
        tokens = rows * length
        flops = shape.pass_flops(tokens, length) * (1 if trunk else shape.objectives)
        bench.add("score", f"{variant}, {rows} rows", lambda: score_all(models, asked), tokens, flops, "product")

    for name, passes, trunk in (
        ("an adapter each", {}, False),
        ("an adapter each, mixed", {"mixed_adapters": True}, False),
        ("an adapter each, packed", {"packing": True}, False),
        ("one trunk", {}, True),
    ):
        backbone = bench.build(judged=True, **passes)
        for rows in sorted({shape.batch, FEW}, reverse=True):
            timed(name, backbone, rows, trunk)
        del backbone


def update(bench: Bench) -> None:
    """A pass over a batch and back: each feature alone, then together, and rows of many lengths."""
    for name, passes in {"plain": {}, **FEATURES}.items():
        backbone = bench.build(**passes)
        _updates(bench, name, backbone)
        if name == "plain":
            small, logprobs.GPU_CHUNK_BYTES = logprobs.GPU_CHUNK_BYTES, 0
            try:
                _updates(bench, f"plain, logits of {logprobs.LEAST_TOKENS} tokens at once", backbone)
            finally:
                logprobs.GPU_CHUNK_BYTES = small
        if passes.get("recompute"):
            _updates(bench, f"{name}, all rows in one pass", backbone, micro=bench.shape.batch)
        if name in ("plain", "packing"):
            _updates(bench, f"{name}, lengths 1/16 to all", backbone, spread=True)
        del backbone
    _updates(bench, "plain, a base of 32 bits", bench.build("float32"))


def _updates(bench: Bench, name: str, backbone: Backbone, micro: int = 0, spread: bool = False) -> None:
    shape = bench.shape
    batch = batch_of(backbone, shape, spread)
    learner = Learner(backbone, shape, batch, micro or shape.micro)
    tokens, responses = int(batch.present.sum()), int(batch.mask.sum())
    flops = shape.update_flops(tokens, responses, tokens / shape.batch)

    def kept() -> int:
        with backbone.adapters.using(POLICY, train=True):
            return graph_bytes(backbone.model, learner.one_pass)

    bench.add("update", name, learner.update, tokens, flops, "product", kept)


def whole(bench: Bench) -> None:
    """Steps of PPO from prompts to an update, with everything off and with everything on."""
    on = {name: True for name in PassesConfig.model_fields}
    faster = on | {"recompute": False}
    for name, passes in (("all off", {}), ("all on", on), ("all on but recompute", faster)):
        backbone = bench.build(judged=True, **passes)
        steps = _ppo(bench, backbone)
        shape = bench.shape
        tokens = shape.batch * (shape.prompt + shape.response)
        bench.add("end to end", name, lambda steps=steps: _until_a_step(steps), tokens, note="tokens of whole rows")
        del backbone, steps


def _ppo(bench: Bench, backbone: Backbone) -> Iterator[object]:
    """Steps of RLOO, four responses to each prompt and an update for each batch."""
    shape, names = bench.shape, objectives(bench.shape)
    group = 4
    config = PpoConfig(
        steps=100,
        prompts_per_step=shape.batch // group,
        samples_per_prompt=group,
        minibatch_size=shape.batch,
        micro_batch_size=shape.micro,
        epochs=1,
        learning_rate=1e-6,
        temperature=1.0,
    )
    prompts = [Prompt.of(text) for text in texts(words(shape, shape.batch, shape.prompt, 1))]
    policy = Policy(backbone, POLICY, names)
    weights = dict.fromkeys(names, 1.0)
    return train_ppo(policy, judges(backbone, shape), scale(names), prompts, weights, config, shape.response, 0)


def _until_a_step(steps: Iterator[object]) -> None:
    while next(steps) is None:
        pass


def trl(bench: Bench) -> None:
    """TRL's RLOO on the same work, in a process of its own, as it takes settings of the process for itself."""
    if find_spec("trl") is None:
        return bench.tell(Line(part="end to end", variant="TRL", note="left out: it is not installed"))
    options = [bench.device, bench.dtype, json.dumps(bench.shape._asdict())]
    left = max(1.0, bench.until - time.monotonic())
    try:
        done = subprocess.run(
            [sys.executable, "-m", "tests.benchmarks.gpu_trl", *options], capture_output=True, text=True, timeout=left
        )
    except subprocess.TimeoutExpired:
        return bench.tell(Line(part="end to end", variant="TRL", note=f"failed: not done after {left:.0f} s"))
    told = [line[7:] for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    if told:
        bench.tell(Line(part="end to end", **json.loads(told[-1])))
    else:
        why = (done.stderr.strip().splitlines() or ["no result"])[-1]
        bench.tell(Line(part="end to end", variant="TRL", note=f"failed: {why[:300]}"))


PARTS: dict[str, tuple[Callable[[Bench], None], float]] = {
    "device": (peaks, 0.03),
    "check": (check, 0.07),
    "decode": (decode, 0.25),
    "update": (update, 0.25),
    "whole": (whole, 0.2),
    "score": (score, 0.1),
    "trl": (trl, 0.1),
}
"""What is measured, in this order, and its share of the time."""


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for gpu.json")
    parser.add_argument("--seconds", type=float, default=540, help="of the whole run")
    parser.add_argument("--shape", choices=SHAPES, default="qwen3-0.6b")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="bfloat16")
    parser.add_argument("--parts", default=",".join(PARTS), help=f"some of {', '.join(PARTS)}")
    options = parser.parse_args(arguments)
    asked = ["device", *(name for name in options.parts.split(",") if name != "device")]
    if unknown := sorted({*asked} - PARTS.keys()):
        parser.error(f"--parts: unknown '{unknown[0]}'; allowed: {', '.join(PARTS)}")
    options.out.mkdir(parents=True, exist_ok=True)
    bench = Bench(SHAPES[options.shape], options.device, options.dtype, options.out, options.seconds)
    for index, name in enumerate(asked):
        measure, _ = PARTS[name]
        shares = [PARTS[later][1] for later in asked[index:]]
        begun = time.monotonic()
        room = (bench.ends - begun) * shares[0] / sum(shares)
        # Nothing can be told without the device's speeds, which take a moment.
        bench.until = bench.ends if name == "device" else begun + room
        if room <= 0:
            bench.tell(Line(part=name, variant="", note="left out: the time is over"))
            continue
        try:
            measure(bench)
        except Exception as error:  # one part that cannot be set up leaves the others
            bench.tell(Line(part=name, variant="", note=f"failed: {type(error).__name__}: {str(error)[:300]}"))


if __name__ == "__main__":
    main()

"""What benchmarks make up is what the code takes, and what they count is what is computed; most are not run here."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from rlhf_core.config.run import ModelConfig, PassesConfig
from rlhf_core.models.backbone import Backbone
from rlhf_core.records.samples import Prompt
from tests.benchmarks import gpu
from tests.benchmarks.gpu_table import Bench
from tests.benchmarks.gpu_work import POLICY, SHAPES, batch_of, build
from tests.benchmarks.ppo_once import Work, save_base

TINY = SHAPES["tiny"]


class Counted(TorchDispatchMode):
    """Operations of the products of matrices that are done in the block, by PyTorch's own table."""

    def __init__(self) -> None:
        super().__init__()
        self.operations = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func._overloadpacket in (torch.ops.aten.mm, torch.ops.aten.addmm):
            self.operations += flop_registry[func._overloadpacket](*args, **(kwargs or {}), out_val=result)
        return result


def test_the_model_of_the_benchmark_of_ppo_is_read_and_ends_its_replies(tmp_path: Path):
    save_base(tmp_path, Work(vocab=64, layers=1, hidden=16))
    backbone = Backbone.load(str(tmp_path), ModelConfig(base_model=str(tmp_path), threads=1))
    assert backbone.render(Prompt.of("w5 w6").messages) == [5, 6]
    assert backbone.encode_response("w7 w8") == [7, 8, 2]


def ran(folder: Path, *options: str) -> dict[str, Any]:
    gpu.main(["--out", str(folder), "--shape", "tiny", "--device", "cpu", *options])
    return json.loads((folder / "gpu.json").read_text())


def test_what_the_benchmark_for_gpus_counts_is_in_the_model():
    backbone = build(TINY, "cpu", "float32", PassesConfig())
    named = dict(backbone.model.named_parameters())
    linear = sum(p.numel() for name, p in named.items() if "_proj.base_layer" in name)
    assert linear == TINY.linear
    assert sum(p.numel() for p in backbone.adapters.parameters(POLICY)) == TINY.adapter
    # 2 layers of 4 heads of 8 numbers; by hand: 32 x (4 + 4) x 8 + 2 x 32 x 2 x 8 and 3 x 32 x 64 in each.
    assert TINY.linear == 2 * (32 * 64 + 32 * 32 + 3 * 32 * 64)
    # Weights once in 16 bits, the adapter in 32, and 3 + 1 columns of keys and values of 2 heads for 5 rows.
    assert TINY.step_bytes(5, 3, 2) == (TINY.linear + 512 * 32) * 2 + TINY.adapter * 4 + 5 * 4 * (2 * 2 * 2 * 8 * 2)


def test_the_operations_that_the_benchmark_for_gpus_counts_are_done():
    backbone = build(TINY, "cpu", "bfloat16", PassesConfig())
    batch = batch_of(backbone, TINY)
    assert backbone._spared_block is not None, "what is tried once is not counted"
    with backbone.adapters.using(POLICY, train=True), Counted() as forward:
        states = backbone.hidden(batch.ids, batch.present, 16)
    with Counted() as back:
        states.float().sum().backward()
    tokens = 8 * 16
    # Attention is left out, which the table does not know on a CPU; the first layer's inputs need no gradients. Of
    # logits one row is computed, and not used.
    assert TINY.pass_flops(tokens, 0) + 2 * 32 * 512 == forward.operations
    both = TINY.update_flops(tokens, 0, 0)
    unneeded = 2 * tokens * 32 * (4 + 2 + 2) * 8
    assert both - 1.1 * unneeded < forward.operations + back.operations < both


def test_the_benchmark_for_gpus_keeps_what_it_has_after_each_line(tmp_path: Path, monkeypatch, capsys):
    def killed(_: Bench) -> Iterator[None]:
        raise KeyboardInterrupt

    monkeypatch.setitem(gpu.PARTS, "score", (killed, 0.1))
    with pytest.raises(KeyboardInterrupt):
        ran(tmp_path, "--parts", "device,score", "--dtype", "float32")
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert [line["variant"] for line in found["lines"]] == ["ten copies", "ten products of matrices"]
    assert found["bytes_per_second"] > 0 and "ten copies" in capsys.readouterr().out


def test_what_fails_in_the_benchmark_for_gpus_is_a_line_and_not_the_end(tmp_path: Path):
    bench = Bench(TINY, "cpu", "float32", tmp_path, 60)
    bench.add("update", "too large", lambda: torch.empty(2**60))
    bench.until = 0
    bench.add("update", "too late", lambda: None)
    assert [line.note.split(":")[0] for line in bench.lines] == ["failed", "left out"]


@pytest.mark.slow
def test_the_benchmark_for_gpus_measures_every_part(tmp_path: Path):
    found = ran(tmp_path, "--seconds", "60")
    lines = [line for line in found["lines"] if line["variant"] != "TRL"]
    assert not [line for line in lines if "failed" in line.get("note", "") or not {"seconds", "apart"} & line.keys()]
    assert max(line["apart"] for line in lines if "apart" in line) < 0.05
    assert {line["part"] for line in lines} == {"device", "check", "decode", "update", "end to end", "score"}
    assert len(lines) > 25 and all(line["share"] > 0 for line in lines if "share_of" in line)

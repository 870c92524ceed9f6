"""What benchmarks make up is what the code takes; they themselves are not run here."""

from __future__ import annotations

from pathlib import Path

from rlhf_core.config.run import ModelConfig
from rlhf_core.models.backbone import Backbone
from rlhf_core.records.samples import Prompt
from tests.benchmarks.ppo_once import Work, save_base


def test_the_model_of_the_benchmark_of_ppo_is_read_and_ends_its_replies(tmp_path: Path):
    save_base(tmp_path, Work(vocab=64, layers=1, hidden=16))
    backbone = Backbone.load(str(tmp_path), ModelConfig(base_model=str(tmp_path), threads=1))
    assert backbone.render(Prompt.of("w5 w6").messages) == [5, 6]
    assert backbone.encode_response("w7 w8") == [7, 8, 2]

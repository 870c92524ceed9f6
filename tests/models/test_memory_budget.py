"""What passes take in bytes, and how many rows fit a budget: counted by hand on models of a few numbers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from rlhf_core.config.run import ModelConfig
from rlhf_core.errors import InvalidInput
from rlhf_core.models.batching import length_batches
from rlhf_core.models.kernels.onednn_linear import quicken
from rlhf_core.models.memory_budget import (
    HELD,
    MAX_TOKENS,
    PROGRAMS,
    graph_bytes,
    most_positions,
    position_bytes,
    program_bytes,
    round_up,
    rows_that_fit,
    told,
)


def test_a_graph_keeps_what_the_way_back_needs_and_weights_count_for_nothing():
    layer = nn.Linear(100, 50, bias=False)
    x = torch.ones(10, 100, requires_grad=True)
    # The product keeps its input for the weights' gradient, 4 x 1000 bytes; tanh keeps its own result, 4 x 500.
    assert graph_bytes(layer, lambda: layer(x).tanh()) == 4000 + 2000
    assert graph_bytes(layer, lambda: layer(torch.ones(20, 100)).tanh()) == 2 * (4000 + 2000)

    def in_place_of_its_own() -> torch.Tensor:
        return torch.nn.functional.linear(x, stand_in).tanh()

    stand_in = torch.ones(50, 100, requires_grad=True)
    assert graph_bytes(layer, in_place_of_its_own, [stand_in]) == 4000 + 2000


def test_rows_are_what_is_left_of_the_budget_over_what_a_row_keeps_and_a_little_more():
    layer = nn.Linear(1000, 1000, bias=False)
    row = torch.ones(1, 1000)  # keeps 4000 bytes, with a spare of 15 % 4600

    def rows(beside: int, together: int = 1) -> int:
        # A million trained numbers hold 16 bytes each.
        budget = HELD + 16_000_000 + 1_000_000 + beside
        return rows_that_fit(budget, 1_000_000, layer.parameters(), layer, lambda: layer(row), "a test", together)

    assert (rows(4600), rows(9199), rows(9200)) == (1, 1, 2)
    assert (rows(9200, together=2), rows(18399, together=2)) == (1, 1)
    with pytest.raises(InvalidInput, match=r"and a process in a test holds 567 MB and 0 MB more .*at least 568 MB"):
        rows(4599)


def test_programs_are_kept_for_matrices_that_onednn_multiplies():
    small, large = nn.Linear(1000, 255), nn.Linear(256, 256)
    assert program_bytes(nn.Sequential(small, large)) == 0, "MKL multiplies in 32 bits what is not made quick"
    quicken(models := nn.Sequential(small))
    assert program_bytes(models) == 0
    quicken(models := nn.Sequential(small, large))
    assert program_bytes(models) == PROGRAMS
    assert program_bytes(nn.Linear(8, 8, dtype=torch.bfloat16)) == PROGRAMS
    assert program_bytes(nn.Linear(256, 256, dtype=torch.bfloat16, device="meta")) == 0


def test_positions_are_counted_from_the_models_shape():
    shape = {"hidden_size": 32, "num_attention_heads": 4, "num_key_value_heads": 2, "num_hidden_layers": 3}
    model: Any = nn.Linear(1, 1)
    model.config = SimpleNamespace(get_text_config=lambda: SimpleNamespace(intermediate_size=64, **shape))
    # Keys and values of 3 layers of 2 heads of 8 numbers, twice; three inner and eight outer states of a layer.
    assert position_bytes(model) == 4 * (2 * 2 * 3 * 2 * 8 + 3 * 64 + 8 * 32)
    assert most_positions(model, None) == MAX_TOKENS
    assert most_positions(model, HELD + 8 + 10 * position_bytes(model)) == 10  # 8 bytes are the weights'
    with pytest.raises(InvalidInput, match=r"is 550 MB, and a process with the model takes 550 MB .*at least 551 MB"):
        most_positions(model, HELD)
    assert most_positions(model, 551_000_000) > 0


def test_what_is_allowed_is_told_as_no_less_than_it_is():
    assert [told(round_up(count)) for count in (567_000_000, 567_000_001, 1_230_000_001, 999_999_999)] == [
        *("567 MB", "568 MB", "1.24 GB", "1.00 GB")
    ]


def test_a_budget_is_written_as_people_write_it_and_bounds_the_passes_of_a_model(tiny_folder):
    from rlhf_core.models.backbone import Backbone

    assert [ModelConfig.model_validate({"memory_budget": text}).memory_budget for text in ("3GB", "2GiB", 7)] == [
        3_000_000_000,
        2 * 2**30,
        7,
    ]
    with pytest.raises(ValueError, match="memory_budget"):
        ModelConfig.model_validate({"memory_budget": "much"})
    folder = str(tiny_folder("llama"))
    roomy = Backbone.load(folder, ModelConfig(base_model=folder))
    close = HELD + roomy.weight_bytes + 100 * position_bytes(roomy.model)
    tight = Backbone.load(folder, ModelConfig.model_validate({"base_model": folder, "memory_budget": close}))
    assert (roomy.most_positions, tight.most_positions) == (MAX_TOKENS, 100)


def test_a_batch_holds_no_more_tokens_than_it_may_but_always_a_row():
    rows = [[0] * 10] * 5
    assert [len(batch) for batch in length_batches(rows, max_tokens=20)] == [2, 2, 1]
    assert [len(batch) for batch in length_batches(rows, max_tokens=5)] == [1] * 5

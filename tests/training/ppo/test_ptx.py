"""What PPO replays: the same rows for the same seed and update, whatever the weights are."""

from __future__ import annotations

import inspect

import pytest

from rlhf_core.config.ppo import PpoConfig
from rlhf_core.errors import InvalidInput
from rlhf_core.records.samples import Demonstration, Prompt
from rlhf_core.training.ppo.ptx import Replay

ROWS = [Demonstration(prompt=Prompt.of(f"task {number}"), response=f"so {number}") for number in range(5)]


def texts(replay: Replay, update: int) -> list[str]:
    batch = replay.batch(update)
    rows = [row[keep].tolist() for row, keep in zip(batch.targets, batch.mask.bool(), strict=True)]
    return [replay.backbone.decode(row) for row in rows]


def test_every_row_is_shown_once_before_any_is_shown_again(tiny_model):
    replay = Replay.begin(tiny_model(), ROWS, PpoConfig(ptx_coef=0.8, ptx_batch_size=5), 0)
    assert replay is not None and replay.coef == 0.8
    for update in range(3):
        assert sorted(texts(replay, update)) == [f"so {number}" for number in range(5)]
    assert texts(replay, 0) == texts(replay, 0) != texts(replay, 1)


def test_a_reply_that_was_cut_is_replayed_without_an_end(tiny_model):
    backbone, config = tiny_model(), PpoConfig(ptx_coef=0.8, ptx_batch_size=1)
    whole = ROWS[0]
    ends = []
    for row in (whole, whole.model_copy(update={"ended": False})):
        replay = Replay.begin(backbone, [row], config, 0)
        assert replay is not None
        ends.append(replay.batch(0).targets[0].tolist())
    assert ends[0] == [*ends[1], backbone.eos_id]


def test_another_seed_shows_them_in_another_order(tiny_model):
    backbone, config = tiny_model(), PpoConfig(ptx_coef=0.8, ptx_batch_size=5)
    orders = {tuple(texts(Replay(backbone, ROWS, 5, seed, config.ptx_coef), 0)) for seed in range(4)}
    assert len(orders) > 1


def test_a_replay_knows_no_weights():
    assert list(inspect.signature(Replay.begin).parameters) == ["backbone", "rows", "config", "seed"]
    assert Replay._fields == ("backbone", "rows", "size", "seed", "coef")


def test_nothing_is_replayed_by_default_and_a_price_without_rows_is_refused(tiny_model):
    assert Replay.begin(tiny_model(), ROWS, PpoConfig(), 0) is None
    with pytest.raises(InvalidInput, match="nothing to replay; allowed: 0"):
        Replay.begin(tiny_model(), [], PpoConfig(ptx_coef=1.0), 0)

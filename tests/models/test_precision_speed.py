"""16 bits where they are slow: told before any work, with the measured ratio."""

from __future__ import annotations

import logging

import pytest
import torch

from rlhf_core.config.run import ModelConfig
from rlhf_core.models import loading, precision_speed
from rlhf_core.models.backbone import Backbone
from rlhf_core.models.precision_speed import ratio_to_float32
from services.cli import doctor_checks


def test_float32_beside_itself_is_neither_quick_nor_slow():
    assert 0.2 < ratio_to_float32(torch.float32) < 5


def test_the_ratio_follows_what_the_products_take(monkeypatch):
    now = [0.0]
    plain = torch.nn.functional.linear

    def linear(rows: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        now[0] += 20.0 if rows.dtype == torch.bfloat16 else 1.0
        return plain(rows, weight)

    monkeypatch.setattr(torch.nn.functional, "linear", linear)
    monkeypatch.setattr(precision_speed.time, "perf_counter", lambda: now[0])
    assert ratio_to_float32(torch.bfloat16) == pytest.approx(1 / 20)


@pytest.mark.parametrize(
    ("ratio", "dtype", "warns"), [(0.05, "bfloat16", True), (2.0, "bfloat16", False), (0.05, "auto", False)]
)
def test_a_model_in_a_slow_precision_is_told_of_at_load(tiny_folder, monkeypatch, caplog, ratio, dtype, warns):
    monkeypatch.setattr(precision_speed, "ratio_to_float32", lambda _: ratio)
    monkeypatch.setattr(loading, "capabilities", dict)
    folder = str(tiny_folder("llama"))
    with caplog.at_level(logging.WARNING, logger="charter.models"):
        Backbone.load(folder, ModelConfig(base_model=folder, dtype=dtype))
    told = [record.getMessage() for record in caplog.records if "0.05 times the products" in record.getMessage()]
    assert bool(told) == warns


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({"amx_bf16": True}, torch.bfloat16),
        ({"amx_bf16": False, "avx512_bf16": True}, torch.float32),
        ({}, torch.float32),
    ],
    ids=["amx", "vectors alone", "a PyTorch that does not say"],
)
def test_auto_takes_16_bits_on_a_processor_that_has_units_for_them(monkeypatch, told, expected):
    monkeypatch.setattr(loading, "capabilities", lambda: told)
    assert loading.dtype_of(ModelConfig(dtype="auto")) is expected
    assert loading.dtype_of(ModelConfig(dtype="float32")) is torch.float32
    assert loading.dtype_of(ModelConfig(dtype="bfloat16")) is torch.bfloat16


@pytest.mark.parametrize(("ratio", "level"), [(0.05, "warn"), (2.5, "ok")])
def test_doctor_tells_how_much_slower_16_bits_are(monkeypatch, ratio, level):
    monkeypatch.setattr(precision_speed, "ratio_to_float32", lambda _: ratio)
    check = doctor_checks.check_precision()
    assert check.level == level and f"{ratio:g} times" in check.detail

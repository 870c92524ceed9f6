"""Records that many tests need and few look into: each with plain numbers, of which a test names those that matter."""

from __future__ import annotations

from typing import Any

from rlhf_core.records.feedback import Calibration, Critique, JudgeGate, Revision
from rlhf_core.records.models import NormPack, RewardModelVersion

OF_A_JUDGE: dict[str, Any] = {
    "run_id": "run",
    "judge": "j",
    "objective": "helpful",
    "constitution_hash": "k",
    "pairs": 40,
}


def norm_pack(**given: Any) -> NormPack:
    """Of two objectives with mean 0, sd 1 and nothing in common."""
    plain: dict[str, Any] = {
        "id": "pack",
        "run_id": "run",
        "policy_version": "policy-1",
        "objectives": ("helpful", "harmless"),
        "reward_models": ("a", "b"),
        "mean": (0.0, 0.0),
        "sd": (1.0, 1.0),
        "quantiles": ((0.0,) * 6,) * 2,
        "correlation": ((1.0, 0.0), (0.0, 1.0)),
        "length_slope": (0.0, 0.0),
        "mean_length": 8.0,
        "n": 16,
    }
    return NormPack(**(plain | given))


def reward_model(**given: Any) -> RewardModelVersion:
    """Trained on 12 labels, 2 of them people's; nothing was held out."""
    plain: dict[str, Any] = {
        "id": "rm",
        "run_id": "run",
        "objective": "helpful",
        "base_model": "base",
        "artifact": "0" * 64,
        "constitution_hash": "k",
        "pairs": 12,
        "human_pairs": 2,
        "accuracy": 0.5,
        "accuracy_n": 0,
    }
    return RewardModelVersion(**(plain | given))


def judge_gate(**given: Any) -> JudgeGate:
    """Passed, on 40 pairs with gold."""
    plain: dict[str, Any] = {
        "id": "gate",
        "truth": "gold",
        "abstained": 2,
        "agreement": 0.75,
        "agreement_low": 0.6,
        "longer_reply": 0.5,
        "consistency": 0.9,
        "passed": True,
        "reason": "",
    }
    return JudgeGate(**(OF_A_JUDGE | plain | given))


def calibration(**given: Any) -> Calibration:
    """By people, on 40 pairs, and applied."""
    plain: dict[str, Any] = {
        "id": "calibration",
        "truth": "human",
        "temperature": 1.5,
        "folds": 5,
        "brier_before": 0.25,
        "brier_after": 0.2,
        "ece_before": 0.1,
        "ece_after": 0.05,
        "applied": True,
    }
    return Calibration(**(OF_A_JUDGE | plain | given))


def revision(principle: str = "fumes", **given: Any) -> Revision:
    """The first round's, accepted, after the principle found a violation."""
    plain: dict[str, Any] = {
        "id": "revision",
        "run_id": "run",
        "sample_id": "sample",
        "round": 1,
        "before": "mix bleach",
        "after": "use soap",
        "accepted": True,
    }
    rest = plain | given
    critique = Critique(
        sample_id=rest["sample_id"],
        principle_id=principle,
        principle_hash="p1",
        constitution_hash="k1",
        template_hash="t1",
        critic="sandbox",
        verdict="violates",
        text="Step 2 gives off fumes.",
        spans=("mix bleach",),
    )
    return Revision(critique=critique, **rest)

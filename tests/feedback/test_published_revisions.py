"""Parser and guards on 264 real steps of critique and revision."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from rlhf_core.config.run import CritiqueConfig
from rlhf_core.feedback.critic import finds_nothing, parse_critique
from rlhf_core.feedback.revision_guards import GUARDS, Attempt, fault, strip_prefix
from tests.published_samples import needs_samples, steps

CONFIG = CritiqueConfig()


@needs_samples
def test_no_published_revision_leaks_or_drifts_and_every_one_is_accounted_for(tmp_path: Path):
    attempts = [
        Attempt(step.prompt, step.critique, step.before, strip_prefix(step.after, step.before))
        for step in steps(tmp_path)
    ]
    assert len(attempts) == 264
    assert all(attempt.after == step.after.strip() for attempt, step in zip(attempts, steps(tmp_path), strict=True))
    found = Counter(guard.reason for guard in GUARDS for attempt in attempts if guard.finds(attempt, CONFIG))
    assert found["leak"] == found["role_drift"] == found["empty"] == found["over_refusal"] == 0
    # Three revisions change nothing, as counted in the study of the samples.
    assert found == {"unchanged": 3, "length": 5, "preaching": 8}
    told = Counter(fault(attempt, CONFIG) for attempt in attempts)
    assert told == {"": 248, "unchanged": 3, "length": 5, "preaching": 8}


@needs_samples
def test_nine_published_critiques_open_by_finding_nothing_wrong_and_they_alone_can_be_read(tmp_path: Path):
    # These critics were asked for faults, not for a verdict; so nothing else in their words is one.
    parsed = [(step, parse_critique(step.critique, step.before)) for step in steps(tmp_path)]
    assert sum(finds_nothing(step.critique) for step, _ in parsed) == 9
    assert Counter(p.verdict for _, p in parsed) == {"complies": 9, None: 255}
    assert {p.reason for _, p in parsed if p.verdict is None} == {"no_verdict"}

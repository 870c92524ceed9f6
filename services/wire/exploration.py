"""What is looked for among samples and what is known of them, on the wire."""

from __future__ import annotations

import math
from collections.abc import Iterable

from charter.v1 import exploration_pb2, reward_pb2

from rlhf_core.errors import InvalidInput
from rlhf_core.records.exploration import Between, FoundSample, Judged, SampleFilter, Term
from rlhf_core.records.models import NormPack, Score
from services.wire import enums, resource_names
from services.wire.samples import comparison_to_message, sample_from_message, sample_to_message, vote_to_message
from services.wire.stored_records import preference_to_message, score_from_message, score_to_message

MAX_TEXT = 200
"""Characters of a text that is looked for."""


def filter_from_message(message: exploration_pb2.FindSamplesRequest) -> SampleFilter:
    """Read a filter. Raises InvalidInput for ends that are no numbers, scores without objective, a text too long."""
    score, kl = _between(message, "score"), _between(message, "kl")
    if not (message.objective or score.is_open):
        raise InvalidInput("objective: not given; scores are of an objective", "objective")
    if len(message.text) > MAX_TEXT:
        raise InvalidInput(f"text: {len(message.text)} characters; allowed: {MAX_TEXT}", "text")
    return SampleFilter(
        stage=message.stage,
        policy_version=resource_names.identity(
            resource_names.POLICY_VERSIONS, message.policy_version, "policy_version"
        ),
        objective=message.objective,
        score=score,
        kl=kl,
        verdict=enums.value(enums.VERDICTS, message.verdict, "verdict"),
        principle_id=message.principle_id,
        text=message.text,
    )


def filter_to_message(wanted: SampleFilter, run_id: str, page_size: int) -> exploration_pb2.FindSamplesRequest:
    plain = wanted.model_dump(exclude={"score", "kl", "verdict"})
    return exploration_pb2.FindSamplesRequest(
        **plain,
        run_id=run_id,
        page_size=page_size,
        min_score=wanted.score.low,
        max_score=wanted.score.high,
        min_kl=wanted.kl.low,
        max_kl=wanted.kl.high,
        verdict=enums.number(enums.VERDICTS, wanted.verdict),
    )


def term_from_message(message: exploration_pb2.SampleTerm) -> Term:
    numbers = {name: getattr(message, name) for name in ("low", "high") if message.HasField(name)}
    kind = enums.given(enums.TERMS, message.kind, "kind")
    plain = {name: getattr(message, name) for name in ("name", "detail", "samples", "exact")}
    return Term.model_validate({"kind": kind, **plain, **numbers})


def term_to_message(term: Term) -> exploration_pb2.SampleTerm:
    kind = enums.number(enums.TERMS, term.kind)
    return exploration_pb2.SampleTerm(**term.model_dump(exclude={"kind"}), kind=kind)


def found_to_message(found: FoundSample, pack: NormPack | None) -> exploration_pb2.FoundSample:
    said = exploration_pb2.SampleVerdict
    return exploration_pb2.FoundSample(
        sample=sample_to_message(found.sample),
        scores=scores_to_messages(found.scores, pack),
        verdicts=[said(principle_id=p, verdict=enums.number(enums.VERDICTS, v)) for p, v in found.verdicts],
    )


def found_from_message(message: exploration_pb2.FoundSample) -> FoundSample:
    return FoundSample(
        sample=sample_from_message(message.sample),
        scores=tuple(score_from_message(score) for score in message.scores),
        verdicts=tuple(
            (said.principle_id, enums.value(enums.VERDICTS, said.verdict, "verdict")) for said in message.verdicts
        ),
    )


def judged_to_message(judged: Judged) -> exploration_pb2.JudgedComparison:
    return exploration_pb2.JudgedComparison(
        comparison=comparison_to_message(judged.comparison),
        votes=[vote_to_message(vote) for vote in judged.votes],
        preferences=[preference_to_message(preference) for preference in judged.preferences],
    )


def scores_to_messages(scores: Iterable[Score], pack: NormPack | None) -> list[reward_pb2.Score]:
    """Write scores as messages, with z where the pack knows the reward model."""
    return [score_to_message(score, pack and pack.z(score.score, score.reward_model)) for score in scores]


def _between(message: exploration_pb2.FindSamplesRequest, name: str) -> Between:
    ends = {end: getattr(message, end) for end in (f"min_{name}", f"max_{name}") if message.HasField(end)}
    for end, number in ends.items():
        if not math.isfinite(number):
            raise InvalidInput(f"{end}: {number}; allowed: a finite number", end)
    return Between(low=ends.get(f"min_{name}"), high=ends.get(f"max_{name}"))

"""What is judged: critiques, revisions, votes and labels, and how far a judge is to be trusted."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from rlhf_core.records.base import Record

Verdict = Literal["complies", "borderline", "violates"]
Choice = Literal["a", "b", "tie", "both_bad", "skip"]
Labelers = Literal["ai", "human"]
"""Whose labels: a judge's, or people's."""
Protocol = Literal["notes", "logprobs", "cot", "text", "pointwise", "contrast"]
"""How a judge is asked: for the labels' log-probabilities (after notes that all questions on a pair share, at once, or
after a reasoning on each question), for words, for a critique of each reply alone, or not at all: `contrast` reads how
much likelier a reply is after a principle's good examples than after its bad ones."""

UNASKED = ("no_principle", "no_votes")
"""Why a judge abstains that was asked nothing of a pair."""
UNREAD = "parse_failure"
"""Why one abstains of whose votes one could not be read."""


class Critique(Record):
    """One principle's verdict on one response."""

    sample_id: str
    principle_id: str
    principle_hash: str
    constitution_hash: str
    template_hash: str
    critic: str
    verdict: Verdict | None
    """None when the critic's text could not be parsed; `reason` says why."""
    text: str
    spans: tuple[str, ...] = ()
    """Quotations that occur word for word in the response."""
    reason: str = ""


class Revision(Record):
    """One step of critique and revision. Rejected steps are kept, with the reason."""

    id: str
    run_id: str
    sample_id: str
    round: int
    critique: Critique
    before: str
    after: str
    accepted: bool
    reason: str = ""
    written: str = ""
    """What the reviser wrote, where `after` is that without a label at its start."""


class Usage(Record):
    """What endpoints were asked for, and its price. Models of this process cost nothing here."""

    requests: int = 0
    retries: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    unmetered: int = 0
    """Answers that came without a count of tokens; they are in no sum."""
    cost: float = 0.0
    """In the currency of the configured prices."""

    def plus(self, other: Usage, sign: int = 1) -> Usage:
        """Add usage, or with a sign of -1 take it off."""
        return Usage(**{name: value + sign * getattr(other, name) for name, value in self})


class Vote(Record):
    """The record of a judgement: one comparison, one principle, one order.

    `logprob_a` and `logprob_b` belong to samples a and b of the comparison, whatever the order shown.
    """

    id: str
    comparison_id: str
    principle_id: str
    principle_hash: str
    template_hash: str
    constitution_hash: str
    judge: str
    swapped: bool
    """True when sample b was shown first."""
    logprob_a: float
    logprob_b: float
    label_mass: float
    """Probability that the judge gives to the two labels together; 0 when its words could not be read."""
    run_id: str = ""
    protocol: Protocol = "logprobs"
    text: str = ""
    """What the judge wrote, where it was asked to write."""
    reason: str = ""
    """Why this vote abstains: the judge's answer could not be read."""


class Opinion(Record):
    """What one judge of a panel makes of one comparison and objective, as its own label would say it."""

    judge: str
    """Its name in the panel."""
    probability: float = Field(ge=0, le=1)
    weight: float = Field(ge=0)
    """How much it counts in the label; 0 where it failed its gate and is left out."""
    reason: str = ""
    """Why it abstains, and so is in no label."""

    @property
    def counts(self) -> bool:
        return self.weight > 0 and not self.reason


class Preference(Record):
    """One objective's label on one comparison. `probability` is that of a being better than b."""

    id: str
    comparison_id: str
    objective: str
    labeler: str
    """`ai:<judge>` or `human:<name>`."""
    choice: Choice
    probability: float = Field(default=0.5, ge=0, le=1)
    abstained: bool = False
    reason: str = ""
    gap: float = 0.0
    """Largest difference between the two orders' probabilities over the votes (position bias)."""
    constitution_hash: str = ""
    run_id: str = ""
    weight: float = Field(default=1.0, ge=0)
    uniform: bool = False
    """The comparison was drawn with no regard to what the AI made of it, so the label counts in unbiased measures."""
    calibration_id: str = ""
    """The calibration that the probability went through; empty when there was none."""
    ungated: bool = False
    """The judge had not passed its gate when this label was derived; stamped on all that descends from it."""
    swapped: bool | None = None
    """A person saw sample b on the left or on top; None where that is not known."""
    repeated: bool = False
    """A second answer of the same person, asked for to measure them; the first one is the label."""
    opinions: tuple[Opinion, ...] = ()
    """What each judge of a panel said, where a panel labelled."""

    @property
    def disagreement(self) -> float:
        """How far apart the probabilities of those judges are that count, from 0 to 1; 0 where one judge labelled."""
        said = [opinion.probability for opinion in self.opinions if opinion.counts]
        return max(said) - min(said) if said else 0.0


def by_judge(label: Preference) -> list[Preference]:
    """Return a panel's label as each of its judges would have given it, called by the panel's and its own name."""
    return [
        label.model_copy(
            update={
                "labeler": f"{label.labeler}/{one.judge}",
                "probability": one.probability,
                "abstained": bool(one.reason),
                "reason": one.reason,
                "opinions": (),
            }
        )
        for one in label.opinions
    ]


Truth = Literal["human", "gold"]


class Calibration(Record):
    """The temperature that makes one judge's probabilities of one objective honest; p = sigmoid(log-odds / T).

    Errors before are those of T = 1; errors after are of each fold under the temperature of the others. A panel's
    judges were chosen and weighed on the same pairs, so that its own errors are a little too small.
    """

    id: str
    run_id: str
    judge: str
    objective: str
    constitution_hash: str
    truth: Truth
    temperature: float
    pairs: int
    folds: int
    brier_before: float
    brier_after: float
    ece_before: float
    """Expected calibration error (Naeini et al. 2015): mean |accuracy - confidence| over bins of confidence."""
    ece_after: float
    applied: bool
    """False where it only measures: gold never enters a label."""
    panel: str = ""
    """The panel that the judge sits on; empty for the judge, or the panel, whose labels they are."""


class JudgeGate(Record):
    """Whether one judge may label one objective: its agreement with people, or with a world's gold."""

    id: str
    run_id: str
    judge: str
    objective: str
    constitution_hash: str
    truth: Truth
    pairs: int
    """Pairs with a better reply in truth, on which the judge did not abstain."""
    abstained: int
    """Such pairs on which it did."""
    agreement: float
    agreement_low: float
    """Lower end of the 95 % interval (Wilson 1927)."""
    longer_reply: float
    """Agreement of always preferring the longer reply, on the same pairs."""
    consistency: float
    """Share of all these pairs, abstentions included, whose better reply is the same in both orders."""
    passed: bool
    reason: str
    """What falls short; empty when the gate is passed."""
    panel: str = ""
    """The panel that the judge sits on; empty for the judge, or the panel, whose labels they are."""
    model: str = ""
    """Of a judge of a panel, whose `judge` is its name there."""
    protocol: str = ""
    template_hash: str = ""
    """With the model it tells which votes are this judge's."""
    weight: float = 0.0
    """How much it counts in the panel's labels of this objective; 0 where it is left out."""

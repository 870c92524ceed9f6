"""What an edit of a constitution does to labels: every number with its count and its interval."""

from __future__ import annotations

from typing import Literal

from rlhf_core.constitution.diff import ConstitutionDiff
from rlhf_core.effects.edit_cost import Bill
from rlhf_core.evaluation.paired import Agreement
from rlhf_core.evaluation.statistics import Estimate
from rlhf_core.records.base import Record

Finding = Literal["no change", "within noise", "changed", "mostly abstained"]
Direction = Literal["gold", "chosen", "longer"]
"""The reply that a flip can lead to: better by a world's truth, chosen in the user's file, or the longer one."""


class ProbeSummary(Record):
    """Which pairs were judged, the same under both constitutions."""

    source: str
    n: int
    seed: int
    hash: str
    """Over all prompts and replies: two reports with one hash judged the same pairs."""


class TruthCheck(Record):
    """The judge's flips against those of a perfect judge under the same two constitutions."""

    flips: int
    """Flips of the truth."""
    precision: Estimate | None
    """Of the judge's flips, the share where the truth changes its side too (a tie is a side); None without flips."""
    recall: Estimate | None
    """Of the truth's flips where the judge does not abstain, the share that the judge flips as well."""
    matters: Estimate | None
    """Of the judge's flips, the share where the edit moves the truth at all."""
    moves: int
    """Pairs on which the edit moves the truth's probability by more than 0.1."""
    move_precision: Estimate | None
    """As precision and recall, of labels that move by more than 0.1, whether or not they flip."""
    move_recall: Estimate | None


class TagFlips(Record):
    """Flips among the pairs whose prompt carries a tag."""

    tag: str
    flips: int
    n: int


class ObjectiveEffect(Record):
    """One objective's labels before and after, on the pairs where neither abstains."""

    objective: str
    n: int
    abstained: tuple[int, int]
    """Abstentions before and after, of all pairs."""
    flips: int
    """Labels that went from one reply to the other."""
    flip_share: Estimate
    softened: int
    """Labels that became ties."""
    firmed: int
    """Ties that became labels."""
    mean_shift: Estimate
    """Mean |p after - p before|, resampled by prompt."""
    noise_flips: int
    """Flips when the constitution before is judged a second time: the noise floor."""
    noise_share: Estimate | None
    """Of the pairs where the judge abstains neither time; None where there is none."""
    p_noise: float
    """Exact McNemar p that the edit flips no more than judging again does."""
    direction: Direction
    toward: int
    """Flips to the reply that `direction` names."""
    away: int
    p_direction: float
    """Exact McNemar p that the flips have no direction."""
    net: Estimate
    """(toward - away) / n, ties counted half, resampled by prompt."""
    finding: Finding
    """`changed` only where flips exceed the noise floor with p_noise below 0.05; `mostly abstained` where nothing is
    found and fewer than half of the pairs have a label under both."""
    truth: TruthCheck | None = None
    tags: tuple[TagFlips, ...] = ()


class EditEffect(Record):
    """What one principle's edit does to one objective, by itself and within the whole edit."""

    principle_id: str
    objective: str
    alone: int
    """Flips when nothing but this principle is edited."""
    without: int
    """Flips when everything but this principle is edited."""


class PrincipleRole(Record):
    """What one principle of the constitution after does for one objective."""

    principle_id: str
    objective: str
    flips: int
    """Labels that would flip without it."""
    n: int
    """Labels that there are with it and without it."""
    relevance: float
    """Share of all pairs on which it takes a side by itself."""
    accuracy: Estimate | None
    """Of these, how often it takes the side that is better by gold, or chosen; None where neither is known."""
    performance: float | None
    """2 (accuracy - 0.5) relevance, as Inverse Constitutional AI ranks principles: -1 always wrong, 1 always right."""


class FlippedPair(Record):
    """One pair whose label flipped, and the critic's words on both replies under the principle that moved it most."""

    objective: str
    prompt: str
    a: str
    b: str
    before: float
    """Probability that a is better, before."""
    after: float
    principle_id: str
    shift: float
    """Log-odds by which this principle's edit moved the label towards a."""
    rationale_a: str = ""
    rationale_b: str = ""


class Judging(Record):
    """The judge, and what it was asked."""

    judge: str
    asked: int
    """Votes asked for both constitutions together."""
    shared: int
    """Votes that count for both and were asked once."""
    again: int
    """Votes asked again for the noise floor."""
    seconds: float
    """Time that the judge took for all of them."""

    @property
    def seconds_per_vote(self) -> float | None:
        votes = self.asked + self.again
        return self.seconds / votes if votes else None


class EffectReport(Record):
    """`charter constitution diff A B --effects --json` prints this record."""

    diff: ConstitutionDiff
    bill: Bill
    probes: ProbeSummary
    judging: Judging
    objectives: tuple[ObjectiveEffect, ...]
    edits: tuple[EditEffect, ...]
    roles: tuple[PrincipleRole, ...]
    agreement: tuple[Agreement, ...]
    """Pairs of principles of the constitution after, by the side that each takes by itself."""
    flipped: tuple[FlippedPair, ...]
    notes: tuple[str, ...] = ()
    not_measured: tuple[str, ...] = ("reward models under the new labels", "policies trained on them")

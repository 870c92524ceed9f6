"""`diff --effects`: what an edit does to labels on frozen pairs, beyond what judging again does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from rlhf_core.config.feedback import ENDPOINT
from rlhf_core.config.run import LabelConfig
from rlhf_core.constitution.constitution import Constitution
from rlhf_core.constitution.diff import ConstitutionDiff
from rlhf_core.effects import attribution
from rlhf_core.effects.edit_cost import Bill, at_speed
from rlhf_core.effects.flips import Labelled, TrueSides, objective_effect
from rlhf_core.effects.probe_votes import Ballots, NewJudge, Tick, judge_both, labels, true_ballots, wanted
from rlhf_core.effects.probes import Probes
from rlhf_core.effects.rationales import Versions, flipped_pairs
from rlhf_core.effects.report import EffectReport, Judging
from rlhf_core.records.feedback import Preference

Labels = Mapping[str, Sequence[Preference]]


def measure_effects(
    before: Constitution,
    after: Constitution,
    diff: ConstitutionDiff,
    counted: Bill,
    probes: Probes,
    new_judge: NewJudge,
    config: LabelConfig,
    tick: Tick,
) -> EffectReport:
    """Measure an edit and return the whole report. `tick` is told of progress and may raise."""
    ballots, again, judging = judge_both(before, after, probes.pairs, new_judge, tick)

    def relabel(constitution: Constitution) -> Labels:
        return labels(constitution, probes.pairs, ballots, config)

    old, new, noise = relabel(before), relabel(after), labels(before, probes.pairs, again, config)
    truth = _true_sides(before, after, probes, config)
    shared = [name for name in after.objective_names if name in old]
    found = {
        name: objective_effect(
            name, Labelled(old[name], new[name], noise[name]), probes, truth.get(name), probes.summary.seed
        )
        for name in shared
    }
    versions = Versions(attribution.renamed(before, diff), after, attribution.edited_ids(before, after, diff))
    if counted.seconds_per_vote is None and judging.seconds_per_vote is not None:
        counted = at_speed(counted, judging.seconds_per_vote, "these probes")
    return EffectReport(
        diff=diff,
        bill=counted,
        probes=probes.summary,
        judging=judging,
        objectives=tuple(effect for effect in found.values() if effect),
        edits=attribution.edit_effects(*versions, relabel),
        roles=attribution.roles(after, probes, ballots, config, relabel),
        agreement=attribution.agreements(after, probes.pairs, ballots, config),
        flipped=flipped_pairs(versions, probes.pairs, ballots, old, new, new_judge(after)),
        notes=(
            *_notes(before, after, shared, [name for name, effect in found.items() if not effect]),
            *_not_read_anew(judging, again),
        ),
    )


def _true_sides(before: Constitution, after: Constitution, probes: Probes, config: LabelConfig) -> dict[str, TrueSides]:
    """For each objective whose gold is known."""
    if probes.truth is None:
        return {}
    questions = wanted(before, probes.pairs) | wanted(after, probes.pairs)
    ballots = true_ballots(questions, probes.truth)
    old, new = (labels(constitution, probes.pairs, ballots, config) for constitution in (before, after))
    return {
        name: TrueSides(old[name], new[name]) for name in old if name in new and name in probes.truth.gold.objectives
    }


def _not_read_anew(judging: Judging, again: Ballots) -> Iterator[str]:
    """A model of this process looks up what it wrote on a reply: it writes the same for the same (greedy) reading."""
    alone = {votes[0].principle_id for votes in again.values() if votes[0].protocol == "pointwise"}
    if alone and not judging.judge.startswith(ENDPOINT):
        yield (
            f"{judging.judge} read each reply alone once, and was not made to read it again: what it says under "
            f"{', '.join(sorted(alone))} has no part in the noise"
        )


def _notes(before: Constitution, after: Constitution, shared: Sequence[str], undecided: Sequence[str]) -> list[str]:
    notes = [
        f"objective '{name}' is new: it has no labels before" for name in after.objective_names if name not in shared
    ]
    notes += [f"objective '{name}' is gone" for name in before.objective_names if name not in shared]
    if before.priority != after.priority:
        notes.append("the order of priority differs: what that flips is in the totals, and in no principle's row")
    return notes + [f"objective '{name}': no pair has a label under both constitutions" for name in undecided]

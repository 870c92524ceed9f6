"""What a reward model may learn from: labels of this run's AI, of people, and of the user's own files."""

from __future__ import annotations

import hashlib
from itertools import chain
from typing import NamedTuple

from rlhf_core.annotation.teaching import teaching_assessments
from rlhf_core.data.reward_examples import GradedLines, Label, LabelledPair, Source
from rlhf_core.feedback.assessment_labels import assessed_labels, on_one_scale
from rlhf_core.feedback.line_grades import Graded, line_grades
from rlhf_core.feedback.panel import speaker_on_lines
from rlhf_core.feedback.vote_aggregation import heard
from rlhf_core.feedback.voters import open_polls, with_votes
from rlhf_core.records.feedback import Preference, Vote
from rlhf_core.records.samples import Comparison, Prompt
from rlhf_core.stages.context import Context
from rlhf_core.stages.imported.own_rows import LABELS, PREFERENCES, rows_of
from rlhf_core.stages.labelling.people import people_labels
from rlhf_core.stages.labelling.rounds import label_runs
from rlhf_core.stages.prompts import heldout_of


class Found(NamedTuple):
    labels: list[Label]
    graded: list[GradedLines]
    """What the judge said of single lines; where there is any, its pairs only measure what was learned from that."""
    ungated: bool
    """A judge that had not passed its gate gave some of them."""
    left_out: int = 0
    """Labels that ask held-out prompts, and so are none of these."""


def labels_of(ctx: Context, objective: str) -> Found:
    """Gather the objective's labels: AI labels of this and earlier rounds, people's, the user's own files.

    People's are one for each pair, however many of them answered it; `annotation.pooled_answers` has the rule.
    """
    weight = ctx.config.reward.human_weight
    ai = _ai_labels(ctx, objective)
    human = people_labels(ctx.store, objective)
    reward = ctx.config.reward
    graded = _graded_lines(ctx, objective) if reward.graded and reward.reads_lines(objective) else []
    labels: list[Label] = [
        *(_pair(ctx.store.comparisons.get(p.comparison_id), p.probability, p.weight, "ai") for p in ai),
        *(
            _pair(pair, label.probability, label.weight * weight, "human")._replace(tied=label.tied)
            for pair, label in human
        ),
        *(
            label._replace(weight=label.weight * weight)
            for label in on_one_scale([*_assessed(ctx, objective), *_file_labels(ctx, objective)])
        ),
    ]
    held_out = heldout_of(ctx)
    kept, kept_graded = held_out.kept_out(labels), held_out.kept_out(graded)
    held_out.refuse_all(labels, kept, f"the labels of '{objective}'")
    left_out = len(labels) - len(kept) + len(graded) - len(kept_graded)
    if left_out:
        ctx.note(f"{left_out} labels of '{objective}' ask held-out prompts and are left out of training")
    if kept_graded:
        _note_speaker(ctx, objective)
    return Found(kept, kept_graded, any(label.ungated for label in ai), left_out)


def _assessed(ctx: Context, objective: str) -> list[Label]:
    """What people's ratings and rankings teach."""
    given = teaching_assessments(ctx.store, ctx.store.assessments.find(objective))
    replies = ctx.store.samples.by_id({sample for one in given for sample in one.sample_ids})
    return [label for one in given for label in assessed_labels(one, replies)]


def _file_labels(ctx: Context, objective: str) -> list[Label]:
    """Those of `data.preferences` and `data.labels`, with the weights of their rows."""
    data = ctx.config.data
    own = rows_of(ctx, data.preferences, PREFERENCES) if _is_preferred(ctx, objective) and data.preferences else []
    rows = rows_of(ctx, data.labels[objective], LABELS) if objective in data.labels else []
    return [*own, *chain.from_iterable(rows)]


def _graded_lines(ctx: Context, objective: str) -> list[GradedLines]:
    """What this run's judge, and that of earlier rounds, said of the lines of the replies that it compared.

    Nothing where it graded less than half of them, or where its grades, added up, contradict its own labels: then they
    are about something else.
    """
    labelled = ctx.results.get("label")
    result: dict[tuple[str, str], GradedLines] = {}
    replies: set[tuple[str, str]] = set()
    agreed: list[bool] = []
    for run in label_runs(ctx, labelled.run_id) if labelled else ():
        stored = ctx.store.preferences.find(objective, run_id=run, labelers="ai")
        labels = {label.comparison_id: label.probability for label in stored if not label.abstained}
        polls = open_polls(ctx.store.comparisons.of_run(run), ctx.constitution, [objective], ctx.config.label)
        for pair, voters, votes in with_votes(polls, _votes_on_lines(ctx, run, objective)):
            counted = heard(voters[objective], votes, ctx.constitution.precedence(), ctx.config.label)
            both = line_grades(pair, votes, counted, objective)
            lead, doubt = _lead(both), labels.get(pair.id, 0.5) - 0.5
            agreed += [lead * doubt > 0] if lead * doubt else []
            sign = -1 if _is_turned(ctx, objective, pair.id) else 1
            for sample, grades in zip((pair.a, pair.b), both, strict=True):
                key = pair.prompt.id, sample.response
                replies.add(key)
                if grades is not None:
                    turned = tuple(sign * grade for grade in grades)
                    result.setdefault(key, GradedLines(pair.prompt, sample.response, turned))
    contradicted = sum(agreed) < ctx.config.gate.agreement * len(agreed)
    return [] if contradicted or 2 * len(result) < len(replies) else list(result.values())


def _votes_on_lines(ctx: Context, run: str, objective: str) -> list[Vote]:
    """The votes of a run to read grades from: all, or of a panel those of the one judge who speaks for it of lines."""
    votes, gates = ctx.store.votes.find(run_id=run), ctx.store.gates.find(run)
    if not any(gate.panel for gate in gates):
        return votes
    speaker = speaker_on_lines(gates, objective)
    if speaker is None:
        return []
    return [vote for vote in votes if (vote.judge, vote.template_hash) == (speaker.model, speaker.template_hash)]


def _note_speaker(ctx: Context, objective: str) -> None:
    """Note that one judge of a panel alone teaches, where its lines do; nothing where no panel labelled."""
    speaker = speaker_on_lines(ctx.store.gates.find(ctx.results["label"].run_id), objective)
    if speaker is not None:
        ctx.note(
            f"'{objective}' is learned from what the judge '{speaker.judge}' said of single lines; the panel's labels "
            "only measure that, unless reward.graded is false"
        )


def _lead(both: Graded) -> float:
    """How many points more the lines of a add up to than those of b; 0 where one of them has no grades."""
    return 0.0 if both.a is None or both.b is None else sum(both.a) - sum(both.b)


def _ai_labels(ctx: Context, objective: str) -> list[Preference]:
    """The labels of this run's label stage that train; only the user's own files can do without any."""
    own = _is_preferred(ctx, objective) or objective in ctx.config.data.labels
    labelled = ctx.results.get("label") if own else ctx.need("label")
    rounds = label_runs(ctx, labelled.run_id) if labelled else []
    stored = [label for run in rounds for label in ctx.store.preferences.find(objective, run_id=run, labelers="ai")]
    kept = [label for label in stored if not label.abstained]
    return [_turned(label) if _is_turned(ctx, objective, label.comparison_id) else label for label in kept]


def _turned(label: Preference) -> Preference:
    return label.model_copy(update={"probability": 1 - label.probability})


def _is_turned(ctx: Context, objective: str, comparison: str) -> bool:
    """Whether its label is turned round: by the seed and the pair, so that every run of a study turns the same ones."""
    return _draw(f"flip{ctx.config.seed}{objective}{comparison}") < ctx.config.reward.flip_share


def _is_preferred(ctx: Context, objective: str) -> bool:
    return ctx.config.data.preferences is not None and ctx.config.data.preferences_objective == objective


def _pair(pair: Comparison, probability: float, weight: float, source: Source) -> LabelledPair:
    return LabelledPair(pair.prompt, pair.a.response, pair.b.response, probability, weight, source)


def kept_back(prompt: Prompt, share: float, purpose: str = "") -> bool:
    """Tell whether the prompt's labels are kept from training; by prompt, so that none is on both sides."""
    return _draw(f"{purpose}{prompt.id}") < share


def _draw(text: str) -> float:
    """A number in [0, 1) that is fixed by the text."""
    return int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) / 2**32

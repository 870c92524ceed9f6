"""What the base itself answers to a prompt: a reward model may read that before the reply that it scores.

Whether a reply is to the point shows beside an answer that is. Scores with such a measure in view generalise from far
fewer labels than those of the reply alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from rlhf_core.inference.generate import generate
from rlhf_core.models.backbone import Backbone
from rlhf_core.models.reward_inputs import beside
from rlhf_core.records.samples import Prompt

KEPT = 20_000
"""Answers that a base remembers, at most."""


def with_references(backbone: Backbone, prompts: Sequence[Prompt], max_tokens: int) -> list[Prompt]:
    """Put beside each prompt the base's own greedy answer of at most so many tokens; no prompt is answered twice."""
    known = backbone.own_answers
    if len(known) > KEPT:
        known.clear()
    keys = [(max_tokens, *((turn.role, turn.content) for turn in prompt.messages)) for prompt in prompts]
    # Others, who may come before each pass below, can make the base forget all that it knows.
    answers = {key: known[key] for key in keys if key in known}
    missing = {key: prompt for key, prompt in zip(keys, prompts, strict=True) if key not in answers}
    if missing:
        ids = [backbone.render(prompt.messages) for prompt in missing.values()]
        with backbone.adapters.using(None):
            written = generate(backbone, ids, n=1, temperature=0.0, max_tokens=max_tokens, seed=0)
        new = {key: backbone.decode(answer.tokens) for key, answer in zip(missing, written, strict=True)}
        answers |= new
        known |= new
    return [beside(prompt, answers[key]) for key, prompt in zip(keys, prompts, strict=True)]

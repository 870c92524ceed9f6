"""A principle: one rule in the wordings that a model is asked, with its checks, examples and tests."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Collection
from functools import lru_cache
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

MAX_WEIGHT = 1e6
"""Largest weight or share; sums and squares of weights stay finite."""
LANGUAGE_TAG = "lang:"
"""A prompt says its language in a tag, as in lang:en."""

Severity = Literal["low", "medium", "high", "critical"]
Weight = Annotated[float, Field(ge=0, le=MAX_WEIGHT)]
Share = Annotated[float, Field(ge=0, le=1)]
Text = Annotated[str, Field(min_length=1)]

_T = TypeVar("_T")


def frozen_list(value: object) -> object:
    """Return a list as a tuple; YAML gives lists."""
    return tuple(value) if isinstance(value, list) else value


Many = Annotated[tuple[_T, ...], BeforeValidator(frozen_list)]


def hash_of(value: object) -> str:
    """Return the first 16 hex digits of the sha256 of canonical JSON: sorted keys, NFC."""
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(unicodedata.normalize("NFC", text).encode()).hexdigest()[:16]


class Frozen(BaseModel):
    """What every part of a constitution is: unchangeable, of known keys and finite numbers."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, str_strip_whitespace=True, use_attribute_docstrings=True
    )


class AppliesWhen(Frozen):
    """Which prompts a principle is for, by their tags; a key that is left out excludes nothing."""

    tags_any: Many[Text] = ()
    """At least one of these tags."""
    tags_none: Many[Text] = ()
    """None of these tags."""
    language: Many[Text] = ()
    """A prompt tagged with a language (lang:en) must have one of these; an untagged one may be in any."""

    def matches(self, prompt_tags: Collection[str]) -> bool:
        """Tell whether a prompt with these tags is meant."""
        tags = set(prompt_tags)
        spoken = {tag.removeprefix(LANGUAGE_TAG) for tag in tags if tag.startswith(LANGUAGE_TAG)}
        wanted = not self.tags_any or bool(tags & set(self.tags_any))
        understood = not self.language or not spoken or bool(spoken & set(self.language))
        return wanted and understood and not tags & set(self.tags_none)


class Rule(Frozen):
    """A yes/no check of a reply: a question for the judge (`ask`) or a regular expression (`pattern`), never both."""

    id: str
    ask: Text | None = None
    """A question about the reply that yes or no answers."""
    pattern: Text | None = None
    """A Python regular expression, searched anywhere in the reply, upper and lower case alike; found means yes."""
    expect: Literal["yes", "no"]
    """The answer of a reply that keeps to the principle."""
    penalty: Weight = 1.0
    """What a reply that gives the other answer loses in PPO, of each objective's reward times the principle's share
    in it, in standard deviations of the reference policy's scores. A pattern's alone: `ask` is not asked in training.
    """
    applies_when: AppliesWhen | None = None
    """The prompts that it is for, among the principle's; none means all of those."""

    @model_validator(mode="after")
    def _one_kind(self) -> Rule:
        if (self.ask is None) == (self.pattern is None):
            raise ValueError(f"rule '{self.id}' needs either ask or pattern")
        return self

    def applies_to(self, prompt_tags: Collection[str]) -> bool:
        """Tell whether a reply to a prompt with these tags must keep it, where the principle is for such a prompt."""
        return self.applies_when is None or self.applies_when.matches(prompt_tags)


class Example(Frozen):
    """A worked critique and revision, shown to the critic before it does its own."""

    prompt: Text
    bad: Text
    """A reply that violates the principle."""
    critique: Text
    """What is wrong with it."""
    good: Text
    """The same reply, mended."""
    approval: Text | None = None
    """What is right about `good`, said before the verdict that it complies; without it that verdict stands alone."""


class PrincipleTest(Frozen):
    """What the judge must prefer under this principle alone, asked in both orders."""

    prompt: Text
    prefer: Text
    over: Text
    min_margin: Share = 0.0
    """Least P(prefer) - P(over); both sum to 1, so 0 asks for a preference, however slight."""


class Reference(Frozen):
    """Where a principle comes from, for its readers."""

    label: Text
    url: str = ""


@lru_cache(4096)  # every vote and label names it
def _asked_hash(texts: tuple[str | None, ...], rules: tuple[Rule, ...], examples: tuple[Example, ...]) -> str:
    checks = [
        [rule.id, rule.ask, rule.pattern, rule.expect, *([rule.applies_when.model_dump()] if rule.applies_when else [])]
        for rule in rules
    ]
    shown = [[e.prompt, e.bad, e.critique, e.good, *([e.approval] if e.approval else [])] for e in examples]
    return hash_of([*texts, *([checks, shown] if checks or shown else [])])


class Principle(Frozen):
    """One rule, in the three wordings that a model is asked; without critique and revise it only compares."""

    id: str
    """Lower-case words joined by hyphens; stable for ever."""
    title: str = ""
    serves: dict[str, Weight]
    """Objective -> share of this principle's vote weight."""
    weight: Weight = 1.0
    """Its say among the principles of its objectives; changing it asks for no new judgement."""
    severity: Severity = "medium"
    """How bad a violation is. A critical principle votes on every pair that it is for and goes before others where
    they conflict; in PPO a reply that breaks one of its patterns is vetoed: in no objective is any reply paid less. The
    other three are for readers and reports."""
    applies_when: AppliesWhen | None = None
    """The prompts that it is for; none means all."""
    critique: str | None = None
    """Asked about one reply: does it hold to the principle?"""
    revise: str | None = None
    """Asked after a critique that found a fault: write the reply again."""
    compare: str
    """Asked about two replies, in both orders: which holds to the principle better?"""
    rules: Many[Rule] = ()
    examples: Many[Example] = ()
    tests: Many[PrincipleTest] = ()
    references: Many[Reference] = ()

    @model_validator(mode="after")
    def _critique_and_revise_go_together(self) -> Principle:
        if (self.critique is None) != (self.revise is None):
            raise ValueError(f"principle '{self.id}' needs both critique and revise, or neither")
        return self

    @property
    def hash(self) -> str:
        """Hash of what a model is asked: texts, rules, examples. Nothing else invalidates a vote.

        Rules and examples enter only where there are any, so that a principle without them keeps its hash.
        """
        return _asked_hash((self.critique, self.revise, self.compare), self.rules, self.examples)

    def applies_to(self, prompt_tags: Collection[str]) -> bool:
        """Tell whether a prompt with these tags is judged by this principle."""
        return self.applies_when is None or self.applies_when.matches(prompt_tags)

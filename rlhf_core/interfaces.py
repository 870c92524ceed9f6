"""The places where a stage meets a model. Local objects and gRPC clients have these same methods."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from pydantic import BaseModel

from rlhf_core.constitution.constitution import Constitution, Principle
from rlhf_core.records.feedback import Critique, Usage, Vote
from rlhf_core.records.models import Score
from rlhf_core.records.samples import Comparison, Message, Prompt, Sample

Conversation = Sequence[Message]

Chat = Callable[[Sequence[Conversation]], list[str]]
"""Each conversation's next assistant turn, decoded greedily."""

Choose = Callable[[Sequence[Conversation], Sequence[str]], list[list[float]]]
"""For each conversation, the log-probability of each label as the first token of the assistant's turn."""

Weigh = Callable[[Sequence[Conversation], Sequence[str]], list[float]]
"""For each conversation, the log-probability in nats of a given reply, its end included."""


class Caller(NamedTuple):
    """Who asks a model: whether they are gone, and where the bill goes."""

    gone: Callable[[], bool] = lambda: False
    bill: Callable[[Usage], None] = lambda _: None


class Backend(Protocol):
    """A model that can criticise and judge. Raises Unavailable when its caller is gone."""

    @property
    def name(self) -> str:
        """The model with its revision."""
        ...

    @property
    def gives_logprobs(self) -> bool:
        """Whether `choose` can be asked; else there are only words."""
        ...

    @property
    def reads_replies(self) -> bool:
        """Whether `weigh` can be asked; an endpoint tells nothing of texts that it did not write."""
        ...

    def chat(self, conversations: Sequence[Conversation], max_tokens: int, caller: Caller) -> list[str]: ...

    def weigh(self, conversations: Sequence[Conversation], replies: Sequence[str], caller: Caller) -> list[float]: ...

    def choose(
        self, conversations: Sequence[Conversation], labels: Sequence[str], caller: Caller
    ) -> list[list[float]]: ...


class Sampler(Protocol):
    def generate(
        self,
        prompts: Sequence[Prompt],
        *,
        policy_version: str,
        n: int = 1,
        temperature: float = 1.0,
        max_tokens: int = 64,
        seed: int = 0,
    ) -> list[Sample]:
        """Return n samples per prompt, grouped by prompt, in the prompts' order."""
        ...


class Feedback(Protocol):
    @property
    def name(self) -> str:
        """The model that judges, with its revision: part of every vote's key."""
        ...

    @property
    def template_hash(self) -> str:
        """Of the words around a compare question, with the protocol: part of every vote's key."""
        ...

    @property
    def usage(self) -> Usage:
        """What this object has asked of endpoints so far."""
        ...

    def critique(self, items: Sequence[tuple[Sample, Principle]]) -> list[Critique]:
        """Criticise each sample under the principle beside it."""
        ...

    def revise(self, items: Sequence[tuple[Sample, Critique, Principle]]) -> list[str]:
        """Rewrite each sample's response by the critique and the principle beside it."""
        ...

    def compare(self, questions: Sequence[tuple[Comparison, Principle]]) -> list[Vote]:
        """Judge each comparison under the principle beside it: two votes a question, one in each order of the replies.

        What the questions on one pair have in common is read once, so ask them one after the other in one call.
        """
        ...


class PanelJudge(NamedTuple):
    """One of several judges that label together."""

    name: str
    """Its own in the panel; that of `feedback` is its model's."""
    protocol: str
    weight: float
    feedback: Feedback


class Scorer(Protocol):
    def score(self, samples: Sequence[Sample], reward_models: Sequence[str]) -> list[Score]:
        """Return one score for every sample and reward model: all samples of the first model, then of the second."""
        ...


class Gold(Protocol):
    """Known truth, where a world has one. It only measures: in evaluation, in the judge's gate and in its calibration,
    which then is reported and not applied. Never in training, stopping or judging."""

    objectives: tuple[str, ...]

    def score(self, prompt: Prompt, response: str) -> dict[str, float]: ...

    def harm_by_kind(self, prompt: Prompt, response: str) -> dict[str, float]: ...

    def answers(self, prompt: Prompt) -> list[dict[str, float]]:
        """Return the gold scores of every answer that the world allows for this prompt, by enumeration."""
        ...


class World(Protocol):
    """A built-in world: what can be asked in it, what is true in it, and a test of the model that was made for it."""

    @property
    def prompts(self) -> tuple[Prompt, ...]: ...

    @property
    def gold(self) -> Gold: ...

    def skills(self, chat: Chat, choose: Choose, constitution: Constitution, items: int, seed: int) -> BaseModel:
        """Return a record whose leaves are `mean`, `low`, `high` and `n` of each skill, on held-out items."""
        ...

    def pairs(self, n: int, seed: int) -> list[Comparison]:
        """Return n different pairs of replies to this world's prompts, fixed by the seed."""
        ...

    def truth(self, pair: Comparison, question: str) -> float:
        """Return log-odds that reply a is better than b by a comparison question, as a perfect judge gives them."""
        ...

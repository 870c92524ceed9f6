"""Critic, reviser and judge over two callables: `chat` writes a turn, `choose` weighs labels."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import NamedTuple

from rlhf_core.config.feedback import Method
from rlhf_core.constitution.constitution import CompareDefaults, Constitution, Principle
from rlhf_core.constitution.principle import hash_of
from rlhf_core.feedback.contrast import (
    CONTRAST_HASH,
    Reader,
    can_contrast,
    compare_by_contrast,
    criticise_by_contrast,
    write_under,
)
from rlhf_core.feedback.critic import criticise, rewrite
from rlhf_core.feedback.judge_answers import Answer
from rlhf_core.feedback.judge_cache import Notebook
from rlhf_core.feedback.judge_protocol import TEMPLATE_HASHES, is_contrast, is_pointwise, protocol_of
from rlhf_core.feedback.pairwise_judge import compare_in_words
from rlhf_core.feedback.pointwise_judge import pointwise_hash, read_alone
from rlhf_core.feedback.voters import vote_id
from rlhf_core.interfaces import Backend, Caller, Chat, Choose, Weigh
from rlhf_core.records.feedback import Critique, Protocol, Usage, Vote
from rlhf_core.records.samples import Comparison, Sample


class Critic(NamedTuple):
    """The model that criticises and revises, where it is not the judge; with `weigh` it does so by contrast."""

    name: str
    chat: Chat
    weigh: Weigh | None = None


class Bill:
    """Adds up what endpoints were asked."""

    def __init__(self) -> None:
        self.total = Usage()

    def add(self, usage: Usage) -> None:
        self.total = self.total.plus(usage)


class ModelFeedback:
    """interfaces.Feedback over callables.

    `name` is the judge's, with its revision, and the critic's where none is given. `notebook` is the judge's, and may
    be shared by several constitutions. A `pointwise` judge reads each reply alone under the principles that can
    criticise, and one that can `weigh` replies reads them by contrast where a principle has examples; only what is left
    it is asked by `protocol`. What it writes has `most_tokens` at most, which its votes' keys then tell.
    """

    def __init__(
        self,
        chat: Chat,
        choose: Choose,
        constitution_hash: str,
        name: str,
        notebook: Notebook | None = None,
        critic: Critic | None = None,
        protocol: Protocol = "notes",
        bill: Bill | None = None,
        pointwise: bool = False,
        weigh: Weigh | None = None,
        most_tokens: int | None = None,
    ):
        self._chat = chat
        self._choose = choose
        self._weigh = weigh
        self._constitution_hash = constitution_hash
        self.name = name
        self._notebook = Notebook() if notebook is None else notebook
        self._critic = critic or Critic(name, chat)
        self._bill = bill or Bill()
        self._pairwise: Protocol = protocol
        self.protocol: Protocol = "contrast" if weigh else "pointwise" if pointwise else protocol
        pair_hash = TEMPLATE_HASHES[protocol]
        if most_tokens is not None and (pointwise or protocol != "logprobs"):
            # What is cut earlier is another answer.
            pair_hash = hash_of([pair_hash, str(most_tokens)])
        self.template_hash = pointwise_hash(pair_hash) if self.protocol == "pointwise" else pair_hash
        if weigh:
            self.template_hash = hash_of([CONTRAST_HASH, pair_hash])

    @property
    def critic_name(self) -> str:
        return self._critic.name

    @property
    def usage(self) -> Usage:
        """What was asked of endpoints so far."""
        return self._bill.total

    def critique(self, items: Sequence[tuple[Sample, Principle]]) -> list[Critique]:
        samples, principles = [sample for sample, _ in items], [principle for _, principle in items]
        name, weigh = self._critic.name, self._critic.weigh
        if weigh is None:
            return criticise(self._critic.chat, samples, principles, self._constitution_hash, name)
        critic = Reader(name, weigh)
        return criticise_by_contrast(critic, samples, principles, self._constitution_hash, self._notebook)

    def revise(self, items: Sequence[tuple[Sample, Critique, Principle]]) -> list[str]:
        texts, principles = [critique.text for _, critique, _ in items], [principle for *_, principle in items]
        if self._critic.weigh is not None:
            return write_under(self._critic.chat, [sample.prompt for sample, *_ in items], principles)
        return rewrite(self._critic.chat, [sample for sample, *_ in items], texts, principles)

    def compare(self, questions: Sequence[tuple[Comparison, Principle]]) -> list[Vote]:
        groups: dict[Protocol, list[int]] = defaultdict(list)
        for index, (_, principle) in enumerate(questions):
            groups[self._protocol_for(principle)].append(index)
        votes: dict[int, tuple[Vote, Vote]] = {}
        for protocol, own in groups.items():
            asked = [questions[index] for index in own]
            answer = self._compared(asked) if protocol == self._pairwise else self._read_alone(asked, protocol)
            votes |= zip(own, answer, strict=True)
        return [vote for index in range(len(questions)) for vote in votes[index]]

    def _protocol_for(self, principle: Principle) -> Protocol:
        if self.protocol == "contrast" and can_contrast(principle):
            return "contrast"
        return "pointwise" if self.protocol == "pointwise" and principle.critique is not None else self._pairwise

    def _read_alone(
        self, questions: Sequence[tuple[Comparison, Principle]], protocol: Protocol
    ) -> list[tuple[Vote, Vote]]:
        """The two orders' votes are one: neither reply stood first."""
        if protocol == "contrast" and self._weigh is not None:
            answers = compare_by_contrast(Reader(self.name, self._weigh), questions, self._notebook)
        else:
            answers = read_alone(self._chat, questions, self._notebook, self.name)
        return [
            (
                self._vote(pair, principle, False, answer, protocol),
                self._vote(pair, principle, True, answer.turned(), protocol),
            )
            for (pair, principle), answer in zip(questions, answers, strict=True)
        ]

    def _compared(self, questions: Sequence[tuple[Comparison, Principle]]) -> list[tuple[Vote, Vote]]:
        asked = [(pair, principle, swapped) for pair, principle in questions for swapped in (False, True)]
        answers = compare_in_words(self._chat, self._choose, self._pairwise, asked, self._notebook)
        votes = [self._vote(*one, answer, self._pairwise) for one, answer in zip(asked, answers, strict=True)]
        return list(zip(votes[::2], votes[1::2], strict=True))

    def _vote(self, pair: Comparison, principle: Principle, swapped: bool, answer: Answer, how: Protocol) -> Vote:
        first, second = answer.first, answer.second
        return Vote(
            id=vote_id(pair, principle, self.name, swapped, self.template_hash),
            comparison_id=pair.id,
            principle_id=principle.id,
            principle_hash=principle.hash,
            template_hash=self.template_hash,
            constitution_hash=self._constitution_hash,
            judge=self.name,
            swapped=swapped,
            logprob_a=second if swapped else first,
            logprob_b=first if swapped else second,
            label_mass=answer.mass,
            run_id=pair.run_id,
            protocol=how,
            text=answer.text,
            reason=answer.reason,
        )


def feedback_of(
    critic: Backend,
    judge: Backend,
    constitution: Constitution,
    wanted: Protocol,
    max_tokens: int,
    gone: Callable[[], bool] = lambda: False,
    notebook: Notebook | None = None,
    method: Method = "critique",
    as_wanted: bool = False,
) -> ModelFeedback:
    """Make the feedback of a constitution by two models; work raises Unavailable once its caller is `gone`.

    The judge is asked as `wanted`, unless the constitution wishes otherwise; `as_wanted` whatever it wishes.
    """
    bill, wishes = Bill(), CompareDefaults() if as_wanted else constitution.defaults.compare
    caller = Caller(gone, bill.add)

    def weigh_by(model: Backend) -> Weigh:
        return lambda conversations, replies: model.weigh(conversations, replies, caller)

    contrasts = is_contrast(wanted, wishes)
    return ModelFeedback(
        lambda conversations: judge.chat(conversations, max_tokens, caller),
        lambda conversations, labels: judge.choose(conversations, labels, caller),
        constitution.hash,
        judge.name,
        notebook,
        critic=Critic(
            critic.name,
            lambda conversations: critic.chat(conversations, max_tokens, caller),
            weigh_by(critic) if method == "contrast" else None,
        ),
        protocol=protocol_of(wanted, wishes, judge.gives_logprobs),
        bill=bill,
        pointwise=is_pointwise(wanted, wishes),
        weigh=weigh_by(judge) if contrasts else None,
        most_tokens=max_tokens,
    )

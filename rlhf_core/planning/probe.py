"""Measure what a run's work costs here: a little of each kind is done for real, on the named model, at its lengths."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain, cycle, islice
from typing import Any, NamedTuple, TypeVar

import torch

from rlhf_core.config.run import RunConfig
from rlhf_core.constitution.constitution import Constitution
from rlhf_core.data.reward_examples import GradedLines, Label, LabelledPair
from rlhf_core.evaluation.norm_pack import build_norm_pack
from rlhf_core.feedback.line_grades import line_grades
from rlhf_core.feedback.preference_labels import labels_from_tallies
from rlhf_core.feedback.revision import critique_settings, revision_rounds
from rlhf_core.feedback.vote_aggregation import heard, tallies
from rlhf_core.feedback.voters import Poll, open_polls, with_votes
from rlhf_core.inference.choice_logprobs import choose
from rlhf_core.inference.generate import chat, generate
from rlhf_core.interfaces import Feedback, World
from rlhf_core.models.backbone import Backbone
from rlhf_core.models.encoder import Encoder
from rlhf_core.models.policy import Policy
from rlhf_core.planning.meter import Count, Taken, measure
from rlhf_core.planning.records import Cost, Costs, Timed, Yields
from rlhf_core.planning.workload import Kind
from rlhf_core.records.base import content_id
from rlhf_core.records.feedback import Revision
from rlhf_core.records.samples import BASE_POLICY, Comparison, Demonstration, Prompt, Sample
from rlhf_core.reward_models.ensemble import Scoring
from rlhf_core.reward_models.reward_model import RewardModel, score_each
from rlhf_core.stages.context import LARGE
from rlhf_core.training.ppo.ptx import Replay
from rlhf_core.training.ppo.trainer import train_ppo
from rlhf_core.training.rehearsal import base_texts
from rlhf_core.training.reward.trainer import train_reward_models
from rlhf_core.training.sft import train_sft

Item = TypeVar("Item")
T = TypeVar("T")
ADAPTER = "plan"
"""Begins the names of the probe's adapters."""
MEASURED: dict[Kind, tuple[int, int]] = {"write": (8, 40), "criticise": (4, 16), "compare": (8, 40)}
"""Few items and more of them that are measured at once; critiques of an answer take a hundred times as long as it."""
SKILLS = (2, 8)
"""Items of each skill that are asked, few and more of them at once."""
FEW = (2, 6)
"""The same of a large model, which takes seconds for each."""
DRAWS = 8
"""How often another reply is drawn where it was the same."""


class Subject(NamedTuple):
    """What is measured: a configuration on its models, with prompts of its own."""

    config: RunConfig
    constitution: Constitution
    backbone: Backbone
    reward_base: Backbone | Encoder
    feedback: Callable[[], Feedback] | None
    """Critic and judge who remember nothing; None where an endpoint is asked, which would be paid for."""
    others: Callable[[], Sequence[Feedback]]
    """The other judges of a panel, who are asked about pairs alone."""
    asked: Count | None
    """What critic and judges have been asked so far."""
    prompts: Sequence[Prompt]
    world: World | None


class Peak(NamedTuple):
    """The most memory that the process had while it did so many items at once."""

    items: int
    bytes: int


class Found(NamedTuple):
    costs: Costs
    yields: Yields
    peaks: dict[Kind, list[Peak]]
    """In the order in which they were measured."""


def probe(subject: Subject) -> Found:
    """Do a little of each kind of work. To be called where the model is used; it leaves the model as it was."""
    return _Probe(subject).run()


class _Probe:
    def __init__(self, subject: Subject):
        self.on, self.config, self.backbone = subject, subject.config, subject.backbone
        self.large = subject.backbone.size >= LARGE
        self.few, self.many = self._sizes("write")
        self.prompts = list(islice(cycle(subject.prompts), self.few + self.many))
        self.peaks: dict[Kind, list[Peak]] = {}

    def run(self) -> Found:
        try:
            self._write(self.prompts[:2], 1)
            write, samples = self._written()
            # In a run's order: memory that one kind of work has taken stays with the process for the next.
            criticise, revisions = self._criticised(samples)
            tune = self._tuned(samples)
            compare, polls = self._compared(samples)
            labels = self._labels(samples, polls)
            reward, models = self._rewarded(labels)
            score = self._line(
                "score", lambda part: score_each(models, [(s.prompt, s.response) for s in part]), samples
            )
            step, rollout_share = self._stepped(models, samples)
            skill = self._skilled()
            costs = Costs(
                **{"write": write, "criticise": criticise, "compare": compare, "tune": tune, "reward": reward},
                **{"score": score, "step": step, "rollout_share": rollout_share, "skill": skill},
            )
            return Found(costs, self._yields(revisions, polls, labels), self.peaks)
        finally:
            for base in {id(base): base for base in (self.backbone, self.on.reward_base)}.values():
                for name in [name for name in base.adapters.names if name.startswith(ADAPTER)]:
                    base.adapters.delete(name)

    def _sizes(self, kind: Kind) -> tuple[int, int]:
        return FEW if self.large else MEASURED[kind]

    def _timed(self, kind: Kind, items: int, unit: Callable[[], T]) -> tuple[T, Timed]:
        count = self.on.asked
        before = (count.requests, count.tokens) if count else (0, 0)
        result, taken = measure(unit)
        self._note(kind, taken, items)
        asked = (count.requests - before[0], count.tokens - before[1]) if count else (0, 0)
        return result, Timed(items=items, seconds=taken.seconds, requests=asked[0], tokens=asked[1])

    def _asked(
        self, kind: Kind, work: Callable[[Sequence[Item]], list[T]], items: Sequence[Item]
    ) -> list[tuple[list[T], Timed]]:
        """What critic or judge make of few items and of more of them, each with what it took."""
        few, many = self._sizes(kind)
        return [self._timed(kind, len(part), lambda part=part: work(part)) for part in (items[:few], items[-many:])]

    def _note(self, kind: Kind, taken: Taken, items: int = 1) -> None:
        self.peaks.setdefault(kind, []).append(Peak(items, taken.peak_bytes))

    def _line(self, kind: Kind, work: Callable[[Sequence[Any]], object], items: Sequence[Any]) -> Cost:
        """The cost of a few items and of more, as a call and its items."""
        work(items)
        _, few = self._timed(kind, self.few, lambda: work(items[: self.few]))
        _, many = self._timed(kind, self.many, lambda: work(items[-self.many :]))
        tokens = sum(self._tokens(sample) for sample in items) / len(items)
        return Cost.between(few, many).model_copy(update={"requests": float(self._objectives), "tokens": tokens})

    @property
    def _objectives(self) -> int:
        return len(self.on.constitution.objective_names)

    def _tokens(self, sample: Sample) -> int:
        return len(self.backbone.render(sample.prompt.messages)) + sample.tokens

    def _write(self, prompts: Sequence[Prompt], n: int, seed: int = 0) -> list[Sample]:
        ids = [self.backbone.render(prompt.messages) for prompt in prompts]
        temperature, limit = self.config.critique.temperature, self.config.model.max_tokens
        written = generate(self.backbone, ids, n=n, temperature=temperature, max_tokens=limit, seed=seed)
        return [
            Sample(
                id=content_id("sample", prompt.id, seed, index),
                prompt=prompt,
                response=self.backbone.decode(one.tokens),
                policy_version=BASE_POLICY,
                tokens=len(one.tokens),
                finished=one.finished,
                run_id=ADAPTER,
            )
            for index, (prompt, one) in enumerate(zip((p for p in prompts for _ in range(n)), written, strict=True))
        ]

    def _written(self) -> tuple[Cost, list[Sample]]:
        first, few = self._timed("write", self.few, lambda: self._write(self.prompts[: self.few], 1, 1))
        rest, many = self._timed("write", self.many, lambda: self._write(self.prompts[self.few :][: self.many], 1, 2))
        samples = [*first, *rest]
        mean = sum(self._tokens(sample) for sample in samples) / len(samples)
        return Cost.between(few, many).model_copy(update={"requests": 1.0, "tokens": mean}), samples

    def _criticised(self, samples: Sequence[Sample]) -> tuple[Cost | None, list[list[Revision]]]:
        """The cost of an answer, and the steps of those of the second measurement."""
        if (judge := self.on.feedback) is None:
            return None, []
        settings = critique_settings(self.on.constitution, self.config.critique)

        def work(part: Sequence[Sample]) -> list[list[Revision]]:
            feedback: Feedback = judge()
            rounds = revision_rounds(part, self.on.constitution, feedback, settings, self.config.seed)
            steps = list(chain(*rounds))
            return [[step for step in steps if step.sample_id == sample.id] for sample in part]

        few, many = self._asked("criticise", work, samples)
        return Cost.between(few[1], many[1]), many[0]

    def _compared(self, samples: Sequence[Sample]) -> tuple[Cost | None, list[Poll]]:
        pairs = self._pairs(samples)
        if (judge := self.on.feedback) is None:
            return None, [Poll(pair, {}) for pair in pairs]

        def work(part: Sequence[Comparison]) -> list[Poll]:
            feedback: Feedback = judge()
            names = self.on.constitution.objective_names
            polls = open_polls(part, self.on.constitution, names, self.config.label)
            voters = [(poll.comparison, {one.id: one for own in poll.voters.values() for one in own}) for poll in polls]
            questions = [(pair, one) for pair, own in voters for one in own.values()]
            votes = feedback.compare(questions)
            for other in self.on.others():
                other.compare(questions)
            return with_votes(polls, votes)

        few, many = self._asked("compare", work, pairs)
        return Cost.between(few[1], many[1]), many[0]

    def _pairs(self, samples: Sequence[Sample]) -> list[Comparison]:
        """Each sample beside another reply; first those that differ: identical ones a run drops, and they cost less."""
        others = self._write([sample.prompt for sample in samples], 1, 3)
        for draw in range(DRAWS):
            alike = [i for i, (a, b) in enumerate(zip(samples, others, strict=True)) if a.response == b.response]
            anew = self._write([samples[i].prompt for i in alike], 1, 4 + draw) if alike else []
            for i, other in zip(alike, anew, strict=True):
                others[i] = other
        pairs = [Comparison.of(a, b, ADAPTER) for a, b in zip(samples, others, strict=True)]
        return sorted(pairs, key=lambda pair: pair.a.response == pair.b.response)

    def _labels(self, samples: Sequence[Sample], polls: Sequence[Poll]) -> dict[str, list[Label]]:
        """What each reward model would learn from: grades of lines, or pairs where the judge gives none."""
        law, settings, found = self.on.constitution, self.config.reward, dict[str, list[Label]]()
        if not polls or not polls[0].voters:
            return {name: [] for name in law.objective_names}
        pairs = [poll.comparison for poll in polls]
        for name in law.objective_names:
            graded: list[Label] = []
            for pair, voters, votes in polls if settings.graded and settings.reads_lines(name) else ():
                counted = heard(voters[name], votes, law.precedence(), self.config.label)
                both = line_grades(pair, votes, counted, name)
                rows = zip((pair.a, pair.b), both, strict=True)
                graded += [GradedLines(pair.prompt, s.response, grades) for s, grades in rows if grades is not None]
            tallied = {name: tallies(polls, law.precedence(), name, self.config.label)}
            stated = labels_from_tallies(pairs, tallied, law, "judge", self.config.label)
            told = [label for label in stated if not label.abstained]
            by_id = {pair.id: pair for pair in pairs}
            compared: list[Label] = [_pair(by_id[label.comparison_id], label.probability) for label in told]
            found[name] = graded if len(graded) >= len(pairs) else compared
        return found

    def _yields(self, revisions: Sequence[Sequence[Revision]], polls: Sequence[Poll], labels: Any) -> Yields:
        shown = [
            any(step.accepted for step in steps) or all(step.critique.verdict == "complies" for step in steps)
            for steps in revisions
        ]
        examples = {name: len(own) / len(polls) for name, own in labels.items()} if self.on.feedback else {}
        return Yields(demonstrations=sum(shown) / len(shown) if shown else 1.0, examples=examples)

    def _tuned(self, samples: Sequence[Sample]) -> Cost:
        name, size = f"{ADAPTER}-sft", self.config.sft.batch_size
        self.backbone.adapters.begin(name, 0, self.config.sft.tune)
        shown = [Demonstration(prompt=s.prompt, response=s.response) for s in islice(cycle(samples), 3 * size)]
        config = self.config.sft.model_copy(update={"epochs": 1})
        texts = next(base_texts(self.backbone, config, 0)) if config.rehearsal_coef else ()
        taken = self._updates("tune", train_sft(self.backbone, name, shown, config, 0, texts=texts))
        tokens = sum(self._tokens(sample) for sample in samples) / len(samples)
        return Cost(call_seconds=0, item_seconds=taken, requests=size, tokens=size * tokens)

    def _updates(self, kind: Kind, steps: Iterator[Any]) -> float:
        """Seconds of an update: the first one, which warms up, does not count."""
        next(steps)
        times = []
        for _ in range(2):
            _, taken = measure(lambda: next(steps))
            self._note(kind, taken)
            times.append(taken.seconds)
        return sum(times) / len(times)

    def _rewarded(self, labels: dict[str, list[Label]]) -> tuple[Cost, list[RewardModel]]:
        """The cost of an update of one adapter, and a model of each objective, on one adapter where the run has one."""
        settings, names = self.config.reward, self.on.constitution.objective_names
        models = []
        for index, name in enumerate(names):
            adapter = f"{ADAPTER}-reward-{0 if settings.layout == 'trunk' else index}"
            if adapter not in self.on.reward_base.adapters:
                self.on.reward_base.adapters.begin(adapter, index, settings.tune)
            scoring = Scoring(
                process=settings.reads_lines(name),
                step_pool=settings.step_pool,
                max_tokens=settings.max_tokens,
                layers=settings.layers,
                reference_tokens=self.config.model.max_tokens if settings.reference else 0,
            )
            models.append(RewardModel(self.on.reward_base, adapter, name, settings.members, index, scoring))
        group = models if settings.layout == "trunk" else models[:1]
        learned = [self._enough(labels[model.objective]) for model in group]
        config = settings.model_copy(update={"epochs": 1})
        seconds = self._updates("reward", train_reward_models(group, learned, config, 0))
        rows = [len(row.ids) for label in learned[0] for row in group[0].encode_all([(label.prompt, label.replies[0])])]
        replies = settings.batch_size * len(learned[0][0].replies)
        tokens = replies * sum(rows) / len(rows)
        return Cost(call_seconds=0, item_seconds=seconds, requests=replies, tokens=tokens), models

    def _enough(self, labels: Sequence[Label]) -> list[Label]:
        """Labels of one kind for three updates; where the judge gave none, made-up ones of the same replies."""
        told = [label for label in labels if not isinstance(label, GradedLines) or any(label.grades)]
        if told and isinstance(told[0], GradedLines):
            return list(islice(cycle([told[0], *labels]), 3 * self.config.reward.batch_size))
        made = [LabelledPair(prompt, "Yes, certainly.", "No.", 0.9) for prompt in self.prompts]
        return list(islice(cycle(told or made), 3 * self.config.reward.batch_size))

    def _stepped(self, models: Sequence[RewardModel], samples: Sequence[Sample]) -> tuple[Cost, float]:
        """The cost of a step of PPO, and the share of it in which responses are written and scored."""
        adapters, ppo, names = self.backbone.adapters, self.config.ppo, [model.objective for model in models]
        adapters.add(f"{ADAPTER}-reference", 0)
        if ppo.tune == "full":
            adapters.add_dense(f"{ADAPTER}-policy", None)
        else:
            adapters.copy(f"{ADAPTER}-reference", f"{ADAPTER}-policy")
        policy = Policy(self.backbone, f"{ADAPTER}-policy", tuple(names), f"{ADAPTER}-reference")
        numbers = torch.arange(len(names) * 2).view(len(names), 2)
        pack = build_norm_pack("plan", "plan", names, names, numbers * (numbers + 1.0), [1, 2])
        config = ppo.model_copy(update={"overlap": "none"})
        shown = [Demonstration(prompt=sample.prompt, response=sample.response) for sample in samples]
        replay = Replay.begin(self.backbone, shown, config, 0)
        weights = {name: 1.0 for name in names}
        limit, law = self.config.model.max_tokens, self.on.constitution.principles
        steps = train_ppo(
            policy, models, pack, self.on.prompts, weights, config, limit, 0, replay=replay, principles=law
        )
        if not self.large and ppo.steps > 1:
            next(step for step in steps if step is not None)
        _, rollout = measure(lambda: next(steps))
        _, rest = measure(lambda: next(step for step in steps if step is not None))
        for taken in (rollout, rest):
            self._note("step", taken)
        seconds = rollout.seconds + rest.seconds
        count, mean = ppo.samples_per_step, sum(self._tokens(sample) for sample in samples) / len(samples)
        requests = count * (1 + len(names)) + count * ppo.epochs
        cost = Cost(call_seconds=0, item_seconds=seconds, requests=requests, tokens=requests * mean)
        return cost, rollout.seconds / seconds

    def _skilled(self) -> Cost | None:
        world, settings = self.on.world, self.config.evaluation
        if world is None or not settings.skills:
            return None
        limit = self.config.model.feedback_tokens

        def work(items: int) -> object:
            return world.skills(
                lambda asked: chat(self.backbone, asked, limit),
                lambda asked, labels: choose(self.backbone, asked, labels),
                self.on.constitution,
                items,
                self.config.seed,
            )

        few, many = (self._timed("skill", items, lambda items=items: work(items))[1] for items in SKILLS)
        return Cost.between(few, many).model_copy(update={"requests": 1.0})


def _pair(pair: Comparison, probability: float) -> LabelledPair:
    return LabelledPair(pair.prompt, pair.a.response, pair.b.response, probability)

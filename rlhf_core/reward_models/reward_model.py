"""One objective's reward model: an adapter and a few small heads that score a finished conversation."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from rlhf_core.config.reward import RewardConfig, StepPool
from rlhf_core.errors import InvalidInput
from rlhf_core.models.backbone import Backbone
from rlhf_core.models.batching import length_batches
from rlhf_core.models.encoder import Encoder
from rlhf_core.models.reward_inputs import Row, lines_of
from rlhf_core.records.base import Record
from rlhf_core.records.samples import Prompt
from rlhf_core.reward_models.ensemble import Scoring, ensemble_scores, in_score_units, pool_steps
from rlhf_core.reward_models.reference_answers import with_references

HEADS = "reward_heads"
"""Files of heads begin with this; the models of one trunk lie in one folder."""
MAX_ROWS = 64
"""Of one pass: twice as many leave the caches of a processor, and take a quarter longer by row."""


class Members(NamedTuple):
    """Scores (B, M) of replies, shifted so that the mean over M is the ensemble's; and of the steps of each reply."""

    replies: Tensor
    steps: list[tuple[float, ...]]
    """Means over the members by step, in the unit of the replies' scores; a model that scores no steps has none."""


class RewardModel:
    """An ensemble of M linear heads on the hidden state of a reply's end, or of each of its lines' ends.

    Models with one adapter of one base share a trunk: `score_all` reads a conversation once for all of them.
    """

    def __init__(
        self,
        backbone: Backbone | Encoder,
        adapter: str,
        objective: str,
        members: int = 1,
        seed: int = 0,
        scoring: Scoring | None = None,
    ):
        self.backbone, self.adapter, self.objective, self.members = backbone, adapter, objective, members
        self.scoring = scoring or Scoring()
        size = backbone.hidden_size
        self.heads = nn.Linear(size, members, device=backbone.device)
        weight = torch.randn(members, size, generator=torch.Generator().manual_seed(seed)) / (size + 1)
        with torch.no_grad():
            self.heads.weight.copy_(weight)
            self.heads.bias.zero_()

    @classmethod
    def create(cls, backbone: Backbone | Encoder, adapter: str, objective: str, members: int, seed: int) -> RewardModel:
        """Create a reward model: a new adapter with new heads."""
        backbone.adapters.add(adapter, seed)
        return cls(backbone, adapter, objective, members, seed)

    def parameters(self) -> list[nn.Parameter]:
        """Return all that training moves: the adapter and the heads."""
        return [*self.backbone.adapters.parameters(self.adapter), *self.heads.parameters()]

    def encode(self, prompt: Prompt, reply: str | Sequence[str]) -> Row:
        """Encode one conversation as this model's tokens."""
        return self.encode_all([(prompt, reply)])[0]

    def encode_all(self, conversations: Sequence[tuple[Prompt, str | Sequence[str]]]) -> list[Row]:
        """Encode conversations as this model's tokens, which happens here alone.

        A reply given in lines is read by line.
        """
        prompts = [prompt for prompt, _ in conversations]
        if self.scoring.reference_tokens and isinstance(self.backbone, Backbone):
            prompts = with_references(self.backbone, prompts, self.scoring.reference_tokens)
        by_line = self.scoring.process
        return [
            self.backbone.row(
                prompt, lines_of(reply) if by_line and isinstance(reply, str) else reply, self.scoring.max_tokens
            )
            for prompt, (_, reply) in zip(prompts, conversations, strict=True)
        ]

    def forward(self, rows: Sequence[Row], *, train: bool = False) -> Tensor:
        """Return the raw scores (S, M) of the spans of encoded conversations."""
        with self.backbone.adapters.using(self.adapter, train=train):
            return self.heads(self.backbone.pooled(rows, self.scoring.layers))

    def score(self, conversations: Sequence[tuple[Prompt, str]]) -> Tensor:
        """Return scores (B, M) on the CPU: unbounded, one column per member, their mean the score."""
        return score_all([self], conversations)[0].replies

    def members_of(self, rows: Sequence[Row], spans: Tensor, raw: bool = False) -> Members:
        """Turn raw scores (S, M) of the rows' spans into members' scores.

        `raw` leaves out what is fitted after training.
        """
        counts = [len(row.spans) for row in rows]
        replies = pool_steps(spans, counts, self.scoring.step_pool)
        if not raw:
            replies = ensemble_scores(replies, torch.tensor([float(row.reply) for row in rows]), self.scoring)
        if not self.scoring.process:
            return Members(replies, [()] * len(rows))
        steps = spans if raw else in_score_units(spans, self.scoring)
        return Members(replies, [tuple(part.mean(1).tolist()) for part in steps.split(counts)])

    def save(self, folder: Path) -> None:
        """Write the adapter and the heads."""
        save_models([self], folder)

    @classmethod
    def load(
        cls, backbone: Backbone | Encoder, adapter: str, folder: Path, objective: str | None = None
    ) -> RewardModel:
        """Load a saved model as a new adapter of this base; one that is loaded already is shared.

        `objective` chooses among the models of a trunk; none takes the first.
        """
        try:
            files = [_read(file) for file in sorted(folder.glob(f"{HEADS}*.safetensors"))]
            matching = [file for file in files if objective in (None, file[0].objective)]
            if not matching:
                raise KeyError(f"no heads of objective '{objective}'" if files else f"no file {HEADS}.safetensors")
            named, state = matching[0]
            model = cls(backbone, adapter, named.objective, state["weight"].shape[0], scoring=named.scoring)
            model.heads.load_state_dict(state)
        except (OSError, SafetensorError, KeyError, RuntimeError, ValueError) as error:
            raise InvalidInput(f"no reward model for this base in '{folder}': {error}") from error
        if adapter not in backbone.adapters:
            backbone.adapters.load(adapter, folder)
        return model


class _Named(Record):
    objective: str
    scoring: Scoring = Scoring()


def _read(file: Path) -> tuple[_Named, dict[str, Tensor]]:
    with safe_open(file, "pt") as opened:
        metadata = opened.metadata() or {}
        state = {key: opened.get_tensor(key) for key in list(opened.keys())}
    if "model" in metadata:
        return _Named.model_validate_json(metadata["model"]), state
    return _Named(objective=json.loads(metadata.get("objective", '""'))), state


def save_models(models: Sequence[RewardModel], folder: Path) -> None:
    """Write models of one trunk: the adapter once, and a file of heads for each."""
    models[0].backbone.adapters.save(models[0].adapter, folder)
    for index, model in enumerate(models):
        state = {key: tensor.detach().cpu() for key, tensor in model.heads.state_dict().items()}
        # One key: the format does not keep the order of several, and the same model is to be the same bytes.
        named = {"objective": json.dumps(model.objective)}
        if model.scoring != Scoring():
            named = {"model": _Named(objective=model.objective, scoring=model.scoring).model_dump_json()}
        save_file(state, folder / f"{HEADS}{f'-{index}' if index else ''}.safetensors", metadata=named)


def new_models(
    base: Backbone | Encoder,
    adapter: str,
    objectives: Sequence[str],
    settings: RewardConfig,
    reference_tokens: int,
    seed: int,
) -> list[RewardModel]:
    """Make models of one new adapter; one that has its name is dropped. `reference_tokens`: as in `Scoring`."""
    base.adapters.begin(adapter, seed, settings.tune)
    scorings = [
        Scoring(
            process=settings.reads_lines(objective),
            step_pool=settings.step_pool,
            aggregate=settings.aggregate,
            uwo_coef=settings.uwo_coef,
            max_tokens=settings.max_tokens,
            layers=settings.layers,
            reference_tokens=reference_tokens,
        )
        for objective in objectives
    ]
    return [
        RewardModel(base, adapter, objective, settings.members, seed + index, scoring)
        for index, (objective, scoring) in enumerate(zip(objectives, scorings, strict=True))
    ]


@torch.no_grad()
def score_all(
    models: Sequence[RewardModel], conversations: Sequence[tuple[Prompt, str | Sequence[str]]], raw: bool = False
) -> list[Members]:
    """Return each model's scores of all conversations; models that share a trunk and read alike share the passes.

    So do those of one base with adapters of one rank, where `model.passes.mixed_adapters` says so. A reply
    may be given as its lines. `raw` leaves out what is fitted after training.
    """
    groups: dict[tuple[object, ...], list[int]] = {}
    for index, model in enumerate(models):
        scoring = model.scoring
        reads = scoring.process, scoring.max_tokens, scoring.reference_tokens, scoring.layers
        adapters, mixed = model.backbone.adapters, model.backbone.passes.mixed_adapters
        through = (adapters.shared_rank(model.adapter) if mixed else None) or model.adapter
        groups.setdefault((id(model.backbone), through, *reads), []).append(index)
    scores: dict[int, Members] = {}
    for indices in groups.values():
        group = [models[index] for index in indices]
        scores |= dict(zip(indices, _score_group(group, conversations, raw), strict=True))
    return [scores[index] for index in range(len(models))]


class Scorer(Protocol):
    """A reward model, or a rule that scores like one."""

    @property
    def objective(self) -> str: ...

    def score(self, conversations: Sequence[tuple[Prompt, str]]) -> Tensor:
        """Return scores (B, M), one column per member."""
        ...


@runtime_checkable
class LineScorer(Protocol):
    """A rule that says what each line of a reply gives; they add up to its score."""

    def score_lines(self, conversations: Sequence[tuple[Prompt, str]]) -> list[tuple[float, ...]]: ...


def score_each(
    scorers: Sequence[Scorer], conversations: Sequence[tuple[Prompt, str]]
) -> list[tuple[Members, StepPool]]:
    """Return every scorer's scores, with how those of lines make those of replies.

    Reward models share their passes where they can, a rule scores by itself.
    """
    models = [scorer for scorer in scorers if isinstance(scorer, RewardModel)]
    scored = iter(score_all(models, conversations))
    result: list[tuple[Members, StepPool]] = []
    for scorer in scorers:
        if isinstance(scorer, RewardModel):
            result.append((next(scored), scorer.scoring.step_pool))
        else:
            lines = scorer.score_lines(conversations) if isinstance(scorer, LineScorer) else [()] * len(conversations)
            result.append((Members(scorer.score(conversations), lines), "sum"))
    return result


def mean_scores(scorers: Sequence[Scorer], conversations: Sequence[tuple[Prompt, str]]) -> Tensor:
    """Return the ensembles' scores (K, B)."""
    return torch.stack([members.replies.mean(1) for members, _ in score_each(scorers, conversations)])


def _score_group(
    group: Sequence[RewardModel], conversations: Sequence[tuple[Prompt, str | Sequence[str]]], raw: bool
) -> list[Members]:
    first, adapters = group[0], list(dict.fromkeys(model.adapter for model in group))
    rows = first.encode_all(conversations)
    result: list[dict[int, Tensor]] = [{} for _ in group]  # by row: scores (spans of the row, M)
    most = first.backbone.most_positions // len(adapters)
    for batch in length_batches([row.ids for row in rows], max_rows=MAX_ROWS, max_tokens=most):
        part = [rows[i] for i in batch]
        pooled = _pooled(first, adapters, part)
        for model, by_row in zip(group, result, strict=True):
            spans = model.heads(pooled[model.adapter]).cpu().split([len(row.spans) for row in part])
            by_row |= dict(zip(batch, spans, strict=True))
    ordered = [
        torch.cat([torch.zeros(0, model.members), *(by_row[i] for i in range(len(rows)))])
        for model, by_row in zip(group, result, strict=True)
    ]
    return [model.members_of(rows, spans, raw) for model, spans in zip(group, ordered, strict=True)]


def _pooled(model: RewardModel, adapters: Sequence[str], rows: Sequence[Row]) -> dict[str, Tensor]:
    """The pooled states (S, H) of the rows under each adapter: in one pass, of which each takes its share."""
    if len(adapters) == 1:
        with model.backbone.adapters.using(adapters[0]):
            return {adapters[0]: model.backbone.pooled(rows, model.scoring.layers)}
    with model.backbone.adapters.using_each(adapters):
        together = model.backbone.pooled([*rows] * len(adapters), model.scoring.layers)
    return dict(zip(adapters, together.chunk(len(adapters)), strict=True))

"""The critic and the judge of a process: the base model, another model beside it, or one behind an endpoint."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from rlhf_core.config.feedback import POLICY, BackendConfig, FeedbackConfig, Method
from rlhf_core.config.run import ModelConfig
from rlhf_core.errors import InvalidInput, Unavailable
from rlhf_core.inference.choice_logprobs import choose
from rlhf_core.inference.generate import chat
from rlhf_core.inference.reply_logprobs import reply_logprobs
from rlhf_core.interfaces import Backend, Caller, Conversation
from rlhf_core.models.backbone import Backbone
from rlhf_core.models.gguf import model_folder
from rlhf_core.records.feedback import Protocol
from services.serving.endpoints import connect
from services.serving.executor import Executor


class LocalModel:
    """interfaces.Backend over a model of this process, without its adapters, on the thread that owns all models."""

    gives_logprobs = reads_replies = True

    def __init__(self, backbone: Backbone, folder: str):
        """`folder` is where the weights came from."""
        self.name = f"{backbone.name}@{_revision(backbone, Path(folder))}"
        self.backbone = backbone

    def chat(self, conversations: Sequence[Conversation], max_tokens: int, caller: Caller) -> list[str]:
        with self.backbone.adapters.using(None):
            texts = chat(self.backbone, conversations, max_tokens, caller.gone)
        if caller.gone():
            raise Unavailable("given up: the caller is gone")
        return texts

    def choose(self, conversations: Sequence[Conversation], labels: Sequence[str], caller: Caller) -> list[list[float]]:
        with self.backbone.adapters.using(None):
            return choose(self.backbone, conversations, labels)

    def weigh(self, conversations: Sequence[Conversation], replies: Sequence[str], caller: Caller) -> list[float]:
        with self.backbone.adapters.using(None):
            return reply_logprobs(self.backbone, conversations, replies)


class PanelBackend(NamedTuple):
    """One of several judges that label together."""

    name: str
    model: Backend
    protocol: Protocol
    weight: float


class Backends(NamedTuple):
    critic: Backend
    judge: Backend
    """Who is asked wherever one judge is enough: of a panel its first."""
    protocol: Protocol
    """The configured one; a constitution, or what the judge can do, may make it another."""
    method: Method = "critique"
    """The critic's."""
    panel: tuple[PanelBackend, ...] = ()

    @property
    def all(self) -> tuple[Backend, ...]:
        """Every model once."""
        asked = {id(model): model for model in (self.critic, self.judge, *(one.model for one in self.panel))}
        return tuple(asked.values())

    def threads(self) -> dict[int, Executor]:
        """Tell where the endpoints work, by `id`: each on a thread of its own. The models of this process have none.

        One thread waits for one batch at a time, so that an endpoint's `concurrency` holds for all callers together.
        """
        elsewhere = [model for model in self.all if not isinstance(model, LocalModel)]
        return {id(model): Executor("critic" if model is self.critic else "judge") for model in elsewhere}


def load_backends(feedback: FeedbackConfig, policy: LocalModel, model: ModelConfig) -> Backends:
    """Load the critic and the judges, or find that they answer; one model that is several of them is loaded once."""
    critic = _load(feedback.critic, "feedback.critic", policy, model)
    _check_method("feedback.critic.method", critic, feedback.critic.method)
    loaded: list[tuple[BackendConfig, Backend]] = [(feedback.critic, critic)]
    judges: list[Backend] = []
    for field, config in feedback.judges().items():
        found = next((one for known, one in loaded if config.same_model(known)), None)
        judge = found or _load(config, field, policy, model)
        _check_method(f"{field}.protocol", judge, config.protocol)
        loaded.append((config, judge))
        judges.append(judge)
    panel = tuple(
        PanelBackend(config.name, judge, config.protocol, config.weight)
        for config, judge in zip(feedback.judge.panel, judges, strict=False)
    )
    _check_apart(panel)
    protocol = panel[0].protocol if panel else feedback.judge.protocol
    return Backends(critic, judges[0], protocol, feedback.critic.method, panel)


def _check_apart(panel: Sequence[PanelBackend]) -> None:
    """An endpoint without log-probabilities is asked for text in place of three other protocols."""
    seen: dict[tuple[int, Protocol], str] = {}
    for place, one in enumerate(panel):
        asked = one.protocol if one.model.gives_logprobs or one.protocol == "pointwise" else "text"
        if (other := seen.setdefault((id(one.model), asked), one.name)) != one.name:
            raise InvalidInput(
                f"feedback.judge.panel.{place}.protocol: '{one.model.name}' gives no log-probabilities, so that "
                f"'{other}' and '{one.name}' would both be asked for text; allowed: one of them",
                f"feedback.judge.panel.{place}.protocol",
            )


def _check_method(field: str, asked: Backend, how: Method | Protocol) -> None:
    if how == "contrast" and not asked.reads_replies:
        raise InvalidInput(
            f"{field} is contrast, but '{asked.name}' tells no log-probabilities of given replies; "
            "allowed: a model of this process (policy, a folder or a Hugging Face id), or another method",
            field,
        )


def _load(config: BackendConfig, field: str, policy: LocalModel, model: ModelConfig) -> Backend:
    if config.served_name:
        return connect(config, field)
    if config.model in (POLICY, model.base_model):
        return policy
    try:
        folder = model_folder(config.model, f"{field}.model")
        backbone = Backbone.load(folder, model.model_copy(update={"base_model": config.model}))
    except InvalidInput as error:
        told = str(error).removeprefix("base_model").lstrip(": ")
        raise InvalidInput(f"{field}.model: {told}", f"{field}.model") from None
    return LocalModel(backbone, folder)


def _revision(backbone: Backbone, folder: Path) -> str:
    """Eight digits that change with the weights: the Hub's commit, or a digest over the ends of the weight files."""
    commit = getattr(backbone.model.config, "_commit_hash", None)
    if commit:
        return commit[:8]
    digest = hashlib.sha256()
    for file in sorted(folder.glob("*.safetensors")):
        with file.open("rb") as weights:
            size = file.stat().st_size
            weights.seek(max(0, size - 2**20))
            digest.update(f"{file.name}:{size}".encode() + weights.read())
    return digest.hexdigest()[:8]

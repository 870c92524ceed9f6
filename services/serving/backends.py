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


class Backends(NamedTuple):
    critic: Backend
    judge: Backend
    protocol: Protocol
    """The configured one; a constitution, or what the judge can do, may make it another."""
    method: Method = "critique"
    """The critic's."""

    def threads(self) -> tuple[Executor | None, Executor | None]:
        """Tell where the critic and the judge work.

        Each endpoint has a thread of its own, a model of this process none.

        One thread waits for one batch at a time, so that an endpoint's `concurrency` holds for all callers together.
        """
        critic = None if isinstance(self.critic, LocalModel) else Executor("critic")
        if self.judge is self.critic:
            return critic, critic
        return critic, None if isinstance(self.judge, LocalModel) else Executor("judge")


def load_backends(feedback: FeedbackConfig, policy: LocalModel, model: ModelConfig) -> Backends:
    """Load the critic and the judge, or find that they answer; one model that is both is loaded once."""
    critic = _load(feedback.critic, "feedback.critic", policy, model)
    same = feedback.judge.same_model(feedback.critic)
    judge = critic if same else _load(feedback.judge, "feedback.judge", policy, model)
    for role, asked, how in (
        ("critic.method", critic, feedback.critic.method),
        ("judge.protocol", judge, feedback.judge.protocol),
    ):
        if how == "contrast" and not asked.reads_replies:
            raise InvalidInput(
                f"feedback.{role} is contrast, but '{asked.name}' tells no log-probabilities of given replies; "
                "allowed: a model of this process (policy, a folder or a Hugging Face id), or another method",
                f"feedback.{role}",
            )
    return Backends(critic, judge, feedback.judge.protocol, feedback.critic.method)


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

"""Which models criticise and judge, and how an endpoint is asked: part of a run's configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, field_validator

from rlhf_core.config.base import Settings
from rlhf_core.records.feedback import Protocol

POLICY = "policy"
"""Names the base model of the process."""
ENDPOINT = "openai:"
"""Begins the name of a model behind an endpoint that speaks OpenAI's protocol."""


def _web_address(text: str) -> str:
    """An address without secrets, as it is stored with every run."""
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"'{text}' is not an address; write it as https://host/v1")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("an address with a user, a password or a query would be stored; name the key in key_env")
    return text.rstrip("/")


WebAddress = Annotated[str, AfterValidator(_web_address)]
"""Of a server, without a user, a password or a query."""


def _model_name(text: str) -> str:
    if text.strip() != text or text in ("", ENDPOINT):
        raise ValueError(f"'{text}' names no model; allowed: policy, a Hugging Face id, a folder, openai:MODEL")
    return text


def _variable_name(text: str) -> str:
    """Not a key by mistake: names of environment variables have neither dashes nor dots."""
    if not text.isidentifier():
        raise ValueError("not the name of an environment variable; the key itself belongs in the environment")
    return text


VariableName = Annotated[str, AfterValidator(_variable_name)]
"""Of an environment variable."""


class EndpointConfig(Settings):
    """How an `openai:` model is asked. The key itself is read from the environment and stored nowhere."""

    base_url: WebAddress = "https://api.openai.com/v1"
    key_env: VariableName | None = "OPENAI_API_KEY"
    """Name of the environment variable that holds the key; none means that the endpoint wants no key."""
    concurrency: int = Field(default=8, ge=1, le=256)
    """Requests under way at once."""
    requests_per_minute: int | None = Field(default=None, ge=1)
    """None means no limit but the endpoint's own."""
    tokens_per_minute: int | None = Field(default=None, ge=1)
    """Prompt and answer together; none means no limit but the endpoint's own."""
    timeout_seconds: float = Field(default=60, gt=0)
    """Longest wait for one answer."""
    retries: int = Field(default=6, ge=0, le=20)
    """Further tries after a busy or broken answer, each after a longer wait, or after what Retry-After asks for."""
    prompt_price: float = Field(default=0, ge=0)
    """Price of a million prompt tokens, in the currency of your bill."""
    completion_price: float = Field(default=0, ge=0)
    """Price of a million answer tokens."""


class BackendConfig(Settings):
    model: Annotated[str, AfterValidator(_model_name)] = POLICY
    """`policy` (the base model), a folder, a Hugging Face id, or `openai:MODEL`."""
    endpoint: EndpointConfig = EndpointConfig()
    """Read only where the model is an `openai:` one."""

    @property
    def served_name(self) -> str:
        """The model as its endpoint knows it; empty where the model runs in this process."""
        return self.model.removeprefix(ENDPOINT) if self.model.startswith(ENDPOINT) else ""

    def same_model(self, other: BackendConfig) -> bool:
        """Tell whether both name one model; an endpoint's settings count only where there is an endpoint."""
        return self.model == other.model and (not self.served_name or self.endpoint == other.endpoint)


Method = Literal["critique", "contrast"]
"""How a critic finds faults and mends them."""


class CriticConfig(BackendConfig):
    method: Method = "critique"
    """`critique`: the model says what is wrong with a reply under a principle, and writes it anew. `contrast`, for a
    model that cannot say: a reply's log-probability after the principle's good examples over that after the bad ones
    is the verdict, and the model answers anew after the good ones (context distillation)."""


class PanelJudgeConfig(BackendConfig):
    """One of several judges that label together."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,39}$")
    """What it is called in reports and labels: small letters, digits, `-` and `_`."""
    protocol: Protocol = "pointwise"
    weight: float = Field(default=1, gt=0, allow_inf_nan=False)
    """How much it counts beside the others, before what is measured of it."""


class JudgeConfig(BackendConfig):
    protocol: Protocol = "pointwise"
    """`pointwise`: a critique of each reply alone, whose faults are weighed, so that an edit of a principle turns the
    labels that it should; principles that only compare, as by `notes`. `notes`: log-probs of the labels after an answer
    of the judge's own and notes on the pair, which all principles share; `logprobs`: at once; `cot`: after a reasoning
    on every question; `text`: the words of a greedy answer; `contrast`, for a model that cannot judge: how much
    likelier a reply is after a principle's good examples than after its bad ones; without examples as `logprobs`.

    An endpoint that gives no log-probabilities is asked for text.
    """
    panel: tuple[PanelJudgeConfig, ...] = ()
    """Two or more judges (`name`, `model`, `protocol`, `weight`, `endpoint`) that label together in place of this one;
    each is measured by the gate, and one that fails it is left out. The first of them checks revisions. None: this
    judge alone."""

    @field_validator("panel")
    @classmethod
    def _several_that_differ(cls, panel: tuple[PanelJudgeConfig, ...]) -> tuple[PanelJudgeConfig, ...]:
        if len(panel) == 1:
            raise ValueError(f"'{panel[0].name}' is alone; allowed: two judges or more, or model and protocol for one")
        for place, judge in enumerate(panel):
            for other in panel[:place]:
                if judge.name == other.name:
                    raise ValueError(f"two judges are called '{judge.name}'; allowed: each name once")
                if judge.protocol == other.protocol and judge.same_model(other):
                    raise ValueError(
                        f"'{other.name}' and '{judge.name}' are both '{judge.model}' asked by {judge.protocol}, so one "
                        "judge would count twice; allowed: another model or protocol, or a weight"
                    )
        return panel


class FeedbackConfig(Settings):
    """The critic and the judge of a process; each may be another model than the policy."""

    critic: CriticConfig = CriticConfig()
    judge: JudgeConfig = JudgeConfig()

    def judges(self) -> Mapping[str, JudgeConfig | PanelJudgeConfig]:
        """Return whom labels are asked of, by the dotted place of each: the panel, or else the one judge."""
        place = "feedback.judge"
        return {f"{place}.panel.{i}": one for i, one in enumerate(self.judge.panel)} or {place: self.judge}

    def asked(self) -> Mapping[str, BackendConfig]:
        """Return every model that is asked, by its dotted place."""
        return {"feedback.critic": self.critic, **self.judges()}

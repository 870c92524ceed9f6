"""Endpoints from their configuration: key, address and model are checked before anything is asked of them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib import util
from typing import TYPE_CHECKING

from rlhf_core.config.feedback import BackendConfig, FeedbackConfig
from rlhf_core.errors import InvalidInput, Unavailable

if TYPE_CHECKING:
    from rlhf_core.feedback.openai.client import Endpoint


def connect(config: BackendConfig, field: str, environ: Mapping[str, str] = os.environ) -> Endpoint:
    """Connect to the endpoint of the critic or judge at `field`, by one question of one token.

    Raises: InvalidInput for a missing key, an unknown model or a missing package, Unavailable for a silent address.
    """
    if util.find_spec("httpx2") is None:
        raise InvalidInput(
            f"{field}.model: '{config.model}' is asked through httpx2, which is not installed; "
            "pip install -e '.[openai]' in the project's folder",
            f"{field}.model",
        )
    # Here, because httpx2 is an optional package.
    from rlhf_core.feedback.openai.client import Endpoint

    endpoint = Endpoint(config.served_name, config.endpoint, _key(config.endpoint.key_env, field, environ))
    try:
        endpoint.probe()
    except InvalidInput as error:
        raise InvalidInput(f"{field}: {error}", f"{field}.model") from None
    except Unavailable as error:
        raise Unavailable(f"{field}: {error}") from None
    return endpoint


def check_endpoints(feedback: FeedbackConfig) -> list[str]:
    """Name all endpoints of a configuration, each of which has answered. Raises as `connect` does."""
    return [connect(config, field).name for field, config in feedback.asked().items() if config.served_name]


def _key(name: str | None, field: str, environ: Mapping[str, str]) -> str:
    if name is None:
        return ""
    key = environ.get(name, "").strip()
    where = f"{field}.endpoint.key_env"
    if not key:
        raise InvalidInput(
            f"{where}: the environment variable {name} is not set; put the key there, "
            "or set key_env to null where the endpoint wants none",
            where,
        )
    if not (key.isascii() and key.isprintable()):
        raise InvalidInput(f"{where}: the environment variable {name} holds characters that no key has", where)
    return key

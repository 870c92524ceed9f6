"""Somebody else's application on the same Ray cluster."""

from __future__ import annotations

from ray import serve  # pyright: ignore[reportMissingImports]


@serve.deployment(ray_actor_options={"num_cpus": 0.1})
class Tenant:
    """Answers anybody."""

    def __call__(self) -> str:
        return "here"


app = Tenant.bind()

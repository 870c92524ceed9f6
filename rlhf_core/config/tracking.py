"""Where else a run's metrics go: part of a run's configuration."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from rlhf_core.config.base import Settings

TrackerName = Literal["tensorboard", "wandb", "mlflow", "trackio"]


class TrackingConfig(Settings):
    """Charter keeps every metric in its store; trackers are told as well. One that fails is noted and left alone."""

    to: tuple[TrackerName, ...] = ()
    """Each is a package of its own (`pip install 'charter-rlhf[trackers]'`), and is set up by its own environment
    variables: WANDB_API_KEY, MLFLOW_TRACKING_URI, TRACKIO_SPACE_ID. TensorBoard's files lie in the run's folder."""
    project: str = Field(default="charter", min_length=1)
    """Of W&B and trackio, and MLflow's experiment."""

    @field_validator("to", mode="before")
    @classmethod
    def _one_or_several(cls, value: object) -> object:
        return [name.strip() for name in value.split(",") if name.strip()] if isinstance(value, str) else value

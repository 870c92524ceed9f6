"""Contexts of runs as the stages' tests make them."""

from tests.stages.conftest import desk

__all__ = ["desk"]

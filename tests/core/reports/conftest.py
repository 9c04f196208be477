"""Comparisons are reported of the cohort that the explorer's tests explore."""

from tests.core.explorer.conftest import small

__all__ = ["small"]

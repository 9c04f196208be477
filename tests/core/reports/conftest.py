"""The small cohort of the explorer's tests, of which reports are made."""

from tests.core.explorer.conftest import small

__all__ = ["small"]

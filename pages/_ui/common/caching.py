"""The one cache of the app: what is computed once and then shared by all sessions.

`cached` keeps an answer for the state of the cohort, so that nobody sees an answer about cells that have changed since.
"""

from collections.abc import Callable
from functools import update_wrapper
from typing import Any, Generic, Literal, ParamSpec, TypeVar

import streamlit as st

from pages._ui.common.state import HELD_STATE

Given = ParamSpec("Given")
Answer = TypeVar("Answer")


def state_of_cohort() -> str:
    """Text that changes with every cell that is added, changed or deleted."""
    from pages._ui.common.cohort_data import cohort  # which is itself kept by `cached`

    return cohort().revision


def hold_state(*, hold: bool) -> None:
    """Let counts and orders stay as they are while a person decides on one cell after the other.

    Each decision changes the cohort, and to count all of it anew would take longer than to decide; and the list that is
    gone through must not move. With `hold` false, what is kept is for the state of the cohort again.
    """
    if not hold:
        HELD_STATE.clear()
    elif HELD_STATE.get() is None:
        HELD_STATE.set(state_of_cohort())


def _state_and_arguments(*args: object, **kwargs: object) -> object:
    return HELD_STATE.get() or state_of_cohort(), args, kwargs


def drawn_and_arguments(*args: object, **kwargs: object) -> object:
    """A key for what no decision about an outline changes."""
    from pages._ui.common.cohort_data import cohort

    return cohort().as_drawn().revision, args, kwargs


class Cached(Generic[Given, Answer]):
    """A function whose answers are kept; called as the function itself."""

    def __init__(
        self,
        function: Callable[Given, Answer],
        key: Callable[..., object],
        keep: Callable[[Callable[..., Answer]], Any],
    ) -> None:
        def compute(key: object, _args: tuple[Any, ...], _kwargs: dict[str, Any]) -> Answer:  # noqa: ARG001 - hashed by Streamlit
            return function(*_args, **_kwargs)

        # Streamlit tells caches apart by a function's name and source: those of `function`. It does not look at what is
        # given by a name with an underscore.
        update_wrapper(compute, function)
        update_wrapper(self, function)
        self._key, self._kept = key, keep(compute)

    def __call__(self, *args: Given.args, **kwargs: Given.kwargs) -> Answer:
        """Return the kept answer, computed now if there is none."""
        answer: Answer = self._kept(key=self._key(*args, **kwargs), _args=args, _kwargs=kwargs)
        return answer

    def clear(self) -> None:
        """Forget all answers."""
        self._kept.clear()


def cached(
    kind: Literal["data", "resource"],
    *,
    max_entries: int,
    key: Callable[..., object] = _state_and_arguments,
    ttl: float | None = None,
    spinner: bool | str = False,
) -> Callable[[Callable[Given, Answer]], Cached[Given, Answer]]:
    """Decorate a function so that its answers are kept.

    Parameters
    ----------
    kind
        "data": each caller gets a copy. "resource": all share one object, which nobody may change.
    max_entries
        How many answers are kept; the oldest is forgotten first.
    key
        What tells one answer from another, made from the arguments. By default it is all arguments and the state of
        the cohort.
    ttl
        Seconds after which an answer is forgotten; None: never.
    spinner
        What the page says while an answer is computed.
    """
    keep = st.cache_data if kind == "data" else st.cache_resource

    def decorate(function: Callable[Given, Answer]) -> Cached[Given, Answer]:
        return Cached(function, key, keep(max_entries=max_entries, ttl=ttl, show_spinner=spinner))

    return decorate

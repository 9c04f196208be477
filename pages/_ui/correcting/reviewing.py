"""Going through a list of cells, deciding on one after the other, wherever the list is."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

import streamlit as st

from core.corrections.blind import BLIND_SHARE, is_offered_blind
from core.corrections.opening import OpenCell
from core.domain.flags import flag_words
from core.domain.settings import load_settings
from core.store import outline_log
from core.store.outline_log import OutlineStatus
from pages._ui.correcting.hand import Walk, correct
from pages._ui.correcting.history import show_history

_BLIND: Final = "correct_blind"


def correcting_switch(key: str) -> bool:
    """Ask whether outlines are to be corrected."""
    return st.toggle(
        "Correct and decide",
        key=key,
        persist_state="session",
        help="Accept, correct or reject one outline after the other, with the keys A, S, R, U and J.",
    )


def statuses() -> Mapping[str, OutlineStatus]:
    """What was decided of cells, by name."""
    return {verdict.cell.name: verdict.status for verdict in outline_log.all_standing(load_settings().cohort)}


def progress(names: Sequence[str], decided: Mapping[str, OutlineStatus]) -> str:
    """How far a list is gone through, as "37 of 200 seen: 30 accepted, 5 corrected, 2 rejected"."""
    counted = Counter(decided[name] for name in names if name in decided)
    each = ", ".join(f"{counted[status]:,} {status}" for status in OutlineStatus if counted[status])
    return f"{counted.total():,} of {len(names):,} seen" + (f": {each}" if each else "")


def _is_blind(cell: OpenCell) -> bool:
    return bool(st.session_state.get(_BLIND, True)) and is_offered_blind(cell.key.name)


def decide_on(
    cell: OpenCell, at: int | None, cells: int, go: Callable[[int], None], switch: str, told: str = ""
) -> None:
    """Show a cell of a list in the editor, with what is said of it and its history.

    Parameters
    ----------
    cell
        The cell.
    at, cells
        Its place in the list, from 0, None where it is in no list, and how many there are.
    go
        Opens the cell at a place.
    switch
        Key of the switch by which the editor is closed.
    told
        More about the list, in words.
    """
    before = partial(go, at - 1) if at else None
    after = partial(go, at + 1) if at is not None and at + 1 < cells else None
    where = "" if at is None else f"{at + 1:,} of {cells:,}" + (f"; {told}" if told else "")
    walk = Walk(where, after, before, partial(st.session_state.update, {switch: False}))
    analysis = correct(cell, walk, blind=_is_blind(cell))
    words = ", ".join(flag_words(flag.code) for flag in analysis.flags) or "no flags"
    st.caption(f"{words[:1].upper()}{words[1:]}.")
    st.toggle(
        f"Offer {BLIND_SHARE:.0%} of the cells without the model's outline",
        value=True,
        key=_BLIND,
        help="A fixed sample, drawn by you alone: it tells how far people follow the model.",
    )
    show_history(cell)

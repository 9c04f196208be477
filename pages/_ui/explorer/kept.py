"""Controls of charts and lists whose choice is a part of the page's address."""

from collections.abc import Sequence
from typing import TypeVar

import streamlit as st

from pages._ui.common.state import widget_value
from pages._ui.explorer.state import change, explored

Choice = TypeVar("Choice", bound=str)

_ON = "1"


def kept_control(label: str, options: Sequence[Choice], key: str) -> Choice:
    """Show a control of one choice, the first at the beginning; returns the choice."""
    chosen = next((option for option in options if option == explored().lists.get(key)), options[0])
    st.session_state[key] = chosen
    st.segmented_control(
        label, options, required=True, key=key, on_change=_take, args=(key, options[0]), label_visibility="collapsed"
    )
    return chosen


def kept_toggle(label: str, key: str, hint: str) -> bool:
    """Show a switch, off at the beginning; returns whether it is on."""
    on = explored().lists.get(key) == _ON
    st.session_state[key] = on
    st.toggle(label, key=key, help=hint, on_change=_take, args=(key, ""))
    return on


def _take(key: str, first: str) -> None:
    value = widget_value(key)
    said = (_ON if value else "") if isinstance(value, bool) else str(value or first)
    others = {name: kept for name, kept in explored().lists.items() if name != key}
    change(lists=others if said == first else {**others, key: said})

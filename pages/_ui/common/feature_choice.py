"""Choosing one of hundreds of features: by words, by theme, by region; the reliable ones first."""

from collections.abc import Callable, Collection
from typing import Final

import streamlit as st

from core.charts.rows import REGION_WORDS, themes
from core.charts.trust import Reliability, is_poor, poor_last, trust
from core.features.catalogue import CATALOGUE
from core.features.search import for_choosing, matching
from core.features.spec import Theme
from core.support.text import markdown
from pages._ui.common.state import widget_value

# Words, because an empty choice would show a button that clears it.
_ANYTHING: Final = "Anything"
_ANY_REGION: Final = "Any region"


def theme_filter(key: str) -> Theme | None:
    """Field that asks for a theme; None stands for all."""
    chosen = st.selectbox("About", [_ANYTHING, *themes()], key=key, persist_state="session")
    return None if chosen == _ANYTHING else Theme(chosen)


def feature_chooser(
    first: str,
    reliability: Reliability,
    key: str,
    among: Collection[str] = CATALOGUE,
    on_choose: Callable[[], None] | None = None,
    refusal: Callable[[str], str | None] = lambda _: None,
) -> str | None:
    """Show a search field, two filters and the list of matches in `among`; returns the feature, None without any.

    `on_choose` is called when a feature is chosen in the list, whose key is `key`. `refusal` says why a feature is not
    in `among`.
    """
    columns = st.columns([2.6, 1.3, 6], vertical_alignment="bottom", gap="small")
    with columns[0]:
        words = st.text_input(
            "Search", placeholder="round nucleus, entropy …", key=f"{key}_words", persist_state="session"
        )
    with columns[1], st.popover("Narrow", icon=":material/filter_list:", key=f"{key}_narrow", width="stretch"):
        theme = theme_filter(f"{key}_theme")
        words_of = {_ANY_REGION: None, **{text: region for region, text in REGION_WORDS.items()}}
        region = words_of[st.selectbox("Of the", list(words_of), key=f"{key}_region", persist_state="session")]
    found = matching(words, theme, region)
    listed = found if words.strip() else for_choosing(found, keep=first)
    matches = poor_last([name for name in listed if name in among], reliability)
    missing = [name for name in found if name not in among]
    if missing and words.strip():
        more = f", as {len(missing) - 1} more" if len(missing) > 1 else ""
        reason = refusal(missing[0]) or "it is not asked for here"
        st.caption(
            f":material/block: {markdown(CATALOGUE[missing[0]].label)} is not offered here{more}: {markdown(reason)}."
        )
    if not matches:
        if not missing:
            st.info("No feature holds all these words. Try fewer, or another region.", icon=":material/info:")
        return None
    if widget_value(key) not in matches:
        st.session_state[key] = first if first in matches else matches[0]

    def label(name: str) -> str:
        return CATALOGUE[name].label + (f"  ·  {trust(name, reliability)}" if is_poor(name, reliability) else "")

    with columns[2]:
        return st.selectbox(
            f"Feature ({len(matches)})",
            matches,
            format_func=label,
            key=key,
            on_change=on_choose,
            persist_state="session",
        )

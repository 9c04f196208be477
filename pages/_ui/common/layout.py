"""The frame of every page: masthead, navigation, errors in words, empty states."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import streamlit as st

from core.charts.theme import Look, look
from core.domain.errors import CoreError
from core.support.text import markdown
from pages._ui.common.caching import hold_state
from pages._ui.common.state import CALIBRATED
from pages._ui.common.uploads import keep_answers_about_uploads

NOT_FOR_DIAGNOSIS: Final = "Research use, not for diagnosis"

PAGES: Final = {
    "pages/1_Single_cell.py": "Single cell",
    "pages/2_Batch.py": "Batch",
    "pages/3_Cohort_explorer.py": "Cohort explorer",
    "pages/4_Model_selection.py": "Models",
}

# Drawn here: a named icon would be fetched from the network.
_ICON: Final = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><circle cx="16" cy="16" r="14" fill="#E69F00"/>'
    '<path d="M9 13a8 8 0 1 1 9 11c-4 0-3-4-6-5s-4-3-3-6z" fill="#3B4CC0"/></svg>'
)

_STYLE: Final = (Path(__file__).parent / "style.css").read_text(encoding="utf-8")


def page_setup(title: str, *, hold: bool = False) -> None:
    """Open a page: browser title, common style, the masthead with the ways to the other pages.

    With `hold`, counts of the cohort stay as they are (`hold_state`). Values are as they were measured, until a page
    asks for calibrated ones.
    """
    keep_answers_about_uploads()
    CALIBRATED.clear()
    st.set_page_config(
        page_title=f"{title} | Leukoscope", page_icon=_ICON, layout="wide", initial_sidebar_state="collapsed"
    )
    st.html(f"<style>{_STYLE}</style>")
    hold_state(hold=hold)
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="masthead"):
        st.page_link("Home.py", label="**Leukoscope**", icon=":material/biotech:")
        for path, label in PAGES.items():
            st.page_link(path, label=label)
        st.html(f'<div class="not-for-diagnosis">{NOT_FOR_DIAGNOSIS}</div>', width="content")


def current_look() -> Look:
    """Colours of the page's theme; every mark has a ring of the opposite brightness, so a wrong guess stays legible."""
    return look(dark=st.context.theme.type == "dark")


@contextmanager
def errors_in_words() -> Iterator[None]:
    """Show a CoreError as its message and let the rest of the page go on; anything else is a bug and may crash."""
    try:
        yield
    except CoreError as error:
        st.error(markdown(str(error)), icon=":material/error:")


@contextmanager
def folded(question: str, inside: str) -> Iterator[None]:
    """A part of a long page, folded up under its question and a sentence of what is inside."""
    with st.expander(f"**{question}** {inside}.", key=f"folded-{question}"):
        yield


def empty_state(title: str, text: str, icon: str) -> None:
    """Fill the place of something missing with what it will be and how to get it."""
    with st.container(
        border=True, horizontal_alignment="center", vertical_alignment="center", height=300, key=f"empty-{title}"
    ):
        st.markdown(f"### :material/{icon}: {title}", text_alignment="center", width="content")
        st.markdown(text, text_alignment="center", width="content")

"""Adding a cell that is looked at elsewhere to a case of the person."""

from collections.abc import Callable
from typing import Final

import streamlit as st

from core.cases.adding import add
from core.cases.export import HeldImage
from core.cases.store import LONGEST_TITLE
from core.domain.errors import CoreError
from core.support.text import markdown, shown
from pages._ui.common.cases import cases_of
from pages._ui.components.owner.owner import known_owner

_NEW: Final = ""


def offer_case(gather: Callable[[], HeldImage]) -> None:
    """Offer to add an image to a case; `gather` is called when it is wanted."""
    person = known_owner()
    if person is None:
        return
    with st.popover("Add to a case", icon=":material/create_new_folder:", type="tertiary", key="add_to_case"):
        cases = cases_of(person)
        known = {case.id: case for case in cases.shelf().cases}
        chosen = st.selectbox(
            "Case",
            [*known, _NEW],
            format_func=lambda name: shown(known[name].title) if name in known else "A new case",
            key="add_to_case_which",
        )
        title = st.text_input("Title", max_chars=LONGEST_TITLE, key="add_to_case_title") if chosen == _NEW else ""
        if not st.button("Add", key="add_to_case_do"):
            return
        try:
            image = gather()
            case = known[chosen] if chosen in known else cases.create(title)
            added = add(cases, case, image)
        except CoreError as error:
            st.error(markdown(f"{error}."))
            return
        name = markdown(image.record.name)
        words = f"{name} was added" if added else f"{name} is there already, and stays as it is"
        gone = "" if image.data is not None else "; its picture is not at hand, so the case keeps what was measured"
        st.markdown(f"{words}{gone}.")
        st.page_link(
            "pages/1_Single_cell.py",
            label="Open the case",
            icon=":material/folder_open:",
            query_params={"case": case.id},
        )

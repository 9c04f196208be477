"""A case on the page: keeping the images as one, its words, opening it again, deleting it."""

import hashlib
from collections.abc import Callable
from typing import Final

import streamlit as st

from core.cases.store import LONGEST_NOTE, LONGEST_TITLE, Case
from core.domain.errors import CoreError
from core.support.text import markdown
from pages._ui.common.cases import cases_of, own_cases
from pages._ui.common.state import TRAY, Tray, widget_value
from pages._ui.components.owner.owner import known_owner
from pages._ui.single_cell import tray as trays

_ADDRESS: Final = "case"
_RECENT: Final = 8


def open_from_address() -> None:
    """Open the case that the address names, if it is this person's; raises StoreError."""
    name, tray = st.query_params.get(_ADDRESS), TRAY.get()
    if tray is not None and tray.case is not None and name is None:
        st.query_params[_ADDRESS] = tray.case.id
    elif name is not None and not (tray and tray.case and tray.case.id == name) and (cases := own_cases()) is not None:
        try:
            trays.open_case(cases, name)
        except CoreError:
            _leave_address()
            raise


def show_recent() -> None:
    """List the cases of the person that changed last, to be opened again."""
    person = known_owner()
    if person is None:
        return
    shelf = cases_of(person).shelf()
    if shelf.cases:
        st.markdown("#### Your cases")
    for case in shelf.cases[:_RECENT]:
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.button(
                markdown(case.title),
                key=f"open_{case.id}",
                type="tertiary",
                icon=":material/folder_open:",
                on_click=_open,
                args=(case.id,),
            )
            st.caption(case_words(case))
    for problem in shelf.problems:
        st.warning(markdown(f"{problem[:1].upper()}{problem[1:]}."), icon=":material/warning:")


def case_words(case: Case) -> str:
    """How much a case holds, and when it changed last."""
    images, cells = (f"{n} {what}{'s' * (n != 1)}" for n, what in ((len(case.images), "image"), (case.cells, "cell")))
    return f"{images}, {cells}; changed {case.changed.astimezone():%d %B %Y, %H:%M}"


def show_case(tray: Tray | None) -> None:
    """Offer to keep the images as a case, or show the words of the one that keeps them."""
    case = tray.case if tray is not None else None
    label = "Keep as a case" if case is None else f"Case: {markdown(case.title)}"
    with st.popover(label, icon=":material/folder_open:" if case else ":material/create_new_folder:", key="case"):
        if case is None:
            _keep()
        else:
            assert tray is not None
            _words(tray, case)


def _keep() -> None:
    with st.form("case_form", border=False):
        title = st.text_input("Title", max_chars=LONGEST_TITLE, key="case_new_title", placeholder="Patient or question")
        notes = st.text_area("Notes", max_chars=LONGEST_NOTE, key="case_new_notes")
        kept = st.form_submit_button("Keep", type="primary", key="case_keep")
    st.caption("Images, outlines, scale and notes are kept on this server for you, until you delete the case.")
    if kept:
        try:
            trays.keep(title, notes)
            st.rerun()
        except CoreError as error:
            st.error(markdown(f"{error}."))


def _words(tray: Tray, case: Case) -> None:
    """Words of the case and of the shown image; each change is saved on its own."""
    _text(st.text_input, "Title", LONGEST_TITLE, case.title, lambda words: _rename(case, words, case.notes))
    _text(st.text_area, "Notes", LONGEST_NOTE, case.notes, lambda words: _rename(case, case.title, words))
    if tray.images:
        record = tray.images[tray.at].record
        label = f"Notes on {markdown(record.name)}"
        _text(st.text_area, label, LONGEST_NOTE, record.notes, lambda words: trays.note(words, record))
    st.caption(f"Saved: {case_words(case)}.")
    st.button("Close the case", key="case_close", icon=":material/close:", on_click=_close)
    if st.toggle("Delete the case", key=f"case_delete_ask_{case.id}"):
        images = f"{len(case.images)} {'image' if len(case.images) == 1 else 'images'}"
        st.caption(f"With its {images} and all that was measured. Decisions about outlines stay in their log.")
        st.button("Delete it", key="case_delete", icon=":material/delete:", on_click=_delete, args=(case.id,))


def _text(field: Callable[..., object], label: str, longest: int, kept: str, save: Callable[[str], None]) -> None:
    """A field that is made anew when other words are kept, so that it never holds older ones unnoticed."""
    key = f"case_{label}_{hashlib.sha256(kept.encode()).hexdigest()[:16]}"
    field(label, kept, max_chars=longest, key=key, on_change=_saved, args=(key, save))


def _saved(key: str, save: Callable[[str], None]) -> None:
    _in_words(lambda: save(widget_value(key) or ""))


def _rename(seen: Case, title: str, notes: str) -> None:
    tray, cases = TRAY.get(), own_cases()
    if tray is not None and cases is not None:
        tray.case = cases.rename(seen, title, notes)


def _delete(name: str) -> None:
    def delete() -> None:
        cases = own_cases()
        if cases is not None:
            cases.delete(name)
        _close()

    _in_words(delete)


def _in_words(do: Callable[[], None]) -> None:
    """Do what a field or button asks for; what went wrong is said below the tray."""
    try:
        do()
    except CoreError as error:
        tray = TRAY.get()
        if tray is not None:
            tray.problem = f"Not saved: {error}."


def _open(name: str) -> None:
    st.query_params[_ADDRESS] = name


def _close() -> None:
    trays.close()
    _leave_address()


def _leave_address() -> None:
    if _ADDRESS in st.query_params:
        del st.query_params[_ADDRESS]

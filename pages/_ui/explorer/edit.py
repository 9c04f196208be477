"""Changes of a cell by a reader: another label, a note, an exclusion with its reason; each signed and undoable."""

from datetime import UTC
from typing import Final

import streamlit as st

from core.domain.cell_types import CELL_TYPES, CellType
from core.domain.errors import CoreError
from core.explorer.cells import StoredCell
from core.store import edits
from core.store.edit_log import Field
from core.store.edits import Change
from core.support.text import markdown
from pages._ui.common import cohort_data
from pages._ui.common.state import CARD, READER, Kept, widget_value

# What came of the last change: a sentence, and whether it is good news.
_SAID: Final = Kept[tuple[str, str, bool]]("leukoscope_edit_said")

_WORDS: Final = {
    Field.CELL_TYPE: "Cell type",
    Field.PATIENT_ID: "Patient",
    Field.DIAGNOSIS: "Diagnosis",
    Field.NOTE: "Note",
    Field.EXCLUDED_REASON: "Leave out",
}
_HINTS: Final = {
    Field.PATIENT_ID: "pseudonym, never a name",
    Field.DIAGNOSIS: "as the laboratory filed it",
    Field.NOTE: "what others should know of this cell",
    Field.EXCLUDED_REASON: "why it should not count",
}
_LONGEST: Final = 400


def show_changes(cell: StoredCell) -> None:
    """Show what may be changed in a cell, and what was."""
    changes = edits.history(cohort_data.cohort(), cell.cell_id)
    field = st.segmented_control(
        "Change", list(Field), default=Field.CELL_TYPE, required=True, format_func=_WORDS.__getitem__, key="edit_field",
        label_visibility="collapsed", persist_state="session",
    )  # fmt: skip
    value = (  # after a change the field is made anew, with what holds now
        f"edit_value-{field}-{cell.cell_id}-{len(changes)}"
    )
    left, right = st.columns([1.6, 1], vertical_alignment="bottom", gap="small")
    with left:
        if field is Field.CELL_TYPE:
            kinds = list(CellType)
            st.selectbox(
                "Is really a",
                kinds,
                index=kinds.index(CellType(cell.cell_type)),
                format_func=lambda kind: CELL_TYPES[kind].name,
                key=value,
            )
        else:
            given = {Field.PATIENT_ID: cell.patient_id, Field.DIAGNOSIS: cell.diagnosis, Field.NOTE: cell.note}.get(
                field, cell.excluded_reason
            )
            label = "Reason" if field is Field.EXCLUDED_REASON else _WORDS[field]
            st.text_input(label, given or "", max_chars=_LONGEST, placeholder=_HINTS[field], key=value)
    with right:
        st.text_input(
            "Who you are",
            READER.get() or "",
            max_chars=60,
            placeholder="name or initials",
            key="edit_who",
            on_change=_remember,
        )
    changed = next((not change.restored for change in reversed(changes) if change.field is field), False)
    with st.container(horizontal=True, gap="small"):
        st.button(
            "Save",
            type="primary",
            icon=":material/check:",
            key="edit_save",
            on_click=_save,
            args=(cell.cell_id, field, value),
        )
        st.button(
            "Take back",
            icon=":material/undo:",
            key="edit_back",
            disabled=not changed,
            help="Give it the value again that its source filed.",
            on_click=_take_back,
            args=(cell.cell_id, field),
        )
    said = _SAID.get()
    if said is not None and said[0] == cell.cell_id:
        st.markdown(
            f":material/check: {markdown(said[1])}" if said[2] else f":red[:material/error: {markdown(said[1])}]"
        )
    if changes:
        st.markdown("\n".join(f"- {_told(change)}" for change in reversed(changes)))
    else:
        st.caption("Nothing was changed: the cell is as its source filed it. The original is always kept.")


def _told(change: Change) -> str:
    """One change in words: when, who, what."""
    when = change.when.astimezone(UTC).strftime("%d %B %Y, %H:%M UTC")
    new = markdown(_shown(change.field, change.new))
    if change.field is Field.EXCLUDED_REASON:
        what = "taken in again" if change.new is None else f"left out: {new}"
    elif change.field is Field.NOTE:
        what = "note removed" if change.new is None else f"note: {new}"
    else:
        what = f"{_WORDS[change.field].lower()} {markdown(_shown(change.field, change.old))} → {new}" + (
            ", as filed" if change.restored else ""
        )
    return f"{when}, {markdown(change.who)}: {what}"


def _shown(field: Field, value: str | None) -> str:
    if value is None:
        return "not recorded"
    return CELL_TYPES[CellType(value)].name if field is Field.CELL_TYPE and value in list(CellType) else value


def _remember() -> None:
    READER.set(str(widget_value("edit_who") or ""))


def _save(cell_id: str, field: Field, widget: str) -> None:
    CARD.set(cell_id)  # it stays before the eyes, even if it leaves the cells in view
    cohort, value, who = cohort_data.cohort(), str(widget_value(widget) or ""), READER.get() or ""
    try:
        if field is Field.NOTE:
            number = edits.annotate(cohort, [cell_id], value, who=who)
        elif field is Field.EXCLUDED_REASON:
            number = edits.exclude(cohort, [cell_id], value, who=who)
        else:
            number = edits.relabel(cohort, [cell_id], field, value, who=who)
    except CoreError as error:
        _SAID.set((cell_id, f"{str(error)[:1].upper()}{str(error)[1:]}.", False))
        return
    _SAID.set((cell_id, "Saved; the original is kept." if number else "It says so already.", True))


def _take_back(cell_id: str, field: Field) -> None:
    try:
        edits.take_back(cohort_data.cohort(), [cell_id], field, who=READER.get() or "")
    except CoreError as error:
        _SAID.set((cell_id, f"{str(error)[:1].upper()}{str(error)[1:]}.", False))
        return
    _SAID.set((cell_id, "Taken back: it is as its source filed it.", True))

"""A person's own populations: the list, import of a table of measured cells, where images go, deletion."""

from dataclasses import dataclass
from datetime import date
from typing import Any, Final

import pandas as pd
import streamlit as st

from core.charts.labels import scale_words
from core.cohort import TISSUES, own_population
from core.domain.cell_types import CELL_TYPES, CellType
from core.domain.errors import CoreError
from core.domain.options import Units
from core.domain.settings import load_settings
from core.domain.types import GivenScale
from core.features.catalogue import CATALOGUE
from core.store import edits
from core.store.named_scales import remember
from core.store.plausibility import Judgement
from core.store.queries import PopulationInfo
from core.store.shards import delete_population
from core.store.tables import TableColumns, import_table, look, preview, uploaded
from core.store.text_tables import SUFFIXES
from core.support.text import markdown
from pages._ui.common import cohort_data
from pages._ui.common.caching import cached
from pages._ui.common.layout import empty_state, errors_in_words
from pages._ui.common.state import Kept
from pages._ui.common.widgets import scale_chooser

_OWN, _TABLE, _IMAGES = "Your populations", "Bring in a table", "Bring in images"
_UNITS: Final = {Units.PIXELS: "pixels", Units.MICROMETRES: "micrometres"}
_PREVIEW: Final = 5
_NAMED: Final = 6

# What was done last, in words; and how often a table was taken, whose field is then made anew.
_SAID: Final = Kept[str]("leukoscope_own_said")
_TAKEN: Final = Kept[int]("leukoscope_tables_taken")


def show_own_data() -> None:
    """Show the person's own populations and the ways to import cells."""
    section = st.segmented_control(
        "Own data",
        [_OWN, _TABLE, _IMAGES],
        default=_OWN,
        required=True,
        key="own_section",
        label_visibility="collapsed",
        persist_state="session",
    )
    said = _SAID.get()
    if said is not None:
        st.success(markdown(said), icon=":material/check:")
        _SAID.clear()
    if section == _OWN:
        _populations()
    elif section == _TABLE:
        _bring_table()
    else:
        _bring_images()


# --- what there is ----------------------------------------------------------------------------------------------------


def _populations() -> None:
    own = [info for info in cohort_data.populations() if not info.shipped]
    if own:
        for info in own:
            _population(info)
    else:
        empty_state(
            "No population of your own yet",
            "Bring in a table of measured cells, or images, with the choices above.",
            "library_add",
        )
    shipped = len(cohort_data.populations()) - len(own)
    changed = {cell for edit in edits.log(cohort_data.cohort()) for cell in edit.old}
    words = (
        f"The {shipped} populations that come with the program can be corrected cell by cell, but never deleted or"
        " overwritten."
    )
    st.caption(
        words
        + (f" Cells that readers have changed: {len(changed):,}; each card tells who and when." if changed else "")
    )


def _population(info: PopulationInfo) -> None:
    population = info.population
    with st.container(border=True, key=f"own-{population.population_id}"):
        left, right = st.columns([5, 1], vertical_alignment="center")
        with left:
            kept_out = f", {info.n - info.n_good:,} left out for their quality" if info.n > info.n_good else ""
            patients = "patients not all known" if info.patients is None else f"{info.patients} patients"
            scale = (
                scale_words(population.um_per_px, population.um_per_px_error)
                if population.um_per_px is not None
                else "scale by cell or unknown"
            )
            st.markdown(f"**{markdown(population.title)}**: {info.n:,} cells{kept_out}, {patients}")
            st.caption(
                f"{CELL_TYPES[population.cell_type].name}; {markdown(population.source)}; {scale}; since"
                f" {markdown(population.created)}. {markdown(info.problem or population.note)}"
            )
        with (
            right,
            st.popover(
                "Delete", icon=":material/delete:", width="stretch", key=f"own-delete-{population.population_id}"
            ),
        ):
            st.markdown(
                f"Delete **{markdown(population.title)}** with its {info.n:,} cells, for everybody who uses this"
                " cohort?"
            )
            st.button(
                "Delete for good", type="primary", key=f"own-gone-{population.population_id}", on_click=_delete,
                args=(population.population_id, population.title),
            )  # fmt: skip


def _delete(population_id: str, title: str) -> None:
    try:
        delete_population(load_settings().cohort, population_id)
        _SAID.set(f"“{title}” was deleted.")
    except CoreError as error:
        _SAID.set(f"“{title}” was not deleted: {error}.")


# --- a table ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Looked:
    """What an uploaded table holds, and its first rows as they are."""

    columns: TableColumns
    first: pd.DataFrame


def _bring_table() -> None:
    """Take a table in: look at it, say what it is, file it."""
    turn = _TAKEN.get() or 0
    st.caption(
        "One row a cell; columns named as in this program's own tables (the catalogue's features, and cell_type,"
        " patient_id, um_per_px, image_path where known). An empty field, or NA, is an absent value; a row that"
        " cannot be true is left out and named. A table downloaded here can be brought back."
    )
    file = st.file_uploader(
        "Table", [suffix[1:] for suffix in SUFFIXES], key=f"own_table_{turn}", label_visibility="collapsed"
    )
    if file is None:
        return
    with errors_in_words():
        looked = _look(file)
        _show_table(looked)
        _file_table(file, looked.columns, turn)


@cached("resource", max_entries=4, key=lambda file: (file.file_id, file.name), spinner="Reading the table")
def _look(file: Any) -> _Looked:  # noqa: ANN401 - an uploaded file
    with uploaded(file.name, file.getvalue()) as path:
        return _Looked(look(path), preview(path, _PREVIEW))


def _show_table(looked: _Looked) -> None:
    columns = looked.columns
    features = [name for name in columns.taken if name in CATALOGUE]
    known = [name for name in columns.taken if name not in CATALOGUE]
    lines = [
        f"Read as {markdown(columns.words)}{''.join(f'; {markdown(note)}' for note in columns.notes)}.",
        f"**{len(features)} of {len(CATALOGUE)} features** are there; the others will be absent, with that as the"
        " reason.",
    ]
    if known:
        lines.append(f"Besides: {markdown(', '.join(known))}.")
    if columns.not_taken:
        more = f" and {len(columns.not_taken) - _NAMED} more" if len(columns.not_taken) > _NAMED else ""
        lines.append(
            f"Not taken, because nobody here knows them: {markdown(', '.join(columns.not_taken[:_NAMED]))}{more}."
        )
    if columns.cell_types:
        lines.append(f"Cell types: {', '.join(CELL_TYPES[kind].name for kind in columns.cell_types)}.")
    st.markdown("\n".join(f"- {line}" for line in lines))
    st.dataframe(looked.first, hide_index=True, height=38 + 35 * _PREVIEW, key="own_preview")


def _file_table(file: Any, columns: TableColumns, turn: int) -> None:  # noqa: ANN401 - an uploaded file
    with st.container(width=240):
        scale = scale_chooser("own_um_per_px")
    with st.form("own_form", border=False):
        first, second = st.columns(3, gap="medium"), st.columns(3, gap="medium")
        title = first[0].text_input(
            "Name of the population", max_chars=60, placeholder="Monocytes, our laboratory", key="own_title"
        )
        source = first[1].text_input("Source", max_chars=120, placeholder="laboratory or data set", key="own_source")
        kinds = list(CellType)
        index = kinds.index(columns.cell_type) if columns.cell_type is not None else None
        cell_type = first[2].selectbox(
            "Cell type, where a row says none",
            kinds,
            index=index,
            format_func=lambda kind: CELL_TYPES[kind].name,
            key="own_type",
        )
        tissue = second[0].selectbox("Tissue", TISSUES, key="own_tissue")
        units = second[1].selectbox(
            "Sizes are counted in",
            list(Units) if columns.units is None else [columns.units],
            format_func=_UNITS.__getitem__,
            help=None if columns.units is None else "As the table says itself.",
            key="own_units",
        )
        replace = st.checkbox("In the place of a population of the same name", key="own_replace")
        pressed = st.form_submit_button(
            "Bring these cells in", type="primary", icon=":material/library_add:", key="own_import"
        )
    if not pressed:
        return
    if scale is not None and not scale.origin:
        scale = GivenScale(scale.um_per_px, scale.error, scale.source, "given with the table")
    population = own_population(
        title,
        None if cell_type is None else CellType(cell_type),
        source,
        tissue=tissue,
        note=f"Brought in as a table on {date.today().isoformat()}.",
        scale=scale,
        shipped=cohort_data.shipped(),
    )
    with st.spinner("Filing the cells"), uploaded(file.name, file.getvalue()) as path:
        cells = import_table(
            load_settings().cohort,
            population,
            path,
            units=Units(str(units)),
            replace=replace,
            judgement=(judgement := Judgement()),
        )
    remember(load_settings().cohort, source, scale)
    _SAID.set(
        f"{cells:,} cells were brought in as “{population.title}”; they are among the populations now."
        f"{_left_out(judgement)}"
    )
    _TAKEN.set(turn + 1)
    st.rerun()


def _left_out(judgement: Judgement) -> str:
    """Which rows of a table were left out, in sentences; nothing where all were taken."""
    named = [f"row {one.row} ({one.column} {one.value:g} {one.words})" for one in judgement.rejected[:_NAMED]]
    said = ""
    if named:
        more = ", ..." if judgement.left_out > len(named) else ""
        said = f" {judgement.left_out:,} rows cannot be true and were left out: {', '.join(named)}{more}."
    if judgement.doubled:
        said += f" {len(judgement.doubled):,} rows say again what another says, and were counted once."
    return said


# --- images -----------------------------------------------------------------------------------------------------------


def _bring_images() -> None:
    roots = ", ".join(root.name for root in load_settings().roots if root.is_dir())
    below = f", or a folder below {markdown(roots)} on the server" if roots else ""
    st.markdown(
        f"Images are outlined and measured on page Batch: upload them{below}. When the run has ended, **Add to the"
        " cohort** there files its cells as a population; it then stands here, and each cell's picture is shown as"
        " long as its image stays where it was."
    )
    st.page_link("pages/2_Batch.py", label="To page Batch", icon=":material/photo_library:")
    st.caption("From a shell: `python -m core cohort import FOLDER` does the same for a folder.")

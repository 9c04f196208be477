"""The tray as it is shown: the images in small, in a row, with the ways between them, and what is done with all."""

from typing import Final

import streamlit as st

from core.cases.cells import rows_in
from core.cases.store import CaseImage
from core.charts.thumbnail import thumbnail_svg
from core.domain.compartments import Compartment
from core.domain.errors import CoreError
from core.domain.flags import quality_word
from core.image.imaging import decode
from core.store.schema import decode_rings
from core.support.text import markdown
from pages._ui.common.caching import cached
from pages._ui.common.cases import own_cases
from pages._ui.common.state import SCALE, TRAY, Tray, TrayImage
from pages._ui.components.gallery.gallery import Item, gallery
from pages._ui.single_cell import tray as trays
from pages._ui.single_cell.beside import choose_beside
from pages._ui.single_cell.keeping import show_case
from pages._ui.single_cell.taking import offer_to_take

_PLACES: Final = 20  # pictures of more would be sent to the browser with every click
_BLANK: Final = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 10 10" aria-hidden="true"></svg>'


def show_tray(line: st.delta_generator.DeltaGenerator) -> None:
    """Show the tray, if there is one; `line` is for the progress of measuring."""
    tray = TRAY.get()
    if tray is None:
        return
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="tray_head"):
        if tray.images:
            _ways(tray)
            st.markdown(_counted(tray), width="content")
        st.space("stretch")
        _acts(tray, line)
    if tray.images:
        _in_small(tray)
    if tray.problem:
        st.warning(markdown(tray.problem), icon=":material/warning:")


def _in_small(tray: Tray) -> None:
    pages, page = -(-len(tray.images) // _PLACES), tray.at // _PLACES
    shown = tray.images[page * _PLACES : (page + 1) * _PLACES]
    gallery(
        [_item(tray, image) for image in shown],
        "tray",
        chosen=tray.images[tray.at].record.sha256,
        on_pick=_pick,
        row=True,
    )
    if pages > 1:
        st.caption(f"Images {page * _PLACES + 1} to {page * _PLACES + len(shown)} of {len(tray.images)}.")


def state_words(record: CaseImage) -> str:
    """What became of an image, in a few words: "3 cells, 1 left out", "1 cell, good", "waiting", "failed"."""
    if record.cells:
        quality = quality_word(good=not record.flagged)
        if record.cells > 1 and record.flagged:
            quality = f"{record.flagged} {quality}"
        return f"{record.cells} {'cell' if record.cells == 1 else 'cells'}, {quality}"
    return "failed" if record.problem else "waiting"


def _ways(tray: Tray) -> None:
    st.button(
        "Previous",
        key="tray_back",
        icon=":material/chevron_left:",
        disabled=tray.at == 0,
        on_click=trays.go,
        args=(tray.at - 1,),
        shortcut="Alt+Left",
    )
    st.button(
        "Next",
        key="tray_on",
        icon=":material/chevron_right:",
        icon_position="right",
        disabled=tray.at + 1 == len(tray.images),
        on_click=trays.go,
        args=(tray.at + 1,),
        shortcut="Alt+Right",
    )


def _counted(tray: Tray) -> str:
    records = [image.record for image in tray.images]
    counts = {
        "measured": sum(bool(record.cells) for record in records),
        "failed": sum(bool(record.problem) and not record.cells for record in records),
        "waiting": sum(map(trays.is_waiting, records)),
    }
    each = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
    return f"**{tray.at + 1} of {len(records)}**: {each}"


def _acts(tray: Tray, line: st.delta_generator.DeltaGenerator) -> None:
    waiting = sum(trays.is_waiting(image.record) for image in tray.images)
    if any(image.record.scale != SCALE.get() for image in tray.images):
        st.button(
            "This scale for all",
            key="tray_scale",
            type="tertiary",
            icon=":material/straighten:",
            on_click=trays.scale_for_all,
            help="Not all images have the scale of the one that is shown.",
        )
    if waiting and st.button(f"Measure all ({waiting})", key="measure_all", icon=":material/play_circle:"):
        try:
            trays.measure_rest(line)
            st.rerun()
        except CoreError as error:
            tray.problem = f"{error}."
    choose_beside(tray)
    show_case(tray)
    if tray.case is not None and (cases := own_cases()) is not None:
        offer_to_take(cases, tray.case)
    st.button(
        "Take out",
        key="tray_drop",
        type="tertiary",
        icon=":material/remove_circle:",
        disabled=not tray.images,
        on_click=trays.drop,
        help="Take the shown image out of the tray" + (" and of the case." if tray.case else "."),
    )


def _pick(sha256: str) -> None:
    tray = TRAY.get()
    if tray is not None:
        shas = [image.record.sha256 for image in tray.images]
        if sha256 in shas:
            trays.go(shas.index(sha256))


def _item(tray: Tray, image: TrayImage) -> Item:
    record = image.record
    reason = f": {record.problem}" if record.problem and not record.cells else ""
    flagged = bool(record.flagged or reason)
    words = state_words(record)
    return Item(record.sha256, _thumbnail(tray, image), words, f"{record.name}, {words}{reason}", flagged, record.name)


@cached(
    "data",
    max_entries=400,
    key=lambda _, image: (image.record.sha256, image.record.cells_file, image.cells, bool(image.record.size)),
)
def _thumbnail(tray: Tray, image: TrayImage) -> str:
    """The picture in small; of one cell with its outline, of a field as a whole. Blank where it cannot be opened."""
    try:
        data, cells = trays.content(tray, image)
        rows = rows_in(cells) if cells is not None else []
        picture = decode(data, image.record.name).rgb if data is not None else None
    except CoreError:
        return _BLANK
    if not rows:
        return _BLANK if picture is None else thumbnail_svg({}, picture.shape[:2], picture)
    row = rows[0]
    single = row["place_left"] is None
    outlines = {
        Compartment.CYTOPLASM: decode_rings(row["cell_outline"]),
        Compartment.NUCLEUS: decode_rings(row["nucleus_outline"]),
    }
    return thumbnail_svg(outlines if single else {}, (row["image_height"], row["image_width"]), picture)

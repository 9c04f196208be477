"""The images of the tray: one of them is shown and worked on as a single image would be, the others are put away.

What is put away is what a case keeps: the file as it came, and the packed cells (`core.cases.cells`). So an image that
comes back is the same whether it was in the tray, in a case, or in a case on a server that was restarted.
"""

import hashlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial

import streamlit as st

from core.cases.cells import open_cells, pack, rows_in
from core.cases.decided import decided_rows
from core.cases.store import CaseImage, Cases, check_room
from core.domain.errors import CoreError, ImageError, StoreError
from core.domain.settings import load_settings
from core.domain.types import GivenScale
from core.image.imaging import base_name
from core.pipeline import ReceivedImage, at_scale
from core.segmentation.field_of_view import nearest_the_middle
from core.store import outline_log
from core.support.text import encodable
from pages._ui.common import model_in_use
from pages._ui.common.cases import own_cases
from pages._ui.common.state import (
    ANALYSIS,
    CELL_CHOSEN,
    CELL_CLICKS,
    CHOSEN,
    FIELD,
    SCALE,
    SCALE_OF_IMAGE,
    TRAY,
    AnalysedField,
    Chosen,
    Tray,
    TrayImage,
)
from pages._ui.common.widgets import SCALE_FIELD, let_go_of_upload, scale_in_field, take_scale


def take(images: Sequence[Chosen], scale: GivenScale | None) -> bool:
    """Take images into the tray; False where a single one is to be shown as such.

    `scale` is one that the images have of themselves; without, that in the field holds for them, unless it belongs to
    the image before.
    """
    tray = TRAY.get()
    there = tray is not None
    if tray is None:
        if len({chosen.data for chosen in images}) < 2:
            return False
        shown = CHOSEN.get()
        tray = _begun() if shown is not None and any(one.data == shown.data for one in images) else Tray()
        TRAY.set(tray)
    _take_scale_from_field()
    settle()
    scale, first, tray.problem = scale or _scale_for_others(), len(tray.images), ""
    for chosen in images:
        try:
            if not _added(tray, chosen, scale) and there:
                tray.problem = f"{chosen.name} is there already."
        except CoreError as error:
            tray.problem = f"{error}."
            break
    tray.at = min(first, len(tray.images) - 1)
    return True


def begin_with_single() -> Tray:
    """The tray; where there is none yet, one with the single image that is shown."""
    tray = TRAY.get()
    if tray is None:
        tray = _begun()
        TRAY.set(tray)
        let_go_of_upload()
        settle()
    return tray


def go(at: int) -> None:
    """Show another image of the tray."""
    tray = TRAY.get()
    if tray is not None and 0 <= at < len(tray.images):
        _take_scale_from_field()
        settle()
        tray.at, tray.problem = at, ""


def ways() -> tuple[str, Callable[[], None] | None, Callable[[], None] | None]:
    """Where the shown image lies in the tray, in words, and the ways to the next one and the one before."""
    tray = TRAY.get()
    if tray is None or len(tray.images) < 2:
        return "", None, None
    after = partial(go, tray.at + 1) if tray.at + 1 < len(tray.images) else None
    return f"{tray.at + 1} of {len(tray.images)}", after, partial(go, tray.at - 1) if tray.at else None


def load() -> None:
    """Let the shown image of the tray be the one that the page works on; before any widget is made."""
    tray = TRAY.get()
    if tray is None or not tray.images:
        return
    image = tray.images[tray.at]
    if tray.shown == image.record.sha256:
        return
    tray.shown = image.record.sha256
    ANALYSIS.clear()
    FIELD.clear()
    CHOSEN.clear()
    _show_scale(image.record)
    try:
        data, cells = content(tray, image)
        if data is not None:
            CHOSEN.set(Chosen(image.record.name, data, image.record.example))
        if cells is not None:
            opened = open_cells(cells, data, image.record.name)
            if opened.cells[0].place is not None:
                FIELD.set(AnalysedField(opened.image, opened.cells))
                CELL_CHOSEN.set(min(image.record.chosen, len(opened.cells)))
                CELL_CLICKS.set((CELL_CLICKS.get() or 0) + 1)
            else:
                ANALYSIS.set(opened.cells[0])
            stated, scale = opened.image.file_scale, image.record.scale
            if stated is not None and scale is not None and stated.um_per_px == scale.um_per_px:
                SCALE_OF_IMAGE.set(scale.um_per_px)
    except CoreError as error:
        tray.problem = str(error)
    tray.settled = _state()


def settle() -> None:
    """Put away what was done with the shown image, and save it where a case keeps it."""
    tray = TRAY.get()
    image = tray and next((one for one in tray.images if one.record.sha256 == tray.shown), None)
    if not tray or not image or (state := _state()) == tray.settled:
        return
    tray.settled = state
    scale, field = SCALE.get(), FIELD.get()
    measured = field.cells if field is not None else (single,) if (single := ANALYSIS.get()) is not None else ()
    record = replace(image.record, scale=scale, chosen=CELL_CHOSEN.get() or 1 if field is not None else 1)
    try:
        if measured:
            _, before = content(tray, image)
            _put_away(tray, image, record, pack([at_scale(cell, scale) for cell in measured], scale, before))
        else:
            _save(tray, image, record)
    except CoreError as error:
        tray.problem = f"Not saved: {error}"


def content(tray: Tray, image: TrayImage) -> tuple[bytes | None, bytes | None]:
    """File and packed cells of an image, from the disk where a case keeps them; raises StoreError."""
    data, cells = image.data, image.cells
    if tray.case is not None and (cases := own_cases()) is not None:
        # Another window may have measured it anew.
        kept = cases.open(tray.case.id).image(image.record.sha256) or image.record
        data = cases.original(tray.case.id, kept) if data is None else data
        cells = cases.cells(tray.case.id, kept) if cells is None else cells
    return data, cells


def measure_rest(line: st.delta_generator.DeltaGenerator) -> None:
    """Measure every image that nobody tried yet, one after the other; what cannot be measured says why and stays."""
    tray = TRAY.get()
    waiting = [image for image in tray.images if is_waiting(image.record)] if tray is not None else []
    assert tray is not None
    for number, image in enumerate(waiting):
        text = f"Measuring {number + 1} of {len(waiting)}"
        line.progress(number / len(waiting), text=text)

        def tell(_doing: str, share: float, number: int = number, text: str = text) -> None:
            line.progress((number + share) / len(waiting), text=text)

        try:
            data, _ = content(tray, image)
        except StoreError as error:
            _save(tray, image, replace(image.record, problem=str(error)))
            continue
        if data is None:
            continue
        try:
            _measure(tray, image, data, tell)
        except ImageError as error:
            _save(tray, image, replace(image.record, problem=str(error)))
        if image.record.sha256 == tray.shown:
            tray.shown = ""  # it is opened anew


def _measure(tray: Tray, image: TrayImage, data: bytes, tell: Callable[..., None]) -> None:
    whole, analyses = model_in_use.analysed(ReceivedImage(data, image.record.name, image.record.scale), tell)
    places = [one.place for one in analyses if one.place]
    chosen = 1 + nearest_the_middle(places, whole.shape) if places else 1
    _put_away(tray, image, replace(image.record, problem="", chosen=chosen), pack(analyses, image.record.scale))


def failed(problem: str) -> None:
    """Say why the shown image could not be measured."""
    tray = TRAY.get()
    if tray is not None and tray.images:
        _save(tray, tray.images[tray.at], replace(tray.images[tray.at].record, problem=problem))


def measured() -> None:
    """Put away the image that was measured a moment ago."""
    tray = TRAY.get()
    if tray is not None and tray.images:
        image = tray.images[tray.at]
        image.record = replace(image.record, problem="")
        settle()


def note(words: str, seen: CaseImage) -> None:
    """Keep what a person wrote of an image; `seen` is what was shown of it. Raises CoreError."""
    tray = TRAY.get()
    image = tray and next((one for one in tray.images if one.record.sha256 == seen.sha256), None)
    if tray and image:
        _save(tray, image, replace(image.record, notes=words), seen_notes=seen.notes)


def drop() -> None:
    """Take the shown image out of the tray, and of the case."""
    tray = TRAY.get()
    if tray is None:
        return
    image = tray.images[tray.at]
    try:
        if tray.case is not None and (cases := own_cases()) is not None:
            tray.case = cases.drop(tray.case.id, image.record.sha256)
    except CoreError as error:
        tray.problem = str(error)
        return
    tray.images.remove(image)
    tray.at, tray.shown = max(0, min(tray.at, len(tray.images) - 1)), ""
    if not tray.images:
        _clear_image()
        if tray.case is None:
            TRAY.clear()


def scale_for_all() -> None:
    """Give every image of the tray the scale of the one that is shown."""
    tray, scale = TRAY.get(), SCALE.get()
    if tray is None:
        return
    SCALE_OF_IMAGE.clear()
    for image in tray.images:
        if image.record.scale == scale:
            continue
        try:
            data, cells = content(tray, image)
            record = replace(image.record, scale=scale)
            if cells is None:
                _save(tray, image, record)
            else:
                opened = open_cells(cells, data, record.name)
                _put_away(tray, image, record, pack([at_scale(one, scale) for one in opened.cells], scale, cells))
        except CoreError as error:
            tray.problem = str(error)


def keep(title: str, notes: str) -> None:
    """Keep all images as a case from now on; raises CoreError."""
    tray, cases = begin_with_single(), own_cases()
    if cases is None:
        return
    settle()
    case = cases.create(title, notes)
    try:
        for image in tray.images:
            case = cases.put(case.id, image.record, image.data, image.cells, seen_notes="")
    except CoreError:
        with suppress(CoreError):
            cases.delete(case.id)
        raise
    tray.case = case
    for image in tray.images:
        image.data = image.cells = None


def open_case(cases: Cases, name: str) -> None:
    """Let the tray be a case; raises StoreError."""
    case = cases.open(name)
    _clear_image()
    TRAY.set(Tray([TrayImage(record) for record in case.images], case=case))


def close() -> None:
    """Empty the page; what a case keeps stays there."""
    TRAY.clear()
    _clear_image()
    let_go_of_upload()


def is_waiting(record: CaseImage) -> bool:
    """Whether nobody tried to measure an image yet."""
    return not record.cells and not record.problem


def _begun() -> Tray:
    """A tray with the image that is shown by itself, if there is one."""
    chosen, tray = CHOSEN.get(), Tray()
    if chosen is not None:
        _added(tray, chosen, SCALE.get())
        tray.shown = tray.images[0].record.sha256
    return tray


def _added(tray: Tray, chosen: Chosen, scale: GivenScale | None) -> bool:
    """Add an image, if it is not there yet; returns whether it was added. Raises UsageError where it is too much."""
    sha256 = hashlib.sha256(chosen.data).hexdigest()
    if any(image.record.sha256 == sha256 for image in tray.images):
        return False
    record = CaseImage(encodable(base_name(chosen.name)), sha256, len(chosen.data), scale, example=chosen.example)
    check_room([image.record for image in tray.images], record)
    image = TrayImage(record, chosen.data)
    _save(tray, image, record)
    tray.images.append(image)
    return True


def _put_away(tray: Tray, image: TrayImage, record: CaseImage, cells: bytes) -> None:
    rows = decided_rows(load_settings().cohort, rows_in(cells))
    flagged = sum(not row["quality_ok"] for row in rows)
    image.cells = cells
    _save(tray, image, replace(record, cells=len(rows), flagged=flagged))


def _save(tray: Tray, image: TrayImage, record: CaseImage, *, seen_notes: str | None = None) -> None:
    if tray.case is None or (cases := own_cases()) is None:
        image.record = record
        return
    tray.case = cases.put(tray.case.id, record, image.data, image.cells, seen_notes=seen_notes)
    image.record = tray.case.image(record.sha256) or record
    image.data = image.cells = None


def _state() -> tuple[object, ...]:
    """Changes when what is shown of an image, or what was decided of it, does."""
    field = FIELD.get()
    decided = outline_log.revision([load_settings().cohort])
    return ANALYSIS.get(), field, SCALE.get(), CELL_CHOSEN.get() if field is not None else None, decided


def _take_scale_from_field() -> None:
    if (scale := scale_in_field(SCALE_FIELD)) is None:
        SCALE.clear()
    else:
        SCALE.set(scale)


def _scale_for_others() -> GivenScale | None:
    """The scale in use, unless only the shown image has it."""
    scale, own = SCALE.get(), SCALE_OF_IMAGE.get()
    return None if scale is not None and own is not None and abs(scale.um_per_px - own) < 1e-12 else scale


def _show_scale(record: CaseImage) -> None:
    scale = record.scale
    SCALE_OF_IMAGE.clear()
    if scale is None:
        st.session_state[SCALE_FIELD] = None
        SCALE.clear()
    else:
        take_scale(SCALE_FIELD, scale)
        SCALE.set(scale)
        if record.example or scale.source != "given":
            SCALE_OF_IMAGE.set(scale.um_per_px)


def _clear_image() -> None:
    for kept in (CHOSEN, ANALYSIS, FIELD, SCALE_OF_IMAGE):
        kept.clear()

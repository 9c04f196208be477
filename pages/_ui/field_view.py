"""A field on the single-cell page: its numbered cells, the choice of one, and what can be taken away of all."""

import math
from dataclasses import replace
from datetime import datetime
from typing import Final

import streamlit as st

from core import pipeline
from core.charts.overlay import field_png, field_svg
from core.fields import composed
from core.imaging import encode_png
from core.masks import encode_grey
from core.report import analyses_table, file_name
from core.store.export import to_csv
from core.types import CellAnalysis, LabelMap, Place
from pages._ui import resources
from pages._ui.cell_view import download
from pages._ui.state import SCALE, Field
from pages._ui.viewer import field_viewer

_NUMBER: Final = "single_cell_number"


def open_field(field: Field) -> None:
    """Let the choice fall on the cell nearest the middle of a new field."""
    height, width = field.image.shape

    def off_centre(place: Place) -> float:
        return math.hypot(place.left + place.width / 2 - width / 2, place.top + place.height / 2 - height / 2)

    _choose(1 + min(range(len(field.cells)), key=lambda index: off_centre(_places(field)[index][0])))


def _choose(number: int) -> None:
    st.session_state[_NUMBER] = number


def _places(field: Field) -> list[tuple[Place, LabelMap]]:
    return [(cell.place, cell.segmentation.labels) for cell in field.cells if cell.place]


def measured(field: Field, index: int) -> CellAnalysis:
    """The analysis of one cell of a field; measured when it is first asked for, outlined only once."""
    if index not in field.measured:
        field.measured[index] = pipeline.measure(field.cells[index], resources.segmenter())
    analysis = field.measured[index]
    return replace(analysis, image=replace(analysis.image, um_per_px=SCALE.get()))


def show_field(field: Field) -> CellAnalysis:
    """Show the field with its numbered cells and let the person choose one, by a click or its number; returns that one's analysis."""
    image = replace(field.image, um_per_px=SCALE.get())
    if image.um_per_px not in field.pictures:
        field.pictures[image.um_per_px] = field_svg(image, _places(field))
    left, right = st.columns([1.9, 1.1], gap="medium")
    with right:
        count = len(field.cells)
        st.markdown("#### One cell in this field" if count == 1 else f"#### {count} cells in this field")
        number = st.number_input("Cell", 1, count, key=_NUMBER, persist_state="session", disabled=count == 1)
        st.caption("All that follows is about this cell. Cells cut by the edge of the field are outlined too, and say so.")
        _downloads(field)
    with left:
        field_viewer(field.pictures[image.um_per_px], number, _choose, key=f"field-{image.sha256[:16]}-{image.um_per_px}")
    return measured(field, number - 1)


def _downloads(field: Field) -> None:
    now = datetime.now().astimezone()
    name, places = field.image.name, _places(field)

    def table() -> bytes:
        return to_csv(analyses_table(measured(field, index) for index in range(len(field.cells))))

    with st.container(horizontal=True, gap="small", key="field_downloads"):
        download("All cells (CSV)", table, file_name(name, now, "csv", "cells"), ":material/table:", "One row per cell, with every feature")
        download(
            "Field mask",
            lambda: encode_png(encode_grey(composed(field.image.shape, places)[0])),
            file_name(name, now, "png", "field_mask"),
            ":material/contrast:",
            "All cells in one mask: 255 nucleus, 170 cytoplasm, 85 surroundings, 0 background",
        )
        download(
            "Numbered cells",
            lambda: field_png(replace(field.image, um_per_px=SCALE.get()), places),
            file_name(name, now, "png", "field"),
            ":material/image:",
            "The field with its outlines and numbers",
        )

"""A field on the single-cell page: its numbered cells, the choice of one, and downloads of all."""

from collections.abc import Sequence
from functools import partial
from pathlib import PurePath
from typing import Final

import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from core.charts.field_map import MappedCell, field_map_svg
from core.charts.overlay import field_png, field_svg
from core.domain.flags import LEFT_OUT, quality_word
from core.domain.options import Units
from core.domain.types import BoundingBox, CellAnalysis, CellImage, LabelMap
from core.exchange.cells import of_analyses
from core.features.catalogue import CATALOGUE
from core.image.archives import pack
from core.image.imaging import rescaled
from core.pipeline import at_scale
from core.reports.masks import mask_files
from core.reports.tables import analyses_table
from core.segmentation.field_of_view import nearest_the_middle
from core.store.export import in_units, to_csv
from core.store.outline_log import mask_sha256
from core.support import text
from pages._ui.common.downloads import file_name
from pages._ui.common.exchange import offer_exchange
from pages._ui.common.state import CELL_CHOSEN, CELL_CLICKS, SCALE, AnalysedField
from pages._ui.components.viewer.viewer import field_viewer
from pages._ui.single_cell.cell_view import download
from pages._ui.single_cell.outline import decided_cells

_AREAS: Final = ("cell_shape2D_PixelSurface", "nucleus_shape2D_PixelSurface")
_NUCLEAR_SHARE: Final = "combined_PixelSurface"
_ROW_PX: Final = 35
_MOST_ROWS: Final = 5  # the chosen cell's numbers stand below them, in view on a laptop


def open_field(field: AnalysedField) -> None:
    """Choose the cell nearest the middle of a new field."""
    places = [place for place, _ in _places(field.cells)]
    _click(1 + nearest_the_middle(places, field.image.shape))


def _click(number: int) -> None:
    """Choose a cell from outside the list, which is then made anew with that row marked."""
    CELL_CHOSEN.set(number)
    CELL_CLICKS.set((CELL_CLICKS.get() or 0) + 1)


def _places(cells: Sequence[CellAnalysis]) -> list[tuple[BoundingBox, LabelMap]]:
    return [(cell.place, cell.segmentation.labels) for cell in cells if cell.place]


def show_field(field: AnalysedField) -> tuple[CellAnalysis, DeltaGenerator]:
    """Show the field with its numbered cells, to be chosen in picture or list.

    Returns the chosen one's analysis, and the room below the list for its numbers.
    """
    # Features are kept in pixels, so a new scale needs no new outlines.
    scale = SCALE.get()
    image = rescaled(field.image, scale)
    model = [at_scale(cell, scale) for cell in field.cells]
    cells = decided_cells(model)
    drawn = scale, *((cell.cell_index, mask_sha256(cell.segmentation.labels)) for cell in cells if cell.base)
    if drawn not in field.pictures:
        field.pictures[drawn] = field_svg(image, _places(cells))
    key = f"field-{image.sha256[:16]}-{image.um_per_px}"
    left, right = st.columns([1.9, 1.1], gap="medium")
    with right:
        left_out = sum(not cell.quality_ok for cell in cells)
        st.markdown(
            f"#### {len(cells)} {'cell' if len(cells) == 1 else 'cells'} in this field"
            + (f", {left_out} {LEFT_OUT}" if left_out else "")
        )
        number = _choose_in_list(cells, f"{key}-{CELL_CLICKS.get()}")
        room = st.container()
    with left:
        field_viewer(field.pictures[drawn], number, _click, key=f"{key}-{hash(drawn)}")
        _downloads(image, cells)
    return model[number - 1], room


def _choose_in_list(cells: Sequence[CellAnalysis], key: str) -> int:
    """The cells in a table with one row marked; returns its number."""
    # The mark is kept by position, so the key must change with the cells.
    chosen = st.dataframe(
        _table(cells),
        key=key,
        hide_index=True,
        height=_ROW_PX * (1 + min(len(cells), _MOST_ROWS)) + 3,
        on_select="rerun",
        selection_mode="single-row-required",
        selection_default={"selection": {"rows": [(CELL_CHOSEN.get() or 1) - 1]}},
        column_config={
            "Cell": st.column_config.NumberColumn(width=50),
            "N:C": st.column_config.NumberColumn(format="%.2f", help=CATALOGUE[_NUCLEAR_SHARE].description),
            "Certainty": st.column_config.NumberColumn(
                format="%.2f", help="Dice that a careful drawing would probably reach with the outline, 0 to 1"
            ),
            "Quality": st.column_config.TextColumn(help=f"Why a cell is {LEFT_OUT} stands below its picture"),
        },
    )
    (row,) = chosen.selection.rows
    CELL_CHOSEN.set(row + 1)
    return row + 1


def _table(cells: Sequence[CellAnalysis]) -> pd.DataFrame:
    """The list of cells: numbers as in the picture, areas, and certainty."""
    scale = cells[0].image.um_per_px

    def value(cell: CellAnalysis, feature: str) -> float | None:
        measured = cell.features.values[feature]
        return measured if measured is None or scale is None else CATALOGUE[feature].in_um(measured, scale)

    rows = {
        "Cell": [cell.cell_index + 1 for cell in cells],
        "N:C": [value(cell, _NUCLEAR_SHARE) for cell in cells],
        "Quality": [quality_word(good=cell.quality_ok) for cell in cells],
        **{
            f"{feature.partition('_')[0].capitalize()} {'px²' if scale is None else 'µm²'}": [
                value(cell, feature) for cell in cells
            ]
            for feature in _AREAS
        },
        "Certainty": [cell.certainty for cell in cells],
    }
    return pd.DataFrame(rows).round({name: 0 for name in rows if name.endswith("²")})


def _table_file(cells: Sequence[CellAnalysis], units: Units) -> bytes:
    return to_csv(in_units(analyses_table(cells), units))


def _mapped(cells: Sequence[CellAnalysis]) -> list[MappedCell]:
    return [
        MappedCell(cell.cell_index + 1, cell.place, cell.segmentation.labels, good=cell.quality_ok)
        for cell in cells
        if cell.place
    ]


def _downloads(field: CellImage, cells: Sequence[CellAnalysis]) -> None:
    name, shape = field.name, field.shape
    with st.container(horizontal=True, gap="small", key="field_downloads"):
        for units in Units if cells[0].image.um_per_px is not None else (Units.PIXELS,):
            in_um = units is Units.MICROMETRES
            download(
                f"All cells (CSV{', µm' if in_um else ''})",
                partial(_table_file, cells, units),
                file_name(name, "csv", "cells_um" if in_um else "cells"),
                ":material/table:",
                "One row per cell: its number, its place in the field, and every feature, sizes in"
                f" {'µm' if in_um else 'pixels'}",
            )
        download(
            "All masks (ZIP)",
            lambda: pack(mask_files(text.file_name(PurePath(name).stem, "image"), shape, cells)),
            file_name(name, "zip", "masks"),
            ":material/contrast:",
            "All cells in one mask (255 nucleus, 170 cytoplasm, 85 surroundings, 0 background), and a 16-bit image of"
            " their numbers",
        )
        download(
            "Numbered cells (PNG)",
            lambda: field_png(field, _places(cells)),
            file_name(name, "png", "field"),
            ":material/image:",
            "The field with its outlines and numbers",
        )
        download(
            "Map (SVG)",
            lambda: field_map_svg(field, _mapped(cells)).encode(),
            file_name(name, "svg", "map"),
            ":material/map:",
            "The field with its cells by type and quality, and a legend",
        )
        scaled = cells[0].image.um_per_px is not None
        offer_exchange("field", name, len(cells), lambda: of_analyses(name, cells), scaled=scaled)

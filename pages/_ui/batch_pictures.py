"""Cells of a run in small: drawn once, then kept for whoever looks at them."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import streamlit as st

from core.batch.jobs import Job
from core.batch.review import MeasuredCell, Review, mask, picture
from core.batch.settings import Seen
from core.charts.overlay import outer_outline
from core.charts.thumbnail import thumbnail_svg
from core.compartments import Compartment
from core.types import CellImage
from pages._ui.gallery import Item


def review_of(job: Job) -> Review:
    """The results of a run; raises StoreError."""
    return _review(str(job.results), str(job.source), Review.revision(job.results))


@st.cache_resource(show_spinner=False, max_entries=16)
def _review(results: str, source: str, revision: str) -> Review:  # noqa: ARG001 - the key: read anew when there are more cells
    return Review(Path(results), Path(source))


def newest(job: Job, seen: Sequence[Seen]) -> list[Item]:
    """Images that were measured a moment ago, newest first."""
    items = []
    for image in seen:
        said = f"{image.cells} cells" if image.cells > 1 else f"{image.confidence:.2f}" if image.confidence is not None else "no cell"
        items.append(_item(image.image_path, _image_svg(str(job.results), str(job.source), image.image_path), said, image.image_path))
    return items


def pictures(job: Job, cells: Sequence[MeasuredCell]) -> list[Item]:
    """Cells in the order given, each with its certainty; flagged ones are marked."""
    items = []
    for cell in cells:
        svg = _cell_svg(str(job.results), str(job.source), cell.image_sha256, cell.key, cell)
        hint = f"{cell.image_path}, cell {cell.cell_index + 1}" if cell.place else cell.image_path
        items.append(_item(cell.key, svg, f"{cell.confidence:.2f}", hint, flagged=not cell.quality_ok))
    return items


def _item(key: str, svg: str, said: str, hint: str, *, flagged: bool = False) -> Item:
    return Item(key, svg, f"{said}  {PurePosixPath(hint).name}", hint, flagged)


@st.cache_data(show_spinner=False, max_entries=500)
def _image_svg(results: str, source: str, image_path: str) -> str:
    """The whole image with all its outlines."""
    labels, image = mask(Path(results), image_path), picture(Path(source), image_path)
    if labels is None:
        return "" if image is None else thumbnail_svg({}, image.shape, image.rgb)
    outlines = {compartment: outer_outline(labels, compartment) for compartment in (Compartment.CYTOPLASM, Compartment.NUCLEUS)}
    fits = image is not None and image.shape == labels.shape
    return thumbnail_svg(outlines, labels.shape, image.rgb if image is not None and fits else None)


@st.cache_data(show_spinner=False, max_entries=2000)
def _cell_svg(results: str, source: str, sha256: str, key: str, _cell: MeasuredCell) -> str:  # noqa: ARG001 - the key
    image = _picture(source, _cell.image_path, sha256)
    return thumbnail_svg(_cell.outlines, _cell.shape, _cell.cut_out(image).rgb if image is not None else None)


# Cells of one field often follow each other; a field is too large to keep many.
@st.cache_resource(show_spinner=False, max_entries=2)
def _picture(source: str, image_path: str, sha256: str) -> CellImage | None:
    return picture(Path(source), image_path, sha256)

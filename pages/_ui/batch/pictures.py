"""Cells of a run in small: drawn once, then kept for whoever looks at them."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import streamlit as st

from core.batch.jobs import Job
from core.batch.review import MeasuredCell, Review, newest_cells, picture
from core.charts.thumbnail import thumbnail_svg
from core.domain.types import CellImage
from pages._ui.components.gallery.gallery import Item


def review_of(job: Job) -> Review:
    """The results of a run; raises StoreError."""
    return _review(str(job.results), str(job.source), Review.revision(job.results))


@st.cache_resource(show_spinner=False, max_entries=16)
def _review(results: str, source: str, revision: str) -> Review:  # noqa: ARG001 - the key: read anew when there are more cells
    return Review(Path(results), Path(source))


def newest(job: Job, limit: int) -> list[Item]:
    """The cells measured last, newest first."""
    return pictures(job, _newest(str(job.results), Review.revision(job.results), limit))


@st.cache_resource(show_spinner=False, max_entries=16)
def _newest(results: str, shards: str, limit: int) -> list[MeasuredCell]:  # noqa: ARG001 - the key: read anew when there are more
    return newest_cells(Path(results), limit)


def pictures(job: Job, cells: Sequence[MeasuredCell]) -> list[Item]:
    """Cells in the order given, each with its certainty; flagged ones are marked."""
    items = []
    for cell in cells:
        svg = _cell_svg(str(job.results), str(job.source), cell.image_sha256, cell.key, cell)
        hint = f"{cell.image_path}, cell {cell.cell_index + 1}" if cell.place else cell.image_path
        words = f"{cell.confidence:.2f}  {PurePosixPath(hint).name}"
        items.append(Item(cell.key, svg, words, hint, flagged=not cell.quality_ok))
    return items


@st.cache_data(show_spinner=False, max_entries=2000)
def _cell_svg(results: str, source: str, sha256: str, key: str, _cell: MeasuredCell) -> str:  # noqa: ARG001 - the key
    image = _picture(source, _cell.image_path, sha256)
    return thumbnail_svg(_cell.outlines, _cell.shape, _cell.cut_out(image).rgb if image is not None else None)


# Cells of one field often follow each other; a field is too large to keep many.
@st.cache_resource(show_spinner=False, max_entries=2)
def _picture(source: str, image_path: str, sha256: str) -> CellImage | None:
    return picture(Path(source), image_path, sha256)

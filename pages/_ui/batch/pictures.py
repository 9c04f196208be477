"""Thumbnails of a run's cells: drawn once, then kept for everyone."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from core.batch.jobs import Job
from core.batch.review import MeasuredCell, Review, newest_cells, picture
from core.charts.thumbnail import thumbnail_svg
from core.domain.types import CellImage
from pages._ui.common.caching import cached
from pages._ui.components.gallery.gallery import Item


def _shards(job: Job, *more: object) -> object:
    """Changes when more cells are measured."""
    return str(job.results), str(job.source), Review.revision(job.results), more


@cached("resource", max_entries=16, key=_shards)
def review_of(job: Job) -> Review:
    """The results of a run; raises StoreError."""
    return Review(job.results, job.source)


def newest(job: Job, limit: int) -> list[Item]:
    """The cells measured last, newest first."""
    return pictures(job, _newest(job, limit))


@cached("resource", max_entries=16, key=_shards)
def _newest(job: Job, limit: int) -> list[MeasuredCell]:
    return newest_cells(job.results, limit)


def pictures(job: Job, cells: Sequence[MeasuredCell]) -> list[Item]:
    """Cells in the order given, each with its certainty; flagged ones are marked."""
    items = []
    for cell in cells:
        hint = f"{cell.image_path}, cell {cell.cell_index + 1}" if cell.place else cell.image_path
        words = f"{cell.certainty:.2f}  {PurePosixPath(hint).name}"
        items.append(Item(cell.key, _cell_svg(job, cell), words, hint, flagged=not cell.quality_ok))
    return items


@cached(
    "data", max_entries=2000, key=lambda job, cell: (str(job.results), str(job.source), cell.image_sha256, cell.key)
)
def _cell_svg(job: Job, cell: MeasuredCell) -> str:
    image = _picture(job.source, cell.image_path, cell.image_sha256)
    return thumbnail_svg(cell.outlines, cell.shape, cell.cut_out(image).rgb if image is not None else None)


# Cells of one field often follow each other; a field is too large to keep many.
@cached("resource", max_entries=2, key=lambda source, *image: (str(source), image))
def _picture(source: Path, image_path: str, sha256: str) -> CellImage | None:
    return picture(source, image_path, sha256)

"""Thumbnails of a run's cells: drawn once, then kept for everyone."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from core.batch.jobs import Job
from core.batch.review import MeasuredCell, Order, Review, newest_cells, picture
from core.charts.thumbnail import thumbnail_svg
from core.corrections.opening import OpenCell
from core.domain.errors import StoreError
from core.domain.settings import load_settings
from core.domain.types import CellImage, GivenScale
from core.store import outline_log
from pages._ui.common.caching import cached
from pages._ui.components.gallery.gallery import Item


def _shards(job: Job, *more: object) -> object:
    """Changes when more cells are measured."""
    return str(job.results), str(job.source), Review.revision(job.results), more


def _shards_and_decisions(job: Job) -> object:
    """Changes when more cells are measured, or somebody decides on one."""
    return _shards(job, outline_log.revision([load_settings().cohort]))


@cached("resource", max_entries=16, key=_shards_and_decisions)
def review_of(job: Job) -> Review:
    """The results of a run with what people decided of its cells; raises StoreError."""
    return as_drawn(job).decided_by(load_settings().cohort)


@cached("resource", max_entries=8, key=_shards)
def as_drawn(job: Job) -> Review:
    """The results of a run as the model drew them; raises StoreError."""
    return Review(job.results, job.source)


def scale_of(job: Job, review: Review) -> GivenScale | None:
    """The scale of a run; one that was chosen by name with how it is known, which the run itself is not told."""
    asked = job.request.um_per_px
    if isinstance(asked, GivenScale) and asked.origin and review.laid_scale is None:
        return asked
    return review.scale


@cached("resource", max_entries=8, key=_shards)
def in_order(job: Job) -> list[tuple[str, str]]:
    """Keys and names of all cells, the least certain first: by the model, so that the order stays while one decides."""
    return as_drawn(job).listed(Order.LEAST_CERTAIN)


@cached("resource", max_entries=4, key=_shards)
def opened(job: Job, key: str) -> OpenCell:
    """A cell for correction; raises StoreError."""
    cell = as_drawn(job).cell(key)
    if cell is None:
        msg = "the cell is not there any more; the run was measured again meanwhile"
        raise StoreError(msg)
    return as_drawn(job).opened(cell)


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
        known = cell.status or ("" if cell.certainty is None else f"{cell.certainty:.2f}")
        words = f"{known}  {PurePosixPath(hint).name}"
        items.append(Item(cell.key, _cell_svg(job, cell), words, hint, flagged=not cell.quality_ok))
    return items


@cached(
    "data",
    max_entries=2000,
    key=lambda job, cell: (str(job.results), str(job.source), cell.image_sha256, cell.key, cell.drawing),
)
def _cell_svg(job: Job, cell: MeasuredCell) -> str:
    image = _picture(job.source, cell.image_path, cell.image_sha256)
    return thumbnail_svg(cell.outlines, cell.shape, cell.cut_out(image).rgb if image is not None else None)


# Cells of one field often follow each other; a field is too large to keep many.
@cached("resource", max_entries=2, key=lambda source, *image: (str(source), image))
def _picture(source: Path, image_path: str, sha256: str) -> CellImage | None:
    return picture(source, image_path, sha256)

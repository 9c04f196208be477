"""The use case in a few lines: image -> label map -> features -> flags, with the versions that made them."""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from core.domain.compartments import Compartment
from core.domain.errors import CoreError, ImageError
from core.domain.flags import OUTLINE_CORRECTED, SMUDGE_CELL, TOO_SMALL, raised
from core.domain.objects import FoundObject, ObjectKind, RedCells, red_cells_of
from core.domain.options import CellChoice, Device, FeatureEngine
from core.domain.settings import load_settings
from core.domain.types import (
    BoundingBox,
    CellAnalysis,
    CellImage,
    DrawnBy,
    LabelMap,
    QualityFlag,
    Segmentation,
    StainFactors,
)
from core.domain.versions import MODEL_FILE, software_versions
from core.features.extract import extract
from core.image.depth import NOT_ASKED, Depths
from core.image.file_scale import Scale
from core.image.imaging import decode, load, rescaled
from core.image.masks import cell_mask, islands, with_environment
from core.image.stain import measured_pixels, to_restain
from core.quality.assessment import assess, assess_scale
from core.quality.ruler import RulerAnswer, pooled
from core.segmentation.field_of_view import MOST_CELLS, find_cells
from core.segmentation.model_registry import ModelEntry
from core.segmentation.providers import PROVIDER_NAMES
from core.segmentation.scene import around, is_field, of_kind
from core.segmentation.segmenter import OnnxSegmenter, Segmenter
from core.support import bounded

# Called with what is being done, in words, and the share of all that is done.
Progress = Callable[[str, float], None]
# Images among which red cells are measured for a scale: the pooled median of so many varies by 0.6 % (standard
# deviation), and the localiser looks at them in seconds.
MOST_MEASURED: Final = 200
# Of the time that a cell takes, outlining's share; used for progress only.
_OUTLINING_SHARE: Final = 0.7


@dataclass(frozen=True, eq=False)
class OutlinedCell:
    """A cell of an image, outlined and not yet measured: the image itself, or a cut-out at `place` of a field."""

    image: CellImage
    segmentation: Segmentation
    cell_index: int = 0
    place: BoundingBox | None = None


def outline_cells(
    image: CellImage, segmenter: Segmenter, cells: CellChoice = CellChoice.AUTO, *, progress: Progress | None = None
) -> tuple[OutlinedCell, ...]:
    """The cell that an image was taken of, or all of a field in reading order; by default the image decides.

    Of a field each cell is cut out; the cut-outs share the field's pixels. Where ALL are asked for and there is none,
    none is returned; AUTO then looks for a cell in the middle, as for an image of one.
    """
    return outline_many([image], segmenter, cells, progress=progress)[0]


def outline_many(
    images: Sequence[CellImage],
    segmenter: Segmenter,
    cells: CellChoice = CellChoice.AUTO,
    *,
    progress: Progress | None = None,
) -> list[tuple[OutlinedCell, ...]]:
    """As `outline_cells` for each image; images of one cell go through the network together."""
    tell = progress or (lambda *_: None)
    tell("Looking for cells", 0)
    found = segmenter.find([image.rgb for image in images])
    told = [_told(image, objects) for image, objects in zip(images, found, strict=True)]
    fields = [_field(image, segmenter, objects, cells, tell) for image, objects in zip(told, found, strict=True)]
    single = [number for number, field in enumerate(fields) if field is None]
    if single:
        tell("Outlining nucleus and cytoplasm", 0)
    segmented = segmenter.segment_many([told[number] for number in single], [found[number] for number in single])
    for number, segmentation in zip(single, segmented, strict=True):
        fields[number] = (OutlinedCell(told[number], segmentation),)
    return [field or () for field in fields]


def _told(image: CellImage, objects: Sequence[FoundObject]) -> CellImage:
    """The image with what its red cells say, and a note of the smudge cells in it: they are seen, and left out."""
    image = replace(image, red_cells=red_cells_of(objects) if objects else None)
    count = len(of_kind(objects, ObjectKind.SMUDGE))
    if not count:
        return image
    smudges = "1 smudge cell was" if count == 1 else f"{count:,} smudge cells were"
    return replace(image, notes=(*image.notes, f"{smudges} seen and left out"))


def _field(
    image: CellImage, segmenter: Segmenter, objects: Sequence[FoundObject], cells: CellChoice, tell: Progress
) -> tuple[OutlinedCell, ...] | None:
    """The cells of a field; None where the one in the middle is wanted."""
    if cells is CellChoice.ONE or (cells is CellChoice.AUTO and not is_field(objects, image.shape)):
        return None
    return _cells_of_field(image, segmenter, objects, tell) or (() if cells is CellChoice.ALL else None)


def _cells_of_field(
    image: CellImage, segmenter: Segmenter, objects: Sequence[FoundObject], tell: Progress
) -> tuple[OutlinedCell, ...]:
    def drawn(done: int, total: int) -> None:
        tell(f"Outlining the cells of the field: {done} of {total} done", done / total)

    started = time.perf_counter()
    cells = find_cells(image.rgb, segmenter, objects, drawn)
    each_ms = 1000 * (time.perf_counter() - started) / max(len(cells), 1)
    notes = list(image.notes)
    leukocytes = len(of_kind(objects, ObjectKind.LEUKOCYTE))
    if leukocytes > MOST_CELLS:
        notes.append(
            f"the field has {leukocytes:,} leukocytes, of which only the {MOST_CELLS:,} nearest its middle were"
            " outlined"
        )
    outlined = []
    for index, cell in enumerate(cells):
        place = cell.place
        rgb = image.rgb[place.top : place.top + place.height, place.left : place.left + place.width]
        cut = replace(image, rgb=rgb, notes=tuple(notes), field_shape=image.shape)
        near = tuple(found.moved(-place.left, -place.top) for found in around(objects, cell.found))
        # The other cells of a field are measured on their own, so none counts as left aside.
        segmentation = Segmentation(
            cell.labels,
            cell.confidence,
            0,
            segmenter.card.model_id,
            segmenter.provider,
            each_ms,
            cell.found.moved(-place.left, -place.top),
            near,
        )
        outlined.append(OutlinedCell(cut, segmentation, index, place))
    return tuple(outlined)


def measure(cell: OutlinedCell, segmenter: Segmenter, *, engine: FeatureEngine = FeatureEngine.FAST) -> CellAnalysis:
    """Measure a cell, and check it against what is known of the segmenter that outlined it.

    Stain factors of the image are laid over what is measured; the cell is checked as its picture came.
    """
    try:
        features = extract(measured_pixels(cell.image), cell.segmentation.labels, engine)
        as_it_came = features
        if cell.image.stain is not None and segmenter.knowledge:
            as_it_came = extract(cell.image.rgb, cell.segmentation.labels, engine)
    except ImageError as error:  # which image is known here only
        msg = f"{cell.image.name}: {error}"
        raise ImageError(msg) from error
    judged = segmenter.judge.judged(cell.segmentation) if segmenter.judge else None
    flags = assess(cell.image, cell.segmentation, segmenter.card, as_it_came, segmenter.knowledge, judged)
    file = {MODEL_FILE: segmenter.file_sha256} if segmenter.file_sha256 else {}
    return CellAnalysis(
        cell.image,
        cell.segmentation,
        features,
        flags,
        cell.cell_index,
        cell.place,
        software_versions(engine) | file,
        judged.quality if judged else None,
    )


def remeasured(
    analysis: CellAnalysis,
    labels: LabelMap,
    segmenter: Segmenter,
    keep_out: NDArray[np.bool_] | None = None,
    *,
    engine: FeatureEngine = FeatureEngine.FAST,
) -> CellAnalysis:
    """The same cell with an outline that a person drew, measured as any other; the model's stays in `base`.

    The model's doubts about its own outline do not stay with the cell, and neither do the grades of its features.

    Parameters
    ----------
    analysis
        The cell, with the model's outline or with an earlier correction of it.
    labels
        (H, W) of nucleus, cytoplasm and background; the ring around the cell is drawn anew.
    segmenter
        The model, for what it knows of cells and stains; it outlines nothing.
    keep_out
        Other cells of the field, (H, W), which the ring around the cell leaves out.
    engine
        What computes the features.
    """
    base = analysis.base or analysis.segmentation
    ringed = with_environment(labels, keep_out)
    found = base.found if base.found is not None and _lies_on(base.found, ringed) else None
    drawn = replace(base, labels=ringed, confidence=None, found=found, drawn_by=DrawnBy.PERSON)
    measured = measure(
        OutlinedCell(analysis.image, drawn, analysis.cell_index, analysis.place), segmenter, engine=engine
    )
    flags = [*measured.flags, *_told_by_localiser(analysis, base, ringed), raised(OUTLINE_CORRECTED)]
    if stray := islands(ringed):
        flags.append(raised("several_drawn", objects=f"{stray + 1} separate pieces"))
    return replace(measured, base=base, flags=tuple(sorted(flags, key=lambda flag: not flag.severe)))


def _told_by_localiser(analysis: CellAnalysis, base: Segmentation, labels: LabelMap) -> list[QualityFlag]:
    """Of a cell that was stored, which keeps no objects: what the localiser had said of it, if it is the same cell."""
    if base.found is not None or not (cell_mask(base.labels) & cell_mask(labels)).any():
        return []
    unscaled = analysis.image.um_per_px is None  # else its size is judged anew
    return [flag for flag in analysis.flags if flag.code == SMUDGE_CELL or (flag.code == TOO_SMALL and unscaled)]


def _lies_on(found: FoundObject, labels: LabelMap) -> bool:
    """Whether the middle of what the localiser found lies in the cell: else a person has drawn another one."""
    row, column = (int(at) for at in found.centre)
    height, width = labels.shape
    return 0 <= row < height and 0 <= column < width and bool(labels[row, column] >= Compartment.CYTOPLASM)


def at_scale(analysis: CellAnalysis, um_per_px: Scale) -> CellAnalysis:
    """The analysis with another scale: features are kept in pixels, so only what is said of the scale changes."""
    image = rescaled(analysis.image, um_per_px)
    return replace(analysis, image=image, flags=assess_scale(image, analysis.segmentation, analysis.flags))


def analyse(image: CellImage, segmenter: Segmenter, *, engine: FeatureEngine = FeatureEngine.FAST) -> CellAnalysis:
    """Outline, measure and check the cell nearest the image's centre."""
    return measure(OutlinedCell(image, segmenter.segment(image)), segmenter, engine=engine)


def analyse_cells(
    image: CellImage,
    segmenter: Segmenter,
    cells: CellChoice = CellChoice.AUTO,
    *,
    engine: FeatureEngine = FeatureEngine.FAST,
    progress: Progress | None = None,
) -> tuple[CellAnalysis, ...]:
    """Outline, measure and check the cells of an image, as `outline_cells` chooses them."""

    def tell(doing: str, share: float) -> None:
        if progress:
            progress(doing, share)

    outlined = outline_cells(
        image, segmenter, cells, progress=lambda doing, share: tell(doing, _OUTLINING_SHARE * share)
    )
    analyses = []
    for done, cell in enumerate(outlined):
        of = f" cell {done + 1} of {len(outlined)}" if cell.place else ""
        tell(f"Measuring{of}", _OUTLINING_SHARE + (1 - _OUTLINING_SHARE) * done / len(outlined))
        analyses.append(measure(cell, segmenter, engine=engine))
    return tuple(analyses)


@dataclass(frozen=True)
class AnalysisRequest:
    """One image file to analyse, which of its cells, and the stain factors to measure them with."""

    path: Path
    um_per_px: Scale = None
    cells: CellChoice = CellChoice.AUTO
    engine: FeatureEngine = FeatureEngine.FAST
    depths: Depths = NOT_ASKED
    stain: StainFactors | None = None


@dataclass(frozen=True, eq=False)
class Outcome:
    """The result of a job: its cells and the (H, W) of its image, or the reason in words why there are none.

    `depths` are those with which the image was opened.
    """

    path: Path
    analyses: tuple[CellAnalysis, ...] = ()
    shape: tuple[int, int] = (0, 0)
    reason: str | None = None
    depths: Depths = NOT_ASKED


def run_job(job: AnalysisRequest, segmenter: Segmenter, alive: bounded.Alive = lambda *_: None) -> Outcome:
    """Analyse one file; an image that cannot be used becomes an outcome with its reason, never an exception.

    `alive` is called whenever work on it gets on.
    """
    try:
        image = to_restain(load(job.path, job.um_per_px, job.depths), job.stain)
        cells = analyse_cells(image, segmenter, job.cells, engine=job.engine, progress=alive)
    except CoreError as error:
        return Outcome(job.path, reason=str(error))
    except Exception as error:  # a folder does not end at the image that meets a bug
        if bounded.is_want_of_memory(error):
            raise
        words = f"{job.path.name}: unexpected {type(error).__name__}: {error}; please report it"
        return Outcome(job.path, reason=words)
    reason = None if cells else f"{job.path.name}: no stained leukocyte was found in the field"
    return Outcome(job.path, cells, image.shape, reason, job.depths)


def analyse_many(
    jobs_to_do: Iterable[AnalysisRequest], model: ModelEntry, *, jobs: int = 1, device: Device = Device.AUTO
) -> Iterator[Outcome]:
    """Outcomes in the order of the jobs, computed by `jobs` processes with one session and one thread each.

    With `jobs` 1 it is one process, with as many threads as there are cores. An image that takes more time or memory
    than the settings allow, or ends its process, has that for a reason.
    """
    limits = limits_of_an_image()
    opening = partial(open_bounded, model, device, 1 if jobs > 1 else 0, limits.megabytes)
    return bounded.each(run_job, jobs_to_do, opening, _lost, limits, jobs=jobs)


def _lost(job: AnalysisRequest, what: str) -> Outcome:
    return Outcome(job.path, reason=lost_in_words(job.path.name, what))


# --- what strangers send may take so much -----------------------------------------------------------------------------


def limits_of_an_image() -> bounded.WorkLimits:
    """What one image may take, or one cell of a field, wherever it comes in."""
    settings = load_settings()
    return bounded.WorkLimits(settings.max_seconds, settings.max_memory_mb)


def lost_in_words(name: str, what: str) -> str:
    """Why nothing came of an image that was too much work."""
    return (
        f"{name}: {what}; cut out the cell or scale the image down, or raise LEUKOSCOPE_MAX_SECONDS or"
        " LEUKOSCOPE_MAX_MEMORY_MB"
    )


def open_bounded(model: ModelEntry, device: Device, threads: int, megabytes: int) -> OnnxSegmenter:
    """A session in a process that is limited to so much more memory than it takes to open it."""
    segmenter = OnnxSegmenter.from_entry(model, device, threads)
    # CUDA reserves more address space than there is memory.
    if segmenter.provider == PROVIDER_NAMES["CPUExecutionProvider"]:
        bounded.limit_memory(megabytes, threads=threads or os.cpu_count() or 1)
    return segmenter


def open_warm(model: ModelEntry, megabytes: int) -> OnnxSegmenter:
    """As `open_bounded`, with one cell analysed, so that whoever comes first waits no longer than the others."""
    from core.image.synthetic import draw_cell

    segmenter = open_bounded(model, Device.AUTO, 0, megabytes)
    analyse(draw_cell()[0], segmenter)
    return segmenter


@dataclass(frozen=True)
class ReceivedImage:
    """The content of an image file as it came, and which of its cells to analyse."""

    data: bytes
    name: str
    um_per_px: Scale = None
    cells: CellChoice = CellChoice.AUTO


def analyse_received(
    received: ReceivedImage, segmenter: Segmenter, alive: bounded.Alive
) -> tuple[CellImage, tuple[CellAnalysis, ...]]:
    """A received image decoded, and the analyses of its cells; `alive` is told the progress, as `Progress`."""
    image = decode(received.data, received.name, received.um_per_px)
    return image, analyse_cells(image, segmenter, received.cells, progress=alive)


# --- the ruler --------------------------------------------------------------------------------------------------------


def scale_of_red_cells(
    names: Iterable[str],
    read: Callable[[str], bytes],
    model: ModelEntry,
    *,
    most: int | None = MOST_MEASURED,
    device: Device = Device.AUTO,
    progress: Callable[[int], None] | None = None,
) -> RulerAnswer:
    """The scale that the red cells of images tell together, or why they tell none; nothing is outlined.

    Parameters
    ----------
    names
        The images.
    read
        Gives the bytes of one; one that it or the engine cannot read has no say.
    model
        The model whose localiser looks.
    most
        At most so many images, spread over all of them; None: all.
    progress
        Called with the number of images done.
    """
    some = spread_over(names, most)
    limits = limits_of_an_image()
    opening = partial(open_bounded, model, device, 0, limits.megabytes)
    said = []
    for one in bounded.each(_red_cells_in, _received(some, read), opening, lambda *_: None, limits):
        said.append(one)
        if progress:
            progress(len(said))
    return pooled(said)


def spread_over(names: Iterable[str], most: int | None = MOST_MEASURED) -> list[str]:
    """At most so many of the names, at about equal distances; of very many only some are held in memory."""
    if most is None:
        return list(names)
    kept, step = list[str](), 1
    for number, name in enumerate(names):
        if number % step == 0:
            kept.append(name)
        if len(kept) > 2 * most:
            kept, step = kept[::2], 2 * step
    most = min(most, len(kept))
    return [kept[number * len(kept) // most] for number in range(most)]


def _received(names: Iterable[str], read: Callable[[str], bytes]) -> Iterator[ReceivedImage]:
    for name in names:
        try:
            yield ReceivedImage(read(name), name)
        except (CoreError, OSError):
            yield ReceivedImage(b"", name)


def _red_cells_in(received: ReceivedImage, segmenter: Segmenter, alive: bounded.Alive) -> RedCells | None:
    """What the red cells of an image say; None of one that cannot be opened, or in which nothing is seen."""
    alive("Looking for red cells", 0)
    try:
        (objects,) = segmenter.find([decode(received.data, received.name).rgb])
    except CoreError:
        return None
    return red_cells_of(objects) if objects else None

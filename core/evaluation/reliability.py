"""How far each feature can be trusted when a model draws the outline, measured on its test images, also disturbed."""

import io
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from core.domain.cell_types import CELL_TYPES
from core.domain.compartments import Compartment
from core.domain.errors import CoreError, DataSetError, ModelError
from core.domain.options import Device
from core.domain.types import CellImage, LabelMap, as_label_map
from core.domain.versions import software_versions
from core.evaluation.agreement import Disturbance, FeatureReliability, ReliabilityReport, Subjects, assess, save
from core.evaluation.datasets import DATA_SETS, DataSet, Sample, data_set, drawn_mask, drawn_twice
from core.features.catalogue import CATALOGUE
from core.features.extract import extract
from core.image.imaging import decode, load
from core.image.masks import cell_mask, region_mask, with_environment
from core.image.morphology import bounds
from core.image.stain import absorbance
from core.segmentation.model_registry import ModelEntry, keep_beside
from core.segmentation.segmenter import OnnxSegmenter, Segmenter
from core.support import parallel

Pixels = NDArray[np.uint8]

# A pixel of the rescaled image is 1 / factor pixels of the original.
SCALES: Final = MappingProxyType({Disturbance.SMALLER: 3 / 4, Disturbance.LARGER: 4 / 3})


def _rescaled(rgb: Pixels, factor: float) -> Pixels:
    """Resampled by exactly the factor in both directions; less than a pixel is lost at the right and bottom edges."""
    height, width = (int(factor * side) for side in rgb.shape[:2])
    box = (0, 0, width / factor, height / factor)
    return np.asarray(Image.fromarray(rgb).resize((width, height), Image.Resampling.BICUBIC, box))


def _as_jpeg(rgb: Pixels, quality: int) -> Pixels:
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "JPEG", quality=quality)
    return decode(buffer.getvalue(), "again.jpg").rgb


def _lit(rgb: Pixels, factor: float) -> Pixels:
    return _whole(factor * rgb.astype(np.float32))


def _stained(rgb: Pixels, red: float, green: float, blue: float) -> Pixels:
    """The optical density of each colour times its factor."""
    density = absorbance(rgb) * np.array([red, green, blue], dtype=np.float32)
    return _whole(256 * np.exp(-density) - 1)


def _whole(values: NDArray[np.float32]) -> Pixels:
    return np.asarray(np.clip(np.rint(values), 0, 255), dtype=np.uint8)


# The image is changed and outlined anew.
IMAGES: Final[Mapping[Disturbance, Callable[[Pixels], Pixels]]] = MappingProxyType(
    {
        **{disturbance: partial(_rescaled, factor=factor) for disturbance, factor in SCALES.items()},
        Disturbance.JPEG_75: partial(_as_jpeg, quality=75),
        Disturbance.JPEG_50: partial(_as_jpeg, quality=50),
        Disturbance.DIMMER: partial(_lit, factor=0.9),
        Disturbance.BRIGHTER: partial(_lit, factor=1.1),
        Disturbance.PALER: partial(_stained, red=0.85, green=0.85, blue=0.85),
        Disturbance.DEEPER: partial(_stained, red=1.15, green=1.15, blue=1.15),
        Disturbance.BLUER: partial(_stained, red=1.1, green=1.0, blue=0.9),
    }
)


def _wider(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return np.asarray(ndimage.binary_dilation(mask))


def _narrower(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    # The image's edge is no outline and stays.
    return np.asarray(ndimage.binary_erosion(mask, border_value=1))


# The outlines of nucleus and cell are moved, on the image as it is.
OUTLINES: Final = MappingProxyType({Disturbance.WIDER: _wider, Disturbance.NARROWER: _narrower})


def outlined(labels: LabelMap, move: Callable[[NDArray[np.bool_]], NDArray[np.bool_]]) -> LabelMap:
    """A label map whose nucleus and cell were both changed by `move`, and the ring around them drawn anew."""
    moved = np.where(move(cell_mask(labels)), np.uint8(Compartment.CYTOPLASM), np.uint8(Compartment.BACKGROUND))
    moved[move(region_mask(labels, "nucleus"))] = Compartment.NUCLEUS
    return with_environment(LabelMap(moved))


def disturbed(
    disturbance: Disturbance, image: CellImage, labels: LabelMap, segmenter: Segmenter
) -> tuple[CellImage, LabelMap]:
    """Image and label map after a disturbance; `labels` is the model's undisturbed result for the image."""
    if disturbance in OUTLINES:
        return image, outlined(labels, OUTLINES[disturbance])
    changed = replace(image, rgb=IMAGES[disturbance](image.rgb))
    return changed, with_environment(segmenter.segment(changed).labels)


# --- the images -------------------------------------------------------------------------------------------------------


def _source(sample: Sample) -> str:
    return sample.sample_id.split("/")[0]


def unseen_samples(entry: ModelEntry, own: Sequence[DataSet] = ()) -> list[Sample]:
    """The drawn images that the model's training never saw, by id; `own` are folders that it was trained on.

    Raises
    ------
    ModelError
        If the model has no split beside it.
    DataSetError
        If its images are missing, or the folder is not named that they are in.
    """
    if entry.split is None:
        msg = (
            f"model {entry.model_id} has no split beside it, so its test images are unknown; export it again with"
            " `python -m export`"
        )
        raise ModelError(msg)
    wanted = json.loads(entry.split.read_text(encoding="utf-8"))["test"]
    if not wanted:
        msg = f"model {entry.model_id} was tested on no image, so there is none to measure on; adapt it with more cells"
        raise ModelError(msg)
    sources = {**DATA_SETS, **{source.name: source for source in own}}
    names = sorted({name.split("/")[0] for name in wanted})
    if unknown := [name for name in names if name not in sources]:
        msg = (
            f"{entry.model_id} was tested on images of {', '.join(unknown)}, which no data set is called that the"
            f" program knows; name the folder with --data, such as --data path/to/{unknown[0]}"
        )
        raise DataSetError(msg)
    there = {sample.sample_id: sample for name in names for sample in sources[name].samples()}
    if missing := [name for name in wanted if name not in there]:
        msg = (
            f"{len(missing)} of {len(wanted)} test images of {entry.model_id} are not in LEUKOSCOPE_DATA, first"
            f" {missing[0]}"
        )
        raise DataSetError(msg)
    return sorted((there[name] for name in wanted), key=lambda sample: sample.sample_id)


def drawing(sample: Sample) -> LabelMap:
    """The drawn label map with the ring around the cell; raises DataSetError for a sample without one."""
    return with_environment(drawn_mask(sample).labels)


def drawn_sample(sample_id: str, data_sets: Sequence[str]) -> tuple[CellImage, LabelMap] | None:
    """A cell of one of the data sets and its drawn label map, both cut out; None where neither is on this computer."""
    for name in data_sets:
        with suppress(CoreError):
            for sample in data_set(name).samples():
                if sample.sample_id == sample_id:
                    image, labels = load(sample.image), drawing(sample)
                    cell = bounds(labels > 0)
                    return replace(image, rgb=image.rgb[cell].copy()), as_label_map(labels[cell].copy())
    return None


# --- the measurement --------------------------------------------------------------------------------------------------

_DRAWN: Final = 0
_PREDICTED: Final = 1
_DISTURBED: Final = 2
# A further part of a mask from this share of the largest one's area on is another cell.
_ANOTHER_CELL: Final = 0.1


def _values(image: CellImage, labels: LabelMap, px: float = 1.0) -> NDArray[np.float64]:
    """Every feature of the catalogue, (features,), nan where absent; lengths in units of `px` sides of a pixel."""
    values = extract(image.rgb, labels).values
    return np.array([np.nan if value is None else CATALOGUE[name].in_um(value, px) for name, value in values.items()])


def measure(sample: Sample, segmenter: Segmenter) -> NDArray[np.float64]:
    """Every feature from the drawn outline, the model's, and after each disturbance; (2 + disturbances, features)."""
    image, drawn = load(sample.image), drawing(sample)
    labels = with_environment(segmenter.segment(image).labels)
    rows = [_values(image, drawn), _values(image, labels)]
    rows += [_values(*disturbed(d, image, labels, segmenter), 1 / SCALES.get(d, 1)) for d in Disturbance]
    return np.array(rows)


def _several(drawn: LabelMap) -> bool:
    """Whether a mask shows more than one cell."""
    areas = np.sort(np.bincount(ndimage.label(cell_mask(drawn))[0].ravel())[1:])
    return len(areas) > 1 and bool(areas[-2] >= _ANOTHER_CELL * areas[-1])


def measure_reliability(
    entry: ModelEntry,
    *,
    jobs: int = 1,
    device: Device = Device.AUTO,
    limit: int | None = None,
    own: Sequence[DataSet] = (),
    progress: Callable[[int, int], None] | None = None,
) -> ReliabilityReport:
    """Measure every feature on the model's test images, but for those with several drawn cells.

    There the drawn cell may be another one than that which the model outlines.

    Parameters
    ----------
    entry
        The model; its split names the test images, which are looked for in the data folder.
    jobs
        Processes, one thread each, so that their number does not change a value.
    limit
        At most so many images, evenly out of all.
    own
        Folders of one's own that the model was trained on.
    progress
        Receives the images done and their number.

    Raises
    ------
    ModelError, DataSetError
        As `unseen_samples`; ProviderError as `OnnxSegmenter`.
    """
    samples = [sample for sample in _evenly(unseen_samples(entry, own), limit) if not _several(drawing(sample))]
    cells = _subjects(samples)
    counts = dict(sorted(Counter(cells.sources.tolist()).items()))
    sources = {**DATA_SETS, **{source.name: source for source in own}}
    pairs = drawn_twice(sample for name in counts for sample in sources[name].samples())
    tables = []
    for table in measure_all(samples, entry, jobs, device):
        tables.append(table)
        if progress:
            progress(len(tables), len(samples))
    return ReliabilityReport(
        model_id=entry.model_id,
        model_sha256=entry.sha256,
        created=datetime.now(UTC).date().isoformat(),
        command=f"python -m core reliability --model {entry.model_id}"
        + (f" --limit {limit}" if limit is not None else "")
        + (f" --data {' '.join(source.name for source in own)}" if own else ""),
        cells=counts,
        pairs=tuple((first.sample_id, second.sample_id) for first, second in pairs),
        versions=software_versions(),
        features=_assessed(cells, np.array(tables), _redrawn(pairs)),
    )


def _evenly(samples: list[Sample], limit: int | None) -> list[Sample]:
    """At most so many, evenly out of all."""
    if limit is None or limit >= len(samples):
        return samples
    return [samples[i] for i in np.linspace(0, len(samples) - 1, limit).round().astype(int)]


def _subjects(samples: Sequence[Sample]) -> Subjects:
    return Subjects(
        sources=np.array([_source(sample) for sample in samples]),
        types=np.array([str(sample.cell_type) for sample in samples]),
        mononuclear=np.array([CELL_TYPES[sample.cell_type].mononuclear for sample in samples]),
    )


def _redrawn(pairs: Sequence[tuple[Sample, Sample]]) -> dict[str, NDArray[np.float64]]:
    """Every feature from both drawings of each pair, (pairs, 2, features), by data set."""
    by_source: dict[str, list[NDArray[np.float64]]] = {}
    for first, second in pairs:
        # On one image both times, so that only the drawings differ.
        image = load(first.image)
        by_source.setdefault(_source(first), []).append(np.array([_values(image, drawing(s)) for s in (first, second)]))
    return {source: np.array(values) for source, values in by_source.items()}


def _assessed(
    cells: Subjects, values: NDArray[np.float64], redrawn: Mapping[str, NDArray[np.float64]]
) -> dict[str, FeatureReliability]:
    """Every feature of the catalogue, judged by `values` (images, outlines, features)."""
    return {
        name: assess(
            name,
            cells,
            values[:, _DRAWN, column],
            values[:, _PREDICTED, column],
            {disturbance: values[:, _DISTURBED + row, column] for row, disturbance in enumerate(Disturbance)},
            {source: pairs[:, :, column] for source, pairs in redrawn.items()},
            log_axis=spec.log_axis,
            pixel_bound=spec.pixel_bound,
        )
        for column, (name, spec) in enumerate(CATALOGUE.items())
    }


def measure_all(
    samples: Sequence[Sample], entry: ModelEntry, jobs: int, device: Device
) -> Iterator[NDArray[np.float64]]:
    """`measure` of each sample in order, by `jobs` processes of one thread each."""
    opening = partial(OnnxSegmenter.from_entry, entry, device, threads=1)
    return parallel.each(measure, samples, opening, jobs=jobs)


def store(report: ReliabilityReport, entry: ModelEntry) -> Path:
    """Put the result beside the model and its name and seal into the manifest; returns where it is."""
    path = entry.path.with_name(f"{entry.model_id}.reliability.json")
    save(report, path)
    keep_beside(path.parent, entry.model_id, {"reliability": path.name})
    return path

"""What is done to the images of a batch: decoding, outlining together, measuring one by one, rows and files."""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from core.batch.settings import BatchSettings
from core.batch.tasks import ImageResult, Loaded, Stage
from core.charts.overlay import field_png, outlined_png
from core.domain.cell_types import CellType
from core.domain.errors import CoreError
from core.domain.options import CellChoice, Device, FeatureEngine
from core.domain.types import CellAnalysis, CellImage
from core.exchange.cells import images_of
from core.exchange.qupath import collection
from core.image.imaging import decode, encode_png
from core.image.masks import encode_grey, outlines
from core.image.stain import to_restain
from core.pipeline import OutlinedCell, measure, outline_many
from core.segmentation.field_of_view import composed
from core.segmentation.model_registry import ModelEntry
from core.segmentation.providers import PROVIDER_NAMES
from core.segmentation.segmenter import OnnxSegmenter
from core.store.schema import OUTLINE_REGIONS, CellRow, cell_row

_Done = TypeVar("_Done")


class Analyst:
    """One session of a model and what is wanted of every image."""

    def __init__(self, settings: BatchSettings, model: ModelEntry, created: datetime, device: str) -> None:
        self._settings = settings
        self._created = created
        self._alive: Callable[[], None] = lambda: None
        self._segmenter = OnnxSegmenter.from_entry(model, Device(device), threads=1)
        self.on_gpu: Final = self._segmenter.provider != PROVIDER_NAMES["CPUExecutionProvider"]

    def analyse(self, loaded: Sequence[Loaded], alive: Callable[[], None]) -> list[ImageResult]:
        """A result for every image in their order: the cells, or the stage and the reason of its failure."""
        self._alive = alive
        images = [_tried(one, Stage.DECODE, partial(self._decode, one)) for one in loaded]
        good = [(one, image) for one, image in zip(loaded, images, strict=True) if isinstance(image, CellImage)]
        outlined = iter(self._outline(good))
        return [
            image if isinstance(image, ImageResult) else self._result(one, image, next(outlined))
            for one, image in zip(loaded, images, strict=True)
        ]

    def _decode(self, one: Loaded) -> CellImage:
        image = decode(one.data, one.task.image_path, self._settings.scale, self._settings.depths)
        return to_restain(replace(image, name=one.task.image_path), self._settings.stain)

    def _outline(self, good: Sequence[tuple[Loaded, CellImage]]) -> list[tuple[OutlinedCell, ...] | ImageResult]:
        cells = CellChoice(self._settings.cells)
        if len(good) > 1:
            together = _tried(
                good[0][0], Stage.OUTLINE, partial(self._outline_together, [image for _, image in good], cells)
            )
            if not isinstance(together, ImageResult):
                return list(together)
        # One by one: the only one, or the one that spoils the batch is to be found.
        return [
            _tried(one, Stage.OUTLINE, partial(self._outline_one, image, cells), image.sha256) for one, image in good
        ]

    def _outline_together(self, images: Sequence[CellImage], cells: CellChoice) -> list[tuple[OutlinedCell, ...]]:
        return outline_many(images, self._segmenter, cells, progress=lambda *_: self._alive())

    def _outline_one(self, image: CellImage, cells: CellChoice) -> tuple[OutlinedCell, ...]:
        return self._outline_together([image], cells)[0]

    def _result(self, one: Loaded, image: CellImage, cells: tuple[OutlinedCell, ...] | ImageResult) -> ImageResult:
        if isinstance(cells, ImageResult):
            return cells
        if not cells:
            return one.failed(
                Stage.OUTLINE, f"{one.task.image_path}: no stained leukocyte was found in the field", image.sha256
            )
        return _tried(one, Stage.MEASURE, lambda: self._measured(one, image, cells), image.sha256)

    def _measured(self, one: Loaded, image: CellImage, cells: Sequence[OutlinedCell]) -> ImageResult:
        engine = FeatureEngine(self._settings.feature_engine)
        analyses = []
        for cell in cells:
            analyses.append(measure(cell, self._segmenter, engine=engine))
            self._alive()
        rings = [{region: outlines(a.segmentation.labels, region) for region in OUTLINE_REGIONS} for a in analyses]
        rows = [self._row(one, analysis, own) for analysis, own in zip(analyses, rings, strict=True)]
        return ImageResult(
            one.task.image_path, image.sha256, one.stamp, rows, dict(self._files(one, image, analyses, rows))
        )

    def _row(self, one: Loaded, analysis: CellAnalysis, rings: dict[str, list[NDArray[np.float32]]]) -> dict[str, Any]:
        said = one.task.cell_type
        return cell_row(
            analysis,
            None,
            outlines=rings,
            cell_type=CellType(said) if said else None,
            patient_id=one.task.patient_id,
            created=self._created,
        )

    def _files(
        self,
        one: Loaded,
        image: CellImage,
        analyses: Sequence[CellAnalysis],
        rows: Sequence[CellRow],
    ) -> Iterator[tuple[str, bytes]]:
        """Path in the run's folder and content of everything that is written of an image."""
        path = one.task.image_path
        cells = [(analysis.place, analysis.segmentation.labels) for analysis in analyses if analysis.place]
        labels, numbers = composed(image.shape, cells) if cells else (analyses[0].segmentation.labels, None)
        yield f"masks/{path}.png", encode_png(encode_grey(labels))
        if numbers is not None:
            yield f"instances/{path}.png", encode_png(numbers)
        if self._settings.overlay:
            yield f"overlays/{path}.png", field_png(image, cells) if cells else outlined_png(image, labels)
        if self._settings.outlines:
            (handed,) = images_of(rows)
            yield f"outlines/{path}.geojson", json.dumps(collection(handed)).encode()


def _tried(one: Loaded, stage: Stage, work: Callable[[], _Done], sha256: str | None = None) -> _Done | ImageResult:
    """What the work gives, or the failure of the image that it ended in."""
    if one.problem is not None:
        return one.failed(Stage.READ, one.problem)
    sha256 = sha256 or hashlib.sha256(one.data).hexdigest()
    try:
        return work()
    except CoreError as error:
        return one.failed(stage, str(error), sha256)
    except MemoryError:
        pass
    except Exception as error:  # noqa: BLE001  # a hundred thousand images do not end at one that meets a bug
        if "alloc" not in str(error).lower():  # so onnxruntime and others say that there is no memory
            return one.failed(
                stage, f"{one.task.image_path}: unexpected {type(error).__name__}: {error}; please report it", sha256
            )
    return one.failed(
        Stage.MEMORY, f"{one.task.image_path}: needs more memory than an image may take; raise --memory-limit", sha256
    )

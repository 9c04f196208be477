"""Fits how well a cell is outlined to drawn cells of many laboratories, and measures how well that is told.

Truth is the Dice of the cell where its outline is drawn, and where only its box is, the Dice that boxes as different as
those two suggest. Outlines of a network that has not seen the laboratory are what counts; they are also spoilt on
purpose, so that there are bad ones of every laboratory.
"""

import csv
import math
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import ndimage

from core.domain.compartments import Compartment
from core.domain.errors import DataSetError, ModelError
from core.domain.objects import FoundObject, ObjectKind
from core.domain.options import Device
from core.domain.settings import load_settings
from core.domain.types import LabelMap, Segmentation
from core.evaluation.agreement import Disturbance
from core.evaluation.datasets import DATA_SETS, Sample, drawn_mask
from core.evaluation.reliability import IMAGES
from core.image.imaging import load
from core.image.masks import cell_mask, region_mask
from core.image.morphology import bounds, within
from core.quality.novelty import Coefficient, LogisticScore
from core.quality.outline_quality import OutlineJudge, save
from core.quality.outline_signs import OUTLINE_SIGNS, outline_signs
from core.segmentation.model_registry import ModelEntry, load_manifest, write_manifest
from core.segmentation.scene import window_around
from core.segmentation.segmenter import OnnxSegmenter, Segmenter
from core.support import parallel

Mask = NDArray[np.bool_]
Box = tuple[float, float, float, float]
Row = dict[str, Any]

# Data sets with drawn outlines, and the one with drawn boxes, whose pictures are of several laboratories.
DRAWN_SETS: Final = ("bccd", "set1", "set2")
BOXED_SET: Final = "txl_pbc"
_KINDS: Final = (ObjectKind.LEUKOCYTE, ObjectKind.RED_CELL, ObjectKind.PLATELET)
# A part of a drawn mask of less of the largest one's area is no cell.
_SPECK: Final = 0.2
# A localiser that is not there yet is as good as a drawn box whose edges are off by so much of its sides.
_OFF: Final = 0.03
# Boxes are drawn loosely: each edge may lie off by this share of the side without meaning anything.
_LOOSE: Final = 0.06
_HORN: Final = 0.1
# How an outline is spoilt on purpose without the network.
_WINDOWS: Final = MappingProxyType({"window too large": 1.8, "window too small": 0.65, "window off the cell": 1.0})
_PICTURES: Final = (Disturbance.BLUER, Disturbance.DEEPER, Disturbance.PALER, Disturbance.JPEG_50)
AS_IS: Final = "as it is"


# --- what is drawn ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TrueCell:
    """A drawn leukocyte: its box, and where its outline is drawn, its number in the picture's `TruePicture.cells`."""

    box: Box
    number: int


@dataclass(frozen=True, eq=False)
class TruePicture:
    """A picture with drawn leukocytes: of which laboratory, its group there, and the red cells where those are drawn.

    `mask` numbers the drawn cells from 1; None where only boxes are drawn.
    """

    source: str
    group: str
    sample: Sample
    boxes: tuple[tuple[ObjectKind, Box], ...]


def true_pictures(limit: int | None = None) -> list[TruePicture]:
    """Every picture with drawn leukocytes, by laboratory; at most `limit` of each; raises DataSetError if missing."""
    boxed: dict[str, tuple[tuple[ObjectKind, Box], ...]] = {}
    pictures: list[TruePicture] = []
    for sample in DATA_SETS[BOXED_SET].samples():
        _, source, name = sample.sample_id.split("/", 2)
        boxes = _boxes_of(sample)
        if source == "BCCD":  # the same pictures are in the data set `bccd`, with outlines
            boxed[sample.group.rsplit("/", 1)[1]] = boxes
        else:
            pictures.append(TruePicture(source, sample.group, sample, boxes))
    for name in DRAWN_SETS:
        for sample in DATA_SETS[name].samples():
            pictures.append(TruePicture(name, sample.group, sample, boxed.get(sample.image.name, ())))
    chosen: list[TruePicture] = []
    for source in dict.fromkeys(picture.source for picture in pictures):
        here = [picture for picture in pictures if picture.source == source]
        step = max(1, math.ceil(len(here) / limit)) if limit else 1
        chosen += here[::step]
    return chosen

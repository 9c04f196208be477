"""Drawn scenes, and a localiser and a network that need no training to read them: every colour means one thing."""

from dataclasses import replace

import numpy as np
import onnx
from onnx import TensorProto, helper
from scipy import ndimage

from core.domain.objects import ObjectKind
from core.segmentation.localiser import Localiser
from core.segmentation.localiser_card import LOCALISER_KEY, LocaliserCard
from core.segmentation.model_card import ModelCard
from core.segmentation.segmenter import TwoPassSegmenter

BACKGROUND, CYTOPLASM, NUCLEUS = (240, 240, 240), (150, 170, 220), (64, 24, 116)
RED_CELL, PLATELET, SMUDGE = (230, 150, 140), (190, 60, 200), (60, 140, 60)
_PALETTE = np.array([BACKGROUND, CYTOPLASM, NUCLEUS, RED_CELL, PLATELET, SMUDGE])
# Which colours an object of a kind shows; a nucleus alone is one, too.
_COLOURS = {
    ObjectKind.LEUKOCYTE: (1, 2),
    ObjectKind.PLATELET: (4,),
    ObjectKind.RED_CELL: (3,),
    ObjectKind.SMUDGE: (5,),
}
_SURE, _UNSURE = 4.0, -2.0

LOCALISER_CARD = LocaliserCard(
    localiser_id="by colour",
    kinds=tuple(str(kind) for kind in ObjectKind),
    mean=(0.0, 0.0, 0.0),
    std=(1.0, 1.0, 1.0),
    least_scores=dict.fromkeys((str(kind) for kind in ObjectKind), 0.5),
    smallest=20,
    largest=200,
    architecture="none",
    encoder="none",
    training_data="none",
    split="none",
    scores={},
    licence="none",
    created="2026-11-30",
    opset=0,
    white_balance=False,
)
MODEL_CARD = ModelCard(
    model_id="by colour",
    architecture="none",
    encoder="none",
    input_size=128,
    mean=(0.0, 0.0, 0.0),
    std=(1.0, 1.0, 1.0),
    classes=("environment", "cytoplasm", "nucleus"),
    cell_fill=0.6,
    training_data="none",
    split="none",
    scores={},
    intended_use="tests",
    limits="many",
    licence="none",
    created="2026-11-30",
    opset=0,
)


def disc(shape, row, column, radius):
    """A round object, bool (H, W)."""
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return np.hypot(rows - row, columns - column) <= radius


def box_of(mask):
    """Left, top, right and bottom of what is set."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def empty(*shape):
    """A field of nothing but background."""
    return np.full((*shape, 3), BACKGROUND, np.uint8)


def put_leukocyte(rgb, row, column, radius, nucleus=0.6):
    """Draw a leukocyte with a nucleus of that share of its radius; returns where it is, bool (H, W)."""
    cell = disc(rgb.shape[:2], row, column, radius)
    rgb[cell] = CYTOPLASM
    rgb[disc(rgb.shape[:2], row, column, nucleus * radius)] = NUCLEUS
    return cell


def put(rgb, row, column, radius, colour):
    """Draw a disc of one colour."""
    rgb[disc(rgb.shape[:2], row, column, radius)] = colour


def _meaning(images):
    """The nearest colour's number at every pixel of (N, 3, H, W)."""
    rgb = np.moveaxis(np.asarray(images) * 255, 1, -1)
    return np.square(rgb[..., None, :] - _PALETTE).sum(axis=-1).argmin(axis=-1)


class SceneLocaliser(Localiser):
    """Finds the objects of drawn scenes by their colour; `unsure` of all it sees, or not."""

    def __init__(self, *, unsure=False):
        super().__init__(LOCALISER_CARD, "none")
        self._logit = _UNSURE if unsure else _SURE
        self.looks = 0

    def maps(self, images):
        self.looks += len(images)
        height, width = images.shape[2] // 4, images.shape[3] // 4
        maps = np.full((len(images), len(ObjectKind) + 4, height, width), -9, np.float32)
        for out, meaning in zip(maps, _meaning(images), strict=True):
            for channel, colours in enumerate(_COLOURS.values()):
                # Rims, where colours are mixed, are no objects.
                parts, _ = ndimage.label(ndimage.binary_opening(np.isin(meaning, colours), iterations=2))
                for at in ndimage.find_objects(parts):
                    self._mark(out, channel, at)
        return maps

    def _mark(self, out, channel, at):
        rows, columns = at
        row, column = (
            min((part.start + part.stop) // 8, side - 1) for part, side in zip(at, out.shape[1:], strict=True)
        )
        x, y = 4 * (column + 0.5), 4 * (row + 0.5)
        distances = np.array([x - columns.start, y - rows.start, columns.stop - x, rows.stop - y])
        out[channel, row, column] = self._logit
        out[len(ObjectKind) :, row, column] = np.log(np.maximum(distances, 0.5))


class SceneSegmenter(TwoPassSegmenter):
    """Draws the cells of drawn scenes by their colour; `passes` lists the sizes of the batches."""

    def __init__(self, localiser=None, **card):
        super().__init__(replace(MODEL_CARD, **card), "none", localiser=localiser)
        self.passes = []

    def logits(self, images):
        self.passes.append(len(images))
        meaning = _meaning(images)
        return np.stack([np.where(meaning == value, 9, -9) for value in (-1, 1, 2)], axis=1).astype(np.float32)


def write_blind_localiser(path):
    """The file of a localiser that finds nothing anywhere."""
    channels = len(ObjectKind) + 4
    weights = helper.make_tensor("w", TensorProto.FLOAT, [channels, 3, 4, 4], np.zeros(channels * 48, np.float32))
    bias = helper.make_tensor("b", TensorProto.FLOAT, [channels], np.full(channels, -9, np.float32))
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", 3, "h", "w"])
    objects = helper.make_tensor_value_info("objects", TensorProto.FLOAT, ["n", channels, "rows", "columns"])
    node = helper.make_node("Conv", ["images", "w", "b"], ["objects"], strides=[4, 4])
    graph = helper.make_graph([node], "blind", [images], [objects], [weights, bias])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {LOCALISER_KEY: LOCALISER_CARD.to_json()})
    onnx.save(model, path)
    return path

"""The whole way from an image to its mask, in words and numbers: what a stranger needs beside the model's card.

The numbers are those that the code uses, never copies. `tests/card_reader.py` implements the words and imports nothing
of ours; a test holds it to the same masks.
"""

import json
from typing import Any, Final

from core.domain.compartments import CHANNELS, ENVIRONMENT_MIN_WIDTH_PX, ENVIRONMENT_RING_FRACTION, Compartment
from core.domain.objects import MIN_RED_CELLS, ObjectKind
from core.image import window
from core.segmentation import localiser, localiser_card, postprocessing, preprocessing, scene, segmenter
from core.segmentation.model_registry import ModelEntry
from core.segmentation.segmenter import OnnxSegmenter
from core.support import records

# Version of the layout of the complete card.
FORMAT: Final = "leukoscope-card/1"
# Where a model file keeps the description, beside its card.
PROCESSING_KEY: Final = "leukoscope_processing"
# What the model file says of itself, its input and its output (`doc_string`).
MODEL_DOC: Final = (
    "Outlines nucleus and cytoplasm of one white blood cell. The metadata hold the model card (leukoscope_model_card)"
    " and the way from an image to its mask (leukoscope_processing), both JSON."
)
INPUT_DOC: Final = (
    "RGB windows around one cell each, float32 (N, 3, S, S), S a multiple of 32 and best the card's input_size: white"
    " balance, detail, then (value / 255 - mean) / std, as leukoscope_processing says."
)
OUTPUT_DOC: Final = (
    "Logits float32 (N, C, S, S), channels in the order of the card's classes; probability = sigmoid(logit /"
    " temperature), each channel on its own."
)

LOCALISER_DOC: Final = (
    "Finds white blood cells, platelets, red cells and smudge cells in an image of a blood smear. The metadata hold its"
    " card (leukoscope_localiser_card) and what is done with its output (leukoscope_processing, step find), both JSON."
)
LOCALISER_INPUT_DOC: Final = (
    "RGB images, float32 (N, 3, H, W), sides multiples of 32: white balance, then (value / 255 - mean) / std."
)
LOCALISER_OUTPUT_DOC: Final = (
    "Float32 (N, K + 4, H / stride, W / stride): logits of the card's K kinds, then the logarithms of the distances to"
    " left, top, right and bottom of the object's box, in pixels of the input."
)


def complete_card(entry: ModelEntry, opened: OnnxSegmenter) -> dict[str, Any]:
    """The cards of a model and of its localiser, their files, and the way from an image to its mask, for JSON.

    Parameters
    ----------
    entry
        The model in the registry, for its checksums.
    opened
        The same, opened.
    """
    found = opened.localiser
    cards = {"model": opened.card.to_json()} | ({"localiser": found.card.to_json()} if found is not None else {})
    paths = {"model": entry.path} | (
        {"localiser": entry.path.with_name(entry.card.localiser["file"])} if found is not None else {}
    )
    return {
        "format": FORMAT,
        "files": {name: {"file": path.name, "sha256": entry.files[path]} for name, path in paths.items()},
        **{name: records.parsed(text) for name, text in cards.items()},
        "processing": processing(),
    }


def card_text(card: dict[str, Any], *, compact: bool = False) -> str:
    """A complete card as it is printed and kept, with a line break at its end."""
    return json.dumps(card, indent=None if compact else 1) + "\n"


def processing() -> dict[str, Any]:
    """Every step in its order, with its numbers; names in backticks are fields of the card or of the same step."""
    return {
        "order": ["conventions", "white_balance", "find", "choose", "input", "network", "mask", "second_pass", "ring"],
        "conventions": _CONVENTIONS,
        "white_balance": _white_balance(),
        "find": _find(),
        "choose": _choose(),
        "input": _input(),
        "network": _NETWORK,
        "mask": _mask(),
        "second_pass": _second_pass(),
        "ring": _ring(),
    }


_CONVENTIONS: Final = {
    "does": [
        "Images are RGB, 8 bits a channel, turned upright by their EXIF tag; transparent ones lie on white.",
        "x runs right, y down, from the corner of the top left pixel, whose centre is at 0.5. A box is left, top,"
        " right, bottom; a window is a square of an image (left, top, side) and may reach beyond it.",
        "Round to the nearest whole number, halves to the even one. A percentile `higher` is the smallest value that so"
        " many per cent do not exceed (numpy's method higher). Regions hang together by the sides of pixels, not by"
        " corners, and what lies outside of an array belongs to no region.",
        "The result is the one cell that the image was taken of. Of a field each leukocyte of step find is drawn alone,"
        " from step input on.",
    ],
}


def _white_balance() -> dict[str, Any]:
    return {
        "does": [
            "Only where the card's `white_balance` is true. Take every n-th row and column of the whole image, n the"
            " whole root of (pixels // `enough_pixels`), at least 1. Per channel, background is the `percentile` of"
            " these pixels (linear interpolation) and factor is `target` / max(background, 1), at most `most`.",
            "A table of 256 values a channel, clip(round(value * factor), 0, 255), is applied to what was resampled,"
            " never before it.",
        ],
        "percentile": preprocessing.BACKGROUND_PERCENTILE,
        "target": preprocessing.WHITE,
        "most": preprocessing.MOST_BRIGHTENING,
        "enough_pixels": preprocessing.ENOUGH_PIXELS,
    }


def _find() -> dict[str, Any]:
    measured = {kind: {"from": low, "aim": aim} for kind, (low, aim) in localiser.MEASURED.items()}
    return {
        "does": [
            "Without a localiser, continue at step choose with no objects. `mean`, `std`, `kinds`, `least_scores` and"
            " `stride` are those of the localiser's card.",
            "A level of scale s is the image resized to max(1, round(H s)) by max(1, round(W s)) (Pillow BILINEAR,"
            " reducing_gap `reducing_gap`; not at all where the size stays), then white-balanced if the localiser's"
            " card says so. The first scale is clip(longer side, `least_grid`, `grid`) / longer side; the finest is"
            " max(first, min(1, sqrt(`most_tiles` * (`tile` - `overlap`)^2 / (H W)))).",
            "Look: pad the level right and below with `empty` to multiples of `sides`, normalise ((v / 255 - mean) /"
            " std), run. Output (K + 4, H / stride, W / stride): sigmoid of the first K are scores of the kinds; the"
            " last four are log distances to left, top, right, bottom, clipped to `log_distances`.",
            "A candidate is a score that is the largest of its 3 by 3 neighbourhood in its channel (edges mirrored) and"
            " reaches its kind's least score. Its box is the mean of the boxes of the 9 grid points (clipped to the"
            " grid), weighted by their scores of that kind, those below `agreeing` times the peak's with 0; the box of"
            " a point is x - e^l, y - e^t, x + e^r, y + e^b, with x = (column + 0.5) stride, y likewise.",
            "Keep candidates that reach into the level: of the box cut off at W and H right and bottom are above 0,"
            " and left < W, top < H. Divide boxes by the scale. Settle (below).",
            "A closer look while one is due: d are the diameters sqrt(w h) on the grid. Stop where scale >= finest /"
            " `worth`. wanted = scale; for each kind of `measured` with at least `enough` objects, if their median d is"
            " below `from`, wanted = max(wanted, scale * aim / median). If no kind had enough, or fewer red cells than"
            " `enough` are there and scale < `sure` * finest, wanted = max(wanted, `finer` * scale). Stop where wanted"
            " = scale; else the next scale is min(max(wanted, `worth` * scale), finest).",
            "There, look at tiles: a side up to `tile` is one part, else ceil((side - overlap) / (tile - overlap))"
            " parts of `tile` pixels whose starts are spread evenly from 0 to side - tile and rounded. Keep of a tile"
            " what reaches into it (as above) and whose middle, of the box clipped to the tile, lies at least overlap /"
            " 2 - `tile_margin` from each edge that is not the level's. Divide by the scale, add those found before"
            " that are larger than `large` on this grid, settle.",
            "Settle: by falling score, drop a box that means the same as a kept one: shared area over union above"
            " `same_kind` (one kind) or `other_kind` (two), or shared over the smaller above `within`, unless one of"
            " two kinds is a platelet. Then typical = the `typical_percentile` (higher) of leukocyte diameters, 0"
            " without; drop red cells below `red_of_white` * typical; ruler = median diameter of those left, 0 if fewer"
            " than `least_red_cells`; drop red cells below `red_of_red` * ruler; leukocytes below max(`white_of_white`"
            " * typical, `white_of_red` * ruler) become platelets.",
            "An object is cut where its box comes nearer to an edge of the image than `cut_share` of its diameter.",
        ],
        "grid": localiser.GRID,
        "least_grid": localiser.LEAST_GRID,
        "reducing_gap": localiser.REDUCING_GAP,
        "tile": localiser.TILE,
        "overlap": localiser.OVERLAP,
        "most_tiles": localiser.MOST_TILES,
        "tile_margin": localiser.TILE_MARGIN,
        "sides": localiser_card.SIDES,
        "empty": localiser.EMPTY,
        "log_distances": localiser.LOG_DISTANCES,
        "agreeing": localiser.AGREEING,
        "measured": measured,
        "enough": dict(localiser.ENOUGH),
        "worth": localiser.WORTH,
        "sure": localiser.SURE,
        "finer": localiser.FINER,
        "large": localiser.LARGE,
        "same_kind": localiser.SAME_KIND,
        "other_kind": localiser.OTHER_KIND,
        "within": localiser.WITHIN,
        "typical_percentile": localiser.TYPICAL_PERCENTILE,
        "red_of_white": localiser.RED_OF_WHITE,
        "red_of_red": localiser.RED_OF_RED,
        "white_of_white": localiser.WHITE_OF_WHITE,
        "white_of_red": localiser.WHITE_OF_RED,
        "least_red_cells": MIN_RED_CELLS,
        "cut_share": localiser.CUT_SHARE,
    }


def _choose() -> dict[str, Any]:
    return {
        "does": [
            "Drop leukocytes below `as_sure` times the `percentile` (higher) of the leukocytes' scores. weight = score"
            " * (`cut` if cut, else 1) * exp(-`centrality` * (dx^2 + dy^2)), dx and dy from the image's middle to the"
            " box's, in halves of the longer side.",
            "The lead is the leukocyte of the largest diameter * weight. Without a leukocyte, find again with"
            " `least_score` for all kinds, and take the object of the largest `kind_weights` * weight. Without"
            " any, the window is the whole image: the smallest square around it, on its middle.",
            "Cut the lead's box off at the image's edges; the window's side is max(width, height, 1) / `cell_fill` of"
            " the model's card, its middle that of the box.",
        ],
        "as_sure": scene.AS_SURE,
        "percentile": scene.SURE_PERCENTILE,
        "cut": scene.CUT,
        "centrality": scene.MEANT,
        "least_score": segmenter.LEAST_SCORE,
        "kind_weights": {str(kind): scene.WEIGHTS[kind] for kind in ObjectKind},
    }


def _input() -> dict[str, Any]:
    return {
        "does": [
            "Mirror the image at its edges (the edge pixel itself is repeated: numpy symmetric) as far as the window"
            " reaches, in whole pixels. Where that would be more pixels than max(`most_padded`, those of the image),"
            " first reduce the image by the whole factor ceil(sqrt(padded / most_padded)) (Pillow reduce).",
            "Resize the window to `input_size` squared (Pillow BILINEAR with box, antialiased where it shrinks).",
            "White balance. Then, if 0 < `detail` < input_size, resize to detail squared and back (BILINEAR both).",
            "(value / 255 - `mean`) / `std` per channel; channels first; float32. All from the model's card.",
        ],
        "most_padded": window.MOST_PADDED,
    }


_NETWORK: Final = {
    "does": [
        "Run the model file. Probabilities are sigmoid(logit / `temperature`) of each channel on its own; the channels"
        " are the card's `classes`. That of the environment is not used.",
    ],
}


def _mask() -> dict[str, Any]:
    return {
        "does": [
            "Work on the pixels of the image in the window: rows floor(top) to ceil(top + side), cut off at the image;"
            " columns likewise. Where the side exceeds `most_grid`, on a grid n = ceil(side / most_grid) times coarser,"
            " whose labels are repeated n times in the end.",
            "Take each pixel's probabilities from the network's grid, bilinearly between the centres of grid points,"
            " the outermost ones going on beyond.",
            "Cell: nucleus + cytoplasm >= `cell_from`. None: the result is empty.",
            "Part touching cells: radius = max(1, round(`bridge_share` * sqrt(cell pixels))); core = cell pixels"
            " farther than radius from all others. With two or more parts of the core, each cell pixel belongs to that"
            " of its nearest core pixel; of two neighbours of different parts the upper or left one is taken away.",
            "If the largest component has fewer than `least_cell` * side^2 pixels, the result is empty. The cell is the"
            " component of the largest area * exp(-`centrality` * (dx^2 + dy^2)), dx and dy from the window's middle to"
            " the component's centre of mass, in halves of its side. Fill all holes of it.",
            "Nucleus: pixels of the cell where nucleus > cytoplasm, n in all. Take away parts below `least_lobe` * n"
            " pixels; fill holes below `largest_pinhole` * n pixels. The rest of the cell is cytoplasm.",
        ],
        "most_grid": segmenter.MAX_GRID,
        "cell_from": postprocessing.CELL_FROM,
        "bridge_share": postprocessing.BRIDGE_SHARE,
        "least_cell": postprocessing.MIN_CELL_SHARE,
        "centrality": postprocessing.CENTRALITY,
        "least_lobe": postprocessing.MIN_LOBE_SHARE,
        "largest_pinhole": postprocessing.MAX_PINHOLE_SHARE,
        "levels": {str(compartment.label): compartment.value for compartment in Compartment},
        "grey": {str(compartment.label): compartment.grey for compartment in Compartment},
        "channels": [channel.label for channel in CHANNELS],
    }


def _second_pass() -> dict[str, Any]:
    return {
        "does": [
            "Ideal is the square on the middle of the drawn cell's box (whole pixels), its longer side filling"
            " `cell_fill`. If its middle is off the window's by more than `most_off` of the window's side in x or y, or"
            " ideal side / window side is outside 1 / `most_resized` to `most_resized`, draw once more in the ideal"
            " window (steps input to mask).",
            "If nothing was drawn and the window is smaller than the image's longer side, draw once more in a window"
            " `roomier` times as large, on the same middle. In both cases an empty second drawing is not taken.",
        ],
        "most_off": segmenter.MOST_OFF,
        "most_resized": segmenter.MOST_RESIZED,
        "roomier": segmenter.ROOMIER,
    }


def _ring() -> dict[str, Any]:
    return {
        "does": [
            "The environment is no drawn object: all background pixels of the window within max(`least_px`, `share` *"
            " diameter of the disc of the cell's area) of the cell (between pixel centres), except pixels of other"
            " components of step mask.",
        ],
        "share": ENVIRONMENT_RING_FRACTION,
        "least_px": ENVIRONMENT_MIN_WIDTH_PX,
    }

"""How well a localiser finds: recall, precision, error of size and of the ruler, by source and by magnification."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from core.domain.objects import FoundObject, ObjectKind, red_cell_diameter
from core.segmentation.localiser import Localiser
from core.segmentation.localiser_card import LocaliserCard
from core.support import files, records
from training.architectures.weights import normalisation
from training.localiser.boxes import KINDS, BoxedImage, completed, median_or
from training.localiser.config import LocaliserConfig
from training.localiser.loop import SCORES_FILE, load_localiser
from training.localiser.network import ARCHITECTURE, LocaliserNetwork

# Images are shrunk so many times, and as many of them by as many are put side by side.
MAGNIFICATIONS: Final = (1, 2, 4, 8)
# Boxes are one object from this intersection over union on.
_SAME: Final = 0.5
# Candidates from this score on are kept to choose thresholds from.
_LEAST: Final = 0.05
# Where nothing was measured.
USUAL_SCORE: Final = 0.35
# How many times as much as precision the recall of a kind counts, where its threshold is chosen.
_RECALL_WEIGHT: Final = {ObjectKind.LEUKOCYTE: 1.5, ObjectKind.PLATELET: 1.0, ObjectKind.RED_CELL: 1.0}
# Smudge cells have no boxes: their threshold is that at which so many images of a hundred show a false one.
_FALSE_SMUDGES: Final = 0.01
_LEAST_SMUDGE: Final = 0.4
_AS_GOOD: Final = 0.005
_CHOICES: Final = np.round(np.arange(0.1, 0.75, 0.025), 3)


class TorchLocaliser(Localiser):
    """A network in torch, for scoring without an export."""

    def __init__(self, network: LocaliserNetwork, card: LocaliserCard) -> None:
        super().__init__(card, "torch")
        self._network = network.eval()

    @torch.no_grad()
    def maps(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """On the CPU."""
        return np.asarray(self._network(torch.from_numpy(images)).numpy(), dtype=np.float32)


def scored_localiser(run: Path) -> Localiser:
    """The localiser of a finished run, with the thresholds that it chose; raises RecordError without those."""
    network, config = load_localiser(run)
    scores = records.parsed(files.read_bytes(run / SCORES_FILE))
    return TorchLocaliser(network, localiser_card(config, scores["least_scores"]))


def localiser_card(config: LocaliserConfig, least_scores: dict[str, float] | None = None) -> LocaliserCard:
    """The fields that finding needs; `export.localiser` adds those for people."""
    scale = normalisation(config.encoder)
    return LocaliserCard(
        localiser_id=config.name,
        kinds=tuple(str(kind) for kind in KINDS),
        mean=scale.mean,
        std=scale.std,
        least_scores=least_scores or {str(kind): USUAL_SCORE for kind in KINDS},
        smallest=config.smallest,
        largest=config.largest,
        architecture=ARCHITECTURE,
        encoder=config.encoder,
        training_data="",
        split="",
        scores={},
        licence="",
        created="",
        opset=0,
    )


class _Match(NamedTuple):
    """A found object beside the drawn ones: its score, whether it is one by box and by centre; None: not judged."""

    kind: int
    score: float
    by_box: bool
    by_centre: bool
    judged: bool
    size_error: float


@dataclass
class ViewScore:
    """What was found in one picture: matches, how many are drawn of each kind, the ruler's error if there is one."""

    source: str
    magnification: int
    matches: list[_Match]
    drawn: NDArray[np.int_]
    ruler_error: float


def score_localiser(
    localiser: Localiser,
    images: Sequence[BoxedImage],
    magnifications: Sequence[int] = MAGNIFICATIONS,
    on_view: Callable[[int], None] | None = None,
) -> list[ViewScore]:
    """What a localiser finds in images and in mosaics of them, with candidates of low score, too."""
    scores = []
    for source in sorted({image.source for image in images}):
        own = [image for image in images if image.source == source]
        for magnification in magnifications:
            for view in _views(own, magnification):
                scores.append(_scored(view, localiser.find(view.rgb, _LEAST), magnification))
                if on_view:
                    on_view(len(scores))
    return scores


def _views(images: Sequence[BoxedImage], times: int) -> Iterator[BoxedImage]:
    """The images, or mosaics of them, shrunk; each image is shown at least once."""
    if times == 1:
        yield from images
        return
    for start in range(0, len(images), times * times):
        some = [images[(start + number) % len(images)] for number in range(times * times)]
        yield _mosaic(some, times)


def _mosaic(images: Sequence[BoxedImage], times: int) -> BoxedImage:
    height, width = (min(image.rgb.shape[axis] for image in images) // times for axis in (0, 1))
    rows, boxes, kinds = [], [], []
    for top in range(times):
        row = []
        for left in range(times):
            image = images[top * times + left]
            part = Image.fromarray(image.rgb[: height * times, : width * times])
            row.append(np.asarray(part.resize((width, height), Image.Resampling.BOX)))
            seen = _visible(image, (height * times, width * times))
            boxes.append(image.boxes[seen] / times + np.array([left * width, top * height] * 2, dtype=np.float32))
            kinds.append(image.kinds[seen])
        rows.append(np.concatenate(row, axis=1))
    first = images[0]
    labelled = frozenset.intersection(*(image.labelled for image in images))
    return BoxedImage(
        f"{times}x", first.source, "", np.concatenate(rows), np.concatenate(boxes), np.concatenate(kinds), labelled
    )


def _visible(image: BoxedImage, shape: tuple[int, int]) -> NDArray[np.bool_]:
    middles = (image.boxes[:, :2] + image.boxes[:, 2:]) / 2
    return np.asarray((middles < (shape[1], shape[0])).all(axis=1))


def _scored(image: BoxedImage, found: Sequence[FoundObject], magnification: int) -> ViewScore:
    shape = image.rgb.shape[0], image.rgb.shape[1]
    matches: list[_Match] = []
    drawn = np.zeros(len(KINDS), dtype=np.int_)
    for kind, name in enumerate(KINDS):
        own = [one for one in found if one.kind is name]
        truth = image.boxes[image.kinds == kind]
        boxes = np.array([(one.left, one.top, one.right, one.bottom) for one in own], np.float32).reshape(-1, 4)
        own_scores = [one.score for one in own]
        tile = (shape[0] // magnification, shape[1] // magnification)
        of_kind, count = _matched(kind, boxes, own_scores, truth, shape, tile, labelled=kind in image.labelled)
        matches += of_kind
        drawn[kind] = count
    red = image.boxes[image.kinds == KINDS.index(ObjectKind.RED_CELL)]
    whole = red[~_at_edge(red, shape, (shape[0] // magnification, shape[1] // magnification))]
    ruler = red_cell_diameter([one for one in found if one.score >= USUAL_SCORE])
    wanted = median_or(_diameters(whole), math.nan) if len(whole) >= 3 else math.nan
    error = abs(math.log(ruler / wanted)) if ruler and not math.isnan(wanted) else math.nan
    return ViewScore(image.source, magnification, matches, drawn, error)


def _matched(
    kind: int,
    boxes: NDArray[np.float32],
    scores: Sequence[float],
    truth: NDArray[np.float32],
    shape: tuple[int, int],
    tile: tuple[int, int],
    *,
    labelled: bool,
) -> tuple[list[_Match], int]:
    """Found boxes of one kind, highest score first, each beside the drawn box that it shares most with.

    Drawn boxes at an edge count for leukocytes alone: of red cells and platelets cut there, many have none.
    """
    edge = _at_edge(truth, shape, tile)
    counted = np.ones(len(truth), bool) if kind == 0 else ~edge
    limits = np.array([shape[1], shape[0]] * 2, dtype=np.float32)
    seen, drawn = np.clip(boxes, 0, limits), np.clip(completed(truth, shape), 0, limits)
    overlap = _overlaps(seen, drawn)
    centred = _centred(seen, drawn)
    at_edge = _at_edge(seen, shape, tile)
    taken = {"box": np.zeros(len(truth), bool), "centre": np.zeros(len(truth), bool)}
    matches = []
    for number, score in enumerate(scores):
        by_box = _take(np.where(taken["box"], 0, overlap[number]), _SAME, taken["box"])
        by_centre = _take(np.where(taken["centre"], 0, overlap[number] * centred[number]), 0.0, taken["centre"])
        ignored = (by_box is not None and not counted[by_box]) or (
            by_box is None and (not labelled or (kind != 0 and bool(at_edge[number])))
        )
        error = math.nan
        if by_box is not None and not edge[by_box]:
            error = float(np.log(_diameters(boxes[number : number + 1]) / _diameters(truth[by_box : by_box + 1]))[0])
        matches.append(_Match(kind, score, by_box is not None, by_centre is not None, not ignored, error))
    return matches, int(counted.sum())


def _take(overlap: NDArray[np.float32], least: float, taken: NDArray[np.bool_]) -> int | None:
    if not len(overlap) or not (best := float(overlap.max())) > 0 or best < least:
        return None
    number = int(np.argmax(overlap))
    taken[number] = True
    return number


def _diameters(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(np.sqrt(np.maximum(boxes[:, 2:] - boxes[:, :2], 1e-3).prod(axis=1)), dtype=np.float32)


def _at_edge(boxes: NDArray[np.float32], shape: tuple[int, int], tile: tuple[int, int]) -> NDArray[np.bool_]:
    """Whether boxes end at an edge of the picture, or at a seam of the mosaic."""
    near = 0.04 * _diameters(boxes)[:, None] + 0.6
    sides = np.array([tile[1], tile[0]], dtype=np.float32)
    middles = (boxes[:, :2] + boxes[:, 2:]) / 2
    starts = np.floor(np.clip(middles, 0, np.array([shape[1], shape[0]]) - 1) / sides) * sides
    return np.asarray(((boxes[:, :2] <= starts + near) | (boxes[:, 2:] >= starts + sides - near)).any(axis=1))


def _overlaps(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float32]:
    low = np.maximum(one[:, None, :2], other[None, :, :2])
    high = np.minimum(one[:, None, 2:], other[None, :, 2:])
    shared = np.maximum(high - low, 0).prod(axis=2)
    areas = [np.maximum(boxes[:, 2:] - boxes[:, :2], 1e-3).prod(axis=1) for boxes in (one, other)]
    return np.asarray(shared / (areas[0][:, None] + areas[1][None] - shared), dtype=np.float32)


def _centred(found: NDArray[np.float32], drawn: NDArray[np.float32]) -> NDArray[np.bool_]:
    middles = ((found[:, :2] + found[:, 2:]) / 2)[:, None]
    return np.asarray(((middles >= drawn[None, :, :2]) & (middles <= drawn[None, :, 2:])).all(axis=2))


def choose_scores(scores: Sequence[ViewScore]) -> dict[str, float]:
    """The least score of each kind, by the F measure over all pictures; sources and magnifications weigh alike."""
    least: dict[str, float] = {}
    for kind, name in enumerate(KINDS):
        if name is ObjectKind.SMUDGE:
            highest = sorted(max((m.score for m in one.matches if m.kind == kind), default=0) for one in scores)
            rank = max(0, math.ceil((1 - _FALSE_SMUDGES) * len(highest)) - 1)
            least[str(name)] = round(max(_LEAST_SMUDGE, highest[rank] + 0.01 if highest else 0), 3)
            continue
        values = np.array([_f_measure(scores, kind, float(choice), _RECALL_WEIGHT[name]) for choice in _CHOICES])
        # The middle of those that are as good: other laboratories' scores are lower, and so are those of what is false.
        least[str(name)] = round(float(np.median(_CHOICES[values >= values.max() - _AS_GOOD])), 3)
    return least


def _f_measure(scores: Sequence[ViewScore], kind: int, least: float, weight: float) -> float:
    values = []
    for group in {(one.source, one.magnification) for one in scores}:
        figures = _figures([one for one in scores if (one.source, one.magnification) == group], kind, least)
        recall, precision = figures["recall"], figures["precision"]
        if figures["drawn"]:
            total = weight**2 * precision + recall
            values.append((1 + weight**2) * precision * recall / total if total else 0.0)
    return float(np.nanmean(values)) if values else 0.0


def _figures(scores: Sequence[ViewScore], kind: int, least: float) -> dict[str, float]:
    drawn = int(sum(one.drawn[kind] for one in scores))
    judged = [m for one in scores for m in one.matches if m.kind == kind and m.score >= least and m.judged]
    found = sum(m.by_box for m in judged)
    centred = sum(m.by_centre for m in judged)
    errors = [abs(m.size_error) for m in judged if not math.isnan(m.size_error)]
    return {
        "drawn": drawn,
        "recall": found / drawn if drawn else math.nan,
        "precision": found / len(judged) if judged else math.nan if not drawn else 0.0,
        "recall_centre": centred / drawn if drawn else math.nan,
        "precision_centre": centred / len(judged) if judged else math.nan if not drawn else 0.0,
        "size_error": float(np.median(errors)) if errors else math.nan,
        "false": len(judged) - found,
    }


def summarise_finding(scores: Sequence[ViewScore], least: dict[str, float]) -> list[dict[str, Any]]:
    """A row for each source and magnification: figures of each kind, error of the ruler, false smudge cells."""
    rows = []
    for source, magnification in sorted({(one.source, one.magnification) for one in scores}):
        own = [one for one in scores if (one.source, one.magnification) == (source, magnification)]
        row: dict[str, Any] = {"source": source, "shrunk": magnification, "pictures": len(own)}
        for kind, name in enumerate(KINDS):
            row[str(name)] = {key: _rounded(value) for key, value in _figures(own, kind, least[str(name)]).items()}
        rulers = [one.ruler_error for one in own if not math.isnan(one.ruler_error)]
        row["ruler_error"] = _rounded(float(np.median(rulers)) if rulers else math.nan)
        rows.append(row)
    return rows


def _rounded(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 4)


def finding_in_words(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as a table."""
    head = (
        f"{'source':12}{'shrunk':>7}{'images':>7} | {'leukocytes':>10} recall precis. by-centre       size  false | "
        "red cells recall precis. ruler | platelets recall precis. | smudges"
    )
    lines = [head]
    for row in rows:
        white, red, small, smudge = (
            row[str(kind)]
            for kind in (ObjectKind.LEUKOCYTE, ObjectKind.RED_CELL, ObjectKind.PLATELET, ObjectKind.SMUDGE)
        )
        lines.append(
            f"{row['source']:12}{row['shrunk']:>6}x{row['pictures']:>7} | {white['drawn']:>10} {_cell(white['recall'])}"
            f"  {_cell(white['precision'])} {_cell(white['recall_centre'])} {_cell(white['precision_centre'])}"
            f" {_cell(white['size_error'])} {white['false']:>6} | {red['drawn']:>9} {_cell(red['recall'])}"
            f"  {_cell(red['precision'])} {_cell(row['ruler_error'])} | {small['drawn']:>9} {_cell(small['recall'])}"
            f"  {_cell(small['precision'])} | {smudge['false']:>7}"
        )
    return "\n".join(lines)


def _cell(value: float | None) -> str:
    return "     -" if value is None else f"{value:6.3f}"

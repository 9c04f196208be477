"""Where the objects of an image are, how large, and of what kind: leukocytes, platelets, red cells, smudge cells.

A small fully convolutional network looks at the whole image on a small grid first. Only where that grid shows too
little, it looks again on finer ones, in overlapping tiles, each time at the scale that what it saw asks for.
"""

import itertools
import math
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage, special

from core.domain.errors import ModelError
from core.domain.objects import MIN_RED_CELLS, FoundObject, ObjectKind
from core.domain.options import Device
from core.segmentation.localiser_card import SIDES, LocaliserCard
from core.segmentation.preprocessing import look_up, normalise, white_balance
from core.segmentation.providers import open_session, provider_name

# The whole image is looked at first with its longer side on so many pixels. Smaller images are enlarged no further than
# to the second number, because nothing but blur is won.
GRID: Final = 256
LEAST_GRID: Final = 128
# On a finer grid than the first, a tile has so many pixels a side and shares so many with its neighbours: more than a
# leukocyte has there.
TILE: Final = 512
OVERLAP: Final = 96
# So many tiles at most in the finest look at an image; a larger field is looked at more coarsely.
MOST_TILES: Final = 64
# Objects are measured well from these diameters on, in pixels of the grid. Below, the image is looked at again on a
# grid where they are as large as the second.
MEASURED: Final = {ObjectKind.LEUKOCYTE: (36.0, 64.0), ObjectKind.RED_CELL: (18.0, 32.0)}
# So many objects of a kind tell its size.
ENOUGH: Final = {ObjectKind.LEUKOCYTE: 1, ObjectKind.RED_CELL: 4}
# An object larger than this on the finer grid is taken from the coarser one, which saw it as a whole.
LARGE: Final = 150.0
# Where nothing is found, the next grid is so many times finer.
FINER: Final = 2.0
# A leukocyte without red cells beside it is believed from this share of the finest scale on.
SURE: Final = 0.3
# Two boxes are one object from this share of their union on (of one kind, of two kinds), or where so much of the
# smaller one lies in the other.
SAME_KIND: Final = 0.5
OTHER_KIND: Final = 0.45
WITHIN: Final = 0.8
# Objects of an image are seen at one magnification. Beside its leukocytes, a red cell has at least this share of their
# diameter (drawn boxes: 0.36 or more), beside its red cells half of theirs; a leukocyte below this share of the
# leukocytes' or of the red cells' diameter is a platelet (drawn boxes: at least 0.9 of a red cell).
RED_OF_WHITE: Final = 0.25
RED_OF_RED: Final = 0.5
WHITE_OF_WHITE: Final = 0.3
WHITE_OF_RED: Final = 0.65
# Beside a peak, what has this share of its score tells of the same object. On drawn cells of six sources the box that
# several places tell together overlaps the drawn one by up to 0.012 more than the peak's alone.
AGREEING: Final = 0.5
# The diameter that is typical of an image's leukocytes.
TYPICAL_PERCENTILE: Final = 75
# A grid that is so many times finer than the last is worth another look.
WORTH: Final = 1.1
# An object may be seen a little differently from two tiles: so many pixels each may claim beyond its own part.
TILE_MARGIN: Final = 4
# Log distances are taken within these.
LOG_DISTANCES: Final = (-3, 8)
# An object is cut where its box comes nearer to an edge than this share of its diameter.
CUT_SHARE: Final = 0.01
# What Pillow may do first when it makes an image much smaller.
REDUCING_GAP: Final = 3.0
# Images in one run of the network: of the first grid, and tiles.
_BATCH: Final = 8
# A background after white balance: what lies beside an image.
EMPTY: Final = 240


class _Found(NamedTuple):
    """Candidates as arrays: boxes (N, 4) left, top, right, bottom; scores and numbers of kinds (N,)."""

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    kinds: NDArray[np.intp]

    def some(self, which: NDArray[np.bool_] | NDArray[np.intp]) -> "_Found":
        return _Found(self.boxes[which], self.scores[which], self.kinds[which])

    def diameters(self) -> NDArray[np.float32]:
        sides = np.maximum(self.boxes[:, 2:] - self.boxes[:, :2], 0)
        return np.asarray(np.sqrt(sides.prod(axis=1)), dtype=np.float32)

    @classmethod
    def joined(cls, parts: Sequence["_Found"]) -> "_Found":
        return cls(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))

    @classmethod
    def nothing(cls) -> "_Found":
        return cls(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.intp))


class Localiser(ABC):
    """Finds objects with any engine that turns images into maps."""

    def __init__(self, card: LocaliserCard, provider: str) -> None:
        self.card = card
        self.provider = provider

    @abstractmethod
    def maps(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits of the kinds and log distances (N, K + 4, H / stride, W / stride) of normalised images (N, 3, H, W).

        Height and width are multiples of 32.
        """

    def find(self, rgb: NDArray[np.uint8], least: float | None = None) -> list[FoundObject]:
        """The objects of an image (H, W, 3), highest score first.

        With `least`, all candidates from that score on; without, the card's least score of each kind holds.
        """
        return self.find_many([rgb], least)[0]

    def find_many(self, images: Sequence[NDArray[np.uint8]], least: float | None = None) -> list[list[FoundObject]]:
        """As `find` for each image; those of equal shape on the first grid go through the network together."""
        limits = self._limits(least)
        pyramids = [_Pyramid(rgb, balanced=self.card.white_balance) for rgb in images]
        found = self._first_look(pyramids, limits)
        return [
            self._objects(self._look_closer(pyramid, first, limits), pyramid.shape)
            for pyramid, first in zip(pyramids, found, strict=True)
        ]

    def _limits(self, least: float | None) -> NDArray[np.float32]:
        """The least score of each kind, in the order of the channels."""
        scores = [self.card.least_scores[kind] if least is None else least for kind in self.card.kinds]
        return np.array(scores, dtype=np.float32)

    def _first_look(self, pyramids: "Sequence[_Pyramid]", limits: NDArray[np.float32]) -> list[_Found]:
        alike: dict[tuple[int, int], list[int]] = defaultdict(list)
        for number, pyramid in enumerate(pyramids):
            alike[_padded_shape(pyramid.on_grid(pyramid.first))].append(number)
        found: dict[int, _Found] = {}
        for shape, members in alike.items():
            for start in range(0, len(members), _BATCH):
                some = members[start : start + _BATCH]
                levels = [pyramids[number].level(pyramids[number].first) for number in some]
                looked = self._look([_padded(level, shape) for level in levels], limits)
                for number, level, candidates in zip(some, levels, looked, strict=True):
                    seen = candidates.some(_inside(candidates, level.shape[:2]))
                    found[number] = self._settled(_scaled(seen, 1 / pyramids[number].first))
        return [found[number] for number in range(len(pyramids))]

    def _look_closer(self, pyramid: "_Pyramid", found: _Found, limits: NDArray[np.float32]) -> _Found:
        """What is found on the grid that the objects ask for; each grid is finer than the one before."""
        scale = pyramid.first
        while (finer := self._next_scale(found, scale, pyramid.finest)) is not None:
            looked = self._tiled(pyramid.level(finer), limits)
            large = found.some(found.diameters() * finer > LARGE)
            found, scale = self._settled(_Found.joined([_scaled(looked, 1 / finer), large])), finer
        return found

    def _next_scale(self, found: _Found, scale: float, finest: float) -> float | None:
        """The scale to look at next; None where this one shows what there is."""
        if scale >= finest / WORTH:
            return None
        diameters, enough, wanted = found.diameters() * scale, False, scale
        for kind, (measured, aimed) in MEASURED.items():
            of_kind = diameters[found.kinds == self._number(kind)]
            if len(of_kind) >= ENOUGH[kind]:
                enough, typical = True, float(np.median(of_kind))
                if typical < measured:
                    wanted = max(wanted, scale * aimed / typical)
        # On a coarse grid of a large field a clump may look like a cell; where red cells are seen, it is none.
        alone = np.count_nonzero(found.kinds == self._number(ObjectKind.RED_CELL)) < ENOUGH[ObjectKind.RED_CELL]
        if not enough or (alone and scale < SURE * finest):
            wanted = max(wanted, scale * FINER)
        return None if wanted <= scale else min(max(wanted, WORTH * scale), finest)

    def _settled(self, candidates: _Found) -> _Found:
        """One box an object, all of one magnification."""
        return self._of_one_scale(_distinct(candidates, self._order))

    def _of_one_scale(self, found: _Found) -> _Found:
        """Without red cells too small for their image; what is too small for a leukocyte is a platelet."""
        diameters = found.diameters()
        white, red = (found.kinds == self._number(kind) for kind in (ObjectKind.LEUKOCYTE, ObjectKind.RED_CELL))
        typical = float(np.percentile(diameters[white], TYPICAL_PERCENTILE, method="higher")) if white.any() else 0.0
        kept = ~red | (diameters >= RED_OF_WHITE * typical)
        seen = red & kept
        ruler = float(np.median(diameters[seen])) if np.count_nonzero(seen) >= MIN_RED_CELLS else 0.0
        kept &= ~red | (diameters >= RED_OF_RED * ruler)
        small = white & (diameters < max(WHITE_OF_WHITE * typical, WHITE_OF_RED * ruler))
        platelet = self._number(ObjectKind.PLATELET)
        if platelet < 0:
            return found.some(kept & ~small)
        return found._replace(kinds=np.where(small, platelet, found.kinds)).some(kept)

    def _number(self, kind: ObjectKind) -> int:
        return self.card.kinds.index(kind) if kind in self.card.kinds else -1

    @property
    def _order(self) -> NDArray[np.intp]:
        """The number of each kind in ObjectKind, by the number of its channel."""
        every = list(ObjectKind)
        return np.array([every.index(ObjectKind(kind)) for kind in self.card.kinds], dtype=np.intp)

    def _tiled(self, level: NDArray[np.uint8], limits: NDArray[np.float32]) -> _Found:
        """Candidates of a level, tile by tile; where tiles overlap, each one's as far as the middle of the overlap."""
        parts = [_Found.nothing()]
        # One at a time: on the CPU two together take as long as one after the other, and twice the memory.
        for rows, columns in _tiles(level.shape[0], level.shape[1]):
            shown = level[rows, columns]
            (candidates,) = self._look([_padded(shown, _padded_shape(shown.shape[:2]))], limits)
            inner = candidates.some(_in_inner_part(candidates, rows, columns, level.shape[:2]))
            corner = np.array([columns.start, rows.start] * 2, dtype=np.float32)
            parts.append(inner._replace(boxes=inner.boxes + corner))
        return _Found.joined(parts)

    def _look(self, images: Sequence[NDArray[np.uint8]], limits: NDArray[np.float32]) -> list[_Found]:
        """Candidates of images of one shape, on their own pixels."""
        inputs = np.stack([normalise(image, self.card.mean, self.card.std) for image in images])
        return [decode(maps, limits, self.card.stride) for maps in self.maps(inputs)]

    def _objects(self, found: _Found, shape: tuple[int, int]) -> list[FoundObject]:
        height, width = shape
        edge = CUT_SHARE * found.diameters()
        objects = []
        for (left, top, right, bottom), score, kind, near in zip(
            found.boxes.tolist(), found.scores.tolist(), found.kinds.tolist(), edge.tolist(), strict=True
        ):
            cut = left < near or top < near or right > width - near or bottom > height - near
            objects.append(FoundObject(ObjectKind(self.card.kinds[kind]), left, top, right, bottom, score, cut))
        return sorted(objects, key=lambda one: -one.score)


class OnnxLocaliser(Localiser):
    """A localiser's file on a verified provider. Safe to share between threads: sessions are stateless."""

    def __init__(self, path: Path, device: Device = Device.AUTO, threads: int = 0) -> None:
        self._session = open_session(path, device, threads)
        card = LocaliserCard.from_metadata(self._session.get_modelmeta().custom_metadata_map, path.name)
        super().__init__(card, provider_name(self._session))
        self._input = self._session.get_inputs()[0].name
        channels = self._session.get_outputs()[0].shape[1]
        if channels != len(card.kinds) + 4:
            msg = f"{path.name}: its card names {len(card.kinds)} kinds, but the network has {channels} output channels"
            raise ModelError(msg)

    def maps(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """As the session gives them."""
        (maps,) = self._session.run(None, {self._input: images})
        return np.asarray(maps, dtype=np.float32)


class _Pyramid:
    """An image at any scale up to its finest; white-balanced by the whole image's table."""

    def __init__(self, rgb: NDArray[np.uint8], *, balanced: bool) -> None:
        self._image = Image.fromarray(rgb)
        self._table = white_balance(rgb) if balanced else None
        self.shape = rgb.shape[0], rgb.shape[1]
        longer = max(self.shape)
        self.first = min(max(longer, LEAST_GRID), GRID) / longer
        # So many tiles have this area in all, on average; a strip needs more of them than a square.
        room = MOST_TILES * (TILE - OVERLAP) ** 2
        self.finest = max(self.first, min(1.0, math.sqrt(room / (self.shape[0] * self.shape[1]))))

    def on_grid(self, scale: float) -> tuple[int, int]:
        """Height and width at a scale."""
        return max(1, round(self.shape[0] * scale)), max(1, round(self.shape[1] * scale))

    def level(self, scale: float) -> NDArray[np.uint8]:
        """The image at a scale, antialiased where that is smaller."""
        height, width = self.on_grid(scale)
        shown = self._image
        if (height, width) != self.shape:
            shown = shown.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=REDUCING_GAP)
        rgb = np.asarray(shown)
        return rgb if self._table is None else look_up(rgb, self._table)


def decode(maps: NDArray[np.float32], limits: NDArray[np.float32], stride: int) -> _Found:
    """The peaks of one image's maps (K + 4, H, W) that reach the limits (K,), on the input's pixels.

    A peak's box is the mean of those that its neighbours tell, by their scores.
    """
    count = len(limits)
    scores = special.expit(maps[:count])
    peaks = (scores == ndimage.maximum_filter(scores, size=(1, 3, 3))) & (scores >= limits[:, None, None])
    kinds, rows, columns = np.nonzero(peaks)
    peak = scores[kinds, rows, columns]
    boxes, weight = np.zeros((len(kinds), 4), np.float32), np.zeros(len(kinds), np.float32)
    for down, right in itertools.product((-1, 0, 1), repeat=2):
        row, column = (rows + down).clip(0, maps.shape[1] - 1), (columns + right).clip(0, maps.shape[2] - 1)
        share = scores[kinds, row, column]
        share = np.where(share >= AGREEING * peak, share, 0)
        distances = np.exp(np.clip(maps[count:, row, column], *LOG_DISTANCES))
        x, y = (column + 0.5) * stride, (row + 0.5) * stride
        sides = np.stack([x - distances[0], y - distances[1], x + distances[2], y + distances[3]], axis=1)
        boxes, weight = boxes + share[:, None] * sides, weight + share
    return _Found((boxes / weight[:, None]).astype(np.float32), peak.astype(np.float32), kinds)


def _scaled(found: _Found, factor: float) -> _Found:
    return found._replace(boxes=found.boxes * np.float32(factor))


def _inside(found: _Found, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Whether the middle of what is seen of a box lies in an image of (H, W), and not in what was put beside it."""
    height, width = shape
    seen = np.minimum(found.boxes, np.array([width, height] * 2, dtype=np.float32))
    return np.asarray((seen[:, 2:] > 0).all(axis=1) & (found.boxes[:, :2] < (width, height)).all(axis=1))


def _in_inner_part(found: _Found, rows: slice, columns: slice, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Whether a box of a tile has its middle beyond half of the overlap, except at the edges of the level."""
    sides = np.array([columns.stop - columns.start, rows.stop - rows.start], dtype=np.float32)
    middles = (np.clip(found.boxes[:, :2], 0, sides) + np.clip(found.boxes[:, 2:], 0, sides)) / 2
    low = np.array([OVERLAP / 2 if part.start else -np.inf for part in (columns, rows)])
    ends = (shape[1], shape[0])
    high = np.array(
        [
            side - OVERLAP / 2 if part.stop < end else np.inf
            for part, side, end in zip((columns, rows), sides, ends, strict=True)
        ]
    )
    inner = ((middles >= low - TILE_MARGIN) & (middles <= high + TILE_MARGIN)).all(axis=1)
    return np.asarray(inner & _inside(found, (rows.stop - rows.start, columns.stop - columns.start)))


def _tiles(height: int, width: int) -> Iterator[tuple[slice, slice]]:
    for rows in _steps(height):
        for columns in _steps(width):
            yield rows, columns


def _steps(length: int) -> list[slice]:
    """Overlapping parts of equal length that cover a side."""
    if length <= TILE:
        return [slice(0, length)]
    count = math.ceil((length - OVERLAP) / (TILE - OVERLAP))
    starts = np.linspace(0, length - TILE, count).round().astype(int)
    return [slice(int(start), int(start) + TILE) for start in starts]


def _padded_shape(shape: tuple[int, int]) -> tuple[int, int]:
    height, width = (math.ceil(side / SIDES) * SIDES for side in shape)
    return height, width


def _padded(image: NDArray[np.uint8], shape: tuple[int, int]) -> NDArray[np.uint8]:
    """An image with empty background to its right and below it."""
    room = [(0, shape[0] - image.shape[0]), (0, shape[1] - image.shape[1]), (0, 0)]
    return np.pad(image, room, constant_values=EMPTY)


def _distinct(found: _Found, order: NDArray[np.intp]) -> _Found:
    """One box an object: of boxes that mean the same, that of the highest score.

    `order` is the number of each kind in ObjectKind.
    """
    found = found.some(np.argsort(-found.scores, kind="stable"))
    kept: list[int] = []
    kinds = order[found.kinds]
    areas = np.maximum(found.boxes[:, 2:] - found.boxes[:, :2], 1e-6).prod(axis=1)
    for number in range(len(kinds)):
        if kept and _is_shown(number, np.array(kept), found.boxes, areas, kinds):
            continue
        kept.append(number)
    return found.some(np.array(kept, dtype=np.intp))


def _is_shown(
    number: int, kept: NDArray[np.intp], boxes: NDArray[np.float32], areas: NDArray[np.float32], kinds: NDArray[np.intp]
) -> bool:
    """Whether a box means what one of those before it means already."""
    corners = np.maximum(boxes[kept, :2], boxes[number, :2])
    ends = np.minimum(boxes[kept, 2:], boxes[number, 2:])
    shared = np.maximum(ends - corners, 0).prod(axis=1)
    union = areas[kept] + areas[number] - shared
    alike = kinds[kept] == kinds[number]
    # A platelet may lie on a leukocyte, in the corner of its box, or on a red cell; nothing else lies on anything.
    platelet = list(ObjectKind).index(ObjectKind.PLATELET)
    within = (shared / np.minimum(areas[kept], areas[number]) > WITHIN) & (
        alike | ((kinds[kept] != platelet) & (kinds[number] != platelet))
    )
    return bool((within | (shared / union > np.where(alike, SAME_KIND, OTHER_KIND))).any())

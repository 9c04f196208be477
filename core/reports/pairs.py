"""A contact sheet of pairs: each picture with what is drawn in it, and what a training would do with it."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

import numpy as np

from core.charts.overlay import outer_outline
from core.charts.thumbnail import thumbnail_svg
from core.domain.compartments import Compartment
from core.evaluation.pair_check import CheckedSet, PairLookedAt, in_words
from core.image.masks import cell_mask
from core.image.morphology import bounds
from core.reports.engine import drawing, render

# So many times the drawn cell is shown, that a cell beside a misplaced mask is seen, too.
_REACH: Final = 2.2


def picture(looked_at: PairLookedAt) -> str:
    """The picture of a pair in small, as SVG, with all that is drawn in it; empty where the image cannot be read."""
    image, drawn = looked_at.image, looked_at.drawn
    if image is None:
        return ""
    if drawn is None:
        return thumbnail_svg({}, image.shape, image.rgb)
    extent = max(side.stop - side.start for side in bounds(cell_mask(drawn)))
    rings = {part: outer_outline(drawn, part) for part in (Compartment.CYTOPLASM, Compartment.NUCLEUS)}
    return thumbnail_svg(rings, image.shape, image.rgb, min(max(image.shape), int(np.ceil(_REACH * extent))))


def sheet(checked: CheckedSet, pictures: Mapping[str, str], created: datetime) -> str:
    """Build the sheet as one HTML text, in the order of the pairs; `pictures` are SVG by the pair's name."""
    return render(
        "pairs",
        title=checked.name,
        created=created,
        summary=in_words(checked),
        pairs=checked.pairs,
        pictures={pair: drawing(svg) for pair, svg in pictures.items()},
    )

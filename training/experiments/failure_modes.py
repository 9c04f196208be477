"""What makes a cell hard to outline, measured on its image and its drawn mask; and how well those cells come out."""

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import pandas as pd
from scipy import ndimage

from core.features.channels import Channel, planes
from core.features.lobes import lobes
from core.features.spots import vacuoles
from core.image.imaging import grey
from core.image.masks import region_mask
from core.image.stain import appearance, appearance_distance
from core.quality.assessment import blur
from training.augmentation import LabelledImage
from training.neighbours import count_other_nuclei

# Cytoplasm narrower than this share of the cell's diameter is thin: 7 px of the network's grid, half a micrometre of a
# lymphocyte.
_THIN: Final = 0.05
_REGIONS: Final = ("nucleus", "cytoplasm", "cell")


def describe(item: LabelledImage, known: Mapping[str, Any]) -> dict[str, float]:
    """The drawn cell in numbers; NaN where there is none.

    Parameters
    ----------
    item
        Image and drawn label map, with a nucleus.
    known
        Stain of the training images, from `training.evaluate.appearance_of`; may be empty.

    Returns
    -------
    dict
        `nucleus_share` of the cell's area; `thin_share`, of the nucleus's outline, that has little or no cytoplasm
        beside it; `border`, 1 where the cell touches the image's edge; `neighbours`, other stained nuclei; `lobes`;
        `vacuoles`; `fill`, the cell's longer side over the image's; `diameter_px`; `blur`, over the diameter;
        `stain_distance` from the training images in standard deviations.
    """
    nucleus, cytoplasm, cell = (region_mask(item.labels, region) for region in _REGIONS)
    diameter = 2 * math.sqrt(float(cell.sum()) / math.pi)
    rows, columns = np.nonzero(cell)
    rim = nucleus & ~ndimage.binary_erosion(nucleus)
    to_outside = ndimage.distance_transform_edt(np.pad(cell, 1))[1:-1, 1:-1]
    vector = appearance(item.rgb, nucleus, cytoplasm)
    distance = math.nan
    if vector is not None and known:
        distance = appearance_distance(vector, np.asarray(known["mean"]), np.asarray(known["covariance"]))
    density = planes(item.rgb)[Channel.OPTICAL_DENSITY]
    clear = (
        vacuoles(nucleus, cytoplasm, region_mask(item.labels, "environment"), density)["Count"]
        if cytoplasm.any()
        else 0.0
    )
    return {
        "nucleus_share": float(nucleus.sum() / cell.sum()),
        "thin_share": float((to_outside[rim] < _THIN * diameter).mean()) if rim.any() else math.nan,
        "border": float(cell[0].any() or cell[-1].any() or cell[:, 0].any() or cell[:, -1].any()),
        "neighbours": float(count_other_nuclei(item.rgb, cell, nucleus)),
        "lobes": lobes(nucleus)["LobeCount"] if nucleus.any() else math.nan,
        "vacuoles": math.nan if isinstance(clear, str) else clear,
        "fill": float(max(np.ptp(rows), np.ptp(columns)) + 1) / max(cell.shape),
        "diameter_px": diameter,
        "blur": blur(grey(item.rgb), nucleus, cell) if nucleus.any() and cytoplasm.any() else math.nan,
        "stain_distance": distance,
    }


def _of_its_source(table: pd.DataFrame, column: str, quantile: float) -> pd.Series:
    return table.groupby("source")[column].transform(lambda values: values.quantile(quantile))


# From the table of `describe`, with a column `source`, to which cells are of that kind.
FAILURE_MODES: Final[Mapping[str, Callable[[pd.DataFrame], pd.Series]]] = MappingProxyType(
    {
        "nucleus takes 60 % of the cell or more": lambda t: t["nucleus_share"] >= 0.6,
        "thin cytoplasm along half of the nucleus": lambda t: t["thin_share"] >= 0.5,
        "touches the image's edge": lambda t: t["border"] > 0,
        "another stained nucleus in the image": lambda t: t["neighbours"] > 0,
        "two lobes or more": lambda t: t["lobes"] >= 2,
        "vacuoles": lambda t: t["vacuoles"] > 0,
        "smallest tenth of its source": lambda t: t["fill"] <= _of_its_source(t, "fill", 0.1),
        "largest tenth of its source": lambda t: t["fill"] >= _of_its_source(t, "fill", 0.9),
        "most blurred tenth of its source": lambda t: t["blur"] >= _of_its_source(t, "blur", 0.9),
        "stain furthest from training, quarter of its source": lambda t: (
            t["stain_distance"] >= _of_its_source(t, "stain_distance", 0.75)
        ),
    }
)


def by_mode(table: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """By failure mode: number of cells, mean Dice by region, and the difference from other cells of their source.

    `table` holds a row an image: what `describe` says, `source`, and `dice_<region>`. A mode without cells has only its
    number.
    """
    report: dict[str, dict[str, Any]] = {}
    dice = [f"dice_{region}" for region in _REGIONS]
    for mode, is_one in FAILURE_MODES.items():
        chosen = is_one(table)
        report[mode] = {"images": int(chosen.sum())}
        if not chosen.any():
            continue
        others = table[~chosen].groupby("source")[dice].mean()
        expected = others.reindex(table.loc[chosen, "source"]).mean()
        for region, column in zip(_REGIONS, dice, strict=True):
            mean, difference = (
                float(table.loc[chosen, column].mean()),
                float(table.loc[chosen, column].mean() - expected[column]),
            )
            report[mode][region] = {
                "dice_mean": round(mean, 4),
                "against_others": None if math.isnan(difference) else round(difference, 4),
            }
    return report

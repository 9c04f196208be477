"""What a model knows, as named traits of a cell, and the file beside the model that keeps it.

`python -m core novelty` makes the file (`core.evaluation.novelty_fit`); here a cell is compared with it. The traits
have no unit and depend little on stain, camera and magnification: a laboratory the model has not seen must not look
like another kind of thing.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from core.domain.errors import ModelError
from core.support import files, records

# A value per trait; nan where the cell has none.
Traits = Mapping[str, float]


@dataclass(frozen=True)
class Trait:
    """A property of a cell: words that follow "most of all in", and its function of features of the catalogue.

    Shapes and shares are transformed so that ordinary cells spread about evenly to both sides.
    """

    words: str
    features: tuple[str, ...]
    value: Callable[..., float]


# The traits take what is measured in optical density as natural absorbance, in which the clouds beside the models were
# fitted.
_DENSITY: Final = re.compile("_(od|haematoxylin|eosin)_")
_NATURAL: Final = math.log(10)

# Stands among the features for `Segmentation.confidence`.
_CONFIDENCE: Final = "confidence"


def _short_of(limit: float, least: float) -> Callable[[float], float]:
    """Logarithm of what is missing to the limit, at least `least`."""
    return lambda value: math.log(max(limit - value, least))


def _rise(least: float) -> Callable[[float, float], float]:
    return lambda inside, outside: math.log(max(inside - outside, least))


# The lightest tenth of the ring around the cell stands for the empty background: its median may lie on a red cell.
_GROUND: Final = "environment_{}_10Percentile"
_NUCLEUS_DENSITY, _CYTOPLASM_DENSITY, _GROUND_DENSITY = "nucleus_od_Median", "cytoplasm_od_Median", _GROUND.format("od")

TRAITS: Final[Mapping[str, Trait]] = MappingProxyType(
    {
        "certainty": Trait(
            "the certainty of the outline", (_CONFIDENCE,), lambda confidence: -math.log10(max(1 - confidence, 0.005))
        ),
        "nucleus_solidity": Trait("dents of the nucleus", ("nucleus_contour_Solidity",), _short_of(1.005, 0.001)),
        "nucleus_roundness": Trait(
            "the roundness of the nucleus", ("nucleus_contour_FormFactor",), _short_of(1.05, 0.01)
        ),
        "cell_solidity": Trait("dents of the cell", ("cell_contour_Solidity",), _short_of(1.005, 0.001)),
        "cell_roundness": Trait("the roundness of the cell", ("cell_contour_FormFactor",), _short_of(1.05, 0.01)),
        "nucleus_elongation": Trait(
            "the length of the nucleus", ("nucleus_shape2D_Elongation",), _short_of(1.02, 0.01)
        ),
        "cell_elongation": Trait("the length of the cell", ("cell_shape2D_Elongation",), _short_of(1.02, 0.01)),
        "nucleus_share": Trait(
            "the nucleus's share of the cell",
            ("combined_PixelSurface",),
            lambda share: math.log(share / max(1 - share, 0.02)),
        ),
        "eccentricity": Trait("the place of the nucleus in the cell", ("combined_NuclearEccentricity",), math.sqrt),
        "rim_contact": Trait("how much of the nucleus lies at the rim", ("combined_RimContact",), float),
        "contrast": Trait(
            "how dark the nucleus is against the background", (_NUCLEUS_DENSITY, _GROUND_DENSITY), _rise(0.05)
        ),
        "step": Trait(
            "how dark the nucleus is against the cytoplasm",
            (_NUCLEUS_DENSITY, _CYTOPLASM_DENSITY, _GROUND_DENSITY),
            lambda nucleus, cytoplasm, ground: (nucleus - cytoplasm) / max(nucleus - ground, 0.05),
        ),
        "evenness": Trait(
            "how evenly the nucleus is stained",
            ("nucleus_od_RobustMeanAbsoluteDeviation", _NUCLEUS_DENSITY),
            lambda spread, density: math.log(max(spread / max(density, 0.01), 0.01)),
        ),
        "lobulation": Trait("the lobes of the nucleus", ("nucleus_lobes_Lobulation",), math.log),
        "dent": Trait(
            "the deepest dent of the nucleus",
            ("nucleus_contour_IndentationDepth",),
            lambda depth: math.log(depth + 0.03),
        ),
        "waves": Trait(
            "bulges of the nucleus", ("nucleus_contour_LowHarmonics",), lambda waves: math.log(waves + 0.01)
        ),
        "dye": Trait(
            "the colour of the cytoplasm",
            (
                "cytoplasm_eosin_Median",
                _GROUND.format("eosin"),
                "cytoplasm_haematoxylin_Median",
                _GROUND.format("haematoxylin"),
            ),
            lambda eosin, eosin_ground, basic, basic_ground: math.atan2(eosin - eosin_ground, basic - basic_ground),
        ),
    }
)

# By these a cell is like the known ones or not. Grain and hue would tell more within a laboratory, but set another
# one's cells apart.
NOVELTY_TRAITS: Final = (
    *(
        "certainty",
        "nucleus_solidity",
        "nucleus_roundness",
        "cell_solidity",
        "cell_roundness",
        "nucleus_elongation",
        "cell_elongation",
    ),
    *("nucleus_share", "eccentricity", "rim_contact", "contrast", "step", "evenness"),
)
# By these a granulocyte is recognised: the nucleus alone, and with the colour of the cytoplasm. Each errs where the
# other does not: the one on monocytes with a folded nucleus, the other under a stain it has not seen. So both must
# agree.
GRANULOCYTE_NUCLEUS: Final = (
    *("nucleus_share", "nucleus_solidity", "nucleus_roundness", "lobulation", "dent", "waves"),
    *("nucleus_elongation", "eccentricity", "rim_contact"),
)
GRANULOCYTE_COLOUR: Final = ("nucleus_share", "nucleus_solidity", "lobulation", "nucleus_elongation", "dye")


def traits(features: Mapping[str, float | None], confidence: float | None) -> dict[str, float]:
    """Every trait of a cell from its features (`FeatureSet.values`) and confidence; nan where a feature is absent."""
    known = {**features, _CONFIDENCE: confidence}
    by_name = {}
    for name, trait in TRAITS.items():
        values = [
            value if value is None or not _DENSITY.search(feature) else _NATURAL * value
            for feature in trait.features
            for value in [known[feature]]
        ]
        by_name[name] = math.nan if None in values else trait.value(*values)
    return by_name


@dataclass(frozen=True, eq=False)
class NoveltyDetector:
    """The known cells as a normal distribution of the `NOVELTY_TRAITS` traits.

    Mean and standard deviation, (k,), and correlation, (k, k). `limit` is the distance beyond which a cell is unlike
    the known ones.
    """

    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]
    correlation: NDArray[np.float64]
    limit: float

    def distance(self, traits: Traits) -> float | None:
        """Mahalanobis distance over the root of the number of traits, about 1 for a known cell; None without traits.

        Over the traits that the cell has: one without cytoplasm is judged by the rest.
        """
        z = self._standardised(traits)
        there = np.isfinite(z)
        if not there.any():
            return None
        solved = np.linalg.solve(self.correlation[np.ix_(there, there)], z[there])
        return math.sqrt(float(z[there] @ solved) / int(there.sum()))

    def strangest(self, traits: Traits, count: int = 2) -> list[str]:
        """Words for the traits that lie farthest from the known cells' mean, the farthest first."""
        z = np.nan_to_num(np.abs(self._standardised(traits)))
        return [TRAITS[NOVELTY_TRAITS[i]].words for i in np.argsort(-z, kind="stable")[:count]]

    def _standardised(self, traits: Traits) -> NDArray[np.float64]:
        return (np.array([traits[name] for name in NOVELTY_TRAITS]) - self.mean) / self.deviation


@dataclass(frozen=True)
class Coefficient:
    """A trait's part in a logistic score: `weight` times its deviations from the mean."""

    mean: float
    deviation: float
    weight: float


@dataclass(frozen=True)
class LogisticScore:
    """Logarithm of the odds for one of two kinds; a coefficient per trait."""

    intercept: float
    coefficients: Mapping[str, Coefficient]

    def score(self, traits: Traits) -> float:
        """The score of a cell; nan where it lacks one of the traits."""
        terms = (c.weight * (traits[name] - c.mean) / c.deviation for name, c in self.coefficients.items())
        return self.intercept + math.fsum(terms)


@dataclass(frozen=True)
class GranulocyteRule:
    """Neutrophils and eosinophils against mononuclear cells: two scores that must both exceed `limit`."""

    nucleus: LogisticScore
    colour: LogisticScore
    limit: float

    def score(self, traits: Traits) -> float:
        """The lower of the two scores; nan where the cell lacks a trait."""
        scores = (self.nucleus.score(traits), self.colour.score(traits))
        return math.nan if any(map(math.isnan, scores)) else min(scores)


@dataclass(frozen=True, eq=False)
class Knowledge:
    """What is kept beside a model; `measured` holds the tables of `core.evaluation.novelty_fit`: how well it works."""

    model_id: str
    model_sha256: str
    created: str
    command: str
    detector: NoveltyDetector
    granulocyte: GranulocyteRule
    measured: Mapping[str, Sequence[Mapping[str, Any]]]

    def falsely_refused(self) -> tuple[int, float]:
        """How many leukocytes were shown, and the share of them that was refused as something else."""
        rows = self.measured["cells"]
        shown = sum(row["n"] for row in rows)
        return shown, sum(row["n"] * row["newly_refused"][0] for row in rows) / shown


def save(knowledge: Knowledge, path: Path) -> None:
    """Write the file, whole or not at all."""
    files.write_text(path, to_json(knowledge))


def to_json(knowledge: Knowledge) -> str:
    """The text of the file, with the traits by their names."""
    cloud = knowledge.detector
    text = {
        **{name: getattr(knowledge, name) for name in ("model_id", "model_sha256", "created", "command")},
        "detector": {
            "traits": list(NOVELTY_TRAITS),
            **{name: getattr(cloud, name).round(5).tolist() for name in ("mean", "deviation", "correlation")},
            "limit": round(cloud.limit, 4),
        },
        "granulocyte": knowledge.granulocyte,
        "measured": knowledge.measured,
    }
    return records.to_json(text, indent=1, ascii_only=True) + "\n"


def load(path: Path, model_sha256: str) -> Knowledge:
    """Read the file of the model with that checksum.

    Raises
    ------
    ModelError
        If the file is missing, damaged, or was made with another file of the model or another list of traits.
    """
    try:
        raw = records.parsed(files.read_bytes(path))
        cloud, rule = (
            raw.pop("detector", None) or raw.pop("familiarity"),
            raw.pop("granulocyte"),
        )  # its name before 0.2.0
        named, limit = tuple(cloud.pop("traits")), float(cloud.pop("limit"))
        fits = raw["model_sha256"] == model_sha256 and named == NOVELTY_TRAITS
        knowledge = Knowledge(
            detector=NoveltyDetector(
                **{name: np.array(values, dtype=np.float64) for name, values in cloud.items()}, limit=limit
            ),
            granulocyte=records.from_plain(GranulocyteRule, rule),
            **raw,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        msg = (
            f"{path.name} in the models folder is missing or damaged ({error!r}); restore it or run `python -m core"
            " novelty` again"
        )
        raise ModelError(msg) from error
    if not fits:
        msg = (
            f"{path.name} was made with another file of the model, or an earlier version; run `python -m core novelty`"
            " again"
        )
        raise ModelError(msg)
    return knowledge

"""Every feature Leukoscope measures: name, meaning, unit, how it is shown. The only list; add a row and all the rest follows.

The columns are named `<region>_<class>_<Feature>` with pyradiomics' own class and feature names, the ratios `combined_<Feature>`.
Formulas follow the pyradiomics documentation (van Griethuysen et al. 2017, Cancer Res 77:e104); the identifiers are those of the
Image Biomarker Standardisation Initiative (Zwanenburg et al. 2020, Radiology 295:328) and are given only where pyradiomics computes
exactly that quantity: IBSI defines shape in three dimensions only, and its kurtosis is smaller by 3.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from enum import Enum, StrEnum
from types import MappingProxyType
from typing import Final, NamedTuple

from core.errors import FeatureError


class Region(StrEnum):
    """What is measured; `CELL` is nucleus and cytoplasm together, `COMBINED` sets one region against another."""

    NUCLEUS = "nucleus"
    CYTOPLASM = "cytoplasm"
    CELL = "cell"
    COMBINED = "combined"


class FeatureClass(StrEnum):
    """Family of a feature, under pyradiomics' name; `RATIO` divides one shape feature by another."""

    SHAPE_2D = "shape2D"
    FIRST_ORDER = "firstorder"
    RATIO = "ratio"


class FeatureGroup(StrEnum):
    """Heading under which a feature is shown, in the order of the pages."""

    NUCLEUS_SHAPE = "Nucleus shape"
    CYTOPLASM_SHAPE = "Cytoplasm shape"
    CELL_SHAPE = "Cell shape"
    COMBINED = "Combined"
    NUCLEUS_TONE = "Nucleus tone"
    CYTOPLASM_TONE = "Cytoplasm tone"


class Unit(Enum):
    """Unit of a stored value: its text in pixels and in micrometres, and the power of the length in it."""

    LENGTH = ("px", "µm", 1)
    AREA = ("px²", "µm²", 2)
    PER_LENGTH = ("1/px", "1/µm", -1)
    NONE = ("", "", 0)
    GREY = ("grey levels", "grey levels", 0)
    GREY_SQUARED = ("grey levels²", "grey levels²", 0)
    BITS = ("bits", "bits", 0)

    def __init__(self, px: str, um: str, length_power: int) -> None:
        self.px = px
        self.um = um
        self.length_power = length_power


@dataclass(frozen=True)
class FeatureSpec:
    """One feature: what it is called, what it means, and how it is converted and shown.

    Parameters
    ----------
    name
        Column in the cohort, e.g. `nucleus_shape2D_Elongation`.
    region, feature_class, feature
        The parts of the name; `feature` is pyradiomics' own.
    group
        Heading on pages and in reports.
    label, short
        Plain words with the region ("Nucleus elongation", "Nucleus tone, mean") and, for charts that are grouped already, without
        it ("Elongation", "Mean").
    description
        One line for a haematologist.
    formula
        How it is computed. X are the grey values of the region, p the shares of its grey levels in bins of equal width.
    unit
        Unit of the stored value, in pixels.
    ibsi_id
        Identifier of the IBSI, where it is exactly that quantity.
    ratio_of
        Names of the numerator's feature and of those whose sum is the denominator, for `FeatureClass.RATIO`.
    sums_pixels
        The value grows with the number of pixels, and so with the magnification, though no length is in its unit.
    log_axis
        Positive by nature and skewed among cells: compared and drawn on a logarithmic scale. (A region of a single tone has a
        variance and a kurtosis of 0 all the same.)
    display_factor
        Shown values are stored values times this.
    display_offset
        Added to the shown value where even a feature that can be negative is put on a logarithmic axis.
    """

    name: str
    region: Region
    feature_class: FeatureClass
    feature: str
    group: FeatureGroup
    label: str
    short: str
    description: str
    formula: str
    unit: Unit
    ibsi_id: str | None = None
    ratio_of: tuple[str, tuple[str, ...]] | None = None
    sums_pixels: bool = False
    log_axis: bool = False
    display_factor: float = 1.0
    display_offset: float = 0.0

    @property
    def length_power(self) -> int:
        """Power of the length in the unit: 1 length, 2 area, -1 per length, 0 none."""
        return self.unit.length_power

    @property
    def scale_free(self) -> bool:
        """Whether cells taken at different or unknown magnifications can be compared by it."""
        return self.length_power == 0 and not self.sums_pixels

    @property
    def intensity_dependent(self) -> bool:
        """Whether it depends on stain, light and camera."""
        return self.feature_class is FeatureClass.FIRST_ORDER

    def in_um(self, value: float, um_per_px: float) -> float:
        """Convert a value from pixels to micrometres, exactly, because the pixels are square; others stay as they are."""
        return value * um_per_px**self.length_power

    def shown(self, value: float) -> float:
        """Value as tables and axes print it."""
        return value * self.display_factor


class _Shape(NamedTuple):
    """One shape feature, measured in three regions and set in proportion once.

    `{region}` in the description is the region's name; `of_ring` is added for the cytoplasm, which is a ring.
    """

    feature: str
    unit: Unit
    log_axis: bool
    short: str
    formula: str
    description: str
    of_ring: str
    combined: str


_SHAPES: Final = (
    _Shape(
        "Elongation", Unit.NONE, False, "Elongation",
        "sqrt(λ_minor / λ_major), λ the variances of the pixel positions along the principal axes",
        "How round the {region} is overall: 1 = as long as wide, smaller = longer.",
        " A ring is judged by its spread as a whole, not by its thickness.",
        "Roundness of the nucleus relative to that of the cytoplasm: above 1, the cytoplasm is the longer or lies more to one side.",
    ),
    _Shape(
        "MajorAxisLength", Unit.LENGTH, True, "Major axis", "4 sqrt(λ_major)",
        "Length of the ellipse that has the same spread as the {region}.",
        " A ring spreads wider than a disc of the same diameter, so this exceeds the visible length.",
        "Length of the nucleus relative to that of the cytoplasm, both by the ellipse of the same spread.",
    ),
    _Shape(
        "MaximumDiameter", Unit.LENGTH, True, "Largest diameter", "largest distance between two points of the outline",
        "Largest distance between two points on the outline of the {region}.",
        " For a cytoplasm that surrounds its nucleus this is the diameter of the cell.",
        "Largest diameter of the nucleus relative to that of the cytoplasm.",
    ),
    _Shape(
        "MinorAxisLength", Unit.LENGTH, True, "Minor axis", "4 sqrt(λ_minor)",
        "Width of the ellipse that has the same spread as the {region}.",
        " A ring spreads wider than a disc of the same diameter, so this exceeds the visible width.",
        "Width of the nucleus relative to that of the cytoplasm, both by the ellipse of the same spread.",
    ),
    _Shape(
        "Perimeter", Unit.LENGTH, True, "Perimeter", "sum of the lengths of the outline's segments (marching squares)",
        "Length of the outline of the {region}; folds, notches and projections make it longer.",
        " The edge towards the nucleus counts too.",
        "Outline of the nucleus relative to that of the cytoplasm, whose inner edge counts too.",
    ),
    _Shape(
        "PerimeterSurfaceRatio", Unit.PER_LENGTH, True, "Perimeter per area", "perimeter / area within the outline",
        "Length of the outline per area of the {region}: small and irregular outlines give large values.",
        " A thin rim gives large values as well.",
        "Outline per area of the nucleus relative to that of the cytoplasm: the thinner the rim of cytoplasm, the smaller.",
    ),
    _Shape(
        "PixelSurface", Unit.AREA, True, "Area", "number of pixels",
        "Area of the {region}, counted in pixels.",
        "",
        "Share of the cell's area that the nucleus takes: 0.5 = half the cell is nucleus.",
    ),
    _Shape(
        "Sphericity", Unit.NONE, False, "Sphericity", "2 sqrt(π area) / perimeter",
        "How close the outline of the {region} is to a circle: a drawn circle reaches about 0.95, folds, lobes and ragged edges lower it.",
        " A ring is low by nature, because its inner edge counts too.",
        "Sphericity of the nucleus relative to that of the cytoplasm: the thinner the rim of cytoplasm, the larger.",
    ),
)  # fmt: skip


class _Tone(NamedTuple):
    """One first-order feature of the grey values, measured in nucleus and cytoplasm."""

    feature: str
    unit: Unit
    ibsi_id: str | None
    log_axis: bool
    short: str
    formula: str
    description: str


_TONES: Final = (
    _Tone(
        "10Percentile", Unit.GREY, "QG58", False, "Dark end (10th percentile)", "10th percentile of X",
        "Grey level below which the darkest tenth of the {region} lies (0 = black, 255 = white).",
    ),
    _Tone(
        "90Percentile", Unit.GREY, "8DWT", False, "Light end (90th percentile)", "90th percentile of X",
        "Grey level above which the lightest tenth of the {region} lies (0 = black, 255 = white).",
    ),
    _Tone(
        "Energy", Unit.GREY_SQUARED, "N8CA", True, "Energy", "Σ X²",
        "Sum of the squared grey levels of all pixels of the {region}: grows with its area and its lightness.",
    ),
    _Tone(
        "Entropy", Unit.BITS, "TLU2", False, "Entropy", "-Σ p log2(p + ε)",
        "How varied the grey levels of the {region} are: 0 = one tone, higher = coarser or more mixed.",
    ),
    _Tone(
        "InterquartileRange", Unit.GREY, "SALO", False, "Interquartile range", "75th - 25th percentile of X",
        "Spread of the middle half of the grey levels of the {region}: small = even staining.",
    ),
    _Tone(
        "Kurtosis", Unit.NONE, None, True, "Kurtosis", "mean((X - mean)⁴) / variance²",
        "Weight of unusually dark or light pixels in the {region}: 3 = like a bell curve, higher = more outliers.",
    ),
    _Tone("Maximum", Unit.GREY, "84IY", False, "Lightest pixel", "max(X)", "Grey level of the lightest pixel of the {region}."),
    _Tone(
        "MeanAbsoluteDeviation", Unit.GREY, "4FUA", False, "Mean deviation", "mean(|X - mean(X)|)",
        "Average distance of the grey levels of the {region} from their mean: small = even staining.",
    ),
    _Tone(
        "Mean", Unit.GREY, "Q4LE", False, "Mean", "mean(X)",
        "Average grey level of the {region}: lower = darker (0 = black, 255 = white).",
    ),
    _Tone(
        "Median", Unit.GREY, "Y12H", False, "Median", "50th percentile of X",
        "Grey level that half of the {region} lies below: lower = darker (0 = black, 255 = white).",
    ),
    _Tone("Minimum", Unit.GREY, "1GSF", False, "Darkest pixel", "min(X)", "Grey level of the darkest pixel of the {region}."),
    _Tone(
        "Range", Unit.GREY, "2OJQ", False, "Range", "max(X) - min(X)",
        "Distance between the lightest and the darkest pixel of the {region}; two pixels decide it.",
    ),
    _Tone(
        "RobustMeanAbsoluteDeviation", Unit.GREY, "1128", False, "Robust mean deviation",
        "mean(|X' - mean(X')|), X' the values between the 10th and 90th percentile",
        "Average distance of the grey levels of the {region} from their mean, without the darkest and lightest tenth.",
    ),
    _Tone(
        "RootMeanSquared", Unit.GREY, "5ZWQ", False, "Root mean square", "sqrt(mean(X²))",
        "Average grey level of the {region} with more weight on light pixels: lower = darker.",
    ),
    _Tone(
        "Skewness", Unit.NONE, "KE2A", False, "Skewness", "mean((X - mean)³) / variance^1.5",
        "Lopsidedness of the grey levels of the {region}: above 0 = mostly dark with a few light pixels, below 0 = the reverse.",
    ),
    _Tone(
        "Uniformity", Unit.NONE, "BJ5W", False, "Uniformity", "Σ p²",
        "How far one tone dominates the {region}: 1 = a single tone, lower = mixed.",
    ),
    _Tone(
        "Variance", Unit.GREY_SQUARED, "ECT3", True, "Variance", "mean((X - mean(X))²)",
        "Spread of the grey levels of the {region} around their mean, squared: small = even staining.",
    ),
)  # fmt: skip

# Pages show Energy in millions, and Skewness plus 1 where the axis is logarithmic, as the thesis does.
_DISPLAY_FACTOR: Final = {"Energy": 1e-6}
_DISPLAY_OFFSET: Final = {"Skewness": 1.0}


def _lower(text: str) -> str:
    return text[0].lower() + text[1:]


def _shape_specs(region: Region, group: FeatureGroup) -> Iterator[FeatureSpec]:
    for row in _SHAPES:
        yield FeatureSpec(
            name=f"{region}_{FeatureClass.SHAPE_2D}_{row.feature}",
            region=region,
            feature_class=FeatureClass.SHAPE_2D,
            feature=row.feature,
            group=group,
            label=f"{region.capitalize()} {_lower(row.short)}",
            short=row.short,
            description=row.description.format(region=region) + (row.of_ring if region is Region.CYTOPLASM else ""),
            formula=row.formula,
            unit=row.unit,
            log_axis=row.log_axis,
        )


def _ratio_specs() -> Iterator[FeatureSpec]:
    for row in _SHAPES:
        nucleus, cytoplasm = (f"{region}_{FeatureClass.SHAPE_2D}_{row.feature}" for region in (Region.NUCLEUS, Region.CYTOPLASM))
        is_area = row.unit is Unit.AREA
        short = "N:C area ratio" if is_area else f"{row.short} N/C"
        what = _lower(row.short)
        yield FeatureSpec(
            name=f"{Region.COMBINED}_{row.feature}",
            region=Region.COMBINED,
            feature_class=FeatureClass.RATIO,
            feature=row.feature,
            group=FeatureGroup.COMBINED,
            label=short if is_area else f"Nucleus / cytoplasm {what}",
            short=short,
            description=row.combined,
            formula=f"{what} of nucleus / ({what} of nucleus + {what} of cytoplasm)"
            if is_area
            else f"{what} of nucleus / {what} of cytoplasm",
            unit=Unit.NONE,
            # Areas add up, so the area of the nucleus is set against the whole cell; nothing else in this table does.
            ratio_of=(nucleus, (nucleus, cytoplasm) if is_area else (cytoplasm,)),
            log_axis=not is_area,
        )


def _tone_specs(region: Region, group: FeatureGroup) -> Iterator[FeatureSpec]:
    for row in _TONES:
        yield FeatureSpec(
            name=f"{region}_{FeatureClass.FIRST_ORDER}_{row.feature}",
            region=region,
            feature_class=FeatureClass.FIRST_ORDER,
            feature=row.feature,
            group=group,
            label=f"{region.capitalize()} tone, {_lower(row.short)}",
            short=row.short,
            description=row.description.format(region=region),
            formula=row.formula,
            unit=row.unit,
            ibsi_id=row.ibsi_id,
            sums_pixels=row.feature == "Energy",
            log_axis=row.log_axis,
            display_factor=_DISPLAY_FACTOR.get(row.feature, 1.0),
            display_offset=_DISPLAY_OFFSET.get(row.feature, 0.0),
        )


def _all_specs() -> Iterator[FeatureSpec]:
    yield from _shape_specs(Region.NUCLEUS, FeatureGroup.NUCLEUS_SHAPE)
    yield from _shape_specs(Region.CYTOPLASM, FeatureGroup.CYTOPLASM_SHAPE)
    yield from _shape_specs(Region.CELL, FeatureGroup.CELL_SHAPE)
    yield from _ratio_specs()
    yield from _tone_specs(Region.NUCLEUS, FeatureGroup.NUCLEUS_TONE)
    yield from _tone_specs(Region.CYTOPLASM, FeatureGroup.CYTOPLASM_TONE)


CATALOGUE: Final[Mapping[str, FeatureSpec]] = MappingProxyType({spec.name: spec for spec in _all_specs()})


def feature_spec(name: str) -> FeatureSpec:
    """Look up a feature by its column name.

    Raises
    ------
    FeatureError
        The catalogue has no such feature; the message names the closest ones.
    """
    if name not in CATALOGUE:
        close = get_close_matches(name, CATALOGUE, n=3)
        hint = f"did you mean {', '.join(close)}?" if close else "names look like nucleus_shape2D_Elongation or combined_PixelSurface"
        msg = f"the catalogue has no feature {name!r}; {hint}"
        raise FeatureError(msg)
    return CATALOGUE[name]

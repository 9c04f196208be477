"""What the catalogue knows of a feature: region, class, theme, unit, and how its value is converted and shown."""

from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import NamedTuple


class Region(StrEnum):
    """What is measured; `CELL` is nucleus and cytoplasm together, `COMBINED` compares two regions."""

    NUCLEUS = "nucleus"
    CYTOPLASM = "cytoplasm"
    CELL = "cell"
    ENVIRONMENT = "environment"
    COMBINED = "combined"


class FeatureClass(StrEnum):
    """Family of features measured together, under pyradiomics' name where it has one; `RATIO` divides two regions."""

    SHAPE_2D = "shape2D"
    RATIO = "ratio"
    CONTOUR = "contour"
    LOBES = "lobes"
    PROJECTIONS = "projections"
    VACUOLES = "vacuoles"
    GRANULARITY = "granularity"
    FIRST_ORDER = "firstorder"
    OPTICAL_DENSITY = "od"
    HAEMATOXYLIN = "haematoxylin"
    EOSIN = "eosin"
    HUE = "hue"
    SATURATION = "saturation"
    GLCM = "glcm"
    GLRLM = "glrlm"
    GLSZM = "glszm"
    GLDM = "gldm"
    NGTDM = "ngtdm"


class Theme(StrEnum):
    """What a feature speaks of, in the order of the pages."""

    SHAPE = "Size and shape"
    STRUCTURE = "Outline and structure"
    TONE = "Tone"
    COLOUR = "Stain and colour"
    TEXTURE = "Texture"


class Family(StrEnum):
    """What behaves alike between laboratories."""

    SIZE = "size"
    SHAPE = "shape"
    STRUCTURE = "structure"
    GRANULARITY = "granularity"
    TONE = "tone"
    STAIN = "stain"
    COLOUR = "colour"
    TEXTURE = "texture"


# Which of them a stain, a lamp or a camera moves in all cells alike.
STAINED = (Family.TONE, Family.STAIN, Family.COLOUR, Family.TEXTURE, Family.GRANULARITY)

_FAMILIES = {
    FeatureClass.LOBES: Family.STRUCTURE,
    FeatureClass.PROJECTIONS: Family.STRUCTURE,
    FeatureClass.VACUOLES: Family.STRUCTURE,
    FeatureClass.GRANULARITY: Family.GRANULARITY,
    FeatureClass.FIRST_ORDER: Family.TONE,
    FeatureClass.OPTICAL_DENSITY: Family.STAIN,
    FeatureClass.HAEMATOXYLIN: Family.STAIN,
    FeatureClass.EOSIN: Family.STAIN,
    FeatureClass.HUE: Family.COLOUR,
    FeatureClass.SATURATION: Family.COLOUR,
    FeatureClass.GLCM: Family.TEXTURE,
    FeatureClass.GLRLM: Family.TEXTURE,
    FeatureClass.GLSZM: Family.TEXTURE,
    FeatureClass.GLDM: Family.TEXTURE,
    FeatureClass.NGTDM: Family.TEXTURE,
}


class Aspect(StrEnum):
    """What a ranking speaks of, in the order in which a haematologist looks: morphology first."""

    FORM = "Size and shape"
    STRUCTURE = "Outline and structure"
    STAIN = "Stain and texture"


class Unit(Enum):
    """Unit of a stored value: its text in pixels and in micrometres, and the power of the length in it.

    OD is decadic optical density.
    """

    LENGTH = ("px", "µm", 1)
    AREA = ("px²", "µm²", 2)
    PER_LENGTH = ("1/px", "1/µm", -1)
    NONE = ("", "", 0)
    GREY = ("grey levels", "grey levels", 0)
    GREY_SQUARED = ("grey levels²", "grey levels²", 0)
    GREY_SQUARED_AREA = ("grey levels² px²", "grey levels² µm²", 2)
    DENSITY = ("OD", "OD", 0)
    DENSITY_SQUARED = ("OD²", "OD²", 0)
    DENSITY_SQUARED_AREA = ("OD² px²", "OD² µm²", 2)
    DEGREE = ("°", "°", 0)
    DEGREE_SQUARED = ("°²", "°²", 0)
    DEGREE_SQUARED_AREA = ("°² px²", "°² µm²", 2)
    PERCENT = ("%", "%", 0)
    PERCENT_SQUARED = ("%²", "%²", 0)
    PERCENT_SQUARED_AREA = ("%² px²", "%² µm²", 2)
    BITS = ("bits", "bits", 0)

    def __init__(self, px: str, um: str, length_power: int) -> None:
        self.px = px
        self.um = um
        self.length_power = length_power


class FeatureRow(NamedTuple):
    """One feature of a class, before it is set to a region: a line of `core.features.definitions`.

    `{region}` in the description becomes the region's name. The other fields are those of `FeatureSpec`.
    """

    feature: str
    unit: Unit
    short: str
    formula: str
    description: str
    ibsi_id: str | None = None
    log_axis: bool = False
    pixel_bound: bool = False


@dataclass(frozen=True)
class FeatureSpec:
    """One feature: what it is called, what it means, and how it is converted and shown.

    Parameters
    ----------
    name
        Column in the cohort, e.g. `nucleus_shape2D_Elongation`.
    region, feature_class, feature
        The parts of the name; `feature` is pyradiomics' own where it has one.
    theme, group
        Part of the page, and the heading within it.
    label, short
        Plain words with the region ("Nucleus elongation", "Nucleus tone, mean") and, for charts that are grouped
        already, without it ("Elongation", "Mean").
    description
        One line for a haematologist.
    formula
        How it is computed. X are the values of the region, p the shares of its levels in bins of equal width.
    unit
        Unit of the stored value, in pixels.
    ibsi_id
        Identifier of the IBSI, where it is exactly that quantity.
    ratio_of
        Names of the numerator's feature and of those whose sum is the denominator, for a ratio of two catalogued
        features.
    pixel_bound
        The value changes with the magnification, though no length is in its unit: it sums over pixels, or looks one
        pixel aside.
    log_axis
        Positive by nature and skewed among cells: compared and drawn on a logarithmic scale. (A region of a single tone
        has a variance and a kurtosis of 0 all the same.)
    display_factor
        Shown values are stored values times this.
    display_offset
        Added to the shown value where even a feature that can be negative is put on a logarithmic axis.
    """

    name: str
    region: Region
    feature_class: FeatureClass
    feature: str
    theme: Theme
    group: str
    label: str
    short: str
    description: str
    formula: str
    unit: Unit
    ibsi_id: str | None = None
    ratio_of: tuple[str, tuple[str, ...]] | None = None
    pixel_bound: bool = False
    log_axis: bool = False
    display_factor: float = 1.0
    display_offset: float = 0.0

    @property
    def length_power(self) -> int:
        """Power of the length in the unit: 1 length, 2 area, -1 per length, 0 none."""
        return self.unit.length_power

    @property
    def scale_free(self) -> bool:
        """Whether it can be compared between cells taken at different or unknown magnifications."""
        return self.length_power == 0 and not self.pixel_bound

    @property
    def family(self) -> Family:
        """Which of the families that behave alike between laboratories it belongs to."""
        if self.feature_class in _FAMILIES:
            return _FAMILIES[self.feature_class]
        return Family.SIZE if self.length_power else Family.SHAPE

    @property
    def aspect(self) -> Aspect:
        """Which part of a ranking it belongs to."""
        by_theme = {Theme.SHAPE: Aspect.FORM, Theme.STRUCTURE: Aspect.STRUCTURE}
        return by_theme.get(self.theme, Aspect.STAIN)

    @property
    def intensity_dependent(self) -> bool:
        """Whether it depends on stain, light and camera."""
        return self.theme in (Theme.TONE, Theme.COLOUR, Theme.TEXTURE) or self.feature_class in (
            FeatureClass.PROJECTIONS,
            FeatureClass.VACUOLES,
            FeatureClass.GRANULARITY,
        )

    def in_um(self, value: float, um_per_px: float) -> float:
        """Convert a value from pixels to micrometres; exact, as pixels are square. Others stay as they are."""
        return value * um_per_px**self.length_power

    def um_range(self, value: float, um_per_px: float, error: float) -> tuple[float, float]:
        """What a value in pixels may be in micrometres where the true scale may differ by the share `error`.

        Examples
        --------
        >>> from core.features.catalogue import CATALOGUE
        >>> area = CATALOGUE["cell_shape2D_PixelSurface"]
        >>> [round(end, 1) for end in area.um_range(10000, 0.1, 0.1)]
        [81.0, 121.0]
        """
        ends = [self.in_um(value, um_per_px * (1 + sign * error)) for sign in (-1, 1)]
        return min(ends), max(ends)

    def shown(self, value: float) -> float:
        """Value as tables and axes print it."""
        return value * self.display_factor

    def row(self) -> dict[str, str | bool | float | None]:
        """The feature in plain values, as `python -m core catalogue` prints it."""
        return {
            "name": self.name,
            "label": self.label,
            "theme": self.theme.value,
            "group": self.group,
            "class": self.feature_class.value,
            "region": self.region.value,
            "unit": self.unit.px,
            "unit_um": self.unit.um,
            "description": self.description,
            "formula": self.formula,
            "ibsi": self.ibsi_id,
            "scale_free": self.scale_free,
            "intensity_dependent": self.intensity_dependent,
            "axis": "log" if self.log_axis else "linear",
            "axis_offset": self.display_offset,
        }

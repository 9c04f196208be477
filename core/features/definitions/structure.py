"""Outline and structure as a haematologist sees them: lobes, indentation, projections, vacuoles, granules."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from core.features.spec import FeatureClass, FeatureRow, Region, Unit

_CONTOUR: Final = (
    FeatureRow("Solidity", Unit.NONE, "Solidity", "area within the outer outline / area of its convex hull",
        "How much of its convex hull the {region} fills: 1 = nowhere indented;"
        " notches, lobes and projections lower it."),
    FeatureRow("Convexity", Unit.NONE, "Convexity", "perimeter of the convex hull / length of the outer outline",
        "How smooth the outline of the {region} is: 1 = a tape laid around it would be no shorter;"
        " teeth and folds lower it."),
    FeatureRow("FormFactor", Unit.NONE, "Form factor", "4π area / length of the outer outline²",
        "How close the outer outline of the {region} is to a circle: 1 = a circle;"
        " elongation, folds and ragged edges lower it."),
    FeatureRow("IndentationDepth", Unit.NONE, "Deepest dent",
        "largest distance of the outer outline from its convex hull / sqrt(area / π)",
        "How deep the deepest dent of the {region} is, relative to its radius:"
        " 0 = none, about 0.3 = a kidney, 1 = down to the centre."),
    FeatureRow("LowHarmonics", Unit.NONE, "Coarse waves",
        "sqrt(Σ |c(1+m)|² + |c(1-m)|²) / |c(1)|, m = 3 to 7, c the outline's Fourier series",
        "Large bulges and dents in the outline of the {region}, three to seven of them around, relative to its radius.",
        log_axis=True),
    FeatureRow("HighHarmonics", Unit.NONE, "Fine waves",
        "sqrt(Σ |c(1+m)|² + |c(1-m)|²) / |c(1)|, m = 8 to 24, c the outline's Fourier series",
        "Small teeth and frays in the outline of the {region}, eight to twenty-four of them around,"
        " relative to its radius.", log_axis=True),
)  # fmt: skip

_LOBES: Final = (
    FeatureRow("LobeCount", Unit.NONE, "Lobes",
        "number of bodies whose depth exceeds that of their neck by 0.1 of the greatest depth",
        "Number of lobes of the {region}: bodies that are told apart by a neck, or lie apart."),
    FeatureRow("Lobulation", Unit.NONE, "Lobulation",
        "mean number of such bodies over all depths, as the outline is moved inwards",
        "How far the lobes of the {region} are parted:"
        " 1 = a single body, 2 = two equal lobes that hardly hold together."),
)  # fmt: skip

_PROJECTIONS: Final = (
    FeatureRow("Count", Unit.NONE, "Projections",
        "parts higher than 0.05 radii that an opening by a disc of 0.12 radii takes away",
        "Number of thin projections of the {region}, as the hairs of hairy cells,"
        " in its mask and in the environment around it."),
    FeatureRow("MeanHeight", Unit.NONE, "Projections, mean height",
        "mean height of the projections above the body / radius of the cell",
        "Mean height of the projections of the {region}, relative to its radius;"
        " what is beyond the environment is not seen."),
    FeatureRow("MaximumHeight", Unit.NONE, "Projections, greatest height",
        "greatest height above the body / radius of the cell",
        "Height of the highest projection of the {region}, relative to its radius, however low it is."),
    FeatureRow("ContourShare", Unit.NONE, "Projections, share of outline",
        "pixels of the body's outline at a projection / all pixels of it",
        "Share of the outline of the {region} from which projections rise."),
)  # fmt: skip

_VACUOLES: Final = (
    FeatureRow("Count", Unit.NONE, "Vacuoles",
        "round clear spots of 0.03 to 0.25 cell diameters; clear = nearer in density to the background",
        "Number of round clear spots in the {region} that do not touch the cell's edge;"
        " those that run together count as one."),
    FeatureRow("AreaShare", Unit.NONE, "Vacuoles, share of area", "area of the vacuoles / area of the cytoplasm",
        "Share of the {region} that vacuoles take."),
)  # fmt: skip

_GRANULARITY: Final = (
    FeatureRow("Fine", Unit.NONE, "Granularity, fine",
        "(D(0) - D(0.03)) / D(0), D(w) the density left by an opening as wide as w cell diameters",
        "Share of the stain of the {region} in spots up to 0.03 cell diameters wide,"
        " as azurophil granules or fine chromatin.", pixel_bound=True),
    FeatureRow("Medium", Unit.NONE, "Granularity, medium", "(D(0.03) - D(0.06)) / D(0)",
        "Share of the stain of the {region} in spots of 0.03 to 0.06 cell diameters,"
        " as coarse granules or chromatin strands."),
    FeatureRow("Coarse", Unit.NONE, "Granularity, coarse", "(D(0.06) - D(0.12)) / D(0)",
        "Share of the stain of the {region} in spots of 0.06 to 0.12 cell diameters, as clumps of chromatin."),
)  # fmt: skip

# By class: the regions it is measured in, and its rows.
STRUCTURES: Final[Mapping[FeatureClass, tuple[tuple[Region, ...], tuple[FeatureRow, ...]]]] = MappingProxyType(
    {
        FeatureClass.CONTOUR: ((Region.NUCLEUS, Region.CELL), _CONTOUR),
        FeatureClass.LOBES: ((Region.NUCLEUS,), _LOBES),
        FeatureClass.PROJECTIONS: ((Region.CELL,), _PROJECTIONS),
        FeatureClass.VACUOLES: ((Region.CYTOPLASM,), _VACUOLES),
        FeatureClass.GRANULARITY: ((Region.NUCLEUS, Region.CYTOPLASM), _GRANULARITY),
    }
)

# What sets nucleus and cell in relation without being a ratio of two catalogued features.
COMBINED: Final[tuple[FeatureRow, ...]] = (
    FeatureRow("NuclearEccentricity", Unit.NONE, "Nuclear eccentricity",
        "distance of the centres of gravity / radius of the cell",
        "How far the nucleus lies off the middle of the cell, relative to its radius: 0 = in the middle."),
    FeatureRow("RimContact", Unit.NONE, "Nucleus at the rim",
        "share of the nucleus's outline with no more than 0.08 radii to the cell's edge",
        "Share of the nucleus's outline that lies at the edge of the cell, without a rim of cytoplasm to speak of."),
)  # fmt: skip

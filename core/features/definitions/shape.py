"""Size and shape: pyradiomics' class shape2D, and the thesis's ratios of nucleus to cytoplasm."""

from typing import Final, NamedTuple

from core.features.spec import Unit


class ShapeRow(NamedTuple):
    """One shape feature, measured in three regions and, where `combined` has a text, set in proportion once.

    `{region}` in the description is the region's name; `of_ring` is added for the cytoplasm, which is a ring.
    """

    feature: str
    unit: Unit
    log_axis: bool
    short: str
    formula: str
    description: str
    of_ring: str
    combined: str | None


SHAPES: Final = (
    ShapeRow("Elongation", Unit.NONE, False, "Elongation",
        "sqrt(λ_minor / λ_major), λ the variances of the pixel positions along the principal axes",
        "How round the {region} is overall: 1 = as long as wide, smaller = longer.",
        " A ring is judged by its spread as a whole, not by its thickness.",
        "Roundness of the nucleus relative to that of the cytoplasm:"
        " above 1, the cytoplasm is the longer or lies more to one side."),
    ShapeRow("MajorAxisLength", Unit.LENGTH, True, "Major axis", "4 sqrt(λ_major)",
        "Length of the ellipse that has the same spread as the {region}.",
        " A ring spreads wider than a disc of the same diameter, so this exceeds the visible length.",
        "Length of the nucleus relative to that of the cytoplasm, both by the ellipse of the same spread."),
    ShapeRow("MaximumDiameter", Unit.LENGTH, True, "Largest diameter",
        "largest distance between two points of the outline",
        "Largest distance between two points on the outline of the {region}.",
        " For a cytoplasm that surrounds its nucleus this is the diameter of the cell.",
        "Largest diameter of the nucleus relative to that of the cytoplasm."),
    ShapeRow("MeshSurface", Unit.AREA, True, "Area within the outline",
        "area enclosed by the outline (marching squares)",
        "Area enclosed by the outline of the {region}:"
        " the counted area less half a pixel at each corner of the outline.",
        "",
        None),
    ShapeRow("MinorAxisLength", Unit.LENGTH, True, "Minor axis", "4 sqrt(λ_minor)",
        "Width of the ellipse that has the same spread as the {region}.",
        " A ring spreads wider than a disc of the same diameter, so this exceeds the visible width.",
        "Width of the nucleus relative to that of the cytoplasm, both by the ellipse of the same spread."),
    ShapeRow("Perimeter", Unit.LENGTH, True, "Perimeter",
        "sum of the lengths of the outline's segments (marching squares)",
        "Length of the outline of the {region}; folds, notches and projections make it longer.",
        " The edge towards the nucleus counts too.",
        "Outline of the nucleus relative to that of the cytoplasm, whose inner edge counts too."),
    ShapeRow("PerimeterSurfaceRatio", Unit.PER_LENGTH, True, "Perimeter per area",
        "perimeter / area within the outline",
        "Length of the outline per area of the {region}: small and irregular outlines give large values.",
        " A thin rim gives large values as well.",
        "Outline per area of the nucleus relative to that of the cytoplasm:"
        " the thinner the rim of cytoplasm, the smaller."),
    ShapeRow("PixelSurface", Unit.AREA, True, "Area", "number of pixels",
        "Area of the {region}, counted in pixels.",
        "",
        "Share of the cell's area that the nucleus takes: 0.5 = half the cell is nucleus."),
    ShapeRow("Sphericity", Unit.NONE, False, "Sphericity", "2 sqrt(π area) / perimeter",
        "How close the outline of the {region} is to a circle:"
        " a drawn circle reaches about 0.95, folds, lobes and ragged edges lower it.",
        " A ring is low by nature, because its inner edge counts too.",
        "Sphericity of the nucleus relative to that of the cytoplasm: the thinner the rim of cytoplasm, the larger."),
)  # fmt: skip

"""Tone: pyradiomics' class firstorder, on grey and on every other channel, in the words of each."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from core.features.spec import FeatureClass, FeatureRow, Unit


class Quantity(NamedTuple):
    """What a channel holds, in words: its name, scale, low and high ends, and units of a value, a square, a sum."""

    title: str
    value: str
    values: str
    scale: str
    low: str
    lowest: str
    high: str
    highest: str
    units: tuple[Unit, Unit, Unit]


_DENSITY_UNITS: Final = (Unit.DENSITY, Unit.DENSITY_SQUARED, Unit.DENSITY_SQUARED_AREA)

QUANTITIES: Final[Mapping[FeatureClass, Quantity]] = MappingProxyType(
    {
        FeatureClass.FIRST_ORDER: Quantity(
            "tone", "grey level", "grey levels", "0 = black, 255 = white", "dark", "darkest", "light", "lightest",
            (Unit.GREY, Unit.GREY_SQUARED, Unit.GREY_SQUARED_AREA),
        ),
        FeatureClass.OPTICAL_DENSITY: Quantity(
            "optical density", "optical density", "optical densities",
            "decadic: 0 = clear, 1 = a tenth of the light passes",
            "pale", "palest", "dense", "densest", _DENSITY_UNITS,
        ),
        FeatureClass.HAEMATOXYLIN: Quantity(
            "basic dye", "amount of basic, haematoxylin-like dye", "amounts of basic, haematoxylin-like dye",
            "decadic optical density, higher = more basophilic", "low", "lowest", "high", "highest", _DENSITY_UNITS,
        ),
        FeatureClass.EOSIN: Quantity(
            "eosin", "amount of eosin-like dye", "amounts of eosin-like dye",
            "decadic optical density, higher = more acidophilic", "low", "lowest", "high", "highest", _DENSITY_UNITS,
        ),
        FeatureClass.HUE: Quantity(
            "hue", "hue", "hues", "240 = blue, 270 = violet, 300 = purple, 360 = red",
            "blue", "bluest", "red", "reddest",
            (Unit.DEGREE, Unit.DEGREE_SQUARED, Unit.DEGREE_SQUARED_AREA),
        ),
        FeatureClass.SATURATION: Quantity(
            "saturation", "saturation", "saturations", "0 = grey, 100 = pure colour",
            "dull", "dullest", "vivid", "most vivid",
            (Unit.PERCENT, Unit.PERCENT_SQUARED, Unit.PERCENT_SQUARED_AREA),
        ),
    }
)  # fmt: skip


def rows(quantity: Quantity) -> tuple[FeatureRow, ...]:
    """The class's features, worded for one quantity; X are its values in the region, p the shares of its bins.

    The IBSI's kurtosis is smaller by 3, so it has no identifier here.
    """
    _, what, many, scale, low, lowest, high, highest, (value, squared, summed) = quantity
    lead = what[0].upper() + what[1:]
    return (
        FeatureRow("10Percentile", value, f"{low.capitalize()} end (10th percentile)", "10th percentile of X",
            f"{lead} below which the {lowest} tenth of the {{region}} lies ({scale}).", "QG58"),
        FeatureRow("90Percentile", value, f"{high.capitalize()} end (90th percentile)", "90th percentile of X",
            f"{lead} above which the {highest} tenth of the {{region}} lies ({scale}).", "8DWT"),
        FeatureRow("Energy", squared, "Energy", "Σ X²",
            f"Sum of the squared {many} of all pixels of the {{region}}: grows with its area and its {what}.", "N8CA",
            log_axis=True, pixel_bound=True),
        FeatureRow("Entropy", Unit.BITS, "Entropy", "-Σ p log2(p + ε)",
            f"How varied the {many} of the {{region}} are: 0 = all alike, higher = coarser or more mixed.", "TLU2"),
        FeatureRow("InterquartileRange", value, "Interquartile range", "75th - 25th percentile of X",
            f"Spread of the middle half of the {many} of the {{region}}: small = even staining.", "SALO"),
        FeatureRow("Kurtosis", Unit.NONE, "Kurtosis", "mean((X - mean)⁴) / variance²",
            f"Weight of pixels of the {{region}} with unusual {what}: 3 = like a bell curve, higher = more outliers.",
            log_axis=True),
        FeatureRow("Maximum", value, f"{highest.capitalize()} pixel", "max(X)",
            f"{lead} of the {highest} pixel of the {{region}}.", "84IY"),
        FeatureRow("MeanAbsoluteDeviation", value, "Mean deviation", "mean(|X - mean(X)|)",
            f"Average distance of the {many} of the {{region}} from their mean: small = even staining.", "4FUA"),
        FeatureRow("Mean", value, "Mean", "mean(X)", f"Average {what} of the {{region}} ({scale}).", "Q4LE"),
        FeatureRow("Median", value, "Median", "50th percentile of X",
            f"{lead} that half of the {{region}} lies below ({scale}).", "Y12H"),
        FeatureRow("Minimum", value, f"{lowest.capitalize()} pixel", "min(X)",
            f"{lead} of the {lowest} pixel of the {{region}}.", "1GSF"),
        FeatureRow("Range", value, "Range", "max(X) - min(X)",
            f"Distance between the {highest} and the {lowest} pixel of the {{region}}; two pixels decide it.", "2OJQ"),
        FeatureRow("RobustMeanAbsoluteDeviation", value, "Robust mean deviation",
            "mean(|X' - mean(X')|), X' the values between the 10th and 90th percentile",
            f"Average distance of the {many} of the {{region}} from their mean, without the lowest and highest tenth.",
            "1128"),
        FeatureRow("RootMeanSquared", value, "Root mean square", "sqrt(mean(X²))",
            f"Average {what} of the {{region}} with more weight on the {high} pixels ({scale}).", "5ZWQ"),
        FeatureRow("Skewness", Unit.NONE, "Skewness", "mean((X - mean)³) / variance^1.5",
            f"Lopsidedness of the {many} of the {{region}}: above 0 = mostly {low} with a few {high} pixels,"
            " below 0 = the reverse.", "KE2A"),
        FeatureRow("TotalEnergy", summed, "Energy times pixel area", "pixel area times Σ X²",
            f"Sum of the squared {many} over the area of the {{region}}, the same at any pixel size.", log_axis=True),
        FeatureRow("Uniformity", Unit.NONE, "Uniformity", "Σ p²",
            f"How far one {what} dominates the {{region}}: 1 = all alike, lower = mixed.", "BJ5W"),
        FeatureRow("Variance", squared, "Variance", "mean((X - mean(X))²)",
            f"Spread of the {many} of the {{region}} around their mean, squared: small = even staining.", "ECT3",
            log_axis=True),
    )  # fmt: skip

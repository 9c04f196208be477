"""Texture: pyradiomics' classes glcm, glrlm, glszm, gldm and ngtdm, on grey in bins of equal width.

Levels count the bins from the darkest that occurs in the region, which is 1. The formulas write p for shares, i and j
for levels (in the first class, of two neighbours; in the others, i is the level and s the length, size or number); N is
the highest level. A value that depends on direction is the mean of the four. The identifiers are those of the IBSI
reference manual (arXiv:1612.07003) for the quantity once grey levels are formed; in forming them, pyradiomics sets the
edges of the bins at multiples of their width, the IBSI at the minimum.

Axes are logarithmic where the values of the regions with drawn masks are skewed and their logarithms less so.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from core.features.spec import FeatureClass, FeatureRow, Unit


class _Text(NamedTuple):
    """One texture feature; what all of them share is added by `_rows`."""

    feature: str
    short: str
    formula: str
    description: str
    ibsi_id: str | None
    log_axis: bool = False
    unit: Unit = Unit.NONE


def _rows(*texts: _Text) -> tuple[FeatureRow, ...]:
    """All of texture looks one pixel aside or counts pixels, so the magnification changes it."""
    return tuple(
        FeatureRow(
            text.feature,
            text.unit,
            text.short,
            text.formula,
            text.description,
            text.ibsi_id,
            text.log_axis,
            pixel_bound=True,
        )
        for text in texts
    )


_GLCM: Final = _rows(
    _Text("Autocorrelation", "Autocorrelation", "Σ p i j",
        "Average product of neighbouring grey levels of the {region}: large where light pixels lie side by side.",
        "QWB0", True),
    _Text("ClusterProminence", "Cluster prominence", "Σ p (i + j - 2µ)⁴",
        "Weight of neighbouring pixels of the {region} that are both far lighter or both far darker than the rest.",
        "AE86", True),
    _Text("ClusterShade", "Cluster shade", "Σ p (i + j - 2µ)³",
        "Lopsidedness of neighbouring pixels of the {region}:"
        " above 0 = light clumps on a dark ground, below 0 = the reverse.", "7NFM"),
    _Text("ClusterTendency", "Cluster tendency", "Σ p (i + j - 2µ)²",
        "How far neighbouring pixels of the {region} are light or dark together: high = clumps of like tone.",
        "DG8W", True),
    _Text("Contrast", "Contrast", "Σ p (i - j)²",
        "Average squared step between neighbouring pixels of the {region}: high = coarse grain or sharp edges.",
        "ACUI", True),
    _Text("Correlation", "Correlation", "Σ p (i - µ)(j - µ) / σ²",
        "How well a pixel of the {region} foretells its neighbour: 1 = smooth shading, 0 = noise.", "NI2N"),
    _Text("DifferenceAverage", "Mean difference", "Σ p |i - j|",
        "Average step in grey level between neighbouring pixels of the {region}: 0 = none, higher = rougher.", "TF7R"),
    _Text("DifferenceEntropy", "Difference entropy", "-Σ p_k log2(p_k + ε), k = |i - j|",
        "How varied the steps between neighbouring pixels of the {region} are: 0 = all alike.", "NTRS", unit=Unit.BITS),
    _Text("DifferenceVariance", "Difference variance", "Σ p_k (k - mean difference)², k = |i - j|",
        "Spread of the steps between neighbouring pixels of the {region}: high = smooth parts beside sharp edges.",
        "D3YU", True),
    _Text("Id", "Inverse difference", "Σ p / (1 + |i - j|)",
        "Smoothness of the {region}: 1 = neighbouring pixels are alike, smaller = rougher.", "IB1Z"),
    _Text("Idm", "Inverse difference moment", "Σ p / (1 + (i - j)²)",
        "Smoothness of the {region}, large steps counting more: 1 = neighbouring pixels are alike, smaller = rougher.",
        "WF0Z"),
    _Text("Idmn", "Inverse difference moment, normalised", "Σ p / (1 + (i - j)² / N²)",
        "Smoothness of the {region} relative to its whole range of tone, large steps counting more:"
        " 1 = neighbouring pixels are alike.", "1QCO"),
    _Text("Idn", "Inverse difference, normalised", "Σ p / (1 + |i - j| / N)",
        "Smoothness of the {region} relative to its whole range of tone: 1 = neighbouring pixels are alike.", "NDRX"),
    _Text("Imc1", "Informational correlation 1", "(HXY - HXY1) / max(HX, HY)",
        "What a pixel of the {region} tells about its neighbour, as a share of what there is to tell:"
        " 0 = nothing, -1 = all.", "R8DG"),
    _Text("Imc2", "Informational correlation 2", "sqrt(1 - exp(-2 (HXY2 - HXY)))",
        "What a pixel of the {region} tells about its neighbour, between 0 = nothing and 1 = all.", "JN9H"),
    _Text("InverseVariance", "Inverse variance", "Σ p / (i - j)², i ≠ j",
        "Share of small steps between neighbouring pixels of the {region}: low = even areas or sharp edges.", "E8JP"),
    _Text("JointAverage", "Joint average", "µ = Σ p i",
        "Average grey level of the {region}, counted from its darkest:"
        " high = mostly light pixels with a few dark ones.", "60VM"),
    _Text("JointEnergy", "Joint energy", "Σ p²",
        "How far one pair of levels dominates the {region}: 1 = even tone, lower = mixed.", "8ZQL", True),
    _Text("JointEntropy", "Joint entropy", "HXY = -Σ p log2(p + ε)",
        "How varied the pairs of neighbouring pixels of the {region} are: 0 = even tone, higher = more mixed.",
        "TU9B", unit=Unit.BITS),
    _Text("MCC", "Maximal correlation", "sqrt(second largest eigenvalue of Σ_k p(i,k) p(j,k) / (p(i) p(k)))",
        "The closest bond between the levels of neighbouring pixels of the {region}:"
        " 1 = one decides the other, 0 = none.", None),
    _Text("MaximumProbability", "Maximum probability", "max p",
        "Share of the most frequent pair of neighbouring levels of the {region}: 1 = even tone.", "GYBY"),
    _Text("SumAverage", "Sum average", "Σ p (i + j)",
        "Twice the joint average of the {region}: high = mostly light pixels with a few dark ones.", "ZGXS"),
    _Text("SumEntropy", "Sum entropy", "-Σ p_k log2(p_k + ε), k = i + j",
        "How varied the brightness of neighbouring pairs of the {region} is: 0 = even tone.", "P6QZ", unit=Unit.BITS),
    _Text("SumSquares", "Joint variance", "Σ p (i - µ)²",
        "Spread of the grey levels of neighbouring pixels of the {region} around their mean: small = even tone.",
        "UR99", True),
)  # fmt: skip

_GLRLM: Final = _rows(
    _Text("GrayLevelNonUniformity", "Level non-uniformity", "Σ_i (Σ_s n)² / Σ n",
        "Grows with the number of runs in the {region}, and the more, the fewer tones they share.", "R5YN", True),
    _Text("GrayLevelNonUniformityNormalized", "Level non-uniformity, normalised", "Σ_i (Σ_s p)²",
        "How far one tone dominates the runs of the {region}: 1 = a single tone, lower = many tones alike.",
        "OVBL", True),
    _Text("GrayLevelVariance", "Level variance", "Σ p (i - mean)²",
        "Spread of the tones of the runs of the {region}: small = all runs of like tone.", "8CE5", True),
    _Text("HighGrayLevelRunEmphasis", "Light runs", "Σ p i²",
        "Weight of light runs in the {region}: high = mostly light streaks.", "G3QZ", True),
    _Text("LongRunEmphasis", "Long runs", "Σ p s²",
        "Weight of long runs of one tone in the {region}: high = smooth or coarse texture.", "W4KF", True),
    _Text("LongRunHighGrayLevelEmphasis", "Long light runs", "Σ p s² i²",
        "Weight of long light runs in the {region}: high = broad light areas.", "3KUM", True),
    _Text("LongRunLowGrayLevelEmphasis", "Long dark runs", "Σ p s² / i²",
        "Weight of long dark runs in the {region}: high = broad dark areas.", "IVPO", True),
    _Text("LowGrayLevelRunEmphasis", "Dark runs", "Σ p / i²",
        "Weight of dark runs in the {region}: high = mostly dark streaks.", "V3SW"),
    _Text("RunEntropy", "Run entropy", "-Σ p log2(p + ε)",
        "How varied the runs of the {region} are in tone and length: 0 = all alike.", "HJ9O", unit=Unit.BITS),
    _Text("RunLengthNonUniformity", "Length non-uniformity", "Σ_s (Σ_i n)² / Σ n",
        "Grows with the number of runs in the {region}, and the more, the more alike their lengths.", "W92Y", True),
    _Text("RunLengthNonUniformityNormalized", "Length non-uniformity, normalised", "Σ_s (Σ_i p)²",
        "How far one length dominates the runs of the {region}: 1 = all equally long, lower = mixed.", "IC23"),
    _Text("RunPercentage", "Run percentage", "number of runs / number of pixels",
        "Runs of one tone per pixel of the {region}: 1 = every pixel differs from its neighbours, small = smooth.",
        "9ZK5"),
    _Text("RunVariance", "Length variance", "Σ p (s - mean)²",
        "Spread of the lengths of the runs of the {region}: high = fine and coarse parts side by side.", "SXLW", True),
    _Text("ShortRunEmphasis", "Short runs", "Σ p / s²",
        "Weight of short runs of one tone in the {region}: near 1 = fine grain.", "22OV"),
    _Text("ShortRunHighGrayLevelEmphasis", "Short light runs", "Σ p i² / s²",
        "Weight of short light runs in the {region}: high = fine light grain.", "GD3A"),
    _Text("ShortRunLowGrayLevelEmphasis", "Short dark runs", "Σ p / (i² s²)",
        "Weight of short dark runs in the {region}: high = fine dark grain.", "HTZT"),
)  # fmt: skip

_GLSZM: Final = _rows(
    _Text("GrayLevelNonUniformity", "Level non-uniformity", "Σ_i (Σ_s n)² / Σ n",
        "Grows with the number of patches in the {region}, and the more, the fewer tones they share.", "JNSA", True),
    _Text("GrayLevelNonUniformityNormalized", "Level non-uniformity, normalised", "Σ_i (Σ_s p)²",
        "How far one tone dominates the patches of the {region}: 1 = a single tone, lower = many tones alike.",
        "Y1RO", True),
    _Text("GrayLevelVariance", "Level variance", "Σ p (i - mean)²",
        "Spread of the tones of the patches of the {region}: small = all patches of like tone.", "BYLV"),
    _Text("HighGrayLevelZoneEmphasis", "Light patches", "Σ p i²",
        "Weight of light patches in the {region}: high = many light patches, however small.", "5GN9", True),
    _Text("LargeAreaEmphasis", "Large patches", "Σ p s²",
        "Weight of large patches of one tone in the {region}: high = smooth or coarse texture; grows with the area.",
        "48P8", True),
    _Text("LargeAreaHighGrayLevelEmphasis", "Large light patches", "Σ p s² i²",
        "Weight of large light patches in the {region}; grows with the area.", "J17V", True),
    _Text("LargeAreaLowGrayLevelEmphasis", "Large dark patches", "Σ p s² / i²",
        "Weight of large dark patches in the {region}; grows with the area.", "YH51", True),
    _Text("LowGrayLevelZoneEmphasis", "Dark patches", "Σ p / i²",
        "Weight of dark patches in the {region}: high = many dark patches, however small.", "XMSY", True),
    _Text("SizeZoneNonUniformity", "Size non-uniformity", "Σ_s (Σ_i n)² / Σ n",
        "Grows with the number of patches in the {region}, and the more, the more alike their sizes.", "4JP3", True),
    _Text("SizeZoneNonUniformityNormalized", "Size non-uniformity, normalised", "Σ_s (Σ_i p)²",
        "How far one size dominates the patches of the {region}: 1 = all equally large, lower = mixed.", "VB3A", True),
    _Text("SmallAreaEmphasis", "Small patches", "Σ p / s²",
        "Weight of small patches of one tone in the {region}: near 1 = fine grain.", "5QRC"),
    _Text("SmallAreaHighGrayLevelEmphasis", "Small light patches", "Σ p i² / s²",
        "Weight of small light patches in the {region}: high = fine light grain.", "HW1V", True),
    _Text("SmallAreaLowGrayLevelEmphasis", "Small dark patches", "Σ p / (i² s²)",
        "Weight of small dark patches in the {region}: high = fine dark grain.", "5RAI", True),
    _Text("ZoneEntropy", "Patch entropy", "-Σ p log2(p + ε)",
        "How varied the patches of the {region} are in tone and size: 0 = all alike.", "GU8N", unit=Unit.BITS),
    _Text("ZonePercentage", "Patch percentage", "number of patches / number of pixels",
        "Patches of one tone per pixel of the {region}: 1 = every pixel differs from its neighbours, small = smooth.",
        "P30P", True),
    _Text("ZoneVariance", "Size variance", "Σ p (s - mean)²",
        "Spread of the sizes of the patches of the {region}: high = grain on broad even areas; grows with the area.",
        "3NSA", True),
)  # fmt: skip

_GLDM: Final = _rows(
    _Text("DependenceEntropy", "Dependence entropy", "-Σ p log2(p + ε)",
        "How varied the pixels of the {region} are in tone and in how many neighbours share it: 0 = all alike.",
        "FCBV", unit=Unit.BITS),
    _Text("DependenceNonUniformity", "Dependence non-uniformity", "Σ_s (Σ_i n)² / Σ n",
        "Grows with the area of the {region}, and the more, the more evenly smooth or rough it is.", "Z87G", True),
    _Text("DependenceNonUniformityNormalized", "Dependence non-uniformity, normalised", "Σ_s (Σ_i p)²",
        "How evenly smooth or rough the {region} is: 1 = every pixel has the same number of like neighbours.",
        "OKJI", True),
    _Text("DependenceVariance", "Dependence variance", "Σ p (s - mean)²",
        "Spread of the number of like neighbours in the {region}: high = smooth and rough parts side by side.", "DNX2"),
    _Text("GrayLevelNonUniformity", "Level non-uniformity", "Σ_i (Σ_s n)² / Σ n",
        "Grows with the area of the {region}, and the more, the fewer tones its pixels share.", "FP8K", True),
    _Text("GrayLevelVariance", "Level variance", "Σ p (i - mean)²",
        "Spread of the tones of the pixels of the {region}: small = even tone.", "1PFV", True),
    _Text("HighGrayLevelEmphasis", "Light pixels", "Σ p i²",
        "Weight of light pixels in the {region}, counted from its darkest tone.", "OAE7", True),
    _Text("LargeDependenceEmphasis", "Many like neighbours", "Σ p s²",
        "Weight of pixels of the {region} with many neighbours of their own tone: up to 81 = perfectly even.", "IMOQ"),
    _Text("LargeDependenceHighGrayLevelEmphasis", "Light, many like neighbours", "Σ p s² i²",
        "Weight of light pixels in even parts of the {region}: high = smooth light areas.", "9QMG", True),
    _Text("LargeDependenceLowGrayLevelEmphasis", "Dark, many like neighbours", "Σ p s² / i²",
        "Weight of dark pixels in even parts of the {region}: high = smooth dark areas.", "NBZI", True),
    _Text("LowGrayLevelEmphasis", "Dark pixels", "Σ p / i²",
        "Weight of dark pixels in the {region}, counted from its darkest tone.", "TL9H", True),
    _Text("SmallDependenceEmphasis", "Few like neighbours", "Σ p / s²",
        "Weight of pixels of the {region} that stand out from their neighbours: high = fine grain.", "SODN", True),
    _Text("SmallDependenceHighGrayLevelEmphasis", "Light, few like neighbours", "Σ p i² / s²",
        "Weight of light pixels of the {region} that stand out from their neighbours: high = fine light grain.",
        "JA6D", True),
    _Text("SmallDependenceLowGrayLevelEmphasis", "Dark, few like neighbours", "Σ p / (i² s²)",
        "Weight of dark pixels of the {region} that stand out from their neighbours: high = fine dark grain.",
        "EQ3F", True),
)  # fmt: skip

# p is the share of a level among the pixels, d the sum of the differences of its pixels from the mean level of their
# neighbours.
_NGTDM: Final = _rows(
    _Text("Busyness", "Busyness", "Σ p_i d_i / Σ_ij |i p_i - j p_j|",
        "How restless the {region} is: quick changes of tone from pixel to neighbour, set against its tones;"
        " grows with the area.", "NQ30", True),
    _Text("Coarseness", "Coarseness", "1 / Σ p_i d_i",
        "How little pixels of the {region} differ from their surroundings: high = even areas; falls as the area grows.",
        "QCDE", True),
    _Text("Complexity", "Complexity", "Σ_ij |i - j| (p_i d_i + p_j d_j) / (p_i + p_j) / number of pixels",
        "How many different and sharp changes of tone the {region} holds: high = much visual detail.", "HDEZ", True),
    _Text("Contrast", "Contrast",
        "Σ_ij p_i p_j (i - j)² / (n (n - 1)) · Σ d_i / number of pixels, n the number of levels",
        "Range of tone of the {region} together with the size of its local changes:"
        " high = strong light and dark grain.", "65HE"),
    _Text("Strength", "Strength", "Σ_ij (p_i + p_j)(i - j)² / Σ d_i",
        "How clearly areas of different tone stand out in the {region}; falls as the area grows.", "1X9X", True),
)  # fmt: skip

# How pages and reports call the class, and its rows.
TEXTURES: Final[Mapping[FeatureClass, tuple[str, tuple[FeatureRow, ...]]]] = MappingProxyType(
    {
        FeatureClass.GLCM: ("co-occurrence", _GLCM),
        FeatureClass.GLRLM: ("runs", _GLRLM),
        FeatureClass.GLSZM: ("patches", _GLSZM),
        FeatureClass.GLDM: ("dependence", _GLDM),
        FeatureClass.NGTDM: ("neighbourhood", _NGTDM),
    }
)

"""What a haematologist says of cells that have more or less of a feature, where there are words for it.

The words follow a plural: "monocytes *have the larger nucleus*". Only features whose name says little or whose numbers
nobody quotes are left out: they are ranked like all others, but no sentence begins with them.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple


class Phrase(NamedTuple):
    """What is said of the cells that have the larger values of a feature, and of those that have the smaller."""

    larger: str
    smaller: str


PHRASES: Final[Mapping[str, Phrase]] = MappingProxyType(
    {
        "cell_shape2D_PixelSurface": Phrase("are larger", "are smaller"),
        "cell_shape2D_MaximumDiameter": Phrase("are larger across", "are smaller across"),
        "cell_shape2D_Elongation": Phrase("are rounder", "are longer"),
        "cell_contour_FormFactor": Phrase("have the rounder, smoother outline", "have the less regular outline"),
        "nucleus_shape2D_PixelSurface": Phrase("have the larger nucleus", "have the smaller nucleus"),
        "nucleus_shape2D_MaximumDiameter": Phrase("have the nucleus larger across", "have the nucleus smaller across"),
        "nucleus_shape2D_Elongation": Phrase("have the rounder nucleus", "have the longer nucleus"),
        "nucleus_shape2D_Sphericity": Phrase("have the nucleus closer to a circle", "have the less circular nucleus"),
        "cytoplasm_shape2D_PixelSurface": Phrase("have more cytoplasm", "have less cytoplasm"),
        "combined_PixelSurface": Phrase("have the higher N:C ratio", "have the lower N:C ratio"),
        "combined_NuclearEccentricity": Phrase("have the nucleus further to one side", "have the nucleus more central"),
        "combined_RimContact": Phrase("have the nucleus more at the cell's edge", "have more rim around the nucleus"),
        "nucleus_contour_Solidity": Phrase("have the less indented nucleus", "have the more indented nucleus"),
        "nucleus_contour_Convexity": Phrase("have the smoother nucleus", "have the more folded nucleus"),
        "nucleus_contour_IndentationDepth": Phrase(
            "have the deeper notch in the nucleus", "have the nucleus less notched"
        ),
        "nucleus_lobes_LobeCount": Phrase("have more nuclear lobes", "have fewer nuclear lobes"),
        "nucleus_lobes_Lobulation": Phrase("have the more lobed nucleus", "have the less lobed nucleus"),
        "cell_contour_Convexity": Phrase("have the smoother edge", "have the more ragged edge"),
        "cell_contour_HighHarmonics": Phrase("have the more frayed edge", "have the smoother edge"),
        "cell_projections_Count": Phrase("have more projections", "have fewer projections"),
        "cell_projections_ContourShare": Phrase("have more projections around", "have fewer projections around"),
        "cytoplasm_vacuoles_Count": Phrase("have more vacuoles", "have fewer vacuoles"),
        "cytoplasm_vacuoles_AreaShare": Phrase("have more of the cytoplasm in vacuoles", "have less of it in vacuoles"),
        "nucleus_granularity_Fine": Phrase(
            "have more fine grain in the nucleus", "have less fine grain in the nucleus"
        ),
        "nucleus_granularity_Medium": Phrase("have the coarser chromatin strands", "have the finer chromatin strands"),
        "nucleus_granularity_Coarse": Phrase("have the more clumped chromatin", "have the less clumped chromatin"),
        "cytoplasm_granularity_Fine": Phrase("have more fine granules", "have fewer fine granules"),
        "cytoplasm_granularity_Medium": Phrase("have more coarse granules", "have fewer coarse granules"),
        "nucleus_firstorder_Mean": Phrase("have the paler nucleus", "have the darker nucleus"),
        "cytoplasm_firstorder_Mean": Phrase("have the paler cytoplasm", "have the darker cytoplasm"),
        "nucleus_od_Mean": Phrase("have the denser nucleus", "have the less dense nucleus"),
        "nucleus_od_Variance": Phrase("have the less even chromatin", "have the more even chromatin"),
        "nucleus_firstorder_Entropy": Phrase("have the less even chromatin", "have the more even chromatin"),
        "cytoplasm_od_Mean": Phrase("have the denser cytoplasm", "have the less dense cytoplasm"),
        "cytoplasm_haematoxylin_Mean": Phrase(
            "have the more basophilic cytoplasm", "have the less basophilic cytoplasm"
        ),
        "cytoplasm_eosin_Mean": Phrase("have the more acidophilic cytoplasm", "have the less acidophilic cytoplasm"),
        "cytoplasm_firstorder_Entropy": Phrase("have the less even cytoplasm", "have the more even cytoplasm"),
        "cytoplasm_hue_Mean": Phrase("have the redder cytoplasm", "have the bluer cytoplasm"),
        "nucleus_hue_Mean": Phrase("have the redder nucleus", "have the bluer nucleus"),
        "cytoplasm_saturation_Mean": Phrase("have the more coloured cytoplasm", "have the less coloured cytoplasm"),
        "nucleus_saturation_Mean": Phrase("have the more coloured nucleus", "have the less coloured nucleus"),
    }
)

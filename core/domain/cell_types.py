"""The cell types Leukoscope can name: id, display name, colour, meaning. The only list: add a cell type here."""

from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final


class CellType(StrEnum):
    """Identifier of a cell type, as stored in the cohort and in data set tables."""

    MONOCYTE = "monocyte"
    LYMPHOCYTE = "lymphocyte"
    HCL = "hcl"
    APL = "apl"
    PROMYELOCYTE = "promyelocyte"
    BLAST = "blast"
    NEUTROPHIL = "neutrophil"
    EOSINOPHIL = "eosinophil"
    BASOPHIL = "basophil"
    ERYTHROBLAST = "erythroblast"
    PLATELET = "platelet"
    OTHER = "other"


@dataclass(frozen=True)
class CellTypeInfo:
    """What a page shows for a cell type; `mononuclear` cells are those the model is meant for."""

    name: str
    plural: str
    short: str
    colour: str
    mononuclear: bool
    description: str


CELL_TYPES: Final = MappingProxyType(
    {
        CellType.MONOCYTE: CellTypeInfo(
            "Monocyte",
            "monocytes",
            "Mono",
            "#0072B2",
            True,
            "Large cell, folded or kidney-shaped nucleus, grey-blue cytoplasm.",
        ),
        CellType.LYMPHOCYTE: CellTypeInfo(
            "Lymphocyte", "lymphocytes", "Lympho", "#009E73", True, "Small cell, round dense nucleus, narrow cytoplasm."
        ),
        CellType.HCL: CellTypeInfo(
            "Hairy cell (HCL)",
            "hairy cells",
            "HCL",
            "#D55E00",
            True,
            "B cell of hairy cell leukaemia: oval nucleus, ample pale cytoplasm with hair-like projections.",
        ),
        CellType.APL: CellTypeInfo(
            "APL cell",
            "APL cells",
            "APL",
            "#CC79A7",
            True,
            "Promyelocyte or blast, as filed by the laboratory, of a patient with acute promyelocytic leukaemia"
            " (PML/RARA).",
        ),
        CellType.PROMYELOCYTE: CellTypeInfo(
            "Promyelocyte",
            "promyelocytes",
            "Promyelo",
            "#F0E442",
            True,
            "Granulocyte precursor: large, granular cytoplasm, round nucleus.",
        ),
        CellType.BLAST: CellTypeInfo(
            "Blast", "blasts", "Blast", "#56B4E9", True, "Immature leukaemic cell of unspecified lineage."
        ),
        CellType.NEUTROPHIL: CellTypeInfo(
            "Neutrophil",
            "neutrophils",
            "Neutro",
            "#E69F00",
            False,
            "Granulocyte with a segmented nucleus; not mononuclear.",
        ),
        CellType.EOSINOPHIL: CellTypeInfo(
            "Eosinophil",
            "eosinophils",
            "Eosino",
            "#A6761D",
            False,
            "Granulocyte with coarse orange granules; not mononuclear.",
        ),
        CellType.BASOPHIL: CellTypeInfo(
            "Basophil",
            "basophils",
            "Baso",
            "#7570B3",
            False,
            "Granulocyte with dark granules over the nucleus; not mononuclear.",
        ),
        CellType.ERYTHROBLAST: CellTypeInfo(
            "Erythroblast", "erythroblasts", "Erythro", "#8C564B", False, "Nucleated red-cell precursor."
        ),
        CellType.PLATELET: CellTypeInfo(
            "Platelet", "platelets", "Platelet", "#7F7F7F", False, "Cell fragment without a nucleus."
        ),
        CellType.OTHER: CellTypeInfo(
            "Other", "other cells", "Other", "#999999", True, "A population named by its laboratory."
        ),
    }
)

# Folder names under which collections file a type, beyond our own names. MLL23 (Zenodo 14277609) has a folder of .tif
# per class.
_FOLDER_NAMES: Final = {
    "hairy_cell": CellType.HCL,
    "hairy": CellType.HCL,
    "hac": CellType.HCL,
    "hcl": CellType.HCL,
    "neutrophil_segmented": CellType.NEUTROPHIL,
    "neutrophil_band": CellType.NEUTROPHIL,
    "myeloblast": CellType.BLAST,
    "normoblast": CellType.ERYTHROBLAST,
}


def folder_cell_type(name: str) -> CellType:
    """The cell type that a folder's name means (`Hairy cell`, `hairy_cells`, `monocyte` ...); OTHER if unknown."""
    key = name.strip().lower().replace(" ", "_").replace("-", "_")
    for candidate in (key, key.removesuffix("s")):
        if candidate in _FOLDER_NAMES:
            return _FOLDER_NAMES[candidate]
        if candidate in list(CellType):
            return CellType(candidate)
    return CellType.OTHER

"""The cell types Leukoscope can name: id, display name, colour, meaning. The only list: add a cell type here."""

import re
import unicodedata
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

# Names beyond our own under which collections, analysers and laboratories file a type; compared by `_key`, with or
# without "cell(s)" at the end and in the plural. MLL23 (Zenodo 14277609) has a folder of .tif per class; the
# three letters are those of the Munich and Barcelona collections.
_OTHER_NAMES: Final[dict[CellType, str]] = {
    CellType.MONOCYTE: "mono, mon, mo",
    CellType.LYMPHOCYTE: "lympho, lymph, lym, ly, lyt, typical lymphocyte, lymphocyte typical, small lymphocyte",
    CellType.HCL: "hairy, hac, hairy cell leukaemia, hairy cell leukemia, hairy leukocyte",
    CellType.APL: "apl blast, acute promyelocytic leukaemia, acute promyelocytic leukemia, aml m3, m3",
    CellType.PROMYELOCYTE: "promyelo, pmy, pmo",
    CellType.BLAST: "bla, myeloblast, monoblast, lymphoblast, blast cell",
    CellType.NEUTROPHIL: (
        "neutro, neut, neu, ne, segmented neutrophil, neutrophil segmented, segmented, seg, ngs, sne, band neutrophil,"
        " neutrophil band, band, ngb, bne, pmn, neutrophil granulocyte, neutrophilic granulocyte"
    ),
    CellType.EOSINOPHIL: "eosino, eos, eo, eosinophil granulocyte, eosinophilic granulocyte",
    CellType.BASOPHIL: "baso, bas, ba, basophil granulocyte, basophilic granulocyte",
    CellType.ERYTHROBLAST: "erythro, normoblast, nrbc, nucleated red blood cell, ebo, erb",
    CellType.PLATELET: "plt, thrombocyte, thrombo",
    CellType.OTHER: "",
}


def _key(name: str) -> str:
    """A name without what spelling differs in: case, blanks and hyphens, the words for a cell, the plural."""
    key = "_".join(re.findall(r"[^\W_]+", unicodedata.normalize("NFKC", name).casefold()))
    key = re.sub("_?cells?$", "", key) or key
    return key.removesuffix("s") if len(key) > 3 else key


_NAMES: Final = MappingProxyType(
    {
        _key(name): kind
        for kind, info in CELL_TYPES.items()
        for name in (kind, info.name, info.plural, info.short, *filter(None, _OTHER_NAMES[kind].split(", ")))
    }
)


def named_cell_type(name: str) -> CellType | None:
    """The cell type that goes by a name (`Hairy cell`, `HCL`, `monocytes`, `lymph` ...); None for an unknown one."""
    return _NAMES.get(_key(name))


def folder_cell_type(name: str) -> CellType:
    """The cell type that a folder's name means; OTHER if unknown."""
    return named_cell_type(name) or CellType.OTHER

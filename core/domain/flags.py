"""The registry of quality flags: code, severity, words, and what each means for the numbers. The only list.

`core.quality.assessment` decides which of them a cell gets; thresholds are there. Light to import: pages, tables and
reports ask here for words.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from core.domain.types import QualityFlag


class Severity(StrEnum):
    """What a flag does to a cell."""

    REFUSES = "refuses"  # the cell stays out of population summaries
    WARNS = "warns"  # the cell counts, but a comparison may mislead
    INFORMS = "informs"


# What a cell with a severe flag, and what a milder flag, is called wherever they are counted or listed.
LEFT_OUT: Final = "left out"
REMARK: Final = "remark"


@dataclass(frozen=True)
class FlagKind:
    """One kind of flag.

    Parameters
    ----------
    severity
        What it does to a cell.
    words
        Its name in lists and counts, lower case.
    sentence, consequence
        What was found and what that means for the numbers; together one sentence, with a colon between.
    seen
        A more specific sentence for one image: a template with the names that `raised` is given.
    """

    severity: Severity
    words: str
    sentence: str
    consequence: str
    seen: str = ""

    @property
    def told(self) -> str:
        """The sentence for a stored cell, with its consequence."""
        return f"{self.sentence}: {self.consequence}."


# Those that `core.evaluation.novelty_fit` measures, and the one that a reader gives (`core.store.edit_log`).
TOO_SMALL: Final = "too_small"
UNLIKE_LEUKOCYTE: Final = "unlike_leukocyte"
GRANULOCYTE: Final = "granulocyte"
SMUDGE_CELL: Final = "smudge_cell"
# That of `core.evaluation.quality_fit`, and what is told once of a run (`core.quality.outline_quality.stain_news`).
DOUBTFUL_OUTLINE: Final = "doubtful_outline"
UNLIKE_TRAINING: Final = "unlike_training"
EXCLUDED: Final = "excluded"
TAKES_IN_NEIGHBOUR: Final = "takes_in_neighbour"
CUTS_OFF: Final = "cuts_off"
# What a person decided of an outline (`core.store.outline_log`).
OUTLINE_CORRECTED: Final = "outline_corrected"
OUTLINE_REJECTED: Final = "outline_rejected"
OUTLINE_UNSURE: Final = "outline_unsure"
NOT_OK_IN_TABLE: Final = "not_ok_in_table"

FLAGS: Final = MappingProxyType(
    {
        "no_cell": FlagKind(
            Severity.REFUSES,
            "no cell",
            "No cell was found in the image",
            "nothing was measured",
            "No cell was found: nothing can be measured. The picture may show no stained leukocyte, or show it very"
            " small or faint.",
        ),
        "no_nuclear_stain": FlagKind(
            Severity.REFUSES,
            "no nuclear stain",
            "It takes hardly any nuclear stain",
            "probably a red cell or an empty place",
            "What was outlined takes hardly any nuclear stain: probably a red cell or an empty place, whose numbers"
            " mean nothing.",
        ),
        TOO_SMALL: FlagKind(
            Severity.REFUSES,
            "too small",
            "It is too small for a leukocyte",
            "probably a platelet",
            "What was outlined is only {across} across, too small for a leukocyte: probably a platelet, whose numbers"
            " mean nothing. Leave it out, {mend}.",
        ),
        UNLIKE_LEUKOCYTE: FlagKind(
            Severity.REFUSES,
            "unlike leukocyte",
            "It is no leukocyte",
            "it may be another cell, debris, or no cell at all",
            "Expected is a stained leukocyte, but this is none: {why}. Look at it before using any number.",
        ),
        SMUDGE_CELL: FlagKind(
            Severity.REFUSES,
            "smudge cell",
            "It is a smudge cell",
            "crushed in smearing, so that shape and size are not those of the living cell",
        ),
        GRANULOCYTE: FlagKind(
            Severity.WARNS,
            "granulocyte",
            "It looks like a granulocyte",
            "comparisons with lymphocytes and monocytes mean little",
            "Expected is a mononuclear cell, but this looks like a granulocyte (neutrophil or eosinophil), by its"
            " nucleus and the colour of its cytoplasm: comparisons with lymphocytes and monocytes mean little. Look at"
            " the nucleus: a folded one can look alike.",
        ),
        "no_nucleus": FlagKind(
            Severity.REFUSES, "no nucleus", "No nucleus was found", "nuclear and combined features are absent"
        ),
        "no_cytoplasm": FlagKind(
            Severity.INFORMS, "no cytoplasm", "No cytoplasm is visible", "cytoplasm and combined features are absent"
        ),
        "border": FlagKind(
            Severity.REFUSES,
            "border",
            "The image edge cuts the cell",
            "areas and diameters are too small",
            "The image edge cuts the cell: about {share:.0%} of it lies outside, and areas and diameters are too"
            " small.",
        ),
        "at_border": FlagKind(
            Severity.WARNS,
            "at border",
            "The cell touches the image edge",
            "areas and diameters may be a little too small",
            "The cell touches the image edge: about {share:.1%} of it lies outside, and areas and diameters are that"
            " little too small.",
        ),
        "small_cell": FlagKind(
            Severity.REFUSES,
            "small cell",
            "The cell covers few pixels",
            "outlines and shape are coarse",
            "The cell covers only {area} pixels: outlines and shape are coarse. A larger magnification is needed.",
        ),
        "several_cells": FlagKind(
            Severity.INFORMS,
            "several cells",
            "The image holds other stained cells",
            "the one nearest the centre was measured",
            "The image holds {objects}: the one nearest the centre was measured.",
        ),
        "over_exposed": FlagKind(
            Severity.REFUSES,
            "over exposed",
            "The cell is over-exposed",
            "tone values are too bright, and the outline may be too small",
            "The cell is over-exposed: parts of it are plain white, so tone values are too bright and the outline may"
            " be too small.",
        ),
        "under_exposed": FlagKind(
            Severity.REFUSES,
            "under exposed",
            "The image is under-exposed",
            "tone values cannot be trusted",
            "The image is under-exposed: dark parts are plain black, so tone values cannot be trusted.",
        ),
        "blurred": FlagKind(
            Severity.WARNS,
            "blurred",
            "The cell is out of focus",
            "outlines are uncertain and fine tone differences are lost",
        ),
        DOUBTFUL_OUTLINE: FlagKind(
            Severity.REFUSES,
            "doubtful outline",
            "The outline is doubtful",
            "look at it before using any number",
            "The outline is doubtful (a careful drawing would probably agree with it to {quality:.2f}, usually above"
            " {usual:.2f}): look at it before using any number.",
        ),
        TAKES_IN_NEIGHBOUR: FlagKind(
            Severity.INFORMS,
            "takes in neighbour",
            "The outline seems to take in what lies beside the cell",
            "the cell may be measured too large",
            "The outline seems to take in {what} {where}: the cell may be measured too large.",
        ),
        CUTS_OFF: FlagKind(
            Severity.INFORMS,
            "cuts off",
            "The outline seems to leave out a part of the cell",
            "the cell may be measured too small",
            "A part of the cell seems to be missing {where}: the cell may be measured too small.",
        ),
        UNLIKE_TRAINING: FlagKind(
            Severity.INFORMS,
            "unlike training",
            "The stain is unlike those the model was trained on",
            "look at some of the outlines",
            "The stain is unlike those the model was trained on (dye, camera or kind of picture): look at some of the"
            " outlines.",
        ),
        NOT_OK_IN_TABLE: FlagKind(
            Severity.REFUSES, "not ok in table", "The imported table calls the cell not good", "it gives no reason"
        ),
        EXCLUDED: FlagKind(
            Severity.REFUSES, "excluded", "A reader left the cell out", "the reason is in `excluded_reason`"
        ),
        OUTLINE_CORRECTED: FlagKind(
            Severity.INFORMS,
            "outline corrected",
            "A person corrected the outline",
            "how far a feature can be trusted was measured for the model's outlines and does not hold for this one",
        ),
        OUTLINE_REJECTED: FlagKind(
            Severity.REFUSES,
            "outline rejected",
            "A reader rejected the cell or its outline",
            "the reason is in `outline_why`",
        ),
        OUTLINE_UNSURE: FlagKind(
            Severity.INFORMS,
            "outline unsure",
            "A reader was not sure of the outline",
            "a second reader should look at it",
        ),
        "swapped_mask": FlagKind(
            Severity.REFUSES,
            "swapped mask",
            "The regions of the drawn mask are swapped",
            "the values of each are those of another part",
            "The regions of the drawn mask are swapped: {why}, so the values of each are those of another part. Say"
            " what its levels mean (--mask-coding, or mask_coding.json of a folder of pairs), or write background as 0,"
            " cytoplasm as 128 and nucleus as 255.",
        ),
        "misplaced_mask": FlagKind(
            Severity.REFUSES,
            "misplaced mask",
            "The drawn mask does not lie on the cell",
            "the values are those of another place",
            "The drawn mask does not lie on the cell: the nuclear stain fits it much better {place}, so the values are"
            " those of another place. Give the mask of this very image, cut and turned alike.",
        ),
        "wide_nucleus": FlagKind(
            Severity.REFUSES,
            "wide nucleus",
            "Much of what is drawn as nucleus takes no nuclear stain",
            "it may be the whole cell, and nuclear values are not those of the nucleus",
            "Only {share:.0%} of what is drawn as nucleus takes its stain: it may be the whole cell, and nuclear values"
            " are not those of the nucleus. Of a mask of the whole cell give the nucleus separately (--nucleus-mask).",
        ),
        "several_drawn": FlagKind(
            Severity.REFUSES,
            "several drawn",
            "The drawn mask holds several cells or pieces",
            "they were measured as one, with too large areas and diameters",
            "The drawn mask holds {objects}: they were measured as one, with too large areas and diameters. Give one"
            " mask for each cell.",
        ),
        "hollow_mask": FlagKind(
            Severity.REFUSES,
            "hollow mask",
            "The drawn cell has a large hole",
            "perhaps only an outline or one part is drawn, and areas and tones are those of a ring",
            "The drawn cell has holes of {share:.0%} of its area: perhaps only an outline or one part is drawn, and"
            " areas and tones are those of a ring. Fill the regions.",
        ),
        "specks": FlagKind(
            Severity.INFORMS,
            "specks",
            "The drawn mask holds specks beside the cell or the nucleus",
            "they were left out",
            "The drawn mask holds specks beside the cell or the nucleus: {pieces}, too small for a cell or a lobe, were"
            " left out.",
        ),
        # Given on opening the image (`core.image.remarks`).
        "one_plane": FlagKind(
            Severity.WARNS,
            "one plane of several",
            "The file holds several pictures, of which one was measured",
            "the others were not looked at",
            "The file holds several pictures ({note}): the others were not looked at.",
        ),
        "colour_assembled": FlagKind(
            Severity.INFORMS,
            "colour assembled",
            "The colours were put together from three grey pictures of the file",
            "they are wrong if these are not its red, green and blue",
            "The colours were put together from three grey pictures of the file ({note}): they are wrong if these are"
            " not its red, green and blue.",
        ),
        "reduced_depth": FlagKind(
            Severity.INFORMS,
            "reduced depth",
            "Values of more than 8 bits were reduced to 8",
            "tone is wrong where the camera uses another depth",
            "Values of more than 8 bits were reduced to 8 ({note}): tone is wrong where the camera uses another depth.",
        ),
        "turned_upright": FlagKind(
            Severity.INFORMS,
            "turned upright",
            "The picture was turned upright, as its orientation tag says",
            "a mask drawn on the unturned picture does not lie over it",
        ),
        "profile_converted": FlagKind(
            Severity.INFORMS,
            "colour profile converted",
            "The colours were converted to sRGB by the profile in the file",
            "they differ from the values stored there",
            "The colours were converted to sRGB ({note}): they differ from the values stored in the file.",
        ),
        "profile_ignored": FlagKind(
            Severity.WARNS,
            "colour profile ignored",
            "The colours could not be converted to sRGB",
            "colour and tone may be shifted",
            "The colours could not be converted to sRGB ({note}): colour and tone may be shifted.",
        ),
        "grey": FlagKind(
            Severity.WARNS,
            "grey",
            "The picture has no colour",
            "colour features mean nothing, and the outline may be wrong",
        ),
        "transparent": FlagKind(
            Severity.WARNS,
            "transparent",
            "Transparent parts of the picture were laid on white",
            "where they cut into the cell or its surroundings, values are wrong",
        ),
        "scale_contradicted": FlagKind(
            Severity.WARNS,
            "scale contradicted",
            "The scale given is not the one that the file states",
            "one of them is wrong, and so may be every size",
            "The scale given is not the one that the file states ({note}): one of them is wrong, and so may be every"
            " size.",
        ),
        "not_square": FlagKind(
            Severity.WARNS,
            "pixels not square",
            "The pixels are not square, as the file says",
            "shapes and sizes are distorted",
            "The pixels are not square, as the file says ({note}): shapes and sizes are distorted.",
        ),
        "scale_absurd": FlagKind(
            Severity.REFUSES,
            "scale absurd",
            "With this scale the cell has a size that no leukocyte has",
            "the scale is wrong, and so is every size in micrometres, or the outline is not that of one cell",
            "With {scale:g} µm per pixel what was outlined is {across:.3g} µm across, where leukocytes have 6 to 25:"
            " the scale is wrong, and so is every size in micrometres, or the outline is not that of one leukocyte."
            " Check the scale of the image.",
        ),
    }
)


def raised(code: str, **seen: object) -> QualityFlag:
    """A flag of one image, with what was seen there filled into its sentence.

    Parameters
    ----------
    code
        A code of the registry.
    seen
        Values for the names in the kind's `seen`.
    """
    kind = FLAGS[code]
    message = kind.seen.format(**seen) if kind.seen else kind.told
    return QualityFlag(code, message, severe=kind.severity is Severity.REFUSES)


def flag_words(code: str) -> str:
    """A flag's name in lists and counts; an unknown code in words."""
    return FLAGS[code].words if code in FLAGS else code.replace("_", " ")


def quality_word(*, good: bool) -> str:
    """Whether a cell enters population summaries, in a word or two: "good" or "left out"."""
    return "good" if good else LEFT_OUT


def quality_counts(cells: int, good: int, remarked: int) -> str:
    """How many cells are good, of these with a remark, and left out.

    Examples
    --------
    >>> quality_counts(cells=58, good=56, remarked=3)
    '56 good (3 with a remark), 2 left out'
    """
    remarks = f" ({remarked:,} with a {REMARK})" if remarked else ""
    return f"{good:,} good{remarks}, {cells - good:,} {LEFT_OUT}"


def flags_told(codes: Iterable[str], *, good: bool) -> str:
    """The flags of a cell by what they do to it.

    Examples
    --------
    >>> flags_told(["several_cells"], good=True)
    'good; remark: several cells'
    >>> flags_told(["border", "blurred", "several_cells"], good=False)
    'left out: border; remarks: blurred, several cells'
    """
    severe, mild = list[str](), list[str]()
    for code in codes:
        (severe if code in FLAGS and FLAGS[code].severity is Severity.REFUSES else mild).append(flag_words(code))
    told = quality_word(good=good) + (f": {', '.join(severe)}" if severe and not good else "")
    return told + (f"; {REMARK}{'s' * (len(mild) > 1)}: {', '.join(mild)}" if mild else "")


def flag_sentence(code: str) -> str:
    """What a stored flag means for the numbers; an unknown code in words."""
    return FLAGS[code].told if code in FLAGS else f"Flagged as {flag_words(code)}."

"""Names as people write them, for identifiers that come from files."""

from typing import Final

# What a stored flag means for the numbers; `core.quality.flags` says it of one image, with what it saw there.
_FLAGS: Final = {
    "no_cell": "No cell was found in the image: nothing was measured.",
    "no_nuclear_stain": "It takes hardly any nuclear stain: probably a red cell or an empty place.",
    "too_small": "It is too small for a leukocyte: probably a platelet.",
    "unlike_leukocyte": (
        "It is unlike the leukocytes the model knows: it may be debris, a smudged cell, or outlined wrongly."
    ),
    "granulocyte": "It looks like a granulocyte: comparisons with lymphocytes and monocytes mean little.",
    "no_nucleus": "No nucleus was found: nuclear and combined features are absent.",
    "no_cytoplasm": "No cytoplasm is visible: cytoplasm and combined features are absent.",
    "border": "The cell touches the image edge: areas and diameters are too small.",
    "small_cell": "The cell covers few pixels: outlines and shape are coarse.",
    "several_cells": "The image holds other stained cells: the one nearest the centre was measured.",
    "over_exposed": "The cell is over-exposed: tone values are too bright, and the outline may be too small.",
    "under_exposed": "The image is under-exposed: tone values cannot be trusted.",
    "blurred": "The cell is out of focus: outlines are uncertain and fine tone differences are lost.",
    "low_confidence": "The outline is uncertain: look at it before using any number.",
    "unlike_training": "The colours are unlike those the model was trained on: the outline may be wrong.",
    "not_ok_in_table": "The imported table calls the cell not good, without a reason.",
}


def encoder_name(name: str) -> str:
    """Name of an encoder as people write it."""
    return name.removeprefix("tu-tf_").replace("_", " ")


def data_set_name(name: str) -> str:
    """Name of a scored set of images as people write it."""
    return {"set1": "Zheng 2018, set 1", "set2": "Zheng 2018, set 2", "test": "both together"}.get(name, name)


def flag_words(code: str) -> str:
    """A quality flag's code as people write it."""
    return code.replace("_", " ")


def flag_sentence(code: str) -> str:
    """What a quality flag means for the numbers; the code in words where it is of another making."""
    return _FLAGS.get(code, f"Flagged as {flag_words(code)}.")


def plain(text: str) -> str:
    """Text from outside for a place that reads Markdown: shown as it is."""
    return "".join(f"\\{letter}" if letter in "\\`*_{}[]()#+-.!|~$:<>" else letter for letter in text)

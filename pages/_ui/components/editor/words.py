"""What the editor says in words, by the name that its script knows it by; numbers are put in by the script."""

from types import MappingProxyType
from typing import Final

WORDS: Final = MappingProxyType(
    {
        "push": "Push",
        "nucleus": "Nucleus",
        "cytoplasm": "Cytoplasm",
        "erase": "Eraser",
        "wand": "Wand",
        "drop": "Drop part",
        "measured": "measured",
        "measuring": "measuring \u2026",
        "late": "not yet measured",
        "gone": "The server does not answer; drawing goes on, nothing is lost.",
        "elsewhere": "This cell is being corrected in another tab.",
        "readOnly": "This cell can be looked at here, not corrected.",
        "blind": "The model's outline is hidden for this cell: draw what you see.",
        "unkept": "The browser cannot keep a draft here: save before you leave.",
        "noCell": "No cell is drawn.",
        "noNucleus": "No nucleus is drawn.",
        "atEdge": "The cell touches the edge of the picture.",
        "noAnswer": "No answer from the server yet. Nothing is lost; try again.",
        "sending": "sending \u2026",
        "askSave": "{pieces} off the cell, which changes the measurements.",
        "ask_accept": "Accept this outline",
        "ask_save": "Save the correction",
        "ask_reject": "Reject: no usable outline",
        "ask_unsure": "Unsure: for a second look",
        "accepted": "accepted",
        "corrected": "corrected",
        "rejected": "rejected",
        "unsure": "unsure",
        "taken_back": "taken back",
        "saved": "saved",
        "unsaved": "not saved",
        "unchanged": "unchanged",
        "ask_take_back": "Take back what was decided",
        "draft": "Unsaved correction of {time} was found.",
        "dice": "Like the model's outline (Dice):",
    }
)
REASONS: Final = (
    "touching red cell or neighbour",
    "pale cytoplasm",
    "cut by the edge",
    "out of focus",
    "smudge",
    "two cells",
    "not a leukocyte",
    "other",
)

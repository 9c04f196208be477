"""A canvas on which a person corrects the outline of a cell.

The browser sends the whole label map, run-length coded, after each stroke, and what the person decides. Whatever it
sends is refused unless it fits.
"""

import base64
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, cast

import numpy as np
from numpy.typing import NDArray

from core.domain.compartments import Compartment
from core.domain.types import CellImage, LabelMap
from core.image.imaging import encode_png
from core.image.runs import decode_runs, encode_runs
from pages._ui.common.state import Kept, widget_value
from pages._ui.components.assets import component
from pages._ui.components.editor.markup import HTML
from pages._ui.components.editor.words import WORDS

MOST_WHO: Final = 60
MOST_WHY: Final = 400
MOST_REASONS: Final = 8
_MOST_REASON: Final = 60
_MOST_NUMBER: Final = 2**53 - 1  # above it a browser's whole numbers are no longer exact
_MOST_COUNT: Final = 1_000_000
_MOST_SECONDS: Final = 10_000_000.0
TOOLS: Final = frozenset(
    {"push", "nucleus", "cytoplasm", "erase", "wand", "drop", "fill", "smooth", "tidy", "revert", "restore", "discard"}
)
_EDITOR: Final = component(__file__, "leukoscope_editor", HTML)
_KEY: Final = "editor"
# The message of the cell at hand, kept as it is: the browser then has it already, and the image travels once.
_PACKED: Final = Kept[dict[str, Any]]("leukoscope_editor_packed")
_LAST_ACT: Final = Kept[int]("leukoscope_editor_last_act")


class ActKind(StrEnum):
    """What a person decides at a cell."""

    ACCEPT = "accept"
    SAVE = "save"
    REJECT = "reject"
    UNSURE = "unsure"
    NEXT = "next"
    PREVIOUS = "previous"
    TAKE_BACK = "take_back"
    DISCARD = "discard"
    CLOSE = "close"


@dataclass(frozen=True, eq=False)
class Canvas:
    """A cell to be corrected, constant while it is open.

    Parameters
    ----------
    ident
        Tells it from all others, from one visit to the next: of the image and the model's outline.
    image
        The cell's image or cut-out.
    model, start
        The model's outline, and the one to begin with: the model's, or what was saved.
    keep_out
        Pixels of other cells, (H, W): never painted.
    blind
        Whether the model's outline is hidden until it is asked for.
    draft
        An unsaved outline that the server kept, and when.
    """

    ident: str
    image: CellImage
    model: LabelMap
    start: LabelMap
    keep_out: NDArray[np.bool_] | None = None
    blind: bool = False
    draft: tuple[LabelMap, datetime] | None = None


@dataclass(frozen=True, eq=False)
class DrawnOutline:
    """The outline after a stroke, without environment; `rev` grows with every change."""

    ident: str
    rev: int
    labels: LabelMap


@dataclass(frozen=True, eq=False)
class Act:
    """A decision with the outline that it is about.

    `number` tells it from all other acts; `pieces` is the number of connected parts of the cell; `tools` counts what
    was drawn with, `seconds` how long the cell was looked at, since it was last decided on; `blind` is whether the
    model's outline was never shown.
    """

    ident: str
    number: int
    kind: ActKind
    rev: int
    labels: LabelMap
    who: str
    why: str
    reasons: tuple[str, ...]
    pieces: int
    tools: dict[str, int]
    seconds: float
    blind: bool = False


def editor(canvas: Canvas, *, on_edit: Callable[[DrawnOutline], None], on_act: Callable[[Act], None]) -> None:
    """Show a cell to be corrected.

    Both functions are called before the page runs again, and should only keep what they are given: what takes longer
    is done in the run, after the editor, which then stays as it is. `tell_editor` says what was done.
    """

    def take_edit() -> None:
        edit = read_edit(widget_value(_KEY)["edit"], canvas)
        if edit is not None:
            on_edit(edit)

    def take_act() -> None:
        act = read_act(widget_value(_KEY)["act"], canvas)
        if act is not None and act.number > (_LAST_ACT.get() or 0):
            _LAST_ACT.set(act.number)
            on_act(act)

    data = _PACKED.get()
    if data is None or data["id"] != canvas.ident:
        data = packed(canvas)
        _PACKED.set(data)
    elif data["um"] != canvas.image.um_per_px:  # the scale was given meanwhile
        data = {**data, "um": canvas.image.um_per_px}
        _PACKED.set(data)
    _EDITOR(key=_KEY, data=dict(data), on_edit_change=take_edit, on_act_change=take_act)


def packed(canvas: Canvas) -> dict[str, Any]:
    """What is sent to the browser."""
    height, width = canvas.image.shape
    others = canvas.keep_out
    draft = None
    if canvas.draft is not None:
        labels, when = canvas.draft
        draft = {"runs": encode_runs(labels), "when": round(when.timestamp() * 1000)}
    return {
        "id": canvas.ident,
        "width": width,
        "height": height,
        "um": canvas.image.um_per_px,
        "image": "data:image/png;base64," + base64.b64encode(encode_png(canvas.image.rgb)).decode("ascii"),
        "model": encode_runs(canvas.model),
        "start": encode_runs(canvas.start),
        "keep_out": None
        if others is None
        else encode_runs(np.where(others, np.uint8(Compartment.CYTOPLASM), np.uint8(0))),
        "blind": canvas.blind,
        "draft": draft,
        "words": dict(WORDS),
    }


def read_edit(sent: object, canvas: Canvas) -> DrawnOutline | None:
    """An edit as the browser sent it; None where it is none of this canvas."""
    if not isinstance(sent, dict) or sent.get("id") != canvas.ident or not _whole(sent.get("rev"), _MOST_NUMBER):
        return None
    labels = decode_runs(sent.get("runs"), canvas.image.shape)
    return None if labels is None else DrawnOutline(canvas.ident, sent["rev"], labels)


def read_act(sent: object, canvas: Canvas) -> Act | None:
    """An act as the browser sent it; None where it is none of this canvas, or any part of it does not fit."""
    if not isinstance(sent, dict) or not _kind(sent.get("kind")) or not _whole(sent.get("n"), _MOST_NUMBER):
        return None
    reasons, tools = sent.get("reasons"), sent.get("tools")
    if not _text(sent.get("who"), MOST_WHO) or not _text(sent.get("why"), MOST_WHY):
        return None
    if not isinstance(reasons, list) or len(reasons) > MOST_REASONS:
        return None
    if not all(_text(reason, _MOST_REASON) for reason in reasons) or not _whole(sent.get("pieces"), _MOST_COUNT):
        return None
    if not isinstance(tools, dict) or not all(name in TOOLS and _whole(n, _MOST_COUNT) for name, n in tools.items()):
        return None
    edit = read_edit(sent, canvas)
    if edit is None or not _seconds(sent.get("seconds")):
        return None
    return Act(
        ident=edit.ident,
        number=sent["n"],
        kind=ActKind(sent["kind"]),
        rev=edit.rev,
        labels=edit.labels,
        who=sent["who"].strip(),
        why=sent["why"].strip(),
        reasons=tuple(reasons),
        pieces=sent["pieces"],
        tools=dict(tools),
        seconds=float(sent["seconds"]),
        blind=canvas.blind and sent.get("blind") is True,
    )


def _kind(value: object) -> bool:
    return isinstance(value, str) and value in set(ActKind)


def _whole(value: object, most: int) -> bool:
    return type(value) is int and 0 <= value <= most


def _seconds(value: object) -> bool:
    # Compared before it is made a float: a whole number may be larger than any.
    return type(value) in (int, float) and 0 <= cast("float", value) <= _MOST_SECONDS


def _text(value: object, most: int) -> bool:
    # A lone half of a surrogate pair passes for text until it is written anywhere.
    return isinstance(value, str) and len(value) <= most and not any("\ud800" <= c <= "\udfff" for c in value)

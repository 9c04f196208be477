"""A cell under a person's hand: the editor, what is measured after each stroke, and what is decided.

The editor comes first in a run and the measurement after it, so that the editor stays as it is meanwhile.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Final

import numpy as np
import streamlit as st

from core.corrections import drafts
from core.corrections.deciding import Decision, decide, history, judged
from core.corrections.opening import OpenCell
from core.domain.errors import ConflictError, CoreError
from core.domain.settings import load_settings
from core.domain.types import CellAnalysis, LabelMap
from core.pipeline import at_scale, remeasured
from core.store import outline_log
from core.store.outline_log import OutlineStatus, OutlineVerdict
from core.support.text import encodable, markdown
from pages._ui.common import model_in_use
from pages._ui.common.state import BROWSER, READER, Kept
from pages._ui.components.editor.editor import Act, ActKind, Canvas, DrawnOutline, editor
from pages._ui.components.editor_news.editor_news import News, Said, tell_editor

_DECIDES: Final = {
    ActKind.ACCEPT: OutlineStatus.ACCEPTED,
    ActKind.SAVE: OutlineStatus.CORRECTED,
    ActKind.REJECT: OutlineStatus.REJECTED,
    ActKind.UNSURE: OutlineStatus.UNSURE,
    ActKind.TAKE_BACK: OutlineStatus.TAKEN_BACK,
}
# After these the next cell comes by itself; who saves stays to look at the numbers.
_GO_ON: Final = (ActKind.ACCEPT, ActKind.REJECT, ActKind.UNSURE)
_DONE: Final = {
    OutlineStatus.ACCEPTED: "Accepted.",
    OutlineStatus.CORRECTED: "Saved; the model's outline is kept beside it.",
    OutlineStatus.REJECTED: "Rejected: the cell counts in no population.",
    OutlineStatus.UNSURE: "Kept for a second reader.",
    OutlineStatus.TAKEN_BACK: "Taken back: the model's outline counts again.",
}


@dataclass(frozen=True)
class Walk:
    """Where a cell lies in a list, in words, the ways to the cells before and after it, and the way out."""

    position: str = ""
    on_next: Callable[[], None] | None = None
    on_previous: Callable[[], None] | None = None
    on_close: Callable[[], None] | None = None


@dataclass(eq=False)
class Hand:
    """What a session knows of the cell that lies open.

    `analysis` is measured with the outline as it was in revision `measured`; `tip` is the last decision that the person
    has seen, `saved` the revision that it kept. `drawn` and `act` came from the browser and wait for the run.
    """

    ident: str
    analysis: CellAnalysis
    tip: str | None
    measured: int = 0
    saved: int | None = None
    said: Said | None = None
    problem: str = ""
    drawn: DrawnOutline | None = None
    act: Act | None = None


_HAND: Final = Kept[Hand]("leukoscope_hand")
_MEASURED: Final = Kept[dict[tuple[object, ...], CellAnalysis]]("leukoscope_hand_measured")
_MOST_MEASURED: Final = 30
_MOST_TOLD: Final = 5
# Grows where a cell must be opened anew because its outline was exchanged from outside of the editor.
_VISIT: Final = Kept[int]("leukoscope_hand_visit")


def correct(cell: OpenCell, walk: Walk | None = None, *, blind: bool = False) -> CellAnalysis:
    """Show the editor of a cell; returns the cell measured with the outline that is on the canvas.

    Parameters
    ----------
    cell
        The cell as the model drew it.
    walk
        The list that it lies in, if it does.
    blind
        Whether the model's outline is hidden, so that the person draws what they see.
    """
    walk, past = walk or Walk(), _past(cell)
    standing = outline_log.standing(past)
    blind = blind and not past
    hand = _hand_of(cell, past, blind=blind)
    editor(
        _canvas(cell, standing, hand.ident, blind=blind),
        on_edit=lambda drawn: _take(cell, hand, drawn),
        on_act=lambda act: _hear(cell, hand, act, walk),
    )
    _measure(cell, hand)
    if hand.act is not None:
        act, hand.act = hand.act, None
        if _decide(cell, hand, act):
            st.rerun()  # what stands above the editor shows it, too
    tell_editor(
        News(
            hand.ident,
            hand.measured,
            READER.get() or "",
            hand.said,
            hand.saved,
            standing.status.value if standing else None,
            walk.position,
            has_next=walk.on_next is not None,
            has_previous=walk.on_previous is not None,
        )
    )
    if hand.problem:
        st.warning(markdown(hand.problem), icon=":material/warning:")
    # What was decided is said of the outline that it was decided on, not of one that is not saved yet.
    mask = outline_log.mask_sha256(hand.analysis.segmentation.labels)
    return judged(hand.analysis, standing if standing and standing.mask_sha256 == mask else None)


def as_decided(cell: OpenCell) -> tuple[CellAnalysis, OutlineVerdict | None]:
    """A cell with the outline that holds, and the decision that says so; measured once in a session."""
    standing = outline_log.standing(_past(cell))
    if standing is None:
        return cell.analysis, None
    return judged(_measured_as(cell, standing), standing), standing


def open_anew() -> None:
    """Let the editor begin again with the outline that holds."""
    _VISIT.set((_VISIT.get() or 0) + 1)
    _HAND.clear()


def person() -> str:
    """What tells people's drafts apart: the browser's own number, or else the session's."""
    return BROWSER.get() or "this session"


def _past(cell: OpenCell) -> tuple[OutlineVerdict, ...]:
    return history(load_settings().cohort, cell)


def _hand_of(cell: OpenCell, past: tuple[OutlineVerdict, ...], *, blind: bool) -> Hand:
    """The hand of this cell; a new one where another cell lay open."""
    base = outline_log.mask_sha256(cell.analysis.segmentation.labels)
    told = f"{cell.key.name} {base} {blind} {_VISIT.get() or 0}"
    ident = hashlib.sha256(told.encode()).hexdigest()[:20]
    hand = _HAND.get()
    if hand is None or hand.ident != ident:
        standing = outline_log.standing(past)
        analysis = cell.analysis if standing is None else _measured_as(cell, standing)
        hand = Hand(ident, analysis, past[-1].id if past else None)
        if (before := _HAND.get()) is not None:
            hand.said = before.said  # the answer to what led here
        _HAND.set(hand)
    if hand.analysis.image.scale != cell.analysis.image.scale:
        hand.analysis = at_scale(hand.analysis, cell.analysis.image.scale)
    return hand


def _canvas(cell: OpenCell, standing: OutlineVerdict | None, ident: str, *, blind: bool) -> Canvas:
    model = outline_log.without_ring(cell.analysis.segmentation.labels)
    start = LabelMap(np.zeros_like(model)) if blind else model
    if standing is not None:
        start = outline_log.kept_mask(load_settings().cohort, standing.mask_sha256)
    return Canvas(ident, cell.analysis.image, model, start, cell.keep_out, blind, _draft(cell))


def _draft(cell: OpenCell) -> tuple[LabelMap, datetime] | None:
    draft = drafts.kept_draft(load_settings().cohort, person(), cell.key)
    return None if draft is None or draft.labels is None else (draft.labels, draft.when)


def _measured_as(cell: OpenCell, verdict: OutlineVerdict) -> CellAnalysis:
    """The cell with the outline of a decision; some are kept for the session."""
    image = cell.analysis.image
    what = cell.key.name, verdict.base.mask_sha256, verdict.mask_sha256, image.scale
    kept = _MEASURED.get() or {}
    if what not in kept:
        labels = outline_log.kept_mask(load_settings().cohort, verdict.mask_sha256)
        kept = {**dict(list(kept.items())[1 - _MOST_MEASURED :]), what: _with(cell, labels)}
        _MEASURED.set(kept)
    return kept[what]


def _with(cell: OpenCell, labels: LabelMap) -> CellAnalysis:
    if (labels == outline_log.without_ring(cell.analysis.segmentation.labels)).all():
        return cell.analysis
    return remeasured(cell.analysis, labels, model_in_use.segmenter(), cell.keep_out)


def show_drafts() -> None:
    """Name the images that this person began to correct and did not save: open one again to go on."""
    root = load_settings().cohort
    if not drafts.any_kept(root):
        return
    names = "; ".join(
        f"{markdown(draft.image_name)} ({draft.when.astimezone(UTC):%d %B, %H:%M} UTC)"
        for draft in drafts.drafts_of(root, person())[:_MOST_TOLD]
    )
    if names:
        st.info(f"Not saved yet: {names}. Open the image again to go on correcting it.", icon=":material/edit:")


# --- what comes from the browser ------------------------------------------------------------------------------------


def _take(cell: OpenCell, hand: Hand, drawn: DrawnOutline) -> None:
    """Keep a stroke as a draft; it is measured in the run that follows."""
    hand.drawn, hand.problem = drawn, ""
    try:
        name = encodable(PurePosixPath(cell.analysis.image.name).name)
        drafts.keep_draft(load_settings().cohort, person(), cell.key, drawn.labels, name)
    except CoreError as error:
        hand.problem = f"The server cannot keep a draft ({error}); this browser keeps its own."


def _hear(cell: OpenCell, hand: Hand, act: Act, walk: Walk) -> None:
    """Do what needs no measurement at once, so that the next cell comes without a further run."""
    if act.who:
        READER.set(act.who)
    ways = {ActKind.NEXT: walk.on_next, ActKind.PREVIOUS: walk.on_previous, ActKind.CLOSE: walk.on_close}
    if act.kind in ways:
        if (go := ways[act.kind]) is not None:
            go()
    elif act.kind is ActKind.DISCARD:
        drafts.drop_draft(load_settings().cohort, person(), cell.key)
        hand.said = Said(act.number, ok=True, words="The draft was discarded.")
    elif act.kind is ActKind.SAVE and act.rev != hand.measured:
        hand.act = act  # to be measured first
    elif act.kind in _DECIDES and _decide(cell, hand, act) and act.kind in _GO_ON and walk.on_next:
        walk.on_next()


def _measure(cell: OpenCell, hand: Hand) -> None:
    if hand.drawn is None:
        return
    drawn, hand.drawn = hand.drawn, None
    hand.analysis, hand.measured = _with(cell, drawn.labels), drawn.rev


def _decide(cell: OpenCell, hand: Hand, act: Act) -> bool:
    """Keep a decision, and have the answer told; returns whether it is kept."""
    root, status = load_settings().cohort, _DECIDES[act.kind]
    try:
        if status is OutlineStatus.CORRECTED:
            if act.rev != hand.measured:
                hand.analysis, hand.measured = _with(cell, act.labels), act.rev
            if hand.analysis.base is None:  # it is the model's outline after all
                status = OutlineStatus.ACCEPTED
        verdict = decide(
            root,
            cell,
            Decision(
                status=status,
                who=act.who or READER.get() or "",
                on=hand.tip,
                corrected=hand.analysis if status is OutlineStatus.CORRECTED else None,
                in_pieces=act.pieces > 1,
                why=act.why,
                reasons=act.reasons,
                tools=act.tools,
                seconds=act.seconds,
                blind=act.blind,
            ),
        )
    except CoreError as error:
        if isinstance(error, ConflictError):
            hand.tip = _past(cell)[-1].id
        hand.said = Said(act.number, ok=False, words=f"{str(error)[:1].upper()}{str(error)[1:]}.")
        return False
    hand.tip, hand.saved = verdict.id, act.rev
    hand.said = Said(act.number, ok=True, words=_DONE[verdict.status])
    drafts.drop_draft(root, person(), cell.key)
    if verdict.status is OutlineStatus.TAKEN_BACK:
        hand.analysis = cell.analysis  # the editor goes back to the model's outline by itself
    return True

"""What a person decides of an outline, kept beside the model's: never over it, and taken back by one step.

Every decision is a line of the log (`core.store.outline_log`), with who, when, why, both masks, and, of a corrected
outline, the row of all that was measured anew. A decision that was made on an outline which somebody else has changed
meanwhile is not kept before its author has been told.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np

from core.corrections.opening import OpenCell, rings_of
from core.domain.errors import ConflictError, StoreError, UsageError
from core.domain.flags import raised
from core.domain.types import CellAnalysis, LabelMap, OutlineReview
from core.domain.versions import software_versions
from core.evaluation.metrics import overlap
from core.image.masks import islands, region_mask
from core.store import outline_log
from core.store.edits import plain_text
from core.store.outline_log import ANSWERED, RAISED, ModelOutline, OutlineStatus, OutlineVerdict
from core.store.schema import CellRow, corrected_row
from core.store.shards import check_writable

# Regions in which an outline is compared with another.
REGIONS: Final = ("cell", "nucleus")
_NEEDS_REASON: Final = (OutlineStatus.REJECTED, OutlineStatus.UNSURE)


@dataclass(frozen=True, eq=False)
class Decision:
    """What a person says of a cell that lies open.

    Parameters
    ----------
    status
        What is decided.
    who
        Name or initials of who decides.
    on
        The verdict that was on the screen, None for the model's outline.
    corrected
        The cell measured with the new outline (`core.pipeline.remeasured`); with status CORRECTED only.
    in_pieces
        Whether the person was told that the cell lies in several pieces, and wants it so.
    why, reasons, tools, seconds, blind
        As in `OutlineVerdict`.
    """

    status: OutlineStatus
    who: str
    on: str | None = None
    corrected: CellAnalysis | None = None
    in_pieces: bool = False
    why: str = ""
    reasons: tuple[str, ...] = ()
    tools: Mapping[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    blind: bool = False


def decide(root: Path, cell: OpenCell, decision: Decision) -> OutlineVerdict:
    """Keep a decision about a cell in a root of the user's own.

    Raises
    ------
    UsageError
        If who decides is not said, or a reason is missing, or nothing is drawn, or it lies in pieces unasked.
    ConflictError
        If another decision came in between; it names that.
    StoreError
        If the disk refuses, or the root is that of the shipped populations.
    """
    check_writable(root)
    who = _signed(decision)
    base = outline_log.without_ring(cell.analysis.segmentation.labels)
    drawn = _drawn(decision)
    with outline_log.deciding(root) as decisions:
        before = [verdict for verdict in decisions.so_far if verdict.cell.name == cell.key.name]
        _check_latest(before, decision.on)
        standing = outline_log.standing(before)
        kept = outline_log.keep_mask(root, base)
        if drawn is not None:
            mask = outline_log.keep_mask(root, drawn)
        else:
            mask = standing.mask_sha256 if standing and decision.status is not OutlineStatus.TAKEN_BACK else kept
        number, drawn_in = outline_log.new_id(), standing.drawn_in if standing and mask != kept else None
        verdict = OutlineVerdict(
            id=number,
            when=datetime.now(UTC),
            who=who,
            cell=cell.key,
            base=ModelOutline(
                cell.analysis.segmentation.model_id, kept, cell.analysis.segmentation.confidence, cell.model_sha256
            ),
            on=before[-1].id if before else None,
            status=decision.status,
            mask_sha256=mask,
            drawn_in=drawn_in if drawn is None else number,
            why=decision.why.strip(),
            reasons=decision.reasons,
            dice=agreement(base, drawn) if drawn is not None else {},
            tools=decision.tools,
            seconds=round(decision.seconds, 1),
            blind=decision.blind,
            versions=software_versions(),
        )
        row = None
        if decision.corrected is not None:
            row = corrected_row(cell.row, decision.corrected, outlines=rings_of(decision.corrected))
        decisions.add(verdict, row)
    return verdict


def _signed(decision: Decision) -> str:
    """Who decides; raises UsageError where that or a reason is missing."""
    try:
        who = plain_text(decision.who, "name of who decides")
        for text in (*decision.reasons, *([decision.why] if decision.why.strip() else [])):
            plain_text(text, "reason")
    except StoreError as error:
        raise UsageError(str(error)) from error
    if decision.status in _NEEDS_REASON and not decision.reasons and not decision.why.strip():
        msg = f"expected a reason why the outline is {decision.status}, but there is none; choose or write one"
        raise UsageError(msg)
    return who


def _drawn(decision: Decision) -> LabelMap | None:
    """The new outline, if there is one; raises UsageError where it cannot be kept."""
    if decision.status is not OutlineStatus.CORRECTED or decision.corrected is None:
        return None
    labels = outline_log.without_ring(decision.corrected.segmentation.labels)
    if not labels.any():
        msg = "nothing is drawn, so there is no outline to save; draw the cell, or reject it with a reason"
        raise UsageError(msg)
    stray = islands(labels)
    if stray and not decision.in_pieces:
        msg = (
            f"the cell lies in {stray + 1} pieces that do not touch, which spoils its measurements; remove the stray"
            " ones, or say that they belong to the cell"
        )
        raise UsageError(msg)
    return labels


def _check_latest(before: Sequence[OutlineVerdict], on: str | None) -> None:
    """Raise ConflictError where what was decided on is not the last decision any more."""
    last = before[-1] if before else None
    if last is not None and last.id != on:
        when = last.when.astimezone(UTC).strftime("%d %B %Y, %H:%M UTC")
        msg = (
            f"{last.who} has decided on this cell meanwhile ({last.status.value.replace('_', ' ')}, {when}); nothing of"
            " yours is lost, and nothing is saved yet: look at the history, and save again to put yours after it"
        )
        raise ConflictError(msg)


def file_along(
    root: Path, verdicts: Iterable[OutlineVerdict], rows: Mapping[str, CellRow], filed: Callable[[CellRow], CellRow]
) -> int:
    """Let decisions about cells of a run hold in the cohort, where the same cells were filed; returns how many.

    Parameters
    ----------
    root
        Where the corrections are.
    verdicts
        Decisions that hold.
    rows
        The rows of the cells by the decision's id; that of a corrected cell is the corrected one.
    filed
        What a row becomes in the cohort, with its `cell_id` there.

    Raises
    ------
    StoreError
        If the disk refuses.
    """
    with outline_log.deciding(root) as decisions:
        known = {verdict.cell.name for verdict in decisions.so_far}
        for verdict in verdicts:
            row = filed(rows[verdict.id])
            if row["cell_id"] not in known:  # else somebody has decided on it there
                key = replace(verdict.cell, cell_id=row["cell_id"])
                number, drawn = outline_log.new_id(), verdict.drawn_in is not None
                here = replace(verdict, id=number, cell=key, on=None, drawn_in=number if drawn else None)
                decisions.add(here, row if drawn else None)
        return len(decisions.added)


# --- what was decided -------------------------------------------------------------------------------------------------


def history(root: Path, cell: OpenCell) -> tuple[OutlineVerdict, ...]:
    """Every decision about a cell, the first one first."""
    return history_of(root, cell.key.name)


def history_of(root: Path, name: str) -> tuple[OutlineVerdict, ...]:
    """The same by the cell's name (`CellKey.name`)."""
    return tuple(outline_log.by_cell(outline_log.read(root).records).get(name, ()))


def agreement(one: LabelMap, other: LabelMap) -> dict[str, float]:
    """Dice of two outlines of one picture by region; a region that neither has is left out."""
    found = {region: overlap(region_mask(one, region), region_mask(other, region)).dice for region in REGIONS}
    return {region: round(dice, 4) for region, dice in found.items() if np.isfinite(dice)}


def judged(analysis: CellAnalysis, verdict: OutlineVerdict | None) -> CellAnalysis:
    """The cell with the flags that follow from a decision, as its row in the cohort has them (`overlay.judged`)."""
    if verdict is None:
        return analysis
    accepted = verdict.status is OutlineStatus.ACCEPTED
    flags = [flag for flag in analysis.flags if not (accepted and flag.code in ANSWERED)]
    flags += [raised(RAISED[verdict.status])] if verdict.status in RAISED else []
    review = OutlineReview(verdict.status.value, verdict.who, verdict.when, verdict.reason or None)
    return replace(analysis, flags=tuple(sorted(flags, key=lambda flag: not flag.severe)), review=review)

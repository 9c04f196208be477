"""What was decided of a cell's outline, by whom and when; earlier outlines can be taken up again."""

from collections.abc import Callable
from datetime import UTC
from typing import Final

import streamlit as st

from core.charts.labels import number
from core.corrections.deciding import Decision, decide, history
from core.corrections.opening import OpenCell
from core.corrections.readers import ReaderAgreement, compared
from core.domain.errors import CoreError
from core.domain.settings import load_settings
from core.features.catalogue import CATALOGUE
from core.pipeline import remeasured
from core.store import outline_log
from core.store.outline_log import OutlineStatus, OutlineVerdict
from core.support.text import markdown
from pages._ui.common import model_in_use
from pages._ui.common.state import READER, Kept
from pages._ui.correcting.hand import open_anew

_SAID: Final = Kept[tuple[str, str, bool]]("leukoscope_history_said")


def show_history(cell: OpenCell) -> None:
    """Show the decisions about a cell, the last one first; nothing where there is none."""
    root = load_settings().cohort
    past = history(root, cell)
    if not past:
        return
    standing = outline_log.standing(past)
    with st.expander(f"History of this outline ({len(past)})", icon=":material/history:", key="outline_history"):
        for verdict in reversed(past):
            with st.container(horizontal=True, vertical_alignment="center", gap="small"):
                st.markdown(_told(verdict), width="stretch")
                if verdict.status is OutlineStatus.CORRECTED and _differs(verdict, standing):
                    st.button(
                        "Use this outline", key=f"history-{verdict.id}", on_click=_take_up, args=(cell, past, verdict)
                    )
        if standing is not None:
            st.button(
                "Back to the model's outline",
                key="history_back",
                icon=":material/undo:",
                on_click=_take_back,
                args=(cell, past),
                help="The decisions stay in this list.",
            )
        for both in compared(root, past, cell.row):
            st.caption(_agreement(both))
        said = _SAID.get()
        if said is not None and said[0] == cell.key.name:
            st.markdown(f":material/check: {markdown(said[1])}" if said[2] else f":red[{markdown(said[1])}]")


def _differs(verdict: OutlineVerdict, standing: OutlineVerdict | None) -> bool:
    return standing is None or standing.mask_sha256 != verdict.mask_sha256


def _told(verdict: OutlineVerdict) -> str:
    when = verdict.when.astimezone(UTC).strftime("%d %B %Y, %H:%M UTC")
    dice = f", Dice to the model's {verdict.dice['cell']:.3f}" if "cell" in verdict.dice else ""
    blind = ", drawn without having seen the model's" if verdict.blind else ""
    why = f": {markdown(verdict.reason)}" if verdict.reason else ""
    return f"{when}, **{markdown(verdict.who)}** {verdict.status.value.replace('_', ' ')}{dice}{blind}{why}"


def _agreement(both: ReaderAgreement) -> str:
    dice = ", ".join(f"{region} {value:.3f}" for region, value in both.dice.items())
    features = "; ".join(
        f"{CATALOGUE[name].label} {number(CATALOGUE[name].shown(one))} and {number(CATALOGUE[name].shown(other))}"
        for name, (one, other) in both.features.items()
        if one is not None and other is not None
    )
    readers = f"{markdown(both.one.who)} and {markdown(both.other.who)}"
    return f"{readers} agree to {dice} (Dice). In pixels: {features}."


def _take_up(cell: OpenCell, past: tuple[OutlineVerdict, ...], verdict: OutlineVerdict) -> None:
    def again() -> Decision:
        labels = outline_log.kept_mask(load_settings().cohort, verdict.mask_sha256)
        corrected = remeasured(cell.analysis, labels, model_in_use.segmenter(), cell.keep_out)
        why = f"outline of {verdict.who}, {verdict.when:%Y-%m-%d %H:%M}"
        return Decision(OutlineStatus.CORRECTED, READER.get() or "", past[-1].id, corrected, in_pieces=True, why=why)

    _keep(cell, again)


def _take_back(cell: OpenCell, past: tuple[OutlineVerdict, ...]) -> None:
    _keep(cell, lambda: Decision(OutlineStatus.TAKEN_BACK, READER.get() or "", past[-1].id))


def _keep(cell: OpenCell, decision: Callable[[], Decision]) -> None:
    try:
        decide(load_settings().cohort, cell, decision())
    except CoreError as error:
        _SAID.set((cell.key.name, f"{str(error)[:1].upper()}{str(error)[1:]}.", False))
        return
    _SAID.set((cell.key.name, "Done; nothing was deleted.", True))
    open_anew()

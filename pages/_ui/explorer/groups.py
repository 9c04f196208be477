"""What is compared: the property that defines groups, and which of its groups."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import pandas as pd
import streamlit as st

from core.charts.groups import DrawnGroup, styled
from core.domain.cell_types import CELL_TYPES, CellType
from core.explorer.groups import narrowed, shown_groups, together
from core.explorer.ranking import GroupName, group_name
from core.explorer.selection import Selection
from core.explorer.view import By, Group, Grouping, InView
from core.features.catalogue import CATALOGUE
from core.features.search import matching
from core.support.text import markdown
from pages._ui.common import cohort_data
from pages._ui.common.state import widget_value
from pages._ui.explorer import answers
from pages._ui.explorer.state import MOST_GROUPS, Explored, change, explored

_SAVED: Final = "saved"  # a choice of None would be none
BY_WORDS: Final[dict[str, str]] = {
    By.CELL_TYPE: "Cell type",
    By.SOURCE: "Source",
    By.POPULATION: "Population",
    By.PATIENT: "Patient",
    By.DIAGNOSIS: "Diagnosis",
    _SAVED: "Saved selections",
}
_MOST_PILLS: Final = 14
_BY: Final = "compare-by"


@dataclass(frozen=True, eq=False)
class Compared:
    """The chosen groups of the cells in `selection`, in order, their names, and counts of all their cells."""

    selection: Selection
    by: Grouping
    groups: tuple[Group, ...]
    titles: tuple[str, ...]
    view: InView

    @property
    def names(self) -> tuple[str, ...]:
        """The groups as questions to the cohort name them."""
        return tuple(group.name for group in self.groups)

    def only(self, names: Sequence[str]) -> "Compared":
        """Some of the groups, in the order of all."""
        seen, kept = (
            explored(),
            [(group, title) for group, title in zip(self.groups, self.titles, strict=True) if group.name in names],
        )
        groups = tuple(group for group, _ in kept)
        return _compared(seen, self.by, groups, tuple(title for _, title in kept))

    def drawn(self) -> tuple[DrawnGroup, ...]:
        """The groups as charts draw them."""
        patients = [None if group.unknown_patient else group.patients for group in self.groups]
        return styled(
            self.titles,
            [group.cells for group in self.groups],
            patients,
            [self._cell_type(name) for name in self.names],
        )

    def words(self) -> tuple[GroupName, ...]:
        """The groups in sentences."""
        if self.by is By.CELL_TYPE:
            return tuple(group_name(name) for name in self.names)
        return tuple(map(self._words, self.names, self.titles))

    def _words(self, name: str, title: str) -> GroupName:
        """Words for a group; a population called "Monocytes, Bern" is of "monocytes of Bern"."""
        kind = self._cell_type(name)
        if kind is not None:
            word, (called, apart, where) = group_name(kind), title.partition(", ")
            if apart and called.lower() == word.plural.lower():
                return GroupName(f"{word.plural} of {where}", f"{word.singular} of {where}")
        return GroupName(f"cells of {title}", f"cell of {title}")

    def _cell_type(self, name: str) -> CellType | None:
        if self.by is By.CELL_TYPE:
            return CellType(name)
        return cohort_data.population_types().get(name) if self.by is By.POPULATION else None


def choose_groups() -> Compared | None:
    """Show the fields that choose the groups; returns what is compared, None if there is no cell."""
    seen = explored()
    st.session_state[_BY] = _SAVED if seen.by is None else seen.by
    st.selectbox("Compare by", list(BY_WORDS), format_func=BY_WORDS.__getitem__, key=_BY, on_change=_take_by)
    if seen.by is None and not seen.saved:
        st.info(
            "Save two selections under names with *Keep and share*; then they can be compared.",
            icon=":material/info:",
        )
        return None
    by: Grouping = dict(seen.saved) if seen.by is None else seen.by
    present = [group for group in answers.groups(seen.compared, by) if group.cells]
    if not present:
        st.info("No cell is left to compare: remove a condition.", icon=":material/info:")
        return None
    chosen = shown_groups(present, seen.groups, MOST_GROUPS)
    titles = _titles(seen.by, present)
    _group_chooser(seen.by, present, chosen, titles)
    groups = tuple(group for group in present if group.name in chosen)
    return _compared(seen, by, groups, tuple(titles[group.name] for group in groups))


def show_warnings(view: InView) -> None:
    """What to know before comparing."""
    if view.warnings:
        st.caption("  \n".join(f":material/warning: {markdown(warning)}" for warning in view.warnings))


def show_model_note(view: InView) -> None:
    """Say where more than one model outlined the cells, in places without the other warnings."""
    if view.model_note:
        st.caption(f":material/warning: {markdown(view.model_note)}")


def show_refused(view: InView) -> None:
    """List, when asked for, what is not compared and why: searched by words, as features are."""
    refused = {name: reason for name in CATALOGUE if (reason := view.refusal(name))}
    if not refused:
        return
    opened = st.expander(
        f"Not compared: {len(refused)} features", icon=":material/block:", on_change="rerun", key="refused"
    )
    if not opened.open:
        return
    with opened:
        words = st.text_input(
            "Search", placeholder="nucleus tone, entropy …", key="refused_words", persist_state="session"
        )
        rows = [
            {"Feature": CATALOGUE[name].label, "Why not": f"{refused[name][:1].upper()}{refused[name][1:]}."}
            for name in matching(words)
            if name in refused
        ]
        if rows:
            height = min(38 + 35 * len(rows), 320)
            wide = {"Why not": st.column_config.TextColumn(width="large")}
            st.dataframe(pd.DataFrame(rows), hide_index=True, height=height, key="refused_rows", column_config=wide)
        else:
            st.caption("None of these features holds all these words.")


def _compared(seen: Explored, by: Grouping, groups: tuple[Group, ...], titles: tuple[str, ...]) -> Compared:
    names = [group.name for group in groups]
    selection = narrowed(seen.compared, seen.by, names)
    view = (
        together([answers.in_view(seen.saved[name]) for name in names])
        if seen.by is None
        else answers.in_view(selection)
    )
    return Compared(selection, by, groups, titles, view)


def _titles(by: By | None, groups: list[Group]) -> dict[str, str]:
    if by is By.CELL_TYPE:
        return {group.name: CELL_TYPES[CellType(group.name)].name for group in groups}
    named = cohort_data.population_titles() if by is By.POPULATION else {}
    titles = {group.name: named.get(group.name, group.name) for group in groups}
    again = list(titles.values())
    return {name: title if again.count(title) == 1 else f"{title}, {name}" for name, title in titles.items()}


def _group_chooser(by: By | None, groups: list[Group], chosen: list[str], titles: dict[str, str]) -> None:
    widget = f"groups-{by.value if by else 'saved'}"
    st.session_state[widget] = chosen
    labels = {group.name: f"{titles[group.name]} · {group.cells:,}" for group in groups}
    take: dict[str, Any] = {
        "key": widget,
        "on_change": _take_groups,
        "args": (widget, [group.name for group in groups]),
    }
    if len(groups) > _MOST_PILLS:
        st.multiselect(
            f"Groups (up to {MOST_GROUPS} of {len(groups)})",
            list(labels),
            format_func=labels.__getitem__,
            max_selections=MOST_GROUPS,
            wrap=True,
            **take,
        )
    else:
        st.pills(
            "Groups", list(labels), selection_mode="multi", format_func=lambda name: markdown(labels[name]), **take
        )


def _take_by() -> None:
    by = widget_value(_BY)
    change(by=None if by == _SAVED else By(by), groups=(), pair=())


def _take_groups(widget: str, names: list[str]) -> None:
    chosen = tuple(widget_value(widget) or ())
    change(groups=() if set(chosen) == set(names) else chosen[:MOST_GROUPS])

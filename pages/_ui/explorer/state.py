"""What the cohort explorer keeps in a session, and the same as its address: who opens that sees the same page.

Everything on the page follows from one value, `Explored`; widgets are set from it and change it in their callbacks. The
address holds what differs from a page just opened, so it is short, and is read once, when the page is opened.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import partial
from typing import Any, Final

import streamlit as st

from core.domain.errors import CoreError, SelectionError
from core.domain.settings import load_settings
from core.explorer import kept_selections
from core.explorer.selection import Quality, Selection
from core.explorer.view import NOT_RECORDED, By
from core.features.catalogue import CATALOGUE
from core.support.text import markdown
from pages._ui.common.state import CARD, Kept, widget_value

FIRST_FEATURE: Final = "combined_PixelSurface"
MOST_GROUPS: Final = 8  # more than eight colours and dashes cannot be told apart
MOST_SAVED: Final = 20
LONGEST_NAME: Final = 60

# In place of a second group: all others together; in place of a first: every group from every other.
OTHERS, EACH = "~others", "~each"

# Key of the switch that opens a cell for correction; what that cell, or one only looked at, is called in the address.
CORRECT: Final = "card_correct"
_CELL, _CARD = "cell", "card"

_APART: Final = "~"  # between a saved selection's name and its link: in no link


class Question(StrEnum):
    """What the centre of the page answers; the value is what the address says."""

    DISTRIBUTION = "distribution"
    SEPARATION = "separation"
    MAP = "map"
    CELLS = "cells"
    OWN_DATA = "own"
    SQL = "sql"


class ChartType(StrEnum):
    """How the distribution of values is drawn; the value is what the address says."""

    DENSITY = "density"
    CUMULATIVE = "cumulative"
    STRIP = "strip"
    BOX = "box"
    RANGES = "ranges"
    HISTOGRAM = "histogram"


@dataclass(frozen=True)
class Explored:
    """The state of the explorer's page.

    `by` defines the groups: a property of the cells, or, if None, the `saved` selections. `groups` are the chosen ones
    by name, all where it is empty. `pair` names the two groups that are compared, the second may be `OTHERS`; or `EACH`
    alone; the first two where it is empty. `log` is None where the catalogue says whether the axis is logarithmic.
    `features` are those of the chart of ranges, `map` holds what the map keeps by name, its outline too, and `lists`
    how the other charts and lists are shown; `as_drawn` is whether outlines are the model's, without people's
    corrections. `calibrations` are laid over the values, by name. `together` is
    whether two groups are compared with all their cells, where they could be inside each source.
    """

    selection: Selection = field(default_factory=Selection)
    question: Question = Question.DISTRIBUTION
    by: By | None = By.CELL_TYPE
    groups: tuple[str, ...] = ()
    pair: tuple[str, ...] = ()
    feature: str = FIRST_FEATURE
    form: ChartType = ChartType.DENSITY
    log: bool | None = None
    features: tuple[str, ...] = ()
    saved: Mapping[str, Selection] = field(default_factory=dict)
    map: Mapping[str, str] = field(default_factory=dict)
    lists: Mapping[str, str] = field(default_factory=dict)
    as_drawn: bool = False
    calibrations: tuple[str, ...] = ()
    together: bool = False

    @property
    def compared(self) -> Selection:
        """Cells that are compared: those in view; all for saved selections, each of which is a selection itself."""
        return Selection(quality=Quality.ANY) if self.by is None else self.selection


_EXPLORED: Final = Kept[Explored]("leukoscope_explored")
# What the address could not hold, or a button could not do; shown once.
PROBLEM: Final = Kept[str]("leukoscope_explorer_problem")


def explored() -> Explored:
    """The state of the page; for the first time in a session, what the address says."""
    seen = _EXPLORED.get()
    if seen is None:
        seen, problems = from_address(_address())
        if problems:
            PROBLEM.set(" ".join(problems))
        _EXPLORED.set(seen)
        for name in (_CARD, _CELL):
            if cell := _address().get(name):
                CARD.set(cell[0])
                st.session_state[CORRECT] = name == _CELL
    return seen


def change(**changes: Any) -> None:  # noqa: ANN401 - fields of Explored
    """Change named fields of `Explored`."""
    _EXPLORED.set(replace(explored(), **changes))


def select(selection: Selection) -> None:
    """Change the selection."""
    change(selection=selection)


def save(name: str, selection: Selection) -> None:
    """Save a selection under a name, replacing one of the same name; raises SelectionError."""
    name = " ".join(name.split())
    if not 0 < len(name) <= LONGEST_NAME or not name.isprintable() or _APART in name or name == NOT_RECORDED:
        msg = f"a name needs 1 to {LONGEST_NAME} letters, without {_APART!r}, but is {name[:80]!r}; choose another"
        raise SelectionError(msg)
    saved = {**explored().saved, name: selection}
    if len(saved) > MOST_SAVED:
        msg = f"{MOST_SAVED} selections are saved already, and an address holds no more; remove one first"
        raise SelectionError(msg)
    change(saved=saved)


def to_address(seen: Explored) -> dict[str, list[str]]:
    """Query parameters that differ from a page just opened; what is too long for them is kept on the server.

    Raises
    ------
    StoreError
        If the disk refuses that.
    """
    link = partial(kept_selections.to_short_link, load_settings().cohort)
    parameters = {
        "s": [cells] if (cells := link(seen.selection)) else [],
        "show": [seen.question.value] if seen.question is not Question.DISTRIBUTION else [],
        "by": [seen.by.value if seen.by else "saved"] if seen.by is not By.CELL_TYPE else [],
        "group": list(seen.groups),
        "pair": list(seen.pair),
        "feature": [seen.feature] if seen.feature != FIRST_FEATURE else [],
        "as": [seen.form.value] if seen.form is not ChartType.DENSITY else [],
        "log": [] if seen.log is None else [str(int(seen.log))],
        "ranges": [" ".join(seen.features)] if seen.features else [],
        "saved": [f"{name}{_APART}{link(selection)}" for name, selection in seen.saved.items()],
        "map": [f"{name}{_APART}{value}" for name, value in seen.map.items()],
        "list": [f"{name}{_APART}{value}" for name, value in seen.lists.items()],
        "outlines": ["model"] if seen.as_drawn else [],
        "calibrated": list(seen.calibrations),
        "together": ["1"] if seen.together else [],
    }
    return {name: values for name, values in parameters.items() if values}


def from_address(raw: Mapping[str, Sequence[str]]) -> tuple[Explored, list[str]]:
    """Read what `to_address` wrote; wrong parts are left out and reported in words."""
    problems: list[str] = []
    from_link = partial(kept_selections.from_short_link, load_settings().cohort)

    def read(name: str, reader: Any, default: Any) -> Any:  # noqa: ANN401 - one reader a parameter
        if not raw.get(name):
            return default
        try:
            return reader(list(raw[name]))
        except (CoreError, ValueError, LookupError) as error:
            told = str(error) if isinstance(error, CoreError) else f"the address says nothing sensible of {name!r}"
            problems.append(f"{told[:1].upper()}{told[1:]}.")
            return default

    seen = Explored(
        selection=read("s", lambda values: from_link(values[0]), Selection()),
        question=read("show", lambda values: Question(values[0]), Question.DISTRIBUTION),
        by=read("by", lambda values: None if values[0] == "saved" else By(values[0]), By.CELL_TYPE),
        groups=read("group", lambda values: tuple(values[:MOST_GROUPS]), ()),
        pair=read("pair", lambda values: tuple(values[:2]), ()),
        feature=read("feature", lambda values: _known(values)[0], FIRST_FEATURE),
        form=read("as", lambda values: ChartType(values[0]), ChartType.DENSITY),
        log=read("log", lambda values: bool(int(values[0])), None),
        features=read("ranges", lambda values: tuple(_known(values[0].split())), ()),
        saved=read("saved", lambda values: {name: from_link(link) for name, link in _pairs(values[:MOST_SAVED])}, {}),
        map=read("map", lambda values: dict(_pairs(values[:20])), {}),
        lists=read("list", lambda values: dict(_pairs(values[:20])), {}),
        as_drawn=read("outlines", lambda values: values[0] == "model", default=False),
        calibrations=read("calibrated", lambda values: tuple(values[:MOST_GROUPS]), ()),
        together=read("together", lambda values: values[0] == "1", default=False),
    )
    return seen, problems


def write_address() -> None:
    """Write the page's state to the browser's address; raises StoreError, and changes nothing, where it cannot."""
    wanted = address()
    if _address() != wanted:
        st.query_params.from_dict(wanted)


def address() -> dict[str, list[str]]:
    """The page's state as query parameters, with the cell that is looked at or corrected; raises StoreError."""
    wanted = to_address(explored())
    cell = CARD.get()
    if cell is not None and (widget_value(CORRECT) or explored().question in (Question.MAP, Question.CELLS)):
        wanted[_CELL if widget_value(CORRECT) else _CARD] = [cell]
    return wanted


def _address() -> dict[str, list[str]]:
    return {name: st.query_params.get_all(name) for name in st.query_params}


def show_problem() -> None:
    """Show once what went wrong in a callback or an address."""
    problem = PROBLEM.get()
    if problem is not None:
        st.warning(markdown(problem), icon=":material/warning:")
        PROBLEM.clear()


def _known(features: Iterable[str]) -> list[str]:
    known = [name for name in features if name in CATALOGUE]
    if not known:
        msg = "no feature of this name"
        raise LookupError(msg)
    return known


def _pairs(values: Iterable[str]) -> list[tuple[str, str]]:
    return [(name, rest) for name, apart, rest in (value.partition(_APART) for value in values) if name and apart]

"""Everything kept in a session beyond one run of a page, by name and type.

Streamlit forgets a widget's value when its page is left; what must survive lies under keys of its own, never under a widget's.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, cast

import streamlit as st

from core.types import CellAnalysis, CellImage

if TYPE_CHECKING:
    import pandas as pd

Value = TypeVar("Value")


@dataclass(frozen=True)
class Kept(Generic[Value]):
    """One named value of the session."""

    key: str

    def get(self) -> Value | None:
        """Return the value, or None if there is none yet."""
        return cast("Value | None", st.session_state.get(self.key))

    def set(self, value: Value) -> None:
        """Keep the value for the rest of the session."""
        st.session_state[self.key] = value

    def clear(self) -> None:
        """Forget the value."""
        st.session_state.pop(self.key, None)


@dataclass(frozen=True)
class Chosen:
    """The image a person picked: a file's name and bytes."""

    name: str
    data: bytes
    example: bool = False


@dataclass(frozen=True, eq=False)
class Field:
    """A field and its cells in reading order; `pictures` keeps those that were drawn, by scale."""

    image: CellImage
    cells: tuple[CellAnalysis, ...]
    pictures: dict[float | None, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class BatchOutcome:
    """What a run over several images gave: a row per cell, masks as PNG files by image, and a reason for each image that failed.

    `uncertain` holds caption and picture (PNG) of the cells with the least certain outlines.
    """

    table: "pd.DataFrame"
    masks: dict[str, bytes]
    failures: tuple[tuple[str, str], ...]
    uncertain: tuple[tuple[str, bytes], ...]
    seconds: float


CHOSEN: Final = Kept[Chosen]("leukoscope_chosen")
ANALYSIS: Final = Kept[CellAnalysis]("leukoscope_analysis")
FIELD: Final = Kept[Field]("leukoscope_field")
# Number of the chosen cell of the field, from 1; and how often one was chosen otherwise than in the list, which is then made anew.
CELL_CHOSEN: Final = Kept[int]("leukoscope_cell_chosen")
CELL_CLICKS: Final = Kept[int]("leukoscope_cell_clicks")
SCALE: Final = Kept[float]("leukoscope_um_per_px")
EXAMPLES_TAKEN: Final = Kept[int]("leukoscope_examples_taken")
BATCH: Final = Kept[BatchOutcome]("leukoscope_batch")


def widget_value(key: str) -> Any:  # noqa: ANN401 - the widget decides the type
    """Value of a widget inside its own callback, where it is not yet a return value."""
    return st.session_state.get(key)

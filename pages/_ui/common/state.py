"""Everything kept in a session beyond one run of a page, by name and type.

Streamlit forgets a widget's value when its page is left; what must survive has keys of its own, never a widget's.
"""

from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar, cast

import streamlit as st

from core.cases.store import Case, CaseImage
from core.domain.types import CellAnalysis, CellImage, GivenScale

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
class AnalysedField:
    """A field and its cells in reading order; `pictures` keeps those that were drawn, by scale and corrections."""

    image: CellImage
    cells: tuple[CellAnalysis, ...]
    pictures: dict[tuple[object, ...], str] = field(default_factory=dict)


@dataclass(eq=False)
class TrayImage:
    """An image of the tray: what is known of it, its file, and its packed cells (`core.cases.cells`).

    Of a case that is kept, file and cells lie on the disk and are None here.
    """

    record: CaseImage
    data: bytes | None = None
    cells: bytes | None = None


@dataclass(eq=False)
class Tray:
    """Several images, one of them shown.

    `shown` is the checksum of the image that `CHOSEN`, `ANALYSIS`, `FIELD` and the scale are of, and `settled` what was
    put away of it; `case` is the case that keeps all of them, `problem` what went wrong with them last, in words.
    """

    images: list[TrayImage] = field(default_factory=list)
    at: int = 0
    shown: str = ""
    settled: tuple[object, ...] = ()
    case: Case | None = None
    problem: str = ""


CHOSEN: Final = Kept[Chosen]("leukoscope_chosen")
ANALYSIS: Final = Kept[CellAnalysis]("leukoscope_analysis")
FIELD: Final = Kept[AnalysedField]("leukoscope_field")
# Number of the chosen cell of the field, from 1; and how often one was chosen otherwise than in the list, which is then
# made anew.
CELL_CHOSEN: Final = Kept[int]("leukoscope_cell_chosen")
CELL_CLICKS: Final = Kept[int]("leukoscope_cell_clicks")
SCALE: Final = Kept[GivenScale]("leukoscope_um_per_px")
# By field for a scale: the one last taken into it, which says more than the number in the field.
SCALES_TAKEN: Final = Kept[dict[str, GivenScale]]("leukoscope_scales_taken")
# The scale on Single cell that only the image at hand has: an example's, its file's, or what its red cells hint at.
SCALE_OF_IMAGE: Final = Kept[float]("leukoscope_scale_of_image")
# Where there is more than one image, or a case is open; a single image is shown without.
TRAY: Final = Kept[Tray]("leukoscope_tray")
# The upload field, by its key, that last held a file.
UPLOADED_IN: Final = Kept[str]("leukoscope_uploaded_in")
# Name of the example that is to be taken.
EXAMPLE_ASKED: Final = Kept[str]("leukoscope_example_asked")
EXAMPLES_TAKEN: Final = Kept[int]("leukoscope_examples_taken")
# Who the browser says it is: a random number of its own, which tells this person's runs from others'. Never shown,
# never in an address.
BROWSER: Final = Kept[str]("leukoscope_browser")
RUN_CHOSEN: Final = Kept[str]("leukoscope_run_chosen")
# How often files were taken from the upload field, which is then made anew so that it lets go of them; why they were
# not taken; and which were passed over.
UPLOADS_TAKEN: Final = Kept[int]("leukoscope_uploads_taken")
UPLOAD_PROBLEM: Final = Kept[str]("leukoscope_upload_problem")
UPLOAD_PASSED: Final = Kept[str]("leukoscope_upload_passed")
# What the last button of a run could not do.
RUN_PROBLEM: Final = Kept[str]("leukoscope_run_problem")
# Of a run, by name: the cell that is looked at closely, and what was said when its cells were added to the cohort.
CELL_LOOKED_AT: Final = Kept[tuple[str, str]]("leukoscope_cell_looked_at")
COHORT_SAID: Final = Kept[tuple[str, str]]("leukoscope_cohort_said")
# Whether the cohort is shown as the model drew it, without people's corrections of outlines.
AS_DRAWN: Final = Kept[bool]("leukoscope_as_drawn")
# Names of the calibrations of laboratories that are laid over the cohort's values: in the explorer only.
CALIBRATED: Final = Kept[tuple[str, ...]]("leukoscope_calibrated")
# The state of the cohort that counts and orders are shown of, where that is not the present one.
HELD_STATE: Final = Kept[str]("leukoscope_held_state")
# Who reads: what people type as their name or initials, once in a session, when they decide or edit.
READER: Final = Kept[str]("leukoscope_reader")
# The cell of the cohort that is looked at closely, by its id.
CARD: Final = Kept[str]("leukoscope_explorer_card")
# How often the tour was asked for.
TOURS_ASKED: Final = Kept[int]("leukoscope_tours_asked")


def widget_value(key: str) -> Any:  # noqa: ANN401 - the widget decides the type
    """Value of a widget inside its own callback, where it is not yet a return value."""
    return st.session_state.get(key)

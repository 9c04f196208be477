"""From all cells to those worth looking at: chosen at the left, examined in the centre, downloaded."""

import streamlit as st

from pages._ui.common import cohort_data
from pages._ui.common.layout import errors_in_words, page_setup
from pages._ui.common.state import AS_DRAWN, CALIBRATED, widget_value
from pages._ui.explorer import answers
from pages._ui.explorer.filters import show_counts
from pages._ui.explorer.page import ask, choose, show_answer, show_nothing, show_populations
from pages._ui.explorer.state import CORRECT, explored, show_problem, write_address

page_setup("Cohort explorer", hold=bool(widget_value(CORRECT)))
AS_DRAWN.set(explored().as_drawn)
CALIBRATED.set(explored().calibrations)
with errors_in_words():
    if cohort_data.cohort().populations():
        view = answers.in_view(explored().selection)
        show_counts(view)
        show_problem()
        question = ask()
        left, centre = st.columns([1, 3.3], gap="medium")
        with left:
            compared = choose(question)
        with centre, errors_in_words():
            show_answer(question, view, compared)
        show_populations()
        write_address()
    else:
        show_nothing()
cohort_data.show_set_aside()

"""Models: which architecture, how good the one in use is, and training runs as they go on."""

import streamlit as st

from pages._ui.common.layout import errors_in_words, page_setup
from pages._ui.models.architecture_comparison import show_comparison
from pages._ui.models.model_details import show_model
from pages._ui.models.teaching import show_teaching
from pages._ui.models.training_runs import show_trainings

_VIEWS = {
    "Which network?": show_comparison,
    "The model in use": show_model,
    "Teach it your laboratory": show_teaching,
    "Trainings on this computer": show_trainings,
}

page_setup("Models")
view = st.segmented_control(
    "View",
    list(_VIEWS),
    default=next(iter(_VIEWS)),
    required=True,
    label_visibility="collapsed",
    key="models_view",
    persist_state="session",
)
with errors_in_words():
    _VIEWS[str(view)]()

"""Leukoscope: measures white blood cells and sets them beside reference populations. The entry of the app."""

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from core.charts.theme import population_colour
from core.domain.cell_types import CELL_TYPES, CellType
from core.support.text import markdown
from pages._ui.common import cohort_data, model_in_use
from pages._ui.common.layout import errors_in_words, page_setup
from pages._ui.common.markup import legend
from pages._ui.common.names import data_set_name
from pages._ui.common.policy import MIDDLEWARE
from pages._ui.common.state import TOURS_ASKED
from pages._ui.components.tour.tour import show_tour
from pages._ui.home.example import open_example, show_example
from pages._ui.home.recent import show_recent
from pages._ui.home.steps import TOUR

# What `streamlit run` serves: this page and those beside it, with a policy on every answer that lets a browser ask no
# other host for anything.
app = st.App(__file__, middleware=MIDDLEWARE)


def door(path: str, title: str, text: str, icon: str) -> None:
    """Show one way on, named by what the person wants to do; its whole face is the link."""
    with st.container(border=True, height=126, key=f"door_{icon}"):
        st.page_link(path, label=f"**{title}**", icon=f":material/{icon}:")
        st.markdown(text)


def show_model() -> None:
    """Say which model is loaded and how good it is."""
    model = model_in_use.default_model()
    scores = model.card.scores
    parts = [
        f"{markdown(data_set_name(name))}: nucleus {summary['nucleus']['dice_mean']:.3f}, cytoplasm"
        f" {summary['cytoplasm']['dice_mean']:.3f}"
        for name, summary in scores.items()
        if isinstance(summary, dict) and "nucleus" in summary and "cytoplasm" in summary
    ]
    st.markdown(f"**Model** {markdown(model.model_id)}, {markdown(model.card.created)}.")
    if parts:
        st.markdown(f"Overlap (Dice) with experts on unseen images: {'; '.join(parts)}.")


def show_cohort() -> None:
    """Count the cells of the reference cohort by cell type."""
    infos = cohort_data.populations()
    if not infos:
        st.markdown(
            "**Reference cohort**: none yet. `make cohort` builds it; the published tables are there meanwhile."
        )
        return
    good, sources = sum(info.n_good for info in infos), {info.population.source for info in infos}
    st.markdown(f"**Reference cohort**: {good:,} good cells, {len(sources)} source{'s' * (len(sources) != 1)}.")
    entries = []
    for kind in CellType:
        count = sum(info.n_good for info in infos if info.population.cell_type is kind)
        if count:
            dot = f"width:10px;height:10px;border-radius:50%;background:{population_colour(kind)}"
            entries.append((dot, f"{count:,} {CELL_TYPES[kind].plural}"))
    st.html(legend(entries))


def show_what_is_here() -> bool:
    """Say what is loaded and what is not done with it; returns whether there is a model."""
    with st.container(border=True), errors_in_words():
        show_cohort()
        show_model()
        st.markdown(
            "**What it does not do.** It names no disease and no cell type: it describes, the morphologist judges. It"
            " is not a medical device. Another laboratory's stain, camera and scale shift some features; the pages say"
            " which."
        )
        return True
    return False


def show_measured_cell() -> None:
    """Show a cell as it comes out, and the way on with it."""
    with st.container(border=True, key="home_example"), errors_in_words():
        st.markdown("**A measured cell**: drawn by the program, then outlined and measured like yours")
        show_example()
        if st.button("Open this cell", key="home_open", icon=":material/arrow_forward:"):
            open_example()
            st.switch_page("pages/1_Single_cell.py")


def show_home() -> None:
    """Show what can be done here, and with what."""
    page_setup("Home")
    st.markdown("## Outline a white blood cell, measure it, and see where it stands")
    doors = st.columns(3, gap="medium")
    with doors[0]:
        door(
            "pages/1_Single_cell.py",
            "I have one cell, or a few",
            "See nucleus and cell outlined, and where each measure lies among the populations.",
            "biotech",
        )
    with doors[1]:
        door(
            "pages/2_Batch.py",
            "I have a folder",
            "Measure thousands of images at once; take features and masks away, or add them to a cohort.",
            "photo_library",
        )
    with doors[2]:
        door(
            "pages/3_Cohort_explorer.py",
            "I want to see the populations",
            "How monocytes, lymphocytes, hairy cells and APL cells are distributed, and who they come from.",
            "groups",
        )
    left, right = st.columns([1.5, 1], gap="medium")
    with right:
        show_recent()
        known = show_what_is_here()
    if known:  # last: on a fresh server the model is opened for it
        with left:
            show_measured_cell()
    again = st.button("Take the tour", key="home_tour", type="tertiary", icon=":material/tour:")
    TOURS_ASKED.set((TOURS_ASKED.get() or 0) + again)
    show_tour(TOUR, TOURS_ASKED.get() or 0)


# The server reads this file once for `app` alone.
if get_script_run_ctx() is not None:
    show_home()

"""Teaching a model a laboratory's own cells: started here, a run of its own, watched while it goes on."""

from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import streamlit as st

from core.cli.programs import INSTALL_TRAINING
from core.domain.errors import CoreError
from core.evaluation.adapting import Adapting, Doing, adaptations, folders_of_pairs, start
from core.segmentation.model_registry import list_models
from core.support.text import markdown, shown
from pages._ui.common.layout import empty_state, errors_in_words
from pages._ui.models.account import show_account

_REFRESH_S: Final = 3


def show_teaching() -> None:
    """Offer to teach a model, and show what came of it."""
    st.markdown(
        "Cells that you corrected teach the model your stain and camera. Each is also held back once, so that you see"
        " what was gained; with the images that the model learnt from at hand it is also told what that cost elsewhere."
    )
    if find_spec("torch") is None:
        st.info(
            f"This needs the training libraries (6 GB). Run `{INSTALL_TRAINING}` where the app runs, then start it"
            " again.",
            icon=":material/info:",
        )
    else:
        _offer()
    runs = adaptations()
    if not runs:
        return
    st.divider()
    by_name = {run.folder.name: run for run in runs}
    name = st.selectbox("Taught so far, the latest first", list(by_name), format_func=shown, key="adaptation")
    _follow(by_name[name])


def _offer() -> None:
    folders = folders_of_pairs()
    if not folders:
        empty_state(
            "No corrected cells yet",
            "Correct some outlines in Batch and copy them with *A folder for training*, or put folders with images/ and"
            " masks/ where the app may look for images.",
            "school",
        )
        return
    ids = [entry.model_id for entry in list_models()]
    with st.form("teach", border=True):
        left, middle, right = st.columns(3, vertical_alignment="bottom")
        with left:
            folder = st.selectbox("Corrected cells", folders, format_func=_named, key="teach_folder")
        with middle:
            base = st.selectbox("Begin with", ids, format_func=shown, key="teach_base")
        with right:
            name = st.text_input("Call the new model", value=f"lab-{datetime.now():%Y%m%d}", key="teach_name")
        asked = st.form_submit_button("Teach", type="primary", icon=":material/school:")
    if asked:
        try:
            start(folder, name.strip(), base)
        except CoreError as error:
            st.error(markdown(str(error)), icon=":material/error:")
            return
        st.session_state["adaptation"] = name.strip()
        st.rerun()


def _named(folder: Path) -> str:
    pictures = sum(1 for _ in (folder / "images").iterdir())
    return shown(f"{folder.parent.name}/{folder.name} ({pictures:,} images)")


def _follow(run: Adapting) -> None:
    with errors_in_words():
        doing, said = run.standing()
        account = run.account
        if doing is Doing.GOING_ON:
            _watch(run)
        elif doing is Doing.STOPPED:
            st.warning(
                f"It stopped before it was done{f': {markdown(said)}' if said else ''}. *Teach* with the same cells,"
                " model and name goes on.",
                icon=":material/pause_circle:",
            )
        elif account is not None:
            if said:
                st.warning(markdown(said), icon=":material/warning:")
            show_account(account)


@st.fragment(run_every=_REFRESH_S)
def _watch(run: Adapting) -> None:
    if run.standing()[0] is not Doing.GOING_ON:
        st.rerun()
    progress = run.progress
    left, right = st.columns([5, 1], vertical_alignment="center")
    with left:
        st.progress(progress.share if progress else 0.0, markdown(progress.doing if progress else "starting"))
        st.caption("It goes on when this page is closed.")
    with right:
        if st.button("Stop", icon=":material/stop:", key="teach_stop"):
            run.stop()

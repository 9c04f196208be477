"""Corrected cells of a run as a folder to train on: the only step of the pages that copies pictures."""

from collections.abc import Iterator
from datetime import datetime
from typing import Final

import streamlit as st

from core.batch.jobs import Job
from core.batch.review import Review
from core.corrections.training_folder import DRAWN, MAY_BE_EXPORTED, TrainingCell, export, status_for_training
from core.domain.errors import CoreError
from core.domain.settings import load_settings
from core.support.text import markdown
from pages._ui.common.state import Kept

_SAID: Final = Kept[tuple[str, str]]("leukoscope_training_said")


def offer_training_folder(job: Job, review: Review) -> None:
    """Offer the folder where there is a corrected cell, after a confirmation that names it and the number."""
    statuses = [status_for_training(verdict) for verdict in review.decided.values()]
    drawn = sum(status in DRAWN for status in statuses)
    accepted = sum(status in MAY_BE_EXPORTED for status in statuses) - drawn
    if not drawn:
        return
    folder = load_settings().runs / "training" / f"{job.name}-{datetime.now():%Y%m%d-%H%M%S}"
    with st.popover("A folder for training", icon=":material/model_training:", key="training_folder"):
        too = bool(accepted) and st.checkbox(
            f"Also {accepted:,} accepted outlines, in a folder of their own",
            key="training_accepted",
            help="They are the model's: nothing to test a model on.",
        )
        number = drawn + (accepted if too else 0)
        pictures = "1 picture" if number == 1 else f"{number:,} pictures"
        st.markdown(
            f"Copies **{pictures}** with the outlines to **training/{markdown(folder.name)}** in the server's folder of"
            " runs. Nothing else of this program copies pictures. What files say of place, time and camera is left out."
        )
        if st.button(f"Copy {pictures}", type="primary", key="training_copy"):
            try:
                report = export(
                    load_settings().cohort, _cells(review), folder, statuses=MAY_BE_EXPORTED if too else DRAWN
                )
            except CoreError as error:
                st.error(markdown(str(error)), icon=":material/error:")
                return
            missing = f"; {len(report.left_out):,} could not be" if report.left_out else ""
            _SAID.set((job.name, f"{sum(report.written.values()):,} copied to training/{folder.name}{missing}."))
        said = _SAID.get()
        if said is not None and said[0] == job.name:
            st.markdown(f":material/check_circle: {markdown(said[1])} Next: *Models*, *Teach it your laboratory*.")


def _cells(review: Review) -> Iterator[TrainingCell]:
    """The decided cells whose pictures are at hand."""
    rows = review.decided_rows()
    verdicts = {verdict.id: verdict for verdict in review.decided.values() if verdict.id in rows}
    keys = {f"{rows[number]['image_path']}#{rows[number]['cell_index']}": number for number in verdicts}
    for cell in review.cells_of(list(keys)):
        image, row = review.picture(cell), rows[keys[cell.key]]
        if image is not None:
            yield TrainingCell(verdicts[keys[cell.key]], image, row["cell_type"], row["patient_id"])

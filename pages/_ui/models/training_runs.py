"""Fine-tuning runs of this computer, watched while they go on."""

import time
from typing import Any, Final

import streamlit as st

from core.charts.training import dice_chart, loss_chart
from core.domain.errors import StoreError
from core.domain.settings import load_settings
from core.evaluation.training_runs import MESSAGES_FILE, TrainingRun, best_epoch, training_runs
from core.support.text import markdown, shown
from pages._ui.common.layout import current_look, empty_state, errors_in_words

_REFRESH_S: Final = 10
_MOST_WARNINGS: Final = 100


def show_trainings() -> None:
    """List the runs in the folder of runs, and follow the chosen one."""
    root = load_settings().runs
    runs = training_runs(root)
    if not runs:
        empty_state(
            "No training yet",
            f"`python -m training finetune --out runs/NAME` trains a network on your masks. Runs in"
            f" {markdown(str(root))} are shown here, also while they go on.",
            "model_training",
        )
        return
    by_name = {run.name: run for run in runs}
    name = st.selectbox(
        "Run",
        list(by_name),
        format_func=shown,
        key="training_run",
        help=f"Folders in {markdown(str(root))}, the latest first",
    )
    run = by_name[name]
    _follow(run) if run.scores() is None else _show(run)


@st.fragment(run_every=_REFRESH_S)
def _follow(run: TrainingRun) -> None:
    _show(run)


def _show(run: TrainingRun) -> None:
    with errors_in_words():
        try:
            _show_files(run)
        except (KeyError, TypeError, ValueError, IndexError) as error:
            msg = f"{run.folder} holds a log or scores of another kind ({error!r}); take the folder out of the runs"
            raise StoreError(msg) from error


def _show_files(run: TrainingRun) -> None:
    log, scores = run.log(), run.scores()
    best = best_epoch(log)
    now = time.time()
    state = (
        "finished"
        if scores
        else "going on"
        if run.going_on(now)
        else f"stopped {_duration(now - run.modified)} ago; the same command goes on"
    )
    st.markdown(
        f"**{state.capitalize()}**: {len(log)} epoch{'s' * (len(log) != 1)} in {_duration(log['seconds'].sum())};"
        f" best on the validation images in epoch {best['epoch']:.0f}: Dice {best['val_dice_nucleus']:.3f} for the"
        f" nucleus, {best['val_dice_cytoplasm']:.3f} for the cytoplasm."
    )
    if scores:
        _show_scores(scores)
    left, right = st.columns(2, gap="medium")
    with left:
        st.altair_chart(dice_chart(log), width="stretch", key="run-dice", alt="Dice on the validation images by epoch")
    with right:
        st.altair_chart(loss_chart(log, current_look()), width="stretch", key="run-loss", alt="Loss by epoch")
    for end, heading in (("worst", "Where it does worst"), ("best", "Where it does best")):
        if pictures := run.cases(end):
            with st.expander(f"{heading}: image, drawn outline, found outline", expanded=end == "worst"):
                for picture in pictures:
                    st.image(
                        picture.read_bytes(),
                        caption=markdown(picture.stem),
                        width="content",
                        alt=f"{picture.stem}: image, drawn outline, found outline",
                    )
    _show_warnings(run)
    with st.expander("Settings"):
        st.code(run.config(), language="toml")


def _show_warnings(run: TrainingRun) -> None:
    if not (warnings := run.warnings()):
        return
    with st.expander(f"Warnings ({len(warnings):,})"):
        st.markdown("\n".join(f"- {markdown(warning)}" for warning in warnings[:_MOST_WARNINGS]))
        if len(warnings) > _MOST_WARNINGS:
            st.caption(f"{len(warnings) - _MOST_WARNINGS:,} more in `{MESSAGES_FILE}` of the run's folder.")


def _duration(seconds: float) -> str:
    return (
        f"{seconds:.0f} seconds"
        if seconds < 120
        else f"{seconds / 60:.0f} minutes"
        if seconds < 7200
        else f"{seconds / 3600:.0f} hours"
    )


def _show_scores(scores: dict[str, Any]) -> None:
    test = scores["test"]
    parts = []
    for region in ("nucleus", "cytoplasm"):
        interval = " to ".join(f"{edge:.3f}" for edge in test[region]["dice_ci95"])
        parts.append(
            f"{region} {test[region]['dice_mean']:.3f} ± {test[region]['dice_std']:.3f} ({interval or 'no interval'})"
        )
    images = int(test["images"])
    st.markdown(
        f"**Test**, {images:,} image{'s' * (images != 1)} never seen: Dice {', '.join(parts)}: mean ± spread, 95 %"
        " interval of the mean, which takes two independent images at least."
    )

"""A person's runs: the list, and the progress of the chosen one."""

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

import streamlit as st

from core.batch.jobs import Job, Standing
from core.batch.settings import Progress, State
from core.domain.errors import CoreError
from core.domain.flags import LEFT_OUT
from core.support.text import markdown
from pages._ui.batch.pictures import newest
from pages._ui.common.layout import errors_in_words
from pages._ui.common.state import RUN_CHOSEN, RUN_PROBLEM, widget_value
from pages._ui.components.gallery.gallery import gallery

_LOOK_EVERY_S: Final = 1.0
_NEWEST: Final = 8
_LIST_KEY: Final = "batch_runs"
WORDS: Final = {
    State.LISTING: "Starting: the images are counted",
    State.WAITING: "Waiting for its turn: other runs are going on",
    State.RUNNING: "Measuring",
    State.STOPPING: "Stopping: what is begun is finished first",
    State.STOPPED: "Stopped",
    State.FINISHED: "Finished",
    State.FAILED: "Ended with an error",
}
STATES: Final = {
    State.LISTING: ":material/hourglass_top: starting",
    State.WAITING: ":material/hourglass_top: waiting",
    State.RUNNING: ":material/play_circle: going on",
    State.STOPPING: ":material/pause_circle: stopping",
    State.STOPPED: ":material/pause_circle: stopped",
    State.FINISHED: ":material/check_circle: finished",
    State.FAILED: ":material/error: error",
}


def choose_run(jobs: Sequence[Job], standings: Sequence[Standing]) -> Job:
    """List the runs, the latest first, with date and state; returns the chosen one."""
    names = [job.name for job in jobs]
    chosen = RUN_CHOSEN.get()
    if widget_value(_LIST_KEY) not in names or (chosen is not None and widget_value(_LIST_KEY) != chosen):
        # By name, never by place in the list: a run that was added or deleted must not move the choice to another.
        st.session_state[_LIST_KEY] = chosen if chosen in names else names[0]
    titles = _titles(jobs)
    st.markdown("#### Your runs")
    with st.container(height=430, border=False, key="batch_list"):
        name = st.radio(
            "Your runs",
            names,
            format_func=titles.__getitem__,
            captions=[
                f"{when(job.request.created)}, {STATES[standing.state]}"
                for job, standing in zip(jobs, standings, strict=True)
            ],
            key=_LIST_KEY,
            label_visibility="collapsed",
            on_change=lambda: RUN_CHOSEN.set(widget_value(_LIST_KEY)),
        )
    RUN_CHOSEN.set(name)
    return jobs[names.index(name)]


def _titles(jobs: Sequence[Job]) -> dict[str, str]:
    """What each run is called, by name; all different, because the browser tells choices apart by their words."""
    titles: dict[str, str] = {}
    seen: Counter[str] = Counter()
    for job in reversed(jobs):  # from the oldest, so that a new run leaves the others' titles as they are
        seen[job.request.title] += 1
        number = f" ({seen[job.request.title]})" if seen[job.request.title] > 1 else ""
        titles[job.name] = markdown(f"{job.request.title}{number}")
    return titles


def when(moment: datetime) -> str:
    """A day and, in this year, the hour, where the server is."""
    local = moment.astimezone()
    return (
        f"{local.day} {local:%b %H:%M}"
        if local.year == datetime.now().astimezone().year
        else f"{local.day} {local:%b %Y}"
    )


def show_head(job: Job, standing: Standing) -> None:
    """Name the run and what can be done with it."""
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="run_head"):
        st.markdown(f"#### {markdown(job.request.title)} :small[{when(job.request.created)}]", width="stretch")
        if not standing.state.ended:
            st.button(
                "Stop",
                key="run_stop",
                icon=":material/stop:",
                on_click=job.stop,
                disabled=standing.state is State.STOPPING,
            )
            return
        if standing.state is not State.FINISHED:
            st.button("Go on", key="run_resume", icon=":material/play_arrow:", on_click=_in_words, args=(job.start,))
        with st.popover("Delete", icon=":material/delete:", key="run_delete_ask"):
            uploaded = " and the images uploaded for it" if job.request.uploaded_bytes is not None else ""
            st.markdown(f"Deletes the results{uploaded}. What was added to the cohort stays there.")
            st.button("Delete this run", key="run_delete", on_click=_delete, args=(job,))


def _in_words(do: Callable[[], None]) -> None:
    """Run an action of a button; what went wrong is said by the page that follows."""
    try:
        do()
    except CoreError as error:
        RUN_PROBLEM.set(str(error))


def _delete(job: Job) -> None:
    _in_words(job.delete)
    RUN_CHOSEN.clear()


def show_problem() -> None:
    """Say why the last button had no effect."""
    problem = RUN_PROBLEM.get()
    if problem is not None:
        st.error(markdown(problem), icon=":material/error:")
        RUN_PROBLEM.clear()


def watch(jobs: Sequence[Job], standings: Sequence[Standing]) -> None:
    """Run the page again when a running run changes its state, whichever is shown."""
    watched = [(job, standing.state) for job, standing in zip(jobs, standings, strict=True) if not standing.state.ended]
    if not watched:
        return

    @st.fragment(run_every=_LOOK_EVERY_S)
    def look() -> None:
        if any(job.standing().state is not state for job, state in watched):
            st.rerun()

    look()


def show_going_on(job: Job) -> None:
    """Show the progress of a run, updated in a place of fixed height."""

    @st.fragment(run_every=_LOOK_EVERY_S)
    def look() -> None:
        standing = job.standing()
        with st.container(height=430, border=False, key="run_progress"), errors_in_words():
            _show_progress(standing)
            gallery(newest(job, _NEWEST), "batch_newest", places=_NEWEST)
            said = standing.progress.message if standing.progress is not None else ""
            sentence = f"{said[0].upper()}{said[1:]}." if said else ""
            st.caption(
                f"{markdown(sentence)} The run goes on when this page is closed; it is found again here, in this"
                " browser."
            )

    look()


def _show_progress(standing: Standing) -> None:
    progress = standing.progress
    share = progress.done / progress.total if progress is not None and progress.total else 0.0
    st.progress(min(share, 1.0), text=f"{WORDS[standing.state]}{_pace(standing)}")
    counts = ("Images done", "Cells", f"With a cell {LEFT_OUT}", "Failed")
    hints = (
        None,
        None,
        f"Images with a cell {LEFT_OUT} of summaries, because its outline or its picture is not to be trusted.",
        "Images that could not be measured; each is named with its reason.",
    )
    numbers = (
        (progress.done, progress.cells, progress.flagged, progress.failed) if progress is not None else (0, 0, 0, 0)
    )
    for column, label, number, hint in zip(st.columns(4), counts, numbers, hints, strict=True):
        column.metric(label, f"{number:,}", help=hint)


def _pace(standing: Standing) -> str:
    progress = standing.progress
    if progress is None:
        return ""
    pace = (
        f". {progress.done:,} of {progress.total:,} images"
        if progress.total is not None
        else f". {progress.done:,} images"
    )
    if standing.state is not State.RUNNING:
        return pace
    return pace + _rate(progress)


def _rate(progress: Progress) -> str:
    rate = f", {progress.rate:.1f} a second" if progress.rate else ""
    left = f", about {duration(progress.seconds_left)} left" if progress.seconds_left is not None else ""
    return rate + left


def duration(seconds: float) -> str:
    """A length of time as people say it."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{seconds / 60:.0f} min"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min"

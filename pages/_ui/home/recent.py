"""What a person worked on last: cases and runs, each a way back to it."""

from datetime import datetime
from typing import Final

import streamlit as st

from core.batch.jobs import Job
from core.cases.store import Case
from core.support.text import markdown
from pages._ui.batch.runs import STATES, when
from pages._ui.common.cases import recent_cases
from pages._ui.common.state import RUN_CHOSEN
from pages._ui.components.owner.owner import owner

_MOST: Final = 5


def show_recent() -> None:
    """List the latest cases and runs of the person at the page; nothing where there are none."""
    person = owner()
    if person is None:
        return  # for the moment that the browser takes to say who it is
    entries: list[tuple[datetime, Case | Job]] = [(case.changed, case) for case in recent_cases(person, _MOST)]
    entries += [(job.request.created, job) for job in person.jobs()]
    if not entries:
        return
    with st.container(border=True, key="home_recent", gap="xxsmall"):
        st.markdown("**Go on with**")
        for changed, entry in sorted(entries, key=lambda each: each[0], reverse=True)[:_MOST]:
            if isinstance(entry, Case):
                _case(entry, changed)
            else:
                _run(entry, changed)


def _case(case: Case, changed: datetime) -> None:
    images = f"{len(case.images)} image{'s' * (len(case.images) != 1)}"
    st.page_link(
        "pages/1_Single_cell.py",
        label=f"{markdown(case.title)}: a case of {images}, {when(changed)}",
        icon=":material/folder_shared:",
        query_params={"case": case.id},
    )


def _run(job: Job, created: datetime) -> None:
    if st.button(
        f"{markdown(job.request.title)}: a run of {when(created)}, {STATES[job.standing().state]}",
        key=f"home_run_{job.name}",
        icon=":material/photo_library:",
        type="tertiary",
    ):
        RUN_CHOSEN.set(job.name)
        st.switch_page("pages/2_Batch.py")

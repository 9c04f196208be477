"""Many images at once: chosen, measured by a process of their own, reviewed, downloaded."""

import streamlit as st

from pages._ui.batch.look_through import read_address
from pages._ui.batch.new_run import choose_images, start_button
from pages._ui.batch.results import show_results
from pages._ui.batch.runs import choose_run, show_going_on, show_head, show_problem, watch
from pages._ui.common.layout import empty_state, errors_in_words, page_setup
from pages._ui.common.state import RUN_CHOSEN
from pages._ui.components.owner.owner import owner

page_setup("Batch")
read_address()
st.markdown("### Measure many images")
person = owner()
if person is None:
    st.stop()  # for the moment that the browser takes to say who it is

with st.container(border=True, key="batch_new"), errors_in_words():
    started = start_button(person, choose_images(person))
    if started is not None:
        RUN_CHOSEN.set(started.name)
        st.rerun()

show_problem()
jobs = person.jobs()
if jobs:
    standings = [job.standing() for job in jobs]
    left, right = st.columns([1, 3.4], gap="medium")
    with left:
        chosen = choose_run(jobs, standings)
    standing = standings[jobs.index(chosen)]
    with right, errors_in_words():
        show_head(chosen, standing)
        if standing.state.ended:
            show_results(chosen, standing)
        else:
            show_going_on(chosen)
    watch(jobs, standings)
else:
    empty_state(
        "No run yet",
        "Choose images above and press **Start measuring**. The run goes on when this page is closed; one bad image"
        " never stops the rest.",
        "photo_library",
    )

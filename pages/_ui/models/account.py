"""What a laboratory gained by an adapted model, as the page shows it."""

from datetime import datetime

import pandas as pd
import streamlit as st

from core.charts.training import learning_chart
from core.evaluation.adaptation import AdaptationAccount, compared, learnt
from core.evaluation.paired import MEAN
from core.features.catalogue import CATALOGUE
from core.reports.adaptation import gain_table, html_report
from core.support.text import markdown
from pages._ui.common.layout import current_look


def show_account(account: AdaptationAccount) -> None:
    """Show what was gained and lost, the learning curve, and the features whose bias went."""
    if account.refused:
        st.error(f"Do not use it: {markdown(account.refused)}.", icon=":material/block:")
    gain = account.judged_by[MEAN]
    interval = "" if gain.ci95 is None else f" (95 % {100 * gain.ci95[0]:+.1f} to {100 * gain.ci95[1]:+.1f})"
    judged = "cells drawn without the model's outline" if account.blind_sample else "held-back corrections"
    st.markdown(
        f"**{100 * gain.difference:+.1f} points{interval}** on {gain.images:,} {judged}: Dice {gain.first:.3f} with"
        f" {markdown(account.base_id)}, {gain.second:.3f} with {markdown(account.model_id)}, nucleus and cytoplasm"
        f" averaged. Taught {account.cells:,} cells of {account.groups:,} patients or images in {account.minutes:g}"
        " minutes."
    )
    for heading, found in compared(account).items():
        table = gain_table(found)
        st.markdown(f"**{markdown(heading)}**")
        st.dataframe(
            pd.DataFrame([row.cells for row in table.rows], columns=["Part", *table.head[1:]]),
            hide_index=True,
            key=f"account_{account.model_id}_{heading}",
        )
    if not account.blind_sample:
        st.caption(
            "No cell was drawn without the model's outline. Whoever corrects an outline follows it: these figures"
            " flatter both models."
        )
    if not account.known:
        st.caption(
            f"What was lost in the laboratories that {markdown(account.base_id)} knows was not measured: their images"
            " are not on this computer."
        )
    left, right = st.columns(2, gap="large")
    with left:
        st.markdown("**Would more corrections help?**")
        st.altair_chart(
            learning_chart(account.curve, current_look()),
            width="stretch",
            key=f"curve_{account.model_id}",
            alt="Dice of held-back cells by the number of corrected cells learnt from",
        )
        st.markdown(markdown(learnt(account.curve)))
    with right:
        st.markdown("**Features**")
        went = [CATALOGUE[bias.feature].label for bias in account.features if bias.went]
        biased = [CATALOGUE[bias.feature].label for bias in account.features if bias.stays]
        st.markdown(f"No longer biased: {markdown(', '.join(went)) or 'none was, or none changed'}.")
        if biased:
            st.markdown(f"Still biased: {markdown(', '.join(biased))}.")
        st.caption("Biased: off by 0.2 standard deviations between cells or more on average, beyond chance.")
    st.download_button(
        "The account as a page",
        html_report(account, datetime.now().astimezone()),
        file_name=f"{account.model_id}_account.html",
        mime="text/html",
        icon=":material/download:",
        on_click="ignore",
        key=f"download_account_{account.model_id}",
    )

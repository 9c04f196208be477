"""The populations: how many cells of whom, what was left out, and how their features are distributed."""

import pandas as pd
import streamlit as st

from core.cell_types import CELL_TYPES, CellType
from core.charts.labels import unit
from core.charts.populations import Form, distribution_chart
from core.charts.trust import why
from core.features.catalogue import CATALOGUE
from core.statistics import Basis, ReferencePopulation
from pages._ui import resources
from pages._ui.feature_choice import feature_chooser
from pages._ui.layout import current_look, empty_state, errors_in_words, page_setup

_FIRST_FEATURE = "combined_PixelSurface"


def show_counts() -> None:
    """List every population with its cells, patients, source, and what quality kept out."""
    infos = resources.populations()
    rows = [
        {
            "Population": info.population.title,
            "Cell type": CELL_TYPES[info.population.cell_type].name,
            "Good cells": info.n_good,
            "Patients": "not recorded" if info.patients is None else str(info.patients),
            "Left out": info.n - info.n_good,
            "Why": ", ".join(f"{code.replace('_', ' ')} {count}" for code, count in info.excluded.items()),
            "µm per pixel": "unknown" if info.population.um_per_px is None else f"{info.population.um_per_px:g}",
            "Source": info.population.source,
            "Note": info.problem or info.population.note,
            "Terms": info.population.terms,
        }
        for info in infos
    ]
    good, patients = sum(info.n_good for info in infos), resources.named_patients()
    others = " and others not recorded" if any(info.patients is None and info.n_good for info in infos) else ""
    st.markdown(f"### {good:,} good cells in {len(infos)} populations, of {patients} named patient{'s' * (patients != 1)}{others}")
    st.dataframe(
        pd.DataFrame(rows),
        hide_index=True,
        height=min(38 + 35 * len(rows), 420),
        key="populations",
        column_config={"Population": st.column_config.Column(pinned=True), "Note": st.column_config.Column(width="large")},
    )


def show_distribution(references: tuple[ReferencePopulation, ...]) -> None:
    """Draw one chosen feature in the chosen cell types."""
    reliability = resources.reliability_if_known()
    feature = feature_chooser(_FIRST_FEATURE, reliability, "explorer_feature")
    present = [kind for kind in CellType if any(r.cell_type is kind for r in references)]
    left, right = st.columns([4, 2.4], vertical_alignment="bottom")
    with left:
        kinds = st.multiselect(
            "In", present, default=present, format_func=lambda k: CELL_TYPES[k].name, key="explorer_types", persist_state="session"
        )
    with right:
        form = st.segmented_control("As", list(Form), default=Form.HISTOGRAM, required=True, key="explorer_form", persist_state="session")
    if feature is None:
        return
    spec = CATALOGUE[feature]
    st.caption(f"{spec.description} {why(feature, reliability)}".strip())
    chosen = [r for r in references if r.cell_type in kinds]
    if not chosen:
        st.info("Choose at least one cell type.", icon=":material/info:")
        return
    if not any(feature in r.summaries for r in chosen):
        st.info("None of these populations was measured with this feature.", icon=":material/info:")
        return
    chart = distribution_chart(chosen, feature, Form(form), current_look())
    st.altair_chart(chart, width="stretch", key="distribution", alt=f"Distribution of {spec.label} in the chosen populations")
    st.caption(
        "Line or dashed box: 2-98 % range; upright tick: median. "
        "Dashed: the published tables, made from generated images, never pooled with cells."
    )
    if spec.pixel_bound:
        st.caption("This feature changes with the size of the pixels: only populations with the same µm per pixel can be set side by side.")
    show_summaries(chosen, feature)


def show_summaries(chosen: list[ReferencePopulation], feature: str) -> None:
    """Set the measured populations beside the published tables, in numbers."""
    spec = CATALOGUE[feature]
    rows = []
    for reference in chosen:
        summary = reference.summaries.get(feature)
        if summary is None:
            continue
        numbers = {"2 %": summary.p2, "50 %": summary.p50, "98 %": summary.p98, "Mean": summary.mean, "SD": summary.std}
        rows.append(
            {"Population": reference.title, "Kind": "published table" if reference.published else "measured", "n": summary.n}
            | {name: None if value is None else spec.shown(value) for name, value in numbers.items()}
            | {"Unit": unit(spec, summary.basis), "Source": reference.source}
        )
    number = st.column_config.NumberColumn(format="%.4g")
    columns = dict.fromkeys(("2 %", "50 %", "98 %", "Mean", "SD"), number)
    st.dataframe(pd.DataFrame(rows), hide_index=True, key="summaries", placeholder="", column_config=columns)
    if any(row["Unit"] == unit(spec, Basis.PIXELS) for row in rows) and spec.length_power:
        st.caption("The published sizes are in pixels of an unknown scale: they cannot be set beside micrometres.")


page_setup("Cohort explorer")
with errors_in_words():
    if resources.populations():
        show_counts()
        show_distribution(resources.references())
    else:
        empty_state(
            "No measured population yet",
            "`make cohort` measures the reference images; `python -m core cohort import` adds a laboratory's own cells.",
            "groups",
        )
        published = resources.references()
        if published:
            st.markdown("### The published tables")
            show_distribution(published)
    for problem in resources.cohort().problems:
        st.warning(str(problem), icon=":material/warning:")

"""Adding a run's cells to the cohort: under which cell type, from where, of whom."""

from dataclasses import dataclass
from datetime import date
from functools import partial
from typing import Final

import streamlit as st

from core.batch.jobs import Job
from core.batch.review import Overview, Review
from core.cohort import TISSUES, add_cells, filed, own_population
from core.corrections.deciding import file_along
from core.domain.cell_types import CELL_TYPES, CellType
from core.domain.errors import CoreError
from core.domain.flags import LEFT_OUT
from core.domain.settings import load_settings
from core.domain.types import GivenScale
from core.store.named_scales import remember
from core.store.schema import Population
from core.support.text import markdown
from pages._ui.batch.pictures import as_drawn, scale_of
from pages._ui.common import cohort_data, model_in_use
from pages._ui.common.state import COHORT_SAID

_AS_LABELLED: Final = "as labelled"


@dataclass(frozen=True)
class _Filing:
    """What a person said of the cells; without a cell type each goes by its label."""

    title: str
    cell_type: CellType | None
    source: str
    tissue: str
    patient: str | None


def add_to_cohort(job: Job, review: Review, overview: Overview) -> None:
    """Ask what the cells are and where they come from, and add them to a population of the user's own."""
    st.caption(
        "The cells become a population in the cohort, or join one of the same name. Nothing is measured again, and"
        f" cells {LEFT_OUT} of summaries stay {LEFT_OUT}. A patient is a pseudonym, never a name."
    )
    labels = [CellType(name) for name in overview.labels]
    types: list[CellType | str] = [*([_AS_LABELLED] if labels else []), *CellType]
    with st.form("batch_cohort", border=False):
        first, second = st.columns(2, gap="medium"), st.columns(3, gap="medium")
        title = first[0].text_input(
            "Name of the population", max_chars=60, placeholder="Monocytes, our laboratory", key="cohort_title"
        )
        source = first[1].text_input("Source", max_chars=120, placeholder="laboratory or data set", key="cohort_source")
        cell_type = second[0].selectbox("Cell type", types, index=None, format_func=_type_words, key="cohort_type")
        tissue = second[1].selectbox("Tissue", TISSUES, key="cohort_tissue")
        patient = second[2].text_input(
            "Patient, if all are of one", max_chars=60, placeholder="pseudonym", key="cohort_patient"
        )
        pressed = st.form_submit_button("Add to the cohort", icon=":material/library_add:", key="cohort_add")
    missing = {
        first[0]: "" if title.strip() else "The population needs a name.",
        first[1]: "" if source.strip() else "Where are the cells from? A source is needed.",
        second[0]: "" if cell_type is not None else "Which cells are these? Choose a type.",
    }
    if pressed and any(missing.values()):
        COHORT_SAID.clear()
        for field, words in missing.items():
            if words:
                field.markdown(f":red[:material/error: {words}]")
    elif pressed and cell_type is not None:
        try:
            chosen = None if cell_type == _AS_LABELLED else CellType(cell_type)
            with st.spinner("Adding the cells"):
                filing = _Filing(title.strip(), chosen, source.strip(), tissue, patient.strip() or None)
                COHORT_SAID.set((job.name, _file(job, review, filing, labels)))
            model_in_use.prepare_populations()
        except CoreError as error:
            COHORT_SAID.clear()
            st.error(markdown(str(error)), icon=":material/error:")
    said = COHORT_SAID.get()
    if said is not None and said[0] == job.name:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(f":material/check_circle: {markdown(said[1])}", width="content")
            st.page_link("pages/3_Cohort_explorer.py", label="See them in the cohort", icon=":material/scatter_plot:")


def _type_words(name: CellType | str) -> str:
    return CELL_TYPES[name].name if isinstance(name, CellType) else "By the folder each image lies in"


def _file(job: Job, review: Review, filing: _Filing, labels: list[CellType]) -> str:
    """Add the cells, by label only those that have one; returns in words what was added."""
    sentences, scale = [], scale_of(job, review)
    for cell_type in [filing.cell_type] if filing.cell_type is not None else labels:
        several = filing.cell_type is None and len(labels) > 1
        population = _population(scale, filing, cell_type, CELL_TYPES[cell_type].plural if several else "")
        root, label = load_settings().cohort, None if filing.cell_type is not None else cell_type.value
        # As the model drew them: what people decided is laid over them in the cohort as it is here.
        added = add_cells(root, population, as_drawn(job).rows(label), patient_id=filing.patient)
        known = f" ({added.known:,} were there already)" if added.known else ""
        decided = review.decided_rows(label)
        along = file_along(
            root,
            [verdict for verdict in review.decided.values() if verdict.id in decided],
            decided,
            partial(filed, population=population, patient_id=filing.patient),
        )
        with_them = f", with what was decided of {along:,} outlines" if along else ""
        sentences.append(f"{added.new:,} cells added to “{population.title}”{known}{with_them}.")
        sentences += [added.model_note] if added.model_note else []
    if filing.cell_type is None and review.overview.unlabelled:
        sentences.append(f"{review.overview.unlabelled:,} cells without a type were not added.")
    remember(load_settings().cohort, filing.source, scale)
    return " ".join(sentences)


def _population(scale: GivenScale | None, filing: _Filing, cell_type: CellType, kind: str) -> Population:
    return own_population(
        f"{filing.title}: {kind}" if kind else filing.title,
        cell_type,
        filing.source,
        tissue=filing.tissue,
        note=f"Added from a batch run on {date.today().isoformat()}.",
        scale=scale,
        shipped=cohort_data.shipped(),
    )

"""A case for taking away: its table and its report, made when they are asked for."""

from collections.abc import Callable
from datetime import datetime

import pandas as pd
import streamlit as st

from core.cases.export import case_analyses, case_handed_over, case_table, held_images
from core.cases.store import Case, Cases
from core.domain.options import Paper, Units
from core.domain.settings import load_settings
from core.domain.types import CellAnalysis
from core.exchange.cells import Handover
from core.reports.case import CaseFront, case_front, html_case
from core.reports.first_page import FirstPage, first_page
from core.reports.pdf import pdf_case
from core.store.export import cells_parquet, in_units, to_csv
from pages._ui.common import cohort_data, model_in_use
from pages._ui.common.downloads import choose_units, file_name
from pages._ui.common.exchange import offer_exchange
from pages._ui.common.nearest import nearness_of_cell


def offer_to_take(cases: Cases, case: Case) -> None:
    """Show a small menu of downloads of a case."""
    if not case.cells:
        return
    scaled = all(image.scale is not None for image in case.images if image.cells)
    with st.popover("Download", icon=":material/download:", type="tertiary", key="case_take"):
        units = choose_units("case_units", "" if scaled else "not every image has a scale")
        for label, suffix, mime, make in makers(cases, case, units):
            st.download_button(
                label,
                make,
                file_name(case.title, suffix, "excel" if "Excel" in label else ""),
                mime,
                key=f"case_take-{label}",
                on_click="ignore",
                type="tertiary",
            )
    offer_exchange("case", case.title, case.cells, lambda: _handed_over(cases, case), scaled=scaled, look="tertiary")


def makers(cases: Cases, case: Case, units: Units) -> list[tuple[str, str, str, Callable[[], bytes]]]:
    """Label, suffix and kind of each file, and what makes it."""
    csv, parquet, pdf = "text/csv", "application/vnd.apache.parquet", "application/pdf"
    return [
        ("Report (PDF, A4)", "pdf", pdf, lambda: pdf_case(*_report(cases, case), Paper.A4)),
        ("Report (PDF, Letter)", "pdf", pdf, lambda: pdf_case(*_report(cases, case), Paper.LETTER)),
        ("Report (HTML)", "html", "text/html", lambda: html_case(*_report(cases, case)).encode()),
        ("Table (CSV)", "csv", csv, lambda: to_csv(in_units(_table(cases, case), units))),
        ("Table (CSV for Excel)", "csv", csv, lambda: to_csv(in_units(_table(cases, case), units), excel=True)),
        ("Table (Parquet)", "parquet", parquet, lambda: cells_parquet(_table(cases, case), units)),
    ]


def _table(cases: Cases, case: Case) -> pd.DataFrame:
    return case_table(load_settings().cohort, held_images(cases, cases.open(case.id)))


def _handed_over(cases: Cases, case: Case) -> Handover:
    return case_handed_over(load_settings().cohort, cases, cases.open(case.id))


def _report(cases: Cases, case: Case) -> tuple[CaseFront, list[FirstPage]]:
    """What the report says first, and a page for each cell."""
    root, now, created = load_settings().cohort, cases.open(case.id), datetime.now().astimezone()
    images = [(image.record, case_analyses(root, image)) for image in held_images(cases, now)]
    pages = [_page(cell, record.notes, created) for record, cells in images for cell in cells]
    return case_front(now, images, created), pages


def _page(cell: CellAnalysis, notes: str, created: datetime) -> FirstPage:
    reliability = {} if cell.base else model_in_use.reliability()
    known = cohort_data.references(), nearness_of_cell(cell), model_in_use.default_model(), reliability
    return first_page(cell, *known, created, notes)

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from core.cases.store import Case, CaseImage
from core.domain.options import Paper
from core.domain.types import BoundingBox, GivenScale, QualityFlag
from core.features.catalogue import CATALOGUE, KEY_FEATURES
from core.pipeline import at_scale
from core.populations.nearness import Nearness, Unnamed
from core.reports.case import case_front, html_case
from core.reports.first_page import first_page
from core.reports.pdf import pdf_case
from core.segmentation.model_registry import find_model
from tests.core.reports.support import assert_fetches_and_runs_nothing
from tests.pdf import page_sizes
from tests.populations import GRADES

WHEN = datetime(2026, 12, 1, 17, 30, tzinfo=UTC)


@pytest.fixture(scope="module")
def case():
    images = (
        CaseImage("one.png", "a" * 64, 10, GivenScale(0.1), notes="odd nucleus", cells=1),
        CaseImage("<b>field</b>.png", "b" * 64, 10, cells=1),
        CaseImage("bad.png", "c" * 64, 10, problem="the file is cut short"),
        CaseImage("later.png", "d" * 64, 0),
    )
    return Case("20261201-101010-aaaaaaaa", "Patient <7>", WHEN, WHEN, "hairy?\n<script>", images)


@pytest.fixture(scope="module")
def made(case, cell, references):
    """The front of the case and the pages of its two cells."""
    one, field, bad, later = case.images
    flagged = replace(
        cell,
        image=replace(cell.image, name="<b>field</b>.png", um_per_px=None),
        cell_index=2,
        place=BoundingBox(0, 0, *cell.image.shape),
        flags=(QualityFlag("border", "The cell touches the image edge.", severe=True),),
    )
    cells = [at_scale(cell, 0.1), flagged]
    nearness = Nearness(unnamed=Unnamed.UNLIKE, shapes=12)
    pages = [
        first_page(each, references, nearness, find_model(), GRADES, WHEN, record.notes)
        for each, record in zip(cells, (one, field), strict=True)
    ]
    return case_front(case, [(one, cells[:1]), (field, cells[1:]), (bad, []), (later, [])], WHEN), pages


@pytest.fixture(scope="module")
def report(made):
    return html_case(*made)


def test_it_fetches_nothing_runs_nothing_and_escapes_names(report):
    assert_fetches_and_runs_nothing(report)
    assert "<script>" not in report
    assert "<b>field" not in report
    assert "Patient &lt;7&gt;" in report


def test_every_cell_has_a_line_in_the_table_and_a_page(report):
    assert "cell 3</td><td>left out</td>" in report
    assert ">good</td>" in report
    assert report.count("nucleus solid, cell border dashed") == 2
    assert all(f"<th>{CATALOGUE[name].label}</th>" in report for name in KEY_FEATURES)
    assert "The cell touches the image edge." in report
    assert "µm²" in report
    assert "px²" in report, "the second image has no scale"


def test_words_of_case_and_image_and_what_failed_are_there(report):
    for words in ("hairy?", "could not be measured: the file is cut short", "not measured"):
        assert words in report
    assert report.count("odd nucleus") == 2, "among the images, and on the cell's page"
    assert "the picture itself was not at hand" in report
    assert "scale unknown" in report
    assert "2 cells" in report


def test_on_paper_it_is_its_front_and_a_page_for_each_cell(made):
    assert page_sizes(pdf_case(*made, Paper.LETTER)) == [(216, 279)] * 3
    front, pages = made
    assert page_sizes(pdf_case(front, [])) == [(210, 297)], "a case of which nothing was measured"
    assert pdf_case(front, pages) == pdf_case(front, pages)


def test_a_long_table_goes_on_on_further_sheets(made):
    front, pages = made
    rows = [front.table.rows[0]] * 120
    assert len(page_sizes(pdf_case(replace(front, table=front.table._replace(rows=rows)), pages))) > 4

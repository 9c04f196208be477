from dataclasses import replace
from datetime import UTC, datetime

import pytest

from core.cases.store import Case, CaseImage
from core.domain.types import BoundingBox, GivenScale, QualityFlag
from core.features.catalogue import CATALOGUE, KEY_FEATURES
from core.pipeline import at_scale
from core.reports.case import case_report
from tests.core.reports.support import assert_fetches_and_runs_nothing

WHEN = datetime(2026, 12, 1, 17, 30, tzinfo=UTC)


@pytest.fixture(scope="module")
def report(cell, references):
    images = (
        CaseImage("one.png", "a" * 64, 10, GivenScale(0.1), notes="odd nucleus", cells=1),
        CaseImage("<b>field</b>.png", "b" * 64, 10, cells=1),
        CaseImage("bad.png", "c" * 64, 10, problem="the file is cut short"),
        CaseImage("later.png", "d" * 64, 0),
    )
    case = Case("20261201-101010-aaaaaaaa", "Patient <7>", WHEN, WHEN, "hairy?\n<script>", images)
    flagged = replace(
        cell,
        image=replace(cell.image, name="<b>field</b>.png", um_per_px=None),
        cell_index=2,
        place=BoundingBox(0, 0, *cell.image.shape),
        flags=(QualityFlag("border", "The cell touches the image edge.", severe=True),),
    )
    measured = [(images[0], [at_scale(cell, 0.1)]), (images[1], [flagged]), (images[2], []), (images[3], [])]
    return case_report(case, measured, references, WHEN)


def test_it_fetches_nothing_runs_nothing_and_escapes_names(report):
    assert_fetches_and_runs_nothing(report)
    assert "<script>" not in report
    assert "<b>field" not in report
    assert "Patient &lt;7&gt;" in report


def test_every_cell_has_a_line_in_the_table_and_its_essentials(report, cell):
    assert "cell 3</td><td>flagged</td>" in report
    assert ">good</td>" in report
    assert report.count("nucleus solid, cell border dashed") == 2
    assert all(report.count(f"<th>{CATALOGUE[name].label}</th>") >= 3 for name in KEY_FEATURES)
    assert "The cell touches the image edge." in report
    assert "µm²" in report
    assert "px²" in report, "the second image has no scale"


def test_words_of_case_and_image_and_what_failed_are_there(report):
    for words in ("hairy?", "odd nucleus", "It could not be measured: the file is cut short.", "It was not measured."):
        assert words in report
    assert "the picture itself was not at hand" in report
    assert "scale unknown" in report

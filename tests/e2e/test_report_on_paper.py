"""The one-page report as a browser prints it."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from core.domain.types import QualityFlag
from core.populations.nearness import Nearness, Unnamed
from core.reports.cell import html_pages
from core.reports.first_page import first_page
from core.segmentation.model_registry import find_model
from tests.pdf import page_sizes
from tests.populations import GRADES, analysed, drawn_references

pytestmark = pytest.mark.browser

NAME = '<script>alert(1)</script>#import "x"\n\u202egnp.\u05e2\u05d1\u05e8 ' + "W" * 200
PAPERS = {"A4": (210, 297), "Letter": (216, 279)}


@pytest.fixture(scope="module")
def made(drawn_root):
    references = drawn_references(drawn_root)

    def made(analysis, notes="", beside=references):
        nearness = Nearness(unnamed=Unnamed.UNLIKE, shapes=12)
        when = datetime(2026, 11, 22, 17, 30, tzinfo=UTC)
        return first_page(analysis, beside, nearness, find_model(), GRADES, when, notes)

    def long():
        cell = analysed("monocyte", 2)
        flags = tuple(QualityFlag(str(n), f"{n} " + 90 * "many words ", severe=True) for n in range(9))
        titled = [replace(r, title=f"{r.title} title" * 40, source="source " * 40) for r in references]
        image = replace(cell.image, name=NAME, um_per_px_error=0.07)
        return made(replace(cell, flags=flags, image=image), "W" * 900 + "\n" * 20, titled)

    pages = {
        "with a scale": lambda: made(analysed("monocyte", 2)),
        "without a scale": lambda: made(analysed("lymphocyte", 5, None)),
        "without populations": lambda: made(analysed("lymphocyte", 5), beside=()),
        "with the longest texts": long,
    }
    return {name: page() for name, page in pages.items()}


def test_every_cell_is_printed_on_one_sheet_of_either_paper(made, page, tmp_path):
    path = tmp_path / "report.html"
    for name, first in made.items():
        path.write_text(html_pages([first]), encoding="utf-8")
        page.goto(path.as_uri())
        for paper, size in PAPERS.items():
            assert page_sizes(page.pdf(format=paper)) == [size], f"{name}, {paper}"


def test_several_cells_are_printed_on_a_sheet_each(made, page, tmp_path):
    path = tmp_path / "report.html"
    path.write_text(html_pages(list(made.values()), "All"), encoding="utf-8")
    page.goto(path.as_uri())
    assert len(page_sizes(page.pdf(format="Letter"))) == len(made)


@pytest.mark.parametrize("width", [1280, 390])
def test_on_a_screen_it_is_light_and_nothing_sticks_out(made, page, tmp_path, width):
    path = tmp_path / "report.html"
    path.write_text(html_pages([made["with the longest texts"]]), encoding="utf-8")
    page.emulate_media(color_scheme="dark")
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(path.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"

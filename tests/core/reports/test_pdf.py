from dataclasses import replace
from datetime import UTC, datetime

import pytest

from core.domain.options import Paper
from core.domain.types import FeatureSet, QualityFlag
from core.features.catalogue import CATALOGUE
from core.populations.nearness import Nearness, Unnamed
from core.reports.first_page import first_page
from core.reports.pdf import pdf_pages
from core.segmentation.model_registry import find_model
from tests.pdf import letters, page_sizes
from tests.populations import GRADES

WHEN = datetime(2026, 11, 22, 17, 30, 1, 899139, tzinfo=UTC)
A4, LETTER = (210, 297), (216, 279)
UNKNOWN = "\U0010fffd"  # no font has it


@pytest.fixture(scope="module")
def made(cell, references):
    def made(analysis=cell, beside=references, notes=""):
        nearness = Nearness(unnamed=Unnamed.UNLIKE, shapes=12)
        return first_page(analysis, beside, nearness, find_model(), GRADES, WHEN, notes)

    return made


def named(analysis, name):
    return replace(analysis, image=replace(analysis.image, name=name))


@pytest.mark.parametrize(("paper", "size"), [(Paper.A4, A4), (Paper.LETTER, LETTER)])
def test_a_cell_is_one_page_of_the_paper_asked_for(made, paper, size):
    assert page_sizes(pdf_pages([made()], paper)) == [size]


def test_several_cells_are_a_page_each(made, cell):
    pages = [made(named(cell, f"{number}.png")) for number in range(3)]
    assert page_sizes(pdf_pages(pages)) == [A4] * 3


def test_the_same_input_gives_the_same_bytes_and_the_date_is_that_of_the_page(made):
    first = pdf_pages([made()])
    assert pdf_pages([made()]) == first
    assert b"2026-11-22T17:30" in first
    assert pdf_pages([replace(made(), created=WHEN.replace(year=2027))]) != first


def test_it_is_made_for_keeping(made):
    assert b"<pdfaid:part>2</pdfaid:part>" in pdf_pages([made()])


@pytest.mark.parametrize(
    "name",
    [
        '<script>alert(1)</script>#import "x": *\n= $x$ `y` @z \\ #panic("no")',
        "n" * 200,
        "細胞" * 100,
        "\u202egnp.עברית العربية\x00",
        "Zelle_µ²_Ω_клетка.png",
        '"\u0301\\' + UNKNOWN,
    ],
)
@pytest.mark.parametrize("paper", Paper)
def test_any_name_is_text_on_one_page(made, cell, name, paper):
    page = made(named(cell, name))
    assert len(page_sizes(pdf_pages([page], paper))) == 1


def test_letters_of_many_scripts_come_with_the_program(made, cell):
    name = "µ²ΩЖñẞאش.png"
    assert set(name) <= letters(pdf_pages([made(named(cell, name))]))


def test_a_character_without_a_glyph_is_a_sign_not_a_gap(made, cell):
    seen = letters(pdf_pages([made(named(cell, f"cell {UNKNOWN}.png"), notes=f"{UNKNOWN} seen")]))
    assert "�" in seen
    assert UNKNOWN not in seen
    assert "�" not in letters(pdf_pages([made()]))


def test_the_longest_page_is_one_page(made, cell, references):
    flags = tuple(QualityFlag(str(n), f"{n} " + 90 * "many words ", severe=True) for n in range(9))
    long = [replace(r, title=f"{r.title} title" * 40, source="source " * 40) for r in references]
    analysis = replace(
        named(cell, "W" * 300), flags=flags, image=replace(named(cell, "W" * 300).image, um_per_px_error=0.07)
    )
    page = made(analysis, long, notes="W" * 900 + "\n" * 20)
    for paper, size in ((Paper.A4, A4), (Paper.LETTER, LETTER)):
        assert page_sizes(pdf_pages([page], paper)) == [size]


def test_a_page_without_scale_measures_and_populations_is_made_too(made, cell):
    bare = replace(
        cell,
        image=replace(cell.image, um_per_px=None),
        features=FeatureSet(dict.fromkeys(CATALOGUE), dict.fromkeys(CATALOGUE, "no cell was found")),
    )
    assert page_sizes(pdf_pages([made(bare, ())])) == [A4]

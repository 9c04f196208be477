"""What a clinician does, in a real browser.

Bring an image, see it outlined and compared, take the report away and open it.
"""

import io
import re
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from core.image.imaging import encode_png
from core.image.synthetic import SYNTHETIC_CELLS, draw_cell
from tests.pdf import page_sizes

pytestmark = pytest.mark.browser


def _measure(page: Page, server: str, image: Path) -> None:
    page.goto(server)
    page.get_by_role("link", name="I have one cell").click()
    page.locator("input[type=file]").set_input_files(image)
    expect(page.get_by_text("The mask will stand here.")).to_be_visible()
    scale = page.get_by_role("spinbutton", name="µm per pixel")
    scale.fill("0.095")
    scale.press("Tab")
    page.get_by_role("button", name="Calculate features").click()
    expect(
        page.get_by_text(re.compile("Nearest in shape|Unlike every population|No nearest population"))
    ).to_be_visible()


def _saved(page: Page, name: str, folder: Path) -> Path:
    """A file that a button gives, by the name that it suggests."""
    with page.expect_download() as download:
        page.get_by_role("button", name=name).click()
    path = folder / download.value.suggested_filename
    download.value.save_as(path)
    return path


def _journey(page: Page, server: str, image: Path, tmp_path: Path) -> None:
    _measure(page, server, image)

    # The cell, its outlines, and the ways to look at it.
    nucleus = page.locator(".outline.nucleus path").last
    assert nucleus.get_attribute("d").startswith("M")
    expect(nucleus).to_be_visible()
    page.get_by_label("nucleus", exact=True).uncheck()
    expect(nucleus).to_be_hidden()
    page.get_by_label("nucleus", exact=True).check()
    picture = page.locator(".pane svg").first
    whole = picture.get_attribute("viewBox")
    page.get_by_role("button", name="Larger").click()
    assert picture.get_attribute("viewBox") != whole
    assert picture.get_attribute("viewBox") == page.locator(".pane svg").last.get_attribute("viewBox"), (
        "image and mask move together"
    )
    page.locator(".pane").first.press("0")
    assert [float(v) for v in picture.get_attribute("viewBox").split()] == [float(v) for v in whole.split()]

    # Its place among the populations.
    expect(page.get_by_text("N:C area ratio").first).to_be_visible()
    page.get_by_role("tab", name="Monocyte").click()
    expect(page.get_by_text("Where this cell differs most")).to_be_visible()
    expect(page.get_by_text("n = 23 cells").first).to_be_visible()
    expect(page.locator(".stVegaLiteChart canvas, .stVegaLiteChart svg").first).to_be_visible()

    # The report opens by itself, without the server and without a network.
    page.get_by_role("button", name="Report").click()
    path = _saved(page, "One page (HTML)", tmp_path)
    assert re.fullmatch(r"leukoscope_.+_\d{4}-\d{2}-\d{2}\.html", path.name)
    for label, size in (("One page (PDF, A4)", (210, 297)), ("One page (PDF, Letter)", (216, 279))):
        assert page_sizes(_saved(page, label, tmp_path).read_bytes()) == [size]
    tables = _saved(page, "With all tables (HTML)", tmp_path).read_text(encoding="utf-8")
    assert "How it was measured" in tables
    report = page.context.new_page()
    asked: list[str] = []
    report.on("request", lambda request: asked.append(request.url))
    report.goto(path.as_uri())
    expect(report.get_by_text("Research use, not for diagnosis")).to_be_visible()
    expect(report.locator("figure svg")).to_have_count(2)
    expect(report.locator(".measures svg")).to_have_count(7)
    assert page_sizes(report.pdf(format="A4")) == [(210, 297)]
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    assert report.locator("script").count() == 0


def test_a_drawn_cell_from_upload_to_report(server, page, tmp_path):
    image = tmp_path / "drawn.png"
    image.write_bytes(encode_png(draw_cell(3, SYNTHETIC_CELLS["lymphocyte"])[0].rgb))
    _journey(page, server, image, tmp_path)


@pytest.mark.data
def test_a_real_cell_from_upload_to_report(server, page, tmp_path, data_dir):
    _journey(page, server, min((data_dir / "acevedo" / "lymphocyte").glob("*.jpg")), tmp_path)


def _taken(page: Page, name: str) -> bytes:
    with page.expect_download() as download:
        page.get_by_role("button", name=name).click()
    return Path(download.value.path()).read_bytes()


def test_a_field_from_upload_to_any_of_its_cells_and_all_of_them(server, page, tmp_path):
    rows = [np.concatenate([draw_cell(seed)[0].rgb for seed in seeds], axis=1) for seeds in ((0, 1, 4), (2, 3, 5))]
    image = tmp_path / "field.png"
    image.write_bytes(encode_png(np.concatenate(rows)))
    page.goto(f"{server}/Single_cell")
    page.locator("input[type=file]").set_input_files(image)
    page.get_by_role("button", name="Calculate features").click()
    expect(page.get_by_text("6 cells in this field")).to_be_visible()

    # A click in the picture chooses a cell, also where it is enlarged and moved; the list follows.
    for number, enlarged in ((4, False), (1, True)):
        if enlarged:
            page.get_by_role("button", name="Larger").first.click()
        cell = page.locator(f'.cell[data-cell="{number}"]')
        cell.locator(".shape").click()
        expect(cell).to_have_class("cell chosen")
        expect(page.get_by_text(f"cell {number}, a cut-out of")).to_be_visible()
        expect(page.locator(".cell.chosen")).to_have_count(1)

    # The list chooses too, and the picture follows; nothing is lost on the way to another page and back.
    page.get_by_test_id("stDataFrame").first.click(position={"x": 20, "y": 3 * 35 + 17})
    expect(page.get_by_text("cell 3, a cut-out of")).to_be_visible()
    expect(page.locator('.cell[data-cell="3"]')).to_have_class("cell chosen")
    page.locator(".stMain").evaluate("main => main.scrollTo(0, 0)")
    page.get_by_role("link", name="Batch").click()
    expect(page.get_by_text("Measure many images")).to_be_visible()
    page.get_by_role("link", name="Single cell").click()
    expect(page.get_by_text("cell 3, a cut-out of")).to_be_visible()
    expect(page.locator('.cell[data-cell="3"]')).to_have_class("cell chosen")

    # All of it as downloads.
    table = pd.read_csv(io.BytesIO(_taken(page, "All cells (CSV)")))
    assert table["cell_label"].tolist() == [1, 2, 3, 4, 5, 6]
    assert list(zip(table["box_left"] // 360, table["box_top"] // 360, strict=True)) == [
        (0, 0),
        (1, 0),
        (2, 0),
        (0, 1),
        (1, 1),
        (2, 1),
    ]
    with zipfile.ZipFile(io.BytesIO(_taken(page, "All masks (ZIP)"))) as archive:
        masks = {name: np.asarray(Image.open(io.BytesIO(archive.read(name)))) for name in archive.namelist()}
    assert sorted(masks) == ["field.png", "field_instances.png"]
    for row in table.itertuples():
        assert np.count_nonzero(masks["field_instances.png"] == row.cell_label) == row.cell_shape2D_PixelSurface
    with Image.open(io.BytesIO(_taken(page, "Numbered cells (PNG)"))) as picture:
        assert picture.width >= 1024


def test_a_bad_file_is_explained_and_the_next_one_works(server, page, tmp_path):
    bad, good = tmp_path / "bad.png", tmp_path / "good.png"
    bad.write_bytes(b"no image")
    good.write_bytes(encode_png(draw_cell(3)[0].rgb))
    page.goto(f"{server}/Single_cell")
    page.locator("input[type=file]").set_input_files(bad)
    expect(page.get_by_text("it holds plain text")).to_be_visible()
    _measure(page, server, good)


def test_a_narrow_screen_needs_no_sideways_scrolling(server, page):
    page.set_viewport_size({"width": 390, "height": 844})
    for path in ("", "Single_cell", "Batch", "Cohort_explorer", "Model_selection"):
        page.goto(f"{server}/{path}")
        expect(page.get_by_text("Research use, not for diagnosis")).to_be_visible()
        assert page.evaluate(
            "document.querySelector('.stMain').scrollWidth <= document.querySelector('.stMain').clientWidth"
        ), path

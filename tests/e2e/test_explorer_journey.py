"""What a researcher does, in a real browser.

Choose cells, see what separates them, send the link, take the numbers away.
"""

import io
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pandas as pd
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from core.domain.cell_types import CellType
from core.explorer.selection import Selection, from_link, to_json

pytestmark = pytest.mark.browser


def _choose(page: Page, field: str, option: str) -> None:
    page.get_by_role("combobox", name=field).click()
    page.get_by_role("option", name=option, exact=True).click()


def _taken(page: Page, menu: str, label: str) -> bytes:
    """What a button of a menu of downloads gives."""
    expect(page.get_by_test_id("stStatusWidget")).to_have_count(0)
    page.get_by_role("button", name=menu, exact=True).click()
    with page.expect_download() as download:
        page.get_by_role("button", name=label).click()
    page.keyboard.press("Escape")
    return Path(download.value.path()).read_bytes()


def test_from_all_cells_to_what_separates_two_populations(server, page):
    page.goto(f"{server}/Cohort_explorer")
    expect(page.get_by_text("71 cells in view, 7 patients named, 4 sources; 1 left out")).to_be_visible()
    expect(
        page.locator("[data-testid=stVegaLiteChart] canvas, [data-testid=stVegaLiteChart] svg").first
    ).to_be_visible()

    _choose(page, "Compare by", "Population")
    page.get_by_role("radio", name="What separates them?").click()
    _choose(page, "from", "lymphocyte drawn")
    expect(page.get_by_role("heading", name="n 23 / 22")).to_be_visible()
    ranking = pd.read_csv(io.BytesIO(_taken(page, "Download", "Table as CSV")))
    assert ranking["effect"].abs().max() == 1
    assert set(ranking["n cells of monocyte drawn"]) <= {0, 23}
    with Image.open(io.BytesIO(_taken(page, "Download", "Chart as PNG"))) as picture:
        assert picture.width >= 1800
    assert b"Research use" in _taken(page, "Download", "Report")


def test_a_link_restores_the_cells_in_a_new_browser_and_a_file_does_too(server, page, tmp_path):
    page.goto(f"{server}/Cohort_explorer")
    _choose(page, "Add a filter", "Cell type")
    page.locator(".st-key-explorer_editor").get_by_role("button", name="Monocyte").click()
    expect(page.get_by_text("44 cells in view")).to_be_visible()
    page.get_by_role("radio", name="Cumulative").click()
    page.wait_for_url("**as=cumulative**")
    address = page.url
    assert from_link(parse_qs(urlsplit(address).query)["s"][0]) == Selection(cell_types=(CellType.MONOCYTE,))

    elsewhere = page.context.browser.new_context().new_page()
    elsewhere.goto(address)
    expect(elsewhere.get_by_text("44 cells in view")).to_be_visible(timeout=60_000)
    expect(elsewhere.get_by_role("button", name="cell type is monocyte")).to_be_visible()
    expect(elsewhere.get_by_role("radio", name="Cumulative")).to_be_checked()
    elsewhere.get_by_role("button", name="cell type is monocyte").click()
    expect(elsewhere.get_by_text("71 cells in view")).to_be_visible(timeout=60_000)
    expect(page.get_by_text("44 cells in view")).to_be_visible()

    file = tmp_path / "lymphocytes.json"
    file.write_text(to_json(Selection(cell_types=(CellType.LYMPHOCYTE,))))
    elsewhere.get_by_role("button", name="Keep and share").click()
    elsewhere.locator("input[type=file]").set_input_files(file)
    expect(elsewhere.get_by_text("22 cells in view")).to_be_visible(timeout=60_000)

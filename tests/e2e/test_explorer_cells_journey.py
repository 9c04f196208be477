"""From a plane of cells to one of them, in a real browser: lasso, gallery, card, correction, and downloads."""

import io
import math
import re
from pathlib import Path

import pandas as pd
import pytest
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.browser


def _draw_around(page: Page) -> None:
    """A lasso around the middle of the plane."""
    page.get_by_role("button", name="Lasso").click()
    box = page.locator("canvas.over").bounding_box()
    x, y, across, up = (
        box["x"] + 0.5 * box["width"],
        box["y"] + 0.45 * box["height"],
        0.36 * box["width"],
        0.4 * box["height"],
    )
    page.mouse.move(x + across, y)
    page.mouse.down()
    for step in range(1, 25):
        turn = 2 * math.pi * step / 25
        page.mouse.move(x + across * math.cos(turn), y + up * math.sin(turn))
    page.mouse.up()


def _taken(page: Page, name: str) -> bytes:
    with page.expect_download() as download:
        page.get_by_test_id("stDownloadButton").get_by_role("button", name=name).click()
    assert re.fullmatch(r"leukoscope_\w+_\d{4}-\d{2}-\d{2}(_\w+)?\.\w+", download.value.suggested_filename)
    return Path(download.value.path()).read_bytes()


def test_from_a_lasso_to_a_corrected_cell_and_a_file(server, page):
    page.goto(f"{server}/Cohort_explorer?show=map")
    expect(page.get_by_text("Nothing chosen")).to_be_visible()
    expect(page.get_by_text("The 71 cells in view")).to_be_visible()
    _draw_around(page)
    chosen = page.get_by_text(re.compile(r"^\d+ of 71 cells chosen$"))
    expect(chosen).to_be_visible()
    number = int(chosen.inner_text().split()[0])
    assert 5 < number < 71
    expect(page.get_by_text(f"The {number} cells chosen")).to_be_visible()
    expect(page.get_by_text(f"1 of {number}", exact=True)).to_be_visible()  # the gallery has followed

    # A click on a cell in small shows it closely, and what is like it.
    third = page.locator(".gallery button").nth(2)
    third.click()
    expect(page.locator(".gallery .chosen").first).to_have_attribute("title", third.get_attribute("title"))
    expect(page.get_by_text(f"3 of {number}", exact=True)).to_be_visible()
    expect(page.locator(".viewer .outline.nucleus path").last).to_be_visible()
    page.get_by_role("radio", name="Nearest cells").click(force=True)
    expect(page.get_by_text(re.compile("Of the 12 nearest among"))).to_be_visible()

    # A note is made with a name on it, and taken back.
    page.get_by_role("radio", name="Correct or annotate").click(force=True)
    page.get_by_label("Who you are").fill("Ann")
    page.get_by_label("Who you are").press("Tab")
    page.get_by_role("radio", name="Note").click(force=True)
    note = page.get_by_role("textbox", name="Note")
    note.fill("vacuoles")
    note.press("Tab")
    page.get_by_role("button", name="Save", exact=True).last.click()
    expect(page.get_by_text("Saved; the original is kept.")).to_be_visible()
    expect(page.get_by_text("Note: vacuoles", exact=True)).to_be_visible()
    expect(page.get_by_text(re.compile("Ann: note: vacuoles"))).to_be_visible()
    page.get_by_role("button", name="Take back").click()
    expect(page.get_by_text("Note: vacuoles", exact=True)).to_have_count(0)
    expect(note).to_have_value("")

    # The chosen cells are downloaded, as many as were chosen.
    page.get_by_role("button", name=f"Download these {number} cells").click()
    table = pd.read_csv(io.BytesIO(_taken(page, "CSV, for a spreadsheet")))
    assert len(table) == number
    assert b"SELECT" in _taken(page, "SQL of this table")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="To other tools").click()
    assert _taken(page, "AnnData (h5ad)")[:4] == b"\x89HDF"
    assert _taken(page, "QuPath (GeoJSON)")[:2] == b"PK"
    page.keyboard.press("Escape")

    # What is chosen becomes a group of its own, or the cells in view.
    page.get_by_placeholder("Name for the chosen cells").fill("round ones")
    page.get_by_placeholder("Name for the chosen cells").press("Tab")
    page.get_by_role("button", name="Keep only these").click()
    expect(page.get_by_text(re.compile(rf"^{number} cells in view"))).to_be_visible()
    expect(page.get_by_role("button", name=re.compile("lie in gate round ones"))).to_be_visible()


def test_chosen_cells_are_set_against_the_rest(server, page):
    page.goto(f"{server}/Cohort_explorer?show=map")
    expect(page.get_by_text("Nothing chosen")).to_be_visible()
    _draw_around(page)
    expect(page.get_by_text(re.compile(r"^\d+ of 71 cells chosen$"))).to_be_visible()
    page.get_by_placeholder("Name for the chosen cells").fill("middle")
    page.get_by_placeholder("Name for the chosen cells").press("Tab")
    page.get_by_role("button", name="Compare with the rest").click()
    expect(page.get_by_role("radio", name="What separates them?")).to_be_checked()
    expect(page.get_by_text("All but middle").first).to_be_visible()


def test_a_table_becomes_a_population_that_another_browser_sees_and_is_deleted(server, page, tmp_path):
    page.goto(f"{server}/Cohort_explorer?show=own")
    expect(page.get_by_text("No population of your own yet")).to_be_visible()
    page.get_by_role("radio", name="Bring in a table").click(force=True)
    table = tmp_path / "mine.csv"
    table.write_text("cell_type,um_per_px,nucleus_shape2D_PixelSurface,other\nblast,0.1,900,x\nblast,0.1,1000,y\n")
    page.locator("input[type=file]").last.set_input_files(table)
    expect(page.get_by_text("1 of 720 features")).to_be_visible()
    expect(page.get_by_text(re.compile("Not taken, because nobody here knows them: other"))).to_be_visible()
    page.get_by_label("Name of the population").fill("My blasts")
    page.get_by_label("Source", exact=True).fill("here")
    page.get_by_role("button", name="Bring these cells in").click()
    expect(page.get_by_text("2 cells were brought in")).to_be_visible()
    page.get_by_role("radio", name="Your populations").click(force=True)
    expect(page.get_by_text("My blasts").first).to_be_visible()
    other = page.context.browser.new_context().new_page()
    other.goto(f"{server}/Cohort_explorer?show=own")
    expect(other.get_by_text("My blasts").first).to_be_visible()
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("button", name="Delete for good").click()
    expect(page.get_by_text("was deleted")).to_be_visible()
    other.reload()
    expect(other.get_by_text("No population of your own yet")).to_be_visible()


def test_a_question_in_sql_is_answered_taken_away_and_refused_in_words(server, page):
    page.goto(f"{server}/Cohort_explorer?show=sql")
    page.get_by_role("button", name="Run").click()
    expect(page.get_by_text(re.compile("3 rows"))).to_be_visible()
    answer = pd.read_csv(io.BytesIO(_taken(page, "CSV")))
    assert answer["cells"].sum() == 72
    question = page.get_by_role("textbox", name="Question")
    question.fill("SELECT * FROM read_csv('/etc/passwd')")
    question.press("Control+Enter")
    page.get_by_role("button", name="Run").click()
    expect(page.get_by_text(re.compile("reads something else than the cells"))).to_be_visible()

"""A case from three files to its report, in a real browser, over a reload and a restart of the server."""

import re
from pathlib import Path
from urllib.parse import urlsplit

import pandas as pd
import pytest
from playwright.sync_api import Locator, Page, expect

from core.image.imaging import encode_png
from core.image.synthetic import SYNTHETIC_CELLS, draw_cell
from tests.e2e.correcting import app, browsers, quiet

pytestmark = pytest.mark.browser


@pytest.fixture
def images(tmp_path) -> list[Path]:
    paths = []
    for seed, (kind, cell) in enumerate(list(SYNTHETIC_CELLS.items())[:2]):
        paths.append(tmp_path / f"{kind}.png")
        paths[-1].write_bytes(encode_png(draw_cell(seed + 3, cell)[0].rgb))
    damaged = tmp_path / "damaged.png"
    damaged.write_bytes(paths[0].read_bytes()[:300])
    return [paths[0], damaged, paths[1]]


def chosen(page: Page) -> Locator:
    return page.locator(".gallery .chosen .more")


def measure_all(page: Page, address: str, images: list[Path]) -> None:
    page.goto(f"{address}/Single_cell")
    expect(page.get_by_text("No image yet")).to_be_visible()
    quiet(page)
    page.locator("input[type=file]").set_input_files(images)
    expect(page.get_by_text("3 waiting")).to_be_visible()
    quiet(page)
    page.get_by_role("button", name=re.compile("Measure all")).click()
    expect(page.get_by_text("2 measured, 1 failed")).to_be_visible()
    expect(page.get_by_text("N:C area ratio").first).to_be_visible()
    quiet(page)


def walk_by_key(page: Page, images: list[Path]) -> None:
    """To the last image and back; the damaged one says why."""
    for path in images[1:]:
        page.keyboard.press("Alt+ArrowRight")
        expect(chosen(page)).to_have_text(path.name)
        quiet(page)
        if path.name == "damaged.png":
            expect(page.get_by_role("alert")).to_contain_text("damaged or cut short")
    # The viewer has keys of its own, and leaves these to the page.
    page.locator(".viewer .pane").first.focus()
    page.keyboard.press("Alt+ArrowLeft")
    expect(chosen(page)).to_have_text("damaged.png")
    quiet(page)
    page.keyboard.press("Alt+ArrowLeft")
    expect(chosen(page)).to_have_text(images[0].name)
    quiet(page)


def set_beside(page: Page, images: list[Path]) -> None:
    page.locator(".st-key-tray_beside input").click()
    page.get_by_role("option", name=images[2].name).click()
    expect(page.get_by_text("A pixel is as large in both pictures")).to_be_visible()
    shown = page.locator(".viewer:has([aria-label^='The shown cell']) svg[role=img]")
    expect(shown).to_have_count(2)
    assert len({picture.get_attribute("viewBox") for picture in shown.all()}) == 1
    quiet(page)


def keep(page: Page) -> None:
    page.get_by_role("button", name="Keep as a case").click()
    page.get_by_label("Title", exact=True).fill("Patient 7")
    page.get_by_label("Notes", exact=True).fill("hairy?")
    page.get_by_test_id("stFormSubmitButton").get_by_role("button").click()
    expect(page.get_by_role("button", name="Case: Patient 7")).to_be_visible()
    expect(page).to_have_url(re.compile("case="))
    quiet(page)


def take_away(page: Page, folder: Path, images: list[Path]) -> None:
    page.get_by_role("button", name="Download", exact=True).click()
    for label, name in (("Table (CSV)", "table.csv"), ("Report (HTML)", "report.html")):
        with page.expect_download() as download:
            page.get_by_role("button", name=label, exact=True).click()
        download.value.save_as(folder / name)
    page.keyboard.press("Escape")
    assert pd.read_csv(folder / "table.csv")["image_path"].tolist() == [images[0].name, images[2].name]
    report = (folder / "report.html").read_text()
    assert "Patient 7" in report
    assert "could not be measured" in report


def test_a_case_is_measured_kept_and_found_again(chromium, drawn_root, tmp_path, images):
    with browsers(chromium, tmp_path) as browser:
        page = browser(viewport={"width": 1280, "height": 900}).pages[0]
        with app(tmp_path, drawn_root, tmp_path / "first.log") as (address, _):
            measure_all(page, address, images)
            walk_by_key(page, images)
            set_beside(page, images)
            keep(page)
            case = page.url
            page.reload()
            expect(page.get_by_text("2 measured, 1 failed")).to_be_visible()
            expect(page.get_by_text("N:C area ratio").first).to_be_visible()
            quiet(page)
        with app(tmp_path, drawn_root, tmp_path / "second.log", urlsplit(address).port):
            page.goto(case)
            expect(page.get_by_text("2 measured, 1 failed")).to_be_visible()
            quiet(page)
            take_away(page, tmp_path, images)
            page.goto(f"{address}/Single_cell")
            page.get_by_role("button", name="Patient 7").click()
            expect(page.get_by_role("button", name="Case: Patient 7")).to_be_visible()
            stranger = browser("stranger").pages[0]
            stranger.goto(case)
            expect(stranger.get_by_text("there is no such case here")).to_be_visible()
            expect(stranger.get_by_text("No image yet")).to_be_visible()

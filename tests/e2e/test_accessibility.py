"""What axe-core finds on every page, in its states, light and dark: nothing of level serious or critical."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect, sync_playwright

from tests.e2e.conftest import PATIENCE_MS
from tests.e2e.correcting import canvas_of, fresh_image, quiet
from tools.serving import CHROMIUM_FLAGS

pytestmark = pytest.mark.browser
GRAVE = ("serious", "critical")


@pytest.fixture(params=["light", "dark"])
def page(chromium, request) -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_FLAGS)
        page = browser.new_context(viewport={"width": 1280, "height": 800}, color_scheme=request.param).new_page()
        page.set_default_timeout(PATIENCE_MS)
        yield page
        browser.close()


def look(page: Page, state: str) -> None:
    """Fail with what axe-core finds and where."""
    quiet(page)
    found = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
    told = [
        f"{state}: {each['id']} ({each['impact']}): {node['target']}: {node['html'][:200]}"
        for each in found
        if each["impact"] in GRAVE or each["id"] == "heading-order"
        for node in each["nodes"]
    ]
    assert not told, "\n".join(told)


def home(page: Page, server: str, _: Path) -> None:
    page.goto(server)
    expect(page.get_by_text("Reference cohort")).to_be_visible()
    look(page, "home")


def single_cell(page: Page, server: str, folder: Path) -> None:
    page.goto(f"{server}/Single_cell")
    expect(page.get_by_text("No image yet")).to_be_visible()
    look(page, "no image")
    page.locator("input[type=file]").set_input_files(fresh_image(folder, 51))
    expect(page.get_by_text("The mask will stand here.")).to_be_visible()
    look(page, "an image")
    page.get_by_role("button", name="Calculate features").click()
    expect(page.get_by_text(re.compile("Nearest in shape|Unlike every population"))).to_be_visible()
    look(page, "measured")
    page.get_by_role("tab", name="Monocyte").click()
    expect(page.get_by_text("Where this cell differs most")).to_be_visible()
    look(page, "beside monocytes")
    page.get_by_text("Correct the outline", exact=True).click()
    canvas_of(page)
    look(page, "the editor")


def batch(page: Page, server: str, folder: Path) -> None:
    page.goto(f"{server}/Batch")
    expect(page.get_by_text("No run yet")).to_be_visible()
    look(page, "no run")
    page.locator("input[type=file]").set_input_files([fresh_image(folder, seed) for seed in (52, 53)])
    page.get_by_role("button", name="Start measuring").click()
    expect(page.get_by_role("button", name="Delete")).to_be_visible()
    look(page, "a run")


def explorer(page: Page, server: str, _: Path) -> None:
    page.goto(f"{server}/Cohort_explorer")
    expect(page.get_by_text("cells in view").first).to_be_visible()
    look(page, "how they are distributed")
    for question in ("What separates them?", "Where do they lie?"):
        page.get_by_role("radio", name=question).click()
        expect(page.get_by_role("radio", name=question)).to_be_checked()
        look(page, question)


def models(page: Page, server: str, _: Path) -> None:
    page.goto(f"{server}/Model_selection")
    expect(page.get_by_role("heading", level=3).first).to_be_visible()
    look(page, "models")
    folded = page.locator("details:not([open]) > summary")
    while folded.count():
        folded.first.click()
    look(page, "models, all unfolded")


@pytest.mark.parametrize("journey", [home, single_cell, batch, explorer, models])
def test_nothing_grave_is_found(
    journey: Callable[[Page, str, Path], None], server: str, page: Page, tmp_path: Path
) -> None:
    journey(page, server, tmp_path)

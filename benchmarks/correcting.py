"""Correcting an outline, as a person waits for it: from the end of a stroke to new numbers on the page."""

import re
import shutil
import statistics
import tempfile
import time
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from core.evaluation.datasets import data_set
from tools.serving import CHROMIUM_FLAGS, serve

STROKES = 50
PAUSE_MS = 250
# What CORRECTING asks for: milliseconds.
OPENS, MEDIAN, SLOWEST = 700, 400, 900


def waited() -> dict[str, float]:
    """Milliseconds to open the editor, and from pointer-up to new numbers: median and 95th percentile of 50 strokes."""
    image = data_set("acevedo").samples()[0].image
    with (
        tempfile.TemporaryDirectory() as folder,
        serve({"LEUKOSCOPE_COHORT": f"{folder}/cohort"}, Path(folder) / "server.log") as (address, _),
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=CHROMIUM_FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 1100})
        page.goto(f"{address}/Single_cell")
        page.get_by_text("No image yet").wait_for()
        page.locator("input[type=file]").set_input_files(image)
        page.get_by_text("The mask will stand here.").wait_for()
        page.get_by_role("button", name="Calculate features").click()
        page.get_by_text(re.compile("Nearest in shape|Unlike every population|No nearest population")).wait_for()
        page.wait_for_timeout(3000)
        started = time.perf_counter()
        page.get_by_text("Correct the outline", exact=True).click()
        page.locator(".editor canvas").wait_for()
        opened = 1000 * (time.perf_counter() - started)
        page.wait_for_timeout(3000)
        times = sorted(_stroke(page, number) for number in range(STROKES))
        browser.close()
    return {"opened": opened, "median": statistics.median(times), "slowest": times[int(0.95 * STROKES)]}


def _stroke(page: Page, number: int) -> float:
    """Narrow the cell a little from another side each time, or widen it; returns how long its numbers took."""
    canvas = page.locator(".editor canvas")
    box = canvas.bounding_box()
    assert box is not None
    down = 0.3 + 0.4 * (number % 25) / 25
    start, end = ((0.5, down), (0.85, down)) if number % 2 else ((0.97, down), (0.68, down))
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in (start, end)]
    page.mouse.move(*places[0])
    page.mouse.down()
    page.mouse.move(*places[1], steps=6)
    page.mouse.up()
    started = time.perf_counter()
    status = page.locator(".editor [role=status]").first.inner_text()
    cell = re.search(r"Cell ([\d,]+) px", status)
    assert cell is not None, status
    # The editor lies in a shadow of its own: this is the number of the page.
    page.wait_for_function("area => document.body.innerText.includes(area)", arg=cell[1])
    took = 1000 * (time.perf_counter() - started)
    page.wait_for_timeout(PAUSE_MS)
    return took

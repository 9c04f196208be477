"""`python -m tools.pictures [NAME...]`: pictures of the pages for docs/images, taken of the app as it runs.

Every cell in them was drawn by the program: the app is started without the folder of real images, and what it measures
is drawn first. The populations beside a cell are the shipped ones, which hold numbers and outlines only. A picture
carries the day on which it was taken; a test compares it with the last change of the pages that it shows.
"""

import io
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from datetime import date
from itertools import product
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import urlencode

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from playwright.sync_api import Locator, Page, sync_playwright

from core.domain.settings import ROOT
from core.image.imaging import encode_png
from core.image.synthetic import SYNTHETIC_CELLS, UM_PER_PX, draw_cell
from tools.serving import CHROMIUM_FLAGS, serve

OUT: Final = ROOT / "docs" / "images"
SIZE: Final = {"width": 1280, "height": 800}
PATIENCE_MS: Final = 120_000
CELLS_OF_A_KIND: Final = 8
# Charts are drawn by the browser after the page has settled, and say nothing when they are ready.
DRAWN_MS: Final = 2500
SETTLED_MS: Final = 400
GAP_PX: Final = 16


def main(names: Sequence[str]) -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        folder = Path(name)
        draw_smears(folder / "smears" / "drawn_smears")
        with serve(environment(folder), folder / "server.log") as (address, _):
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=CHROMIUM_FLAGS)
            for view in names or VIEWS:
                page = browser.new_page(viewport=SIZE, color_scheme="light")
                page.set_default_timeout(PATIENCE_MS)
                take(page, OUT / f"{view}.png", VIEWS[view].show(page, address))
                page.close()
            browser.close()


def environment(folder: Path) -> dict[str, str]:
    """The shipped model and populations, an empty place for everything else, and drawn images only."""
    own = {name: str(folder / name.lower()) for name in ("DATA", "COHORT", "RUNS", "CACHE", "MODELS")} | {
        "ROOTS": str(folder / "smears")
    }
    return {f"LEUKOSCOPE_{name}": place for name, place in own.items()}


def draw_smears(folder: Path) -> None:
    """A folder of images a kind, as a laboratory might have it."""
    for name, drawing in SYNTHETIC_CELLS.items():
        (folder / name).mkdir(parents=True)
        for seed in range(CELLS_OF_A_KIND):
            (folder / name / f"{seed:02d}.png").write_bytes(encode_png(draw_cell(seed, drawing)[0].rgb))


def single_cell(page: Page, address: str) -> None:
    """A drawn monocyte with its outlines and numbers."""
    page.goto(f"{address}/Single_cell")
    page.get_by_role("button", name="Try an example").click()
    page.get_by_text("Monocyte, drawn by the program").click()
    page.get_by_text("The mask will stand here.").wait_for()
    page.get_by_role("button", name="Calculate features").click()
    page.get_by_text(re.compile("Nearest in shape|Unlike every population|No nearest population")).wait_for()


def batch(page: Page, address: str) -> Locator:
    """A run over the folder, finished, the least certain cells first; the picture begins at the list of runs."""
    page.goto(f"{address}/Batch")
    page.get_by_role("radio", name="A folder of the server").click(force=True)
    page.get_by_role("combobox", name="Folder").click()
    page.get_by_role("option", name="drawn_smears").click()
    page.get_by_role("spinbutton", name="µm per pixel").fill(str(UM_PER_PX))
    page.get_by_role("spinbutton", name="µm per pixel").press("Tab")
    page.get_by_text("Cell types from folder names").click()
    page.get_by_role("button", name="Start measuring").click()
    page.get_by_text(f"{CELLS_OF_A_KIND * len(SYNTHETIC_CELLS)} cells measured").wait_for()
    page.locator(".gallery .picture svg").first.wait_for()
    return page.get_by_role("heading", name="Your runs")


def explorer(page: Page, address: str) -> None:
    """The cells of the shipped populations on two features."""
    page.goto(f"{address}/Cohort_explorer?show=map")
    page.get_by_text("Nothing chosen").wait_for()


def separation(page: Page, address: str) -> None:
    """What separates two of the shipped populations."""
    pair = ("monocyte_deepapl", "lymphocyte_deepapl")
    asked = [("show", "separation"), ("by", "population"), *product(("group", "pair"), pair)]
    page.goto(f"{address}/Cohort_explorer?{urlencode(asked)}")
    page.get_by_role("heading", name=re.compile(r"n \d+ . \d+")).wait_for()


def models(page: Page, address: str) -> None:
    """The comparison of architectures."""
    page.goto(f"{address}/Model_selection")
    page.get_by_text("Which network?").wait_for()


def correcting(page: Page, address: str) -> list[bytes]:
    """An edit in four pictures: as the model drew it, narrowed, widened elsewhere instead, and saved."""
    single_cell(page, address)
    page.get_by_text("Correct the outline", exact=True).click()
    canvas, editor = page.locator(".editor canvas"), page.locator(".editor")
    shots: list[bytes] = []

    def shoot(keys: str = "") -> None:
        for key in keys:
            canvas.press(key)
        editor.get_by_text(re.compile("(?<!yet )measured")).wait_for()
        page.mouse.move(0, 0)
        page.wait_for_timeout(SETTLED_MS)
        shots.append(editor.screenshot())

    def drag(start: tuple[float, float], end: tuple[float, float]) -> None:
        canvas.scroll_into_view_if_needed()
        box = canvas.bounding_box()
        assert box is not None
        places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in (start, end)]
        page.mouse.move(*places[0])
        page.mouse.down()
        page.mouse.move(*places[1], steps=8)
        page.mouse.up()

    canvas.wait_for()
    shoot()
    for _ in range(12):
        canvas.press("]")
    drag((0.48, 0.12), (0.4, 0.34))  # from the background inward: the cell is narrowed
    shoot()
    canvas.press("Control+z")
    drag((0.66, 0.5), (0.74, 0.48))  # from the cytoplasm outward: it is widened
    shoot()
    canvas.press("s")
    editor.locator("input.who").fill("A. Reader")
    editor.locator("input.who").press("Enter")
    page.get_by_text("Saved; the model's outline is kept beside it.").wait_for()
    shoot()
    return shots


def home(page: Page, address: str) -> None:
    """What the app opens with."""
    page.goto(address)
    page.get_by_role("button", name="No tour").click()
    page.get_by_text("N:C area ratio").wait_for()


def case(page: Page, address: str) -> Locator:
    """Three cells in a tray, two of them side by side on one scale."""
    page.goto(f"{address}/Single_cell")
    page.get_by_text("No image yet").wait_for()
    cells = [
        {
            "name": f"smear {number}.png",
            "mimeType": "image/png",
            "buffer": encode_png(draw_cell(seed, SYNTHETIC_CELLS[name])[0].rgb),
        }
        for number, (seed, name) in enumerate([(5, "hairy_cell"), (6, "lymphocyte"), (9, "hairy_cell")], start=1)
    ]
    scale = page.get_by_role("spinbutton", name="µm per pixel")
    scale.fill(str(UM_PER_PX))
    scale.press("Tab")
    page.locator("input[type=file]").set_input_files(cells)
    page.get_by_role("button", name="Measure all").click()
    page.get_by_text("3 measured").wait_for()
    page.get_by_role("combobox", name="Set a cell beside").click()
    page.get_by_role("option").nth(1).click()
    return page.locator(".st-key-tray_row").or_(page.get_by_role("button", name="Previous")).first


def report(page: Page, address: str) -> list[bytes]:
    """The page to print."""
    single_cell(page, address)
    page.get_by_role("button", name="Report").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="One page (HTML)").click()
    page.goto("about:blank")
    page.set_content(download.value.path().read_text(encoding="utf-8"))
    page.set_viewport_size({"width": 1000, "height": 1300})
    return [page.locator(".page").screenshot()]


def flagged(page: Page, address: str) -> None:
    """A cell that the edge of its image cuts, with what is said of it."""
    rgb = draw_cell(5, SYNTHETIC_CELLS["monocyte"])[0].rgb[:, 150:]
    page.goto(f"{address}/Single_cell")
    page.get_by_text("No image yet").wait_for()
    page.locator("input[type=file]").set_input_files(
        {"name": "cut.png", "mimeType": "image/png", "buffer": encode_png(np.ascontiguousarray(rgb))}
    )
    page.get_by_text("The mask will stand here.").wait_for()
    page.get_by_role("button", name="Calculate features").click()
    page.get_by_text("No nearest population").wait_for()


def distribution(page: Page, address: str) -> None:
    """How a feature is distributed in the shipped populations."""
    page.goto(f"{address}/Cohort_explorer")
    page.get_by_text("cells in view").first.wait_for()


def laboratories(page: Page, address: str) -> None:
    """What separates two kinds of cells inside each laboratory, as a chart."""
    page.goto(f"{address}/Cohort_explorer?show=separation")
    page.get_by_role("radio", name="Chart").click()
    page.get_by_text("Inside each laboratory").wait_for()


def model(page: Page, address: str) -> None:
    """How good the model in use is."""
    page.goto(f"{address}/Model_selection")
    page.get_by_role("radio", name="The model in use").click()
    page.get_by_role("heading", name="How good are the outlines?").wait_for()


def teaching(page: Page, address: str) -> None:
    """How a laboratory teaches the model its own cells."""
    page.goto(f"{address}/Model_selection")
    page.get_by_role("radio", name="Teach it your laboratory").click()


class View(NamedTuple):
    """How a picture is taken, and the sources of the pages that it shows."""

    show: Callable[[Page, str], Locator | list[bytes] | None]
    sources: tuple[str, ...]


SINGLE: Final = ("pages/1_Single_cell.py", "pages/_ui/single_cell", "pages/_ui/components/viewer")
EXPLORER: Final = ("pages/3_Cohort_explorer.py", "pages/_ui/explorer", "pages/_ui/components/scatter")
MODELS: Final = ("pages/4_Model_selection.py", "pages/_ui/models")
VIEWS: Final = {
    "home": View(home, ("Home.py", "pages/_ui/home")),
    "single_cell": View(single_cell, SINGLE),
    "flagged": View(flagged, SINGLE),
    "case": View(case, SINGLE),
    "report": View(report, ("core/reports/first_page.py", "core/reports/templates")),
    "correcting": View(correcting, ("pages/_ui/components/editor",)),
    "batch": View(batch, ("pages/2_Batch.py", "pages/_ui/batch")),
    "distribution": View(distribution, EXPLORER),
    "explorer": View(explorer, EXPLORER),
    "separation": View(separation, EXPLORER),
    "laboratories": View(laboratories, EXPLORER),
    "models": View(models, MODELS),
    "model": View(model, MODELS),
    "teaching": View(teaching, MODELS),
}


def taken_on(path: Path) -> date:
    """The day on which a picture was taken; raises KeyError where it does not say."""
    with Image.open(path) as picture:
        return date.fromisoformat(picture.info["taken"])


def take(page: Page, path: Path, what: Locator | list[bytes] | None) -> None:
    """The page when nothing is computed any more, from a place on or from its beginning; or shots in two columns."""
    if isinstance(what, list):
        picture = side_by_side(what)
    else:
        page.get_by_test_id("stStatusWidget").wait_for(state="detached")
        if what is not None:
            what.evaluate("element => element.scrollIntoView()")
        page.wait_for_timeout(DRAWN_MS)
        picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    # A palette is enough for a screenshot and takes a third of the bytes; this one keeps the colours of thin outlines.
    palette = Image.Quantize.MAXCOVERAGE
    told = PngInfo()
    told.add_text("taken", date.today().isoformat())
    picture.quantize(256, palette, kmeans=2, dither=Image.Dither.NONE).save(path, optimize=True, pnginfo=told)


def side_by_side(shots: Sequence[bytes]) -> Image.Image:
    """Shots of one size or nearly, two in a row, on white; a single one as it is."""
    pictures = [Image.open(io.BytesIO(shot)).convert("RGB") for shot in shots]
    if len(pictures) == 1:
        return pictures[0]
    width, height = (max(picture.size[axis] for picture in pictures) + GAP_PX for axis in (0, 1))
    strip = Image.new("RGB", (2 * width, -(-len(pictures) // 2) * height), "white")
    for number, picture in enumerate(pictures):
        strip.paste(picture, (number % 2 * width, number // 2 * height))
    return strip


if __name__ == "__main__":
    main(sys.argv[1:])

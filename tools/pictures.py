"""`python -m tools.pictures`: the pictures of the four pages in docs/images, taken of the app as it runs.

Every cell in them was drawn by the program: the app is started without the folder of real images, and what it measures
is drawn first. The populations beside a cell are the shipped ones, which hold numbers and outlines only.
"""

import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from core.domain.settings import ROOT
from core.image.imaging import encode_png
from core.image.synthetic import SYNTHETIC_CELLS, draw_cell
from tools.serving import CHROMIUM_FLAGS, serve

OUT: Final = ROOT / "docs" / "images"
SIZE: Final = {"width": 1280, "height": 800}
PATIENCE_MS: Final = 120_000
CELLS_OF_A_KIND: Final = 8
# Charts are drawn by the browser after the page has settled, and say nothing when they are ready.
DRAWN_MS: Final = 2500


def main() -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        folder = Path(name)
        draw_smears(folder / "smears" / "drawn cells")
        with serve(environment(folder), folder / "server.log") as (address, _):
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=CHROMIUM_FLAGS)
            for title, open_view in VIEWS.items():
                page = browser.new_page(viewport=SIZE, color_scheme="light")
                page.set_default_timeout(PATIENCE_MS)
                open_view(page, address)
                take(page, OUT / f"{title}.png")
                page.close()
            browser.close()


def environment(folder: Path) -> dict[str, str]:
    """The shipped model and populations, an empty place for everything else, and drawn images only."""
    own = {name: str(folder / name.lower()) for name in ("DATA", "COHORT", "RUNS", "CACHE")} | {
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
    page.get_by_text(re.compile("Nearest in shape|Unlike every population")).wait_for()


def batch(page: Page, address: str) -> None:
    """A run over the folder, finished, the least certain cells first."""
    page.goto(f"{address}/Batch")
    page.get_by_role("radio", name="A folder of the server").click(force=True)
    page.get_by_role("button", name="Start measuring").click()
    page.get_by_text(f"{CELLS_OF_A_KIND * len(SYNTHETIC_CELLS)} cells measured").wait_for()


def explorer(page: Page, address: str) -> None:
    """How the shipped populations differ."""
    page.goto(f"{address}/Cohort_explorer")
    page.get_by_role("radio", name="What separates them?").click(force=True)
    page.get_by_role("heading", name=re.compile("^n ")).first.wait_for()


def models(page: Page, address: str) -> None:
    """The comparison of architectures."""
    page.goto(f"{address}/Model_selection")
    page.get_by_text("Which network?").wait_for()


VIEWS: Final[dict[str, Callable[[Page, str], None]]] = {
    "single_cell": single_cell,
    "batch": batch,
    "explorer": explorer,
    "models": models,
}


def take(page: Page, path: Path) -> None:
    """The page as it is when nothing is computed any more."""
    page.get_by_test_id("stStatusWidget").wait_for(state="detached")
    page.wait_for_timeout(DRAWN_MS)
    page.screenshot(path=path)
    # A palette is enough for a screenshot and takes a third of the bytes.
    Image.open(path).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)


if __name__ == "__main__":
    main()

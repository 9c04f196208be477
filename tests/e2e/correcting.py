"""What tests share that correct outlines in a real browser: the app, browsers of their own, and a hand that draws."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from playwright.sync_api import BrowserContext, Error, Locator, Page, expect, sync_playwright

from core.image.imaging import encode_png
from core.image.synthetic import SYNTHETIC_CELLS, draw_cell
from tests.e2e.conftest import PATIENCE_MS
from tools.serving import CHROMIUM_FLAGS, serve

MEASURED = re.compile(r"(?<!yet )measured")


@contextmanager
def app(laboratory: Path, drawn_root: Path, log: Path, port: int | None = None) -> Iterator[tuple[str, int]]:
    """Address and process id of the app, with its cohort and images in a folder of the test's own."""
    environment = {
        "LEUKOSCOPE_REFERENCE": str(drawn_root),
        "LEUKOSCOPE_COHORT": str(laboratory / "cohort"),
        "LEUKOSCOPE_ROOTS": str(laboratory / "images"),
        "LEUKOSCOPE_RUNS": str(laboratory / "runs"),
        "LEUKOSCOPE_CACHE": str(laboratory / "cache"),
    }
    with serve(environment, log, port) as served:
        yield served


@contextmanager
def browsers(chromium: str, folder: Path) -> Iterator[Callable[..., BrowserContext]]:
    """To be called for a browser of its own; those that are still there are closed in the end."""
    with sync_playwright() as playwright:
        made = []

        def browser(profile: str = "profile", **how: object) -> BrowserContext:
            context = playwright.chromium.launch_persistent_context(
                str(folder / profile), executable_path=chromium, args=CHROMIUM_FLAGS, accept_downloads=True, **how
            )
            context.set_default_timeout(PATIENCE_MS)
            made.append(context)
            return context

        yield browser
        for context in made:
            with suppress(Error):  # it was killed
                context.close()


def canvas_of(page: Page) -> Locator:
    canvas = page.locator(".editor canvas")
    expect(canvas).to_be_visible()
    return canvas


def stroke(page: Page, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Drag over the canvas; places are shares of its sides."""
    canvas = canvas_of(page)
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in (start, end)]
    page.mouse.move(*places[0])
    page.mouse.down()
    page.mouse.move(*places[1], steps=6)
    page.mouse.up()


def areas(page: Page) -> tuple[int, int]:
    """Pixels of cell and nucleus as the browser counts them, when the server has measured the same."""
    status = page.locator(".editor [role=status]").first
    expect(status).to_have_text(MEASURED)
    found = re.search(r"Cell .*?([\d,]+) px.*?nucleus .*?([\d,]+) px", status.inner_text().replace("(", ""), re.DOTALL)
    return int(found[1].replace(",", "")), int(found[2].replace(",", ""))


def sign(page: Page, name: str) -> None:
    """Say who one is, where that is asked."""
    who = page.locator(".editor input.who")
    if who.is_visible():
        who.fill(name)
        who.press("Enter")


def quiet(page: Page) -> None:
    """Wait until the page has not run for a moment: what is given to it while it runs may be lost."""
    page.evaluate("window.quietSince = undefined")
    page.wait_for_function(
        """() => {
          const runs = document.querySelector("[data-testid=stApp]")?.dataset.testScriptState !== "notRunning";
          window.quietSince = runs ? undefined : (window.quietSince ?? performance.now());
          return !runs && performance.now() - window.quietSince > 400;
        }"""
    )


def open_image(page: Page, address: str, image: Path) -> None:
    page.goto(f"{address}/Single_cell")
    expect(page.get_by_text("No image yet")).to_be_visible()
    quiet(page)
    page.locator("input[type=file]").set_input_files(image)
    expect(page.get_by_text("The mask will stand here.")).to_be_visible()
    page.get_by_role("button", name="Calculate features").click()
    expect(
        page.get_by_text(re.compile("Nearest in shape|Unlike every population|No nearest population"))
    ).to_be_visible()


def start_correcting(page: Page) -> None:
    page.get_by_text("Correct the outline", exact=True).click()
    canvas_of(page)
    areas(page)


def fresh_image(folder: Path, seed: int) -> Path:
    path = folder / f"fresh{seed}.png"
    path.write_bytes(encode_png(draw_cell(seed, SYNTHETIC_CELLS["lymphocyte"])[0].rgb))
    return path

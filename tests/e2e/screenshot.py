"""`python -m tests.e2e.screenshot OUT.png [WIDTH] [dark]`.

The page with a synthetic example cell, as the README shows it.
"""

import re
import shutil
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

from tests.e2e.serving import CHROMIUM_FLAGS, serve


def main(out: Path, width: int = 1280, scheme: str = "light") -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        serve({}, Path(folder) / "server.log") as (address, _),
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=CHROMIUM_FLAGS)
        page = browser.new_page(
            viewport={"width": width, "height": 1150}, color_scheme="dark" if scheme == "dark" else "light"
        )
        page.goto(f"{address}/Single_cell")
        page.get_by_role("button", name="Try an example").click()
        page.get_by_text("Monocyte, drawn by the program").click()
        page.get_by_text("The mask will stand here.").wait_for()
        page.get_by_role("button", name="Calculate features").click()
        page.get_by_text(re.compile("Nearest in shape|Unlike every population")).wait_for()
        page.get_by_role("tab", name="Monocyte").click()
        page.get_by_text("Where this cell differs most").wait_for()
        page.wait_for_timeout(2500)
        page.screenshot(path=out)
        browser.close()
    # A palette is enough for a screenshot and takes a third of the bytes.
    Image.open(out).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(out, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *(int(word) if word.isdigit() else word for word in sys.argv[2:]))

"""What a researcher does, in a real browser.

Bring many images, see them measured, close the page, come back, take the table away.
"""

import io
import re
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from playwright.sync_api import Page, expect

from core.image.imaging import encode_png
from core.image.synthetic import draw_cell

pytestmark = pytest.mark.browser

PATIENCE_MS = 300_000  # a run measures a cell in a tenth of a second, or in five where others compute
CELLS = 320  # long enough to be stopped in mid-run on a quick machine


@pytest.fixture(scope="module")
def archive(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("archive") / "slides of May.zip"
    with zipfile.ZipFile(path, "w") as packed:
        drawn = [draw_cell(seed)[0].rgb for seed in range(CELLS // 8)]
        for number in range(CELLS):
            mirrored = drawn[number // 8][:: 1 if number % 8 < 4 else -1]
            turned = np.ascontiguousarray(np.rot90(mirrored, number % 4))
            packed.writestr(f"lymphocyte/{number:03d}.png", encode_png(turned))
        packed.writestr("lymphocyte/notes.png", b"no image")
        packed.writestr("../outside.png", b"no image")
    return path


def _taken(page: Page, name: str) -> tuple[str, bytes]:
    with page.expect_download() as download:
        page.get_by_role("button", name=name).click()
    return download.value.suggested_filename, Path(download.value.path()).read_bytes()


def test_a_zip_from_upload_to_table_over_a_closed_page(server, page, archive):
    page.goto(f"{server}/Batch")
    expect(page.get_by_text("No run yet")).to_be_visible()
    start = page.get_by_role("button", name="Start measuring")
    expect(start).to_be_disabled()
    page.locator("input[type=file]").set_input_files(archive)
    expect(page.get_by_text("ready to be measured")).to_contain_text("slides of May.zip")
    expect(page.get_by_test_id("stFileUploaderFile")).to_have_count(0)  # the field has let go of it
    start.click()

    # It goes on, and can be stopped and gone on with.
    expect(page.get_by_text(re.compile(rf"Measuring\. \d+ of {CELLS + 2} images"))).to_be_visible(timeout=PATIENCE_MS)
    expect(page.locator(".gallery .picture svg").first).to_be_visible(timeout=PATIENCE_MS)
    page.get_by_test_id("stMain").get_by_role("button", name="Stop", exact=True).click()
    again = page.get_by_role("button", name="Go on")
    expect(again).to_be_visible(timeout=PATIENCE_MS)
    expect(page.get_by_text("are still to be done")).to_be_visible()
    again.click()
    expect(page.get_by_test_id("stMain").get_by_role("button", name="Stop", exact=True)).to_be_visible(
        timeout=PATIENCE_MS
    )

    # The page is closed; whoever comes with another browser sees nothing of it, and who comes back finds it.
    context = page.context
    assert page.url == f"{server}/Batch"
    page.close()
    stranger = context.browser.new_context().new_page()
    stranger.goto(f"{server}/Batch")
    expect(stranger.get_by_text("No run yet")).to_be_visible()
    page = context.new_page()
    page.goto(f"{server}/Batch")
    expect(page.get_by_text(f"{CELLS} cells measured")).to_be_visible(timeout=PATIENCE_MS)
    expect(page.get_by_text("2 images could not be measured")).to_be_visible()

    # The least certain first; a click shows one large.
    certainties = [
        float(words.split()[0].lstrip("\u26a0\ufe0e\xa0"))
        for words in page.locator(".gallery .words").all_inner_texts()
    ]
    assert certainties == sorted(certainties)
    third = page.locator(".gallery button").nth(2)
    name = third.get_attribute("title")
    third.click()
    expect(page.get_by_test_id("stText")).to_have_text(name)
    expect(page.locator(".gallery .chosen")).to_have_attribute("title", name)
    expect(page.locator(".viewer .outline.nucleus path").last).to_be_visible()

    page.get_by_role("radio", name=re.compile("Failures")).click(force=True)
    expect(page.get_by_text("it leads out of it")).to_be_visible()

    file, content = _taken(page, "Table (CSV)")
    assert re.fullmatch(r"leukoscope_slides_of_May_\d{4}-\d{2}-\d{2}\.csv", file)
    table = pd.read_csv(io.BytesIO(content))
    assert table["image_path"].tolist() == [f"lymphocyte/{seed:03d}.png" for seed in range(CELLS)]
    _, content = _taken(page, "Masks (ZIP)")
    with zipfile.ZipFile(io.BytesIO(content)) as masks:
        assert len(masks.namelist()) == CELLS


def test_many_files_of_a_directory_are_taken_in_and_the_field_is_emptied(server, page, tmp_path):
    content = encode_png(draw_cell(1)[0].rgb[150:200, 150:200])
    for number in range(300):
        path = tmp_path / "scan" / f"part{number % 3}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (tmp_path / "scan" / ".hidden.png").write_bytes(content)
    page.goto(f"{server}/Batch")
    page.get_by_role("radio", name="A folder of this computer").click(force=True)
    page.locator("input[type=file][webkitdirectory]").set_input_files(tmp_path / "scan")
    expect(page.get_by_text("ready to be measured")).to_contain_text("300 images", timeout=PATIENCE_MS)
    expect(page.get_by_test_id("stFileUploaderFile")).to_have_count(0)
    page.reload()
    expect(page.get_by_text("ready to be measured")).to_contain_text("300 images")
    page.get_by_role("button", name="Clear").click()
    expect(page.get_by_text("ready to be measured")).to_have_count(0)

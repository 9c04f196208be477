"""A person corrects outlines in a real browser: draws, undoes, saves, loses the browser and the server, and goes on."""

import io
import os
import re
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import numpy as np
import pandas as pd
import pytest
from playwright.sync_api import Page, expect

from core.cohort import import_images, own_population
from core.corrections.deciding import history_of
from core.domain.cell_types import CellType
from core.domain.types import GivenScale
from core.explorer.selection import Quality, Selection, to_link
from core.image.imaging import encode_png
from core.image.synthetic import SYNTHETIC_CELLS, draw_cell
from core.segmentation.model_registry import find_model
from core.store import outline_log
from core.store.database import Cohort
from tests.e2e.correcting import (
    app,
    areas,
    browsers,
    canvas_of,
    fresh_image,
    open_image,
    sign,
    start_correcting,
    stroke,
)

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def laboratory(tmp_path_factory) -> Path:
    """A folder with three images, and a cohort of the user's own that holds their cells."""
    folder = tmp_path_factory.mktemp("laboratory")
    (folder / "images").mkdir()
    for seed, name in enumerate("abc"):
        image = draw_cell(seed, SYNTHETIC_CELLS["monocyte"])[0]
        (folder / "images" / f"{name}.png").write_bytes(encode_png(image.rgb))
    mine = own_population(
        "Mine", CellType.MONOCYTE, "Test", tissue="blood", note="", scale=GivenScale(0.095), shipped=()
    )
    import_images(folder / "cohort", mine, sorted((folder / "images").iterdir()), find_model())
    return folder


@pytest.fixture(scope="module")
def address(laboratory, drawn_root, tmp_path_factory) -> Iterator[str]:
    with app(laboratory, drawn_root, tmp_path_factory.mktemp("log") / "server.log") as (served, _):
        yield served


@pytest.fixture
def browse(chromium, tmp_path):
    with browsers(chromium, tmp_path) as browser:
        yield browser


@pytest.mark.parametrize(("width", "look"), [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")])
def test_r14_r15_draw_undo_save_and_take_back(address, browse, tmp_path, laboratory, width, look):
    page = browse(viewport={"width": width, "height": 900}, color_scheme=look).new_page()
    open_image(page, address, fresh_image(tmp_path, 40 + width))
    start_correcting(page)
    model = areas(page)

    # Push from the middle outward widens the nucleus; the page measures what the browser counts.
    stroke(page, (0.5, 0.5), (0.5, 0.2))
    pushed = areas(page)
    assert pushed != model
    expect(page.get_by_text(f"{pushed[0]:,}").first).to_be_visible()

    # The wand, and both steps undone: the raster is the model's again.
    canvas_of(page).press("w")
    stroke(page, (0.1, 0.1), (0.14, 0.12))
    assert areas(page)[0] != pushed[0]
    for _ in range(2):
        canvas_of(page).press("Control+z")
    assert areas(page) == model
    for _ in range(2):
        canvas_of(page).press("Control+y")
    canvas_of(page).press("Control+z")
    assert areas(page) == pushed

    # Saved under a name, it is in the files.
    canvas_of(page).press("s")
    sign(page, "A. Reader")
    expect(page.get_by_text("Saved; the model's outline is kept beside it.")).to_be_visible()
    page.wait_for_timeout(1000)  # the buttons below are made anew after the editor
    page.wait_for_selector('[data-testid="stApp"][data-test-script-state="notRunning"]')
    with page.expect_download() as download:
        page.get_by_role("button", name="Features (CSV)").click()
    table = pd.read_csv(io.BytesIO(Path(download.value.path()).read_bytes())).set_index("feature")
    assert set(table["outline_by"]) == {"person"}
    assert set(table["outline_who"]) == {"A. Reader"}
    assert table.loc["cell_shape2D_PixelSurface", "value"] == pushed[0]

    # The same file opened again shows it, and the model's outline is one step back.
    page.reload()
    open_image(page, address, tmp_path / f"fresh{40 + width}.png")
    as_drawn = page.get_by_text(re.compile("As the model drew it, without the correction by A. Reader"))
    expect(as_drawn).to_be_visible()
    expect(page.get_by_text("A person corrected the outline")).to_be_visible()
    as_drawn.click()
    expect(page.get_by_text("A person corrected the outline")).to_be_hidden()
    start_correcting(page)
    assert areas(page) == pushed
    page.locator(".editor").get_by_role("button", name="Take back").click()
    sign(page, "A. Reader")
    expect(page.get_by_text("Taken back: the model's outline counts again.")).to_be_visible()
    assert areas(page) == model
    if width < 500:
        wide = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        assert wide <= 1, "nothing lies beside the page"


def test_r17_what_was_drawn_before_the_browser_was_killed_is_offered_again(address, browse, tmp_path):
    image = fresh_image(tmp_path, 3)
    # A browser that has been here before: who it is, it keeps in a store that a kill soon after may lose.
    before = browse(viewport={"width": 1280, "height": 900})
    open_image(before.new_page(), address, image)
    before.close()
    page = browse(viewport={"width": 1280, "height": 900}).new_page()
    open_image(page, address, image)
    start_correcting(page)
    model = areas(page)
    stroke(page, (0.5, 0.5), (0.5, 0.15))
    drawn = areas(page)
    page.wait_for_timeout(300)
    for pid in _processes_of(str(tmp_path / "profile")):
        os.kill(pid, signal.SIGKILL)

    for lock in (tmp_path / "profile").glob("Singleton*"):
        lock.unlink()
    page = browse(viewport={"width": 1280, "height": 900}).new_page()
    page.goto(f"{address}/Single_cell")
    expect(page.get_by_text(re.compile("Not saved yet: fresh3.png"))).to_be_visible()
    open_image(page, address, image)
    start_correcting(page)
    assert areas(page) == model, "a draft is offered, never taken up in silence"
    expect(page.get_by_text(re.compile(r"Unsaved correction of .* was found"))).to_be_visible()
    page.get_by_role("button", name="Restore").click()
    assert areas(page) == drawn


def _processes_of(profile: str) -> list[int]:
    """The browser that has a profile."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if f"--user-data-dir={profile}" in (entry / "cmdline").read_bytes().decode(errors="replace"):
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


def _open_in_explorer(page: Page, address: str, laboratory: Path, number: int) -> str:
    """Open a cell of the own population for correction; returns its id."""
    with Cohort.open([laboratory / "reference", laboratory / "cohort"]) as cohort:
        cell = cohort.query("SELECT cell_id FROM cells ORDER BY image_path")["cell_id"][number]
    mine = to_link(Selection(populations=("mine",), quality=Quality.ANY))
    page.goto(f"{address}/Cohort_explorer?{urlencode({'show': 'cells', 's': mine, 'cell': cell})}")
    canvas_of(page)
    areas(page)
    return str(cell)


def test_r21_a_second_person_is_told_and_both_decisions_are_kept(address, browse, laboratory):
    first = browse("first", viewport={"width": 1280, "height": 900}).new_page()
    second = browse("second", viewport={"width": 1280, "height": 900}).new_page()
    for page in (first, second):
        cell = _open_in_explorer(page, address, laboratory, 0)
    canvas_of(first).press("u")
    first.locator(".editor").get_by_role("button", name="out of focus").click()
    sign(first, "First")
    if (ok := first.locator(".editor").get_by_role("button", name="OK")).is_visible():
        ok.click()
    expect(first.get_by_text("Kept for a second reader.")).to_be_visible()
    canvas_of(second).press("a")
    sign(second, "Second")
    expect(second.get_by_text(re.compile("First has decided on this cell meanwhile"))).to_be_visible()
    assert [verdict.who for verdict in history_of(laboratory / "cohort", cell)] == ["First"]
    canvas_of(second).press("a")
    expect(second.get_by_text("Accepted.")).to_be_visible()
    assert [verdict.who for verdict in history_of(laboratory / "cohort", cell)] == ["First", "Second"]


def test_r27_accepted_by_one_key_the_next_cell_comes_and_a_population_says_how_many_are_corrected(
    address, browse, laboratory
):
    page = browse(viewport={"width": 1280, "height": 900}).new_page()
    cell = _open_in_explorer(page, address, laboratory, 1)
    before = areas(page)
    stroke(page, (0.5, 0.5), (0.5, 0.3))
    assert areas(page) != before
    canvas_of(page).press("s")
    sign(page, "A. Reader")
    expect(page.get_by_text("Saved; the model's outline is kept beside it.")).to_be_visible()
    canvas_of(page).press("a")
    expect(page.get_by_text("Accepted.", exact=True)).to_be_visible()
    expect(page.get_by_text(re.compile(r"\d of 3; \d of 3 seen: .*accepted"))).to_be_visible()
    decided = history_of(laboratory / "cohort", cell)
    assert [verdict.status for verdict in decided] == ["corrected", "accepted"]
    assert decided[1].mask_sha256 == decided[0].mask_sha256
    page.get_by_role("button", name="Close").click()
    expect(page.locator(".editor")).to_be_hidden()


def test_r18_a_server_that_is_killed_is_told_and_gets_the_stroke_when_it_is_back(
    browse, laboratory, drawn_root, tmp_path
):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    page = browse(viewport={"width": 1280, "height": 900}).new_page()
    with app(laboratory, drawn_root, tmp_path / "one.log", port) as (address, pid):
        cell = _open_in_explorer(page, address, laboratory, 2)
        os.kill(pid, signal.SIGKILL)
        expect(page.get_by_text(re.compile("The server does not answer"))).to_be_visible(timeout=10_000)
        stroke(page, (0.5, 0.5), (0.5, 0.2))
    with app(laboratory, drawn_root, tmp_path / "two.log", port):
        drawn = areas(page)
        page.wait_for_timeout(1000)
        drafts = list((laboratory / "cohort" / "corrections" / "drafts").glob("*.json"))
        assert drafts, f"the stroke on {cell} has reached the server"
        assert drawn[1] > 0


def test_r21_a_second_tab_can_only_look_until_it_takes_over(address, browse, tmp_path):
    context = browse(viewport={"width": 1280, "height": 900})
    one, two = context.new_page(), context.new_page()
    image = fresh_image(tmp_path, 9)
    for page in (one, two):
        page.bring_to_front()
        open_image(page, address, image)
        start_correcting(page)
    expect(two.get_by_text("This cell is being corrected in another tab.")).to_be_visible()
    before = areas(two)
    stroke(two, (0.5, 0.5), (0.5, 0.2))
    assert areas(two) == before
    two.get_by_role("button", name="Take over").click()
    stroke(two, (0.5, 0.5), (0.5, 0.2))
    assert areas(two) != before


def test_masks_on_the_disk_are_what_was_drawn(laboratory):
    """After the journeys above: every mask that a decision names is there, and is what its name says."""
    root = laboratory / "cohort"
    for verdict in outline_log.read(root).records:
        for name in (verdict.mask_sha256, verdict.base.mask_sha256):
            assert np.isin(outline_log.kept_mask(root, name), (0, 2, 3)).all()

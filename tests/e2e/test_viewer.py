"""The picture of a cell under a hand: wheel, drag, double click, keys, and a scale bar that stays true."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.correcting import fresh_image, quiet

pytestmark = pytest.mark.browser
UM_PER_PX = 0.095


def seen_of(page: Page) -> list[float]:
    return [float(n) for n in page.locator(".pane svg").first.get_attribute("viewBox").split()]


def bar_um(page: Page) -> tuple[float, float]:
    """What the scale bar says, and how long it is, in micrometres."""
    said = page.locator(".pane .scale text").first.text_content()
    drawn = page.locator(".pane .scale rect").first.evaluate("(bar) => bar.getBBox().width * bar.getScreenCTM().a")
    side = page.locator(".pane svg").first.bounding_box()["width"]
    assert drawn < 0.5 * side, "it stays in the pane"
    return float(re.fullmatch(r"([\d.]+) µm", said)[1]), drawn / side * seen_of(page)[2] * UM_PER_PX


def test_wheel_drag_double_click_and_keys_and_the_scale_bar_is_true_at_every_zoom(server, page, tmp_path):
    page.goto(f"{server}/Single_cell")
    expect(page.get_by_text("No image yet")).to_be_visible()
    page.locator("input[type=file]").set_input_files(fresh_image(tmp_path, 41))
    expect(page.get_by_text("The mask will stand here.")).to_be_visible()
    scale = page.get_by_role("spinbutton", name="µm per pixel")
    scale.fill(str(UM_PER_PX))
    scale.press("Tab")
    page.get_by_role("button", name="Calculate features").click()
    nucleus = page.locator(".outline.nucleus path").last
    expect(nucleus).to_be_visible()
    quiet(page)

    whole = seen_of(page)
    box = page.locator(".pane").first.bounding_box()
    x, y = box["x"] + 0.75 * box["width"], box["y"] + 0.25 * box["height"]
    page.mouse.move(x, y)
    for _ in range(14):
        said, drawn = bar_um(page)
        assert drawn == pytest.approx(said, rel=0.01)
        page.mouse.wheel(0, -100)
        left, top, width, height = seen_of(page)
        # What lies under the pointer stays there.
        assert left + 0.75 * width == pytest.approx(0.75 * whole[2], abs=2)
        assert top + 0.25 * height == pytest.approx(0.25 * whole[3], abs=2)
    assert width < whole[2] / 6

    page.mouse.down()
    page.mouse.move(x - 60, y, steps=3)
    page.mouse.up()
    assert seen_of(page)[0] > left, "what is dragged to the left shows what lies right of it"
    page.mouse.dblclick(x, y)
    assert seen_of(page) == whole

    # Keys of the picture under the pointer, whatever was pressed before; not while somebody types.
    page.keyboard.press("o")
    expect(nucleus).to_be_hidden()
    page.keyboard.press("O")
    expect(nucleus).to_be_visible()
    scale.focus()
    page.mouse.move(x, y + 20)
    page.keyboard.press("o")
    expect(nucleus).to_be_visible()

    # The wheel scrolls the page where there is nothing to make smaller.
    main = page.get_by_test_id("stMain")
    page.mouse.wheel(0, 200)
    page.wait_for_function("() => document.querySelector('[data-testid=stMain]').scrollTop > 0")
    assert seen_of(page) == whole
    assert main.evaluate("(main) => main.scrollTop") > 0

"""A newcomer's first minute on Home: the tour, the doors, and a cell that is measured already."""

import re

import pytest
from playwright.sync_api import expect

from pages._ui.home.steps import TOUR
from tests.e2e.correcting import quiet

pytestmark = pytest.mark.browser


def test_the_tour_comes_once_and_again_when_asked_for(server, page):
    page.goto(server)
    tour = page.get_by_role("region", name="A tour of Leukoscope")
    expect(page.get_by_text("N:C area ratio")).to_be_visible()
    for number, step in enumerate(TOUR, start=1):
        expect(tour).to_contain_text(f"{number} of {len(TOUR)}")
        expect(tour).to_contain_text(step.title)
        expect(page.locator(f".tour-here.st-key-{step.at}")).to_have_count(1)
        tour.get_by_role("button", name="Done" if number == len(TOUR) else "Next").click()
    expect(tour).to_be_hidden()
    expect(page.locator(".tour-here")).to_have_count(0)

    page.reload()
    expect(page.get_by_text("N:C area ratio")).to_be_visible()
    expect(tour).to_be_hidden()
    page.get_by_role("button", name="Take the tour").click()
    expect(tour).to_contain_text(TOUR[0].title)
    tour.get_by_role("button", name="Next").press("Escape")
    expect(tour).to_be_hidden()


def test_a_door_opens_wherever_it_is_touched(server, page):
    page.goto(server)
    door = page.locator(".st-key-door_photo_library")
    expect(door).to_be_visible()
    quiet(page)  # what is measured before the page is laid out lies elsewhere when it is clicked
    box = door.bounding_box()
    page.mouse.click(box["x"] + box["width"] - 12, box["y"] + box["height"] - 12)
    expect(page).to_have_url(re.compile("/Batch$"))


def test_the_measured_cell_opens_as_it_is(server, page):
    page.goto(server)
    page.get_by_role("button", name="Open this cell").click()
    expect(page.get_by_text("Cell elongation")).to_be_visible()
    expect(page.get_by_role("spinbutton", name="µm per pixel")).to_have_value("0.095")

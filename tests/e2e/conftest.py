"""The app in its own server, and Chromium to look at it."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from tools.serving import CHROMIUM_FLAGS, serve

PATIENCE_MS = 60_000  # a loaded machine is slow, not wrong; `make bench` measures speed
expect.set_options(timeout=PATIENCE_MS)


@pytest.fixture(scope="session")
def server(drawn_root, tmp_path_factory) -> Iterator[str]:
    """Address of a running app with the shipped model and the drawn populations."""
    folder = tmp_path_factory.mktemp("server")
    environment = {
        "LEUKOSCOPE_REFERENCE": str(drawn_root),
        "LEUKOSCOPE_COHORT": str(folder / "cohort"),
        "LEUKOSCOPE_RUNS": str(folder / "runs"),
        "LEUKOSCOPE_CACHE": str(folder / "cache"),
    }
    with serve(environment, folder / "server.log") as (address, _):
        yield address


@pytest.fixture
def page(chromium, request, tmp_path) -> Iterator[Page]:
    """A page of a fresh browser; after a failure a screenshot lies in the test's folder."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_FLAGS)
        page = browser.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True).new_page()
        page.set_default_timeout(PATIENCE_MS)
        failed_before = request.session.testsfailed
        yield page
        if request.session.testsfailed > failed_before:
            page.screenshot(path=str(tmp_path / "failure.png"), full_page=True)
        browser.close()

"""A file that is dropped in the very moment in which a run of the page begins."""

import pytest
from playwright.sync_api import expect

from tests.e2e.correcting import fresh_image

pytestmark = pytest.mark.browser

# After the question where to send a file, ask for a run of the page at once, as a part of the page may by chance.
RUN_BESIDE_UPLOAD = r"""
const { send } = WebSocket.prototype;
let run = null;
WebSocket.prototype.send = function (data) {
  const bytes = new Uint8Array(data);
  const said = new TextDecoder("latin1").decode(bytes);
  const asks = said.includes("at-once.png");
  if (bytes[0] === 0x5a) run = bytes.slice();
  send.call(this, data);
  if (asks && run) {
    window.ranBesides = (window.ranBesides ?? 0) + 1;
    send.call(this, run);
  }
};
"""


def test_a_file_dropped_while_a_run_begins_arrives(server, page, tmp_path):
    image = fresh_image(tmp_path, 31).rename(tmp_path / "at-once.png")
    page.add_init_script(RUN_BESIDE_UPLOAD)
    page.goto(f"{server}/Single_cell")
    expect(page.get_by_text("No image yet")).to_be_visible()
    page.locator("input[type=file]").set_input_files(image)
    expect(page.get_by_text("The mask will stand here.")).to_be_visible()
    assert page.evaluate("window.ranBesides") >= 1

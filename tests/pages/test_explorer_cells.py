"""The gallery and the card of a cell, without the page around them."""

import json

import pytest
from streamlit.testing.v1 import AppTest

from core.explorer.selection import Quality, Selection, to_json
from core.store import edits
from core.store.database import Cohort
from core.store.edit_log import Field
from pages._ui.names import flag_sentence
from tests.pages.conftest import texts

FLAGGED = "monocyte_drawn:000000" + "0" * 10 + ":0"
HCL = "hcl_drawn:030001" + "0" * 10 + ":0"
CARD = "leukoscope_explorer_card"


def _script(selection: str) -> None:
    from core.explorer.selection import from_json
    from pages._ui.explorer_cells import show_cells

    show_cells(from_json(selection))


@pytest.fixture
def explore(open_page):
    """Show the cells of a selection; opening Home first points the program to the drawn cohort."""

    def visit(selection: Selection = Selection()) -> AppTest:
        return AppTest.from_function(_script, default_timeout=120, args=(to_json(selection),)).run()

    return visit


def _gallery(app: AppTest, key: str = "cells") -> dict:
    element = next(e for e in app.get("bidi_component") if e.proto.id.endswith(f"-{key}") or f"-{key}" in e.proto.id)
    return json.loads(element.proto.json) if element.proto.json else json.loads(element.proto.mixed.json)


def test_the_most_typical_cells_come_first_and_every_order_holds_all(explore):
    app = explore()
    assert not app.exception, app.exception
    assert "The 71 cells in view" in texts(app)
    print([e.proto for e in app.get("bidi_component")][:1])

"""The gallery, the card of a cell and what may be changed in it, without the page around them."""

import json
import re

import pytest
from streamlit.testing.v1 import AppTest

from core.batch.jobs import Owner
from core.cases.cells import open_cells
from core.domain.flags import flag_sentence
from core.domain.settings import load_settings
from core.explorer.cells import features_of
from core.explorer.selection import Quality, Selection, to_json
from core.store import edits
from core.store.database import Cohort
from core.store.edit_log import Field
from core.store.shards import write_population
from pages._ui.common.cases import cases_of
from tests.core.store.conftest import make_population, make_rows
from tests.pages.conftest import texts

FLAGGED = "monocyte_drawn:000000" + "0" * 10 + ":0"
FIRST = "monocyte_drawn:000001" + "0" * 10 + ":0"
HCL = "hcl_drawn:030001" + "0" * 10 + ":0"
CARD = "leukoscope_explorer_card"


def _script(selection: str) -> None:
    from core.explorer.selection import from_json
    from pages._ui.explorer.cells import show_cells

    show_cells(from_json(selection))


@pytest.fixture
def explore(open_page):
    """Show the cells of a selection of the drawn cohort, one of them closely."""

    def visit(selection: Selection | None = None, card: str | None = None) -> AppTest:
        app = AppTest.from_function(_script, default_timeout=240, args=(to_json(selection or Selection()),))
        if card is not None:
            app.session_state[CARD] = card
        return app.run()

    return visit


def component(app: AppTest, key: str) -> dict:
    """What is sent to the browser for a component."""
    proto = next(element.proto for element in app.get("bidi_component") if element.proto.id.endswith(f"-{key}"))
    return json.loads(proto.json or proto.mixed.json)


def _section(app: AppTest, name: str) -> AppTest:
    return app.button_group(key="card_section").set_value(name).run()


def _ids(app: AppTest) -> list[str]:
    return [item["id"] for item in component(app, "cells")["items"]]


def _percents(app: AppTest) -> list[int]:
    return [
        int(found[1]) for item in component(app, "cells")["items"] if (found := re.search(r"(\d+) %", item["words"]))
    ]


def test_the_most_typical_cells_come_first_and_every_order_holds_all(explore):
    app = explore()
    assert not app.exception
    assert "The 71 cells in view" in texts(app)
    assert _percents(app) == sorted(_percents(app), reverse=True)
    seen = {}
    for order in ("Most typical first", "Farthest out first", "By chance"):
        app.button_group(key="cells_order").set_value(order).run()
        pages = []
        for page in range(1, 5):
            key = "cells_page-" + app.get("pagination")[0].proto.id.rpartition("-")[2]
            app.session_state[key] = page
            app.run()
            pages += _ids(app)
        seen[order] = pages
    assert len({*seen["Most typical first"]}) == 71
    assert {*seen["Most typical first"]} == {*seen["Farthest out first"]} == {*seen["By chance"]}
    known = [[cell for cell in cells if not cell.startswith("hcl")] for cells in seen.values()]
    assert known[0] == known[1][::-1]
    assert all(cell.startswith("hcl") for cell in seen["Most typical first"][-5:] + seen["Farthest out first"][-5:]), (
        "of these nothing is known"
    )


def test_pictures_are_at_one_scale_and_those_without_a_scale_are_marked(explore):
    app = explore()
    square = re.compile(r'viewBox="[-\d.]+ [-\d.]+ ([\d.]+) ([\d.]+)"')
    boxes = {
        square.search(item["picture"]).groups() for item in component(app, "cells")["items"] if "≈" not in item["words"]
    }
    assert len(boxes) == 1
    assert "All at one scale" in texts(app)
    hairy = component(explore(Selection(populations=("hcl_drawn",))), "cells")["items"]
    assert len(hairy) == 5
    assert {item["words"] for item in hairy} == {"≈ HCL"}, "five cells make no per cent"


def test_without_a_cell_the_page_says_so(explore):
    app = explore(Selection(sources=("nowhere",)))
    assert not app.exception
    assert "No cell meets all conditions" in texts(app)


def test_the_card_tells_who_the_cell_is_and_what_stands_against_it(explore):
    app = explore(card=FLAGGED)
    assert not app.exception
    said = texts(app)
    assert "**Monocyte**" in said
    assert "Patient unknown" in said
    assert flag_sentence("border") in said
    assert "not among the cells shown" in said
    assert component(app, "one_viewer")["id"].startswith(FLAGGED)
    assert "only the outline" in said
    app = explore(card=FIRST)
    assert "nothing stands against" in texts(app)
    assert "than" in texts(app)
    assert "of monocytes" in texts(app)
    assert "n = 23 good cells" in texts(app)


def test_a_cell_of_few_has_points_and_no_percentile(explore):
    app = explore(card=HCL)
    assert not app.exception
    assert "only 5 cells to compare with" in texts(app)
    assert "its scale is unknown" in texts(app)


def test_next_and_previous_walk_through_the_cells_in_their_order(explore):
    app = explore()
    order = _ids(app)
    assert app.button(key="card_back").disabled
    for expected in order[1:3]:
        app.button(key="card_on").click().run()
        assert app.session_state[CARD] == expected
    app.button(key="card_back").click().run()
    assert app.session_state[CARD] == order[1]
    app.session_state[CARD] = order[-1]
    app.run()
    app.button(key="card_on").click().run()
    assert app.session_state[CARD] == _ids(app)[0] != order[0], "the gallery turns the page"


def test_the_nearest_cells_are_named_with_their_types_and_distances(explore):
    app = _section(explore(card=FIRST), "Nearest cells")
    assert not app.exception
    assert re.search(r"Of the 12 nearest among \d+ cells: \d+ monocytes", texts(app))
    items = component(app, "card_neighbours")["items"]
    distances = [float(item["words"].split()[-1]) for item in items]
    assert distances == sorted(distances)
    assert FIRST not in [item["id"] for item in items]


def test_the_card_says_what_is_nearest_without_the_cell_itself_and_names_nothing_for_a_refused_one(explore):
    said = texts(explore(card=FIRST))
    assert re.search(r"(Nearest|Unlike every population here) in shape and size", said)
    assert "22 other cells" in said, "of the 23 good cells of its population"
    assert "No nearest population is named: " in texts(explore(card=FLAGGED))
    assert re.search("(Nearest|Unlike every population here) in shape(?! and size)", texts(explore(card=HCL)))


def _log(folder) -> tuple:
    with Cohort.open([load_settings().reference, load_settings().cohort]) as cohort:
        return edits.log(cohort)


def test_a_relabelled_cell_keeps_its_history_and_can_be_taken_back(explore, tmp_path):
    app = _section(explore(card=FIRST), "Correct or annotate")
    assert "as its source filed it" in texts(app)
    app.selectbox(key=f"edit_value-cell_type-{FIRST}-0").set_value("blast")
    app.button(key="edit_save").click().run()
    assert "name of who makes the edit" in texts(app), "nobody said who it is"
    assert _log(tmp_path) == ()
    app.text_input(key="edit_who").set_value("Ann").run()
    app.button(key="edit_save").click().run()
    assert not app.exception
    assert "**Blast" in texts(app)
    assert re.search(r"Ann: cell type Monocyte → Blast", texts(app))
    (edit,) = _log(tmp_path)
    assert (edit.who, edit.field, edit.value, dict(edit.old)) == ("Ann", Field.CELL_TYPE, "blast", {FIRST: "monocyte"})
    app.button(key="edit_back").click().run()
    assert "**Monocyte**" in texts(app)
    assert "Blast → Monocyte, as filed" in texts(app)
    assert app.button(key="edit_back").disabled


def test_an_excluded_cell_leaves_the_gallery_and_says_why(explore):
    app = _section(explore(card=FIRST), "Correct or annotate")
    app.text_input(key="edit_who").set_value("Ann").run()
    app.button_group(key="edit_field").set_value(Field.EXCLUDED_REASON).run()
    app.button(key="edit_save").click().run()
    assert "must be 1 to 2000 characters" in texts(app), "a reason is needed"
    app.text_input(key=f"edit_value-excluded_reason-{FIRST}-0").set_value("crushed <b>").run()
    app.button(key="edit_save").click().run()
    said = texts(app)
    assert "The 70 cells in view" in said
    assert "Left out: crushed &lt;b&gt;" in said
    assert "Flagged as" not in said, "the reason says it already"
    again = explore(Selection(quality=Quality.LEFT_OUT))
    assert {*_ids(again)} == {FIRST, FLAGGED}, "another session sees it"


def test_the_first_cell_stays_on_the_card_when_it_is_left_out(explore):
    app = explore()
    first = _ids(app)[0]
    _section(app, "Correct or annotate")
    app.text_input(key="edit_who").set_value("Ann").run()
    app.button_group(key="edit_field").set_value(Field.EXCLUDED_REASON).run()
    app.text_input(key=f"edit_value-excluded_reason-{first}-0").set_value("crushed").run()
    app.button(key="edit_save").click().run()
    assert first not in _ids(app)
    assert component(app, "one_viewer")["id"].startswith(first)
    assert "Saved; the original is kept" in texts(app)


def test_a_card_tells_where_another_model_outlined_the_cell_than_its_population(explore, open_page):
    assert "not all by one model" not in texts(explore(card=FIRST))
    own = load_settings().cohort
    population = make_population("own", um_per_px=0.1)
    rows = make_rows(population, [float(i) for i in range(100, 125)])
    rows[3]["model_id"] = "newer"
    write_population(own, population, [rows])
    told = texts(explore(Selection(populations=("own",)), card=rows[3]["cell_id"]))
    assert "newer (this cell; Monocytes of a test: 1 of 25 cells), model-1 (Monocytes of a test: 24 of" in told


def test_a_cell_whose_picture_is_not_at_hand_is_added_to_a_case_as_what_is_known_of_it(explore, monkeypatch, tmp_path):
    monkeypatch.setenv("LEUKOSCOPE_RUNS", str(tmp_path / "runs"))
    links = []
    monkeypatch.setattr("streamlit.page_link", lambda *where, **how: links.append((where, how)))
    app = explore(card=FIRST)
    app.session_state["leukoscope_browser"] = "ab" * 16
    app.run()
    app.text_input(key="add_to_case_title").set_value("Odd ones")
    app.button(key="add_to_case_do").click().run()
    assert not app.exception
    assert "was added; its picture is not at hand, so the case keeps what was measured." in texts(app)
    cases = cases_of(Owner(tmp_path / "runs" / "batch", "browser " + "ab" * 16))
    (case,) = cases.shelf().cases
    assert links[-1][1]["query_params"] == {"case": case.id}
    (image,) = case.images
    assert (image.cells, image.size, image.sha256[:16]) == (1, 0, FIRST.split(":")[1])
    (opened,) = open_cells(cases.cells(case.id, image), None, image.name).cells
    with Cohort.open([load_settings().reference, load_settings().cohort]) as cohort:
        assert opened.features == features_of(cohort, FIRST)

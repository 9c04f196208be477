"""Own populations on the page: a table comes in, is seen by another session, and is deleted for good."""

import pytest
from streamlit.testing.v1 import AppTest

from core.domain.settings import load_settings
from core.store import queries
from core.store.database import Cohort
from core.store.named_scales import known_scales
from tests.pages.conftest import read, table, texts
from tests.populations import AREA

TABLE = f"cell_type,um_per_px,{AREA},other\nblast,0.1,900,=x\nblast,0.1,1000,y\n"


def _script() -> None:
    from pages._ui.explorer.own_data import show_own_data

    show_own_data()


@pytest.fixture
def own(open_page):
    open_page()

    def visit() -> AppTest:
        return AppTest.from_function(_script, default_timeout=120).run()

    return visit


def _populations() -> dict:
    with Cohort.open([load_settings().reference, load_settings().cohort]) as cohort:
        return {info.population.population_id: info for info in queries.populations(cohort)}


def _bring(app: AppTest, text: str = TABLE, title: str = "My blasts", name: str = "mine.csv") -> AppTest:
    app.button_group(key="own_section").set_value("Bring in a table").run()
    turn = app.session_state["leukoscope_tables_taken"] if "leukoscope_tables_taken" in app.session_state else 0  # noqa: SIM401
    app.file_uploader(key=f"own_table_{turn}").set_value([(name, text.encode(), "text/csv")]).run()
    if not app.text_input:
        return app
    app.text_input(key="own_title").set_value(title)
    app.text_input(key="own_source").set_value("here")
    app.button(key="own_import").click()
    return app.run()


def test_the_shipped_populations_cannot_be_deleted(own):
    app = own()
    assert not app.exception
    assert "No population of your own yet" in texts(app)
    assert "never deleted" in texts(app)
    assert not [button for button in app.button if "Delete" in button.label]


def test_a_table_is_looked_at_filed_seen_by_others_and_deleted(own):
    app = own()
    app.button_group(key="own_section").set_value("Bring in a table").run()
    app.file_uploader(key="own_table_0").set_value([("mine.csv", TABLE.encode(), "text/csv")]).run()
    said = texts(app)
    assert "1 of 720 features" in said
    assert "Not taken, because nobody here knows them: other" in said
    assert "Cell types: Blast" in said
    assert table(app, AREA)[AREA].tolist() == ["900", "1000"]
    app = _bring(own())
    assert not app.exception
    assert "2 cells were brought in" in read(app.success[0].value)
    found = _populations()["my_blasts"]
    assert (found.n, found.population.cell_type, found.population.source) == (2, "blast", "here")
    other = own()
    assert "**My blasts**: 2 cells" in texts(other)
    other.button(key="own-gone-my_blasts").click().run()
    assert "was deleted" in read(other.success[0].value)
    assert "my_blasts" not in _populations()


def _cells() -> None:
    from core.explorer.selection import Selection
    from pages._ui.explorer.cells import show_cells

    show_cells(Selection(populations=("my_blasts",)))


def test_cells_of_a_table_have_a_card_of_numbers(own):
    _bring(own())
    app = AppTest.from_function(_cells, default_timeout=120).run()
    assert not app.exception
    assert "The 2 cells in view" in texts(app)
    assert "there is nothing to draw" in texts(app)
    assert "only 2 cells to compare with" in texts(app)
    app.button_group(key="card_section").set_value("Nearest cells").run()
    assert not app.exception
    assert "has none of the" in read(app.error[0].value)


def test_a_name_that_is_shipped_or_a_bad_value_changes_nothing(own):
    app = _bring(own(), title="monocyte drawn")
    assert "shipped with the program" in read(app.error[0].value)
    app = _bring(own(), text=TABLE.replace("1000", "many"))
    assert "row 3, column nucleus_shape2D_PixelSurface" in read(app.error[0].value)
    app = _bring(own(), text="a,b\n1,2\n")
    assert "has no feature of the catalogue" in read(app.error[0].value)
    app = _bring(own(), title="  ")
    assert "one is missing" in read(app.error[0].value)
    assert "my_blasts" not in _populations()


def test_images_lead_to_page_batch(open_page):
    app = open_page()
    app.query_params["show"] = "own"
    app.switch_page("pages/3_Cohort_explorer.py").run()
    app.button_group(key="own_section").set_value("Bring in images").run()
    assert not app.exception
    assert "measured on page Batch" in texts(app)


def test_a_table_of_another_dialect_is_read_and_impossible_rows_are_named(own):
    rows = "".join(f"blast;0,1;{900 + n},5;0,{500 + n}\n" for n in range(12))
    text = f"cell_type;um_per_px;{AREA};combined_PixelSurface\n{rows}blast;0,1;-5,0;0,5\n"
    app = _bring(own(), text)
    assert not app.exception
    assert "12 cells were brought in" in app.success[0].value
    assert "1 rows cannot be true and were left out" in app.success[0].value
    assert "row 14" in app.success[0].value
    assert _populations()["my_blasts"].n == 12


def test_the_scale_of_a_table_is_remembered_by_its_source(own):
    app = own()
    app.button_group(key="own_section").set_value("Bring in a table").run()
    app.file_uploader(key="own_table_0").set_value([("mine.csv", TABLE.encode(), "text/csv")]).run()
    app.selectbox(key="own_um_per_px_of").set_value("CellaVision DM96 (360 px)").run()
    assert app.number_input(key="own_um_per_px").value == 0.095
    app.text_input(key="own_title").set_value("My blasts")
    app.text_input(key="own_source").set_value("here")
    app.button(key="own_import").click().run()
    assert not app.exception
    population = _populations()["my_blasts"].population
    assert (population.um_per_px, population.um_per_px_error) == (0.095, 0.1)
    assert population.um_per_px_origin.startswith("that of CellaVision DM96")
    assert known_scales(load_settings().cohort).named("here").um_per_px == 0.095

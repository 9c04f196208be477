from core.evaluation.agreement import Grade
from core.features.catalogue import CATALOGUE
from core.features.search import matching
from core.features.spec import Region
from tests.pages.conftest import texts
from tests.populations import RATIO

PAGE = "pages/3_Cohort_explorer.py"


def test_the_search_narrows_the_list_and_shows_what_it_leaves(open_page):
    app = open_page(PAGE)
    comparable = [name for name, spec in CATALOGUE.items() if spec.scale_free]  # the cells are of several sources
    assert len(app.selectbox(key="explorer_feature").options) == len(comparable)
    assert app.selectbox(key="explorer_feature").value == RATIO
    app.text_input(key="explorer_feature_words").set_value("entropy").run()
    app.selectbox(key="explorer_feature_region").set_value("Surroundings").run()
    assert not app.exception
    chosen = app.selectbox(key="explorer_feature").value
    assert chosen in matching("entropy", None, Region.ENVIRONMENT)
    assert CATALOGUE[chosen].description in texts(app)
    app.text_input(key="explorer_feature_words").set_value("zebra").run()
    assert not app.exception
    assert "No feature holds all these words" in app.info[0].value
    app.text_input(key="explorer_feature_words").set_value("").run()
    app.selectbox(key="explorer_feature_region").set_value("Any region").run()
    assert app.selectbox(key="explorer_feature").value == chosen, "what was found stays when the search is cleared"


def test_poor_features_stand_last_and_say_so(open_page, graded_models):
    graded_models({RATIO: Grade.POOR})
    app = open_page(PAGE)
    options = app.selectbox(key="explorer_feature").options
    assert options[-1] == "N:C area ratio  ·  poor"
    assert not any(option.endswith("poor") for option in options[:-1])
    assert "Poor: drawn so for a test." in texts(app)

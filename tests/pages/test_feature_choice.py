from core.evaluation.agreement import Grade
from core.features.catalogue import CATALOGUE
from core.features.search import matching
from core.features.spec import Region
from tests.pages.conftest import texts
from tests.populations import RATIO

PAGE = "pages/3_Cohort_explorer.py"


def test_the_search_narrows_the_list_and_shows_what_it_leaves(open_page):
    app = open_page(PAGE)
    # The cells are of several sources, some without a scale.
    comparable = [name for name, spec in CATALOGUE.items() if spec.scale_free and not spec.intensity_dependent]
    assert len(app.selectbox(key="explorer_feature").options) == len(comparable)
    assert app.selectbox(key="explorer_feature").value == RATIO
    app.text_input(key="explorer_feature_words").set_value("round").run()
    app.selectbox(key="explorer_feature_region").set_value("Nucleus").run()
    assert not app.exception
    chosen = app.selectbox(key="explorer_feature").value
    assert chosen in matching("round", None, Region.NUCLEUS)
    assert CATALOGUE[chosen].description in texts(app)
    app.text_input(key="explorer_feature_words").set_value("zebra").run()
    assert not app.exception
    assert "No feature holds all these words" in app.info[0].value
    app.text_input(key="explorer_feature_words").set_value("").run()
    app.selectbox(key="explorer_feature_region").set_value("Any region").run()
    assert app.selectbox(key="explorer_feature").value == chosen, "what was found stays when the search is cleared"


def test_what_is_searched_and_not_offered_is_found_with_the_reason(open_page):
    app = open_page(PAGE)
    app.text_input(key="explorer_feature_words").set_value("cell area").run()
    assert "Cell area" in texts(app)
    assert "is not offered here" in texts(app)
    assert "cells is unknown; leave these out, or give it" in texts(app)
    app.text_input(key="explorer_feature_words").set_value("nucleus tone, mean").run()
    assert not app.exception
    assert "compare inside each of them, or calibrate one to the other" in texts(app)
    assert not app.info


def test_poor_features_stand_last_and_say_so(open_page, graded_models):
    graded_models({RATIO: Grade.POOR})
    app = open_page(PAGE)
    options = app.selectbox(key="explorer_feature").options
    assert options[-1] == "N:C area ratio  ·  poor"
    assert not any(option.endswith("poor") for option in options[:-1])
    assert "Poor: drawn so for a test." in texts(app)

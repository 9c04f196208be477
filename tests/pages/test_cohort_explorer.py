import json
import shutil

import pyarrow.parquet as pq
import pytest
from streamlit.testing.v1 import AppTest

from core.domain.cell_types import CellType
from core.domain.settings import ROOT
from core.explorer import separation
from core.explorer.selection import Quality, Range, Scale, Selection, from_link, to_json, to_link
from core.explorer.view import By
from core.features.catalogue import CATALOGUE
from core.features.search import for_choosing
from core.features.spec import Aspect
from pages._ui.explorer.state import ChartType, Explored, Question, from_address, to_address
from tests.laboratories import BARCELONA, JOHNS_HOPKINS
from tests.pages.conftest import read, table, texts
from tests.populations import AREA, ELONGATION, RATIO

PAGE = "pages/3_Cohort_explorer.py"
BY_LABEL = {spec.label: spec for spec in CATALOGUE.values()}
MONOCYTES = Selection(cell_types=(CellType.MONOCYTE,))


@pytest.fixture
def shipped_cohort(open_page, monkeypatch):
    """The populations that come with the program, in place of drawn ones."""
    monkeypatch.setenv("LEUKOSCOPE_REFERENCE", str(ROOT / "assets" / "reference"))


@pytest.fixture
def open_link(open_page):
    """Open the page by an address, as somebody who was sent it."""

    def visit(seen: Explored) -> AppTest:
        app = open_page()
        for name, values in to_address(seen).items():
            app.query_params[name] = values
        return app.switch_page(PAGE).run()

    return visit


def link(app) -> Selection:
    """What the address says of the cells."""
    said = app.query_params["s"]
    return from_link(said if isinstance(said, str) else said[0])


def button(app, words):
    return next(found for found in app.button if words in found.label)


# --- what is in view --------------------------------------------------------------------------------------------------


def test_the_counts_stand_on_top_and_say_what_is_left_out(open_page):
    said = texts(open_page(PAGE))
    assert "71 cells in view, 7 patients named, 4 sources; 1 left out" in said
    assert "“quality is good” alone keeps out 1: border 1" in said
    assert "The patient of 50 cells is not recorded." in said


def test_a_condition_is_a_sentence_that_can_be_removed(open_page):
    app = open_page(PAGE)
    button(app, "quality is good").click().run()
    assert "72 cells in view" in texts(app)
    assert link(app) == Selection(quality=Quality.ANY)
    assert not [found for found in app.button if "quality" in found.label]


def test_values_are_chosen_with_their_numbers_and_every_kind_of_filter_works(open_page):
    app = open_page(PAGE)
    for kind, widget, value, expected in (
        ("Cell type", "filter-cell_types", ["monocyte"], "44 cells in view"),
        ("Source", "filter-sources", ["Laboratory 1"], "21 cells in view"),
        ("Patient", "filter-patients", ["p0", "p1"], "6 cells in view"),
        ("Quality", "filter-quality", "left_out", "0 cells in view"),
        ("Quality", "filter-quality", None, "6 cells in view"),
        ("Scale", "filter-scale", "known", "6 cells in view"),
    ):
        app.selectbox(key="explorer_add").set_value(kind).run()
        app.button_group(key=widget).set_value(value).run()
        assert not app.exception
        assert expected in texts(app), kind
    assert [found.label for found in app.button if found.key.startswith("drop-")] == [
        "cell type is monocyte",
        "source is Laboratory 1",
        "patient is p0 or p1",
        "scale is known",
    ]


def test_a_range_is_cut_from_a_histogram_and_its_ends_are_open(open_page):
    app = open_page(PAGE)
    app.selectbox(key="explorer_add").set_value("Range of a feature").run()
    app.text_input(key="range-words").set_value("nuclear cytoplasmic zebra").run()
    assert "No feature holds all these words" in texts(app)
    app.text_input(key="range-words").set_value("N:C area").run()
    app.selectbox(key="range-feature").set_value(RATIO).run()
    slider = app.slider(key=f"range-{RATIO}")
    low, high = slider.min, slider.max
    middle = (low + high) / 2
    slider.set_value((middle, high)).run()
    assert not app.exception
    kept = link(app).ranges
    assert [given.feature for given in kept] == [RATIO]
    assert kept[0].low == pytest.approx(app.slider(key=f"range-{RATIO}").value[0])
    assert kept[0].high is None
    assert "0 left out" not in texts(app)
    app.slider(key=f"range-{RATIO}").set_value((low, high)).run()
    assert "s" not in app.query_params


# --- saved, shared ----------------------------------------------------------------------------------------------------


def test_the_address_says_everything_and_restores_it():
    seen = Explored(
        selection=Selection(scale=Scale.KNOWN, ranges=(Range(AREA, 20.0, None),)),
        question=Question.SEPARATION,
        by=None,
        groups=("a", "b & c"),
        pair=("a", "b & c"),
        feature=ELONGATION,
        form=ChartType.BOX,
        log=False,
        features=(RATIO, ELONGATION),
        saved={"a": MONOCYTES, "b & c": Selection()},
        map={"x": AREA, "outline": "features a b:1,2 3,4 5,6"},
        lists={"ranking_form": "Chart"},
    )
    assert from_address(to_address(seen)) == (seen, [])
    assert to_address(Explored()) == {}


@pytest.mark.parametrize(
    "raw",
    [
        {"s": ["1.zzz"]},
        {"show": ["everything"]},
        {"by": ["mood"]},
        {"feature": ["no_such"]},
        {"as": ["pie"]},
        {"log": ["perhaps"]},
        {"ranges": ["no such"]},
        {"saved": ["name~1.damaged"]},
    ],
)
def test_what_an_address_says_wrongly_is_told_and_left_out(raw):
    seen, problems = from_address(raw)
    assert seen == Explored()
    assert len(problems) == 1
    assert problems[0][0].isupper()


def test_a_damaged_link_is_told_and_the_page_stands(open_page):
    app = open_page()
    app.query_params["s"] = "1.damaged"
    app.switch_page(PAGE).run()
    assert not app.exception
    assert "copy it again" in read(app.warning[0].value)
    assert "71 cells in view" in texts(app)


def test_a_link_restores_cells_question_and_feature(open_link):
    app = open_link(Explored(selection=MONOCYTES, by=By.POPULATION, feature=ELONGATION, form=ChartType.CUMULATIVE))
    assert "44 cells in view" in texts(app)
    assert app.selectbox(key="explorer_feature").value == ELONGATION
    assert app.button_group(key="explorer_form").value is ChartType.CUMULATIVE
    assert set(table(app, "n")["Group"]) >= {"monocyte drawn", "monocyte other"}


def test_cells_are_saved_under_a_name_found_again_and_forgotten(open_link):
    app = open_link(Explored(selection=MONOCYTES))
    app.text_input(key="save-name-0").set_value("  My   monocytes ").run()
    app.button(key="explorer_save_button").click().run()
    button(app, "cell type is monocyte").click().run()
    assert "71 cells in view" in texts(app)
    app.button(key="load-My monocytes").click().run()
    assert "44 cells in view" in texts(app)
    app.button(key="forget-My monocytes").click().run()
    assert not [found for found in app.button if found.key == "load-My monocytes"]
    app.button(key="explorer_save_button").click().run()
    assert "a name needs" in read(app.warning[0].value)


def test_a_file_brings_a_selection_back(open_page):
    app = open_page(PAGE)
    app.get("file_uploader")[0].set_value(("mono cytes.json", to_json(MONOCYTES).encode(), "application/json")).run()
    assert not app.exception
    assert "44 cells in view" in texts(app)
    assert app.button(key="load-mono cytes")
    app.get("file_uploader")[0].set_value(("bad.json", b"[]", "application/json")).run()
    assert "no saved selection" in read(app.warning[0].value)


# --- how they are distributed -----------------------------------------------------------------------------------------


def test_every_form_draws_and_the_numbers_stand_below(open_page):
    app = open_page(PAGE)
    for form in ChartType:
        app.button_group(key="explorer_form").set_value(form).run()
        assert not app.exception, form
        assert json.loads(app.get("vega_lite_chart")[0].proto.spec)
        groups = table(app, "n")
        assert set(groups["Group"]) >= {"Monocyte", "Lymphocyte", "Hairy cell (HCL)"}
    app.button_group(key="explorer_form").set_value(ChartType.BOX).run()
    found = table(app, "n").set_index("Group")
    assert found.loc["Monocyte", "n"] == 44
    assert found.loc["Monocyte", "Patients"] == "not all known"
    assert found.loc["Monocyte", "Source"] == "Laboratory 0; Laboratory 1"


def test_published_tables_stand_beside_and_are_never_pooled(open_page):
    app = open_page(PAGE)
    found = table(app, "n").set_index("Group")
    published = found[found["Patients"] == "generated images"]
    assert published["n"].sum() == 566 + 552
    assert found.loc["Monocyte", "n"] == 44


def test_only_what_can_be_compared_is_offered(open_link):
    app = open_link(Explored(feature=AREA))
    assert "cannot be compared here: the scale of 5 cells is unknown" in read(app.info[0].value)
    assert all(CATALOGUE[name].scale_free for name in _offered(app))
    app = open_link(Explored(feature=AREA, by=By.POPULATION, groups=("monocyte_drawn",)))
    assert not app.info
    assert app.selectbox(key="explorer_feature").value == AREA
    assert len(_offered(app)) == len(for_choosing(CATALOGUE))


def _offered(app):
    labels = {spec.label: name for name, spec in CATALOGUE.items()}
    return [labels[option.partition("  ·")[0]] for option in app.selectbox(key="explorer_feature").options]


def test_groups_are_chosen_by_any_property(open_page):
    app = open_page(PAGE)
    app.selectbox(key="compare-by").set_value(By.SOURCE).run()
    assert set(table(app, "n")["Group"]) >= {f"Laboratory {number}" for number in range(4)}
    app.button_group(key="groups-source").set_value(["Laboratory 0", "Laboratory 2"]).run()
    measured = table(app, "n")
    assert list(measured[measured["Patients"] != "generated images"]["Group"]) == ["Laboratory 0", "Laboratory 2"]
    app.selectbox(key="compare-by").set_value(By.DIAGNOSIS).run()
    assert not app.exception
    app.selectbox(key="compare-by").set_value("saved").run()
    assert "Save two selections" in read(app.info[0].value)


def test_patients_are_compared_by_sizes_too_where_theirs_is_the_only_scale(open_link):
    app = open_link(Explored(feature=AREA, by=By.PATIENT, groups=("p0", "p1")))
    assert not app.info
    assert app.selectbox(key="explorer_feature").value == AREA
    measured = table(app, "n")
    assert measured[measured["Patients"] == "1"]["Group"].tolist() == ["p0", "p1"]


# --- what separates them ----------------------------------------------------------------------------------------------


def test_the_ranking_begins_with_a_sentence_and_a_click_looks_closer(open_link):
    app = open_link(
        Explored(question=Question.SEPARATION, by=By.POPULATION, pair=("monocyte_drawn", "lymphocyte_drawn"))
    )
    assert not app.exception
    headline = next(found.value for found in app.markdown if "delta" in found.value and found.value.startswith("####"))
    assert "Cells of monocyte drawn are " in headline
    assert "n 23 / 22" in headline
    ranked = table(app, "In words")
    for poor in (False, True):
        assert ranked["Effect"][ranked["Feature"].str.endswith("poor") == poor].dropna().is_monotonic_decreasing
    assert ranked["n"].iloc[0] == "23 / 22"
    assert all(ranked["In words"].head().str.contains("cells of monocyte drawn lie"))
    app.toggle(key="ranking_every").set_value(True).run()
    # Of two sources form is compared, in its two parts; what depends on the stain is told with the reason.
    for aspect in (Aspect.FORM, Aspect.STRUCTURE):
        app.button_group(key="ranking_aspect").set_value(aspect).run()
        every = table(app, "In words")
        own = [spec for spec in CATALOGUE.values() if spec.aspect is aspect and not spec.intensity_dependent]
        assert len(every) == len(own)
        for poor in (False, True):
            assert every["Effect"][every["Feature"].str.endswith("poor") == poor].dropna().is_monotonic_decreasing
    assert any(found.label.startswith("Not compared: ") for found in app.expander)
    app.button_group(key="ranking_form").set_value("Chart").run()
    assert not app.exception


def test_of_many_cells_a_sample_ranks_all_features_and_all_cells_those_on_screen(open_link, monkeypatch):
    monkeypatch.setattr(separation, "SAMPLE", 8)
    app = open_link(
        Explored(question=Question.SEPARATION, by=By.POPULATION, pair=("monocyte_drawn", "lymphocyte_drawn"))
    )
    assert not app.exception
    app.toggle(key="ranking_every").set_value(True).run()
    rows = table(app, "In words")
    by_all = rows["By"] == "all cells"
    assert by_all.sum() == 20
    # Beside those on screen the one that the sentence of the other part begins with.
    assert f"{by_all.sum() + 1} features are ranked by all 45 cells" in texts(app)
    assert set(rows["n"][by_all]) == {"23 / 22"}
    assert rows["n"][~by_all].iloc[0] == "8 / 8"
    label = rows["Feature"][~by_all].iloc[0].partition("  ·")[0]
    sampled = next(name for name, spec in CATALOGUE.items() if spec.label == label)
    app = open_link(
        Explored(
            question=Question.SEPARATION,
            by=By.POPULATION,
            pair=("monocyte_drawn", "lymphocyte_drawn"),
            feature=sampled,
        )
    )
    assert any(label in found.value and "n 23 / 22" in found.value for found in app.markdown), "the chosen one is exact"


def test_sides_of_other_sources_are_warned_of(open_link):
    app = open_link(Explored(question=Question.SEPARATION, pair=("lymphocyte", "hcl")))
    assert "may be stain, light, camera or patients" in read(app.warning[0].value)
    both = {
        "one": Selection(patients=("p0", "p1", "p2", "p3")),
        "two": Selection(sources=("Laboratory 1",), patients=("p4", "p5", "p6")),
    }
    app = open_link(Explored(question=Question.SEPARATION, by=None, saved=both))
    assert not app.exception
    assert not app.warning


def test_one_against_the_rest_and_each_with_each(open_link):
    app = open_link(Explored(question=Question.SEPARATION, pair=("lymphocyte", "~others")))
    assert "the other cells" in next(
        found.value for found in app.markdown if "delta" in found.value
    ) or "other cell" in texts(app)
    app = open_link(Explored(question=Question.SEPARATION, pair=("~each",)))
    assert not app.exception
    assert "epsilon squared" in texts(app)
    app.selectbox(key="side-first").set_value("hcl").run()
    assert not app.exception
    assert "n 5 / 44" in texts(app)


def test_saved_selections_are_set_against_each_other_whatever_is_in_view(open_link):
    saved = {"old": Selection(populations=("monocyte_drawn",)), "new": Selection(populations=("monocyte_other",))}
    app = open_link(
        Explored(selection=Selection(cell_types=(CellType.HCL,)), question=Question.SEPARATION, by=None, saved=saved)
    )
    assert not app.exception
    assert "n 23 / 21" in texts(app)


def test_a_small_set_is_found_when_asked_for(open_link):
    app = open_link(
        Explored(question=Question.SEPARATION, by=By.POPULATION, pair=("monocyte_drawn", "lymphocyte_drawn"))
    )
    app.button(key="find_panel").click().run(timeout=120)
    assert not app.exception
    assert "cross-validated AUC" in texts(app).replace("\\", "")


def test_groups_too_small_to_compare_say_so(open_link):
    few = Selection(populations=("hcl_drawn", "lymphocyte_drawn"), patients=("nobody",))
    app = open_link(Explored(selection=few, question=Question.SEPARATION))
    assert not app.exception
    assert "No cell is left to compare" in read(app.info[0].value)


# --- the cohort itself ------------------------------------------------------------------------------------------------


def test_every_population_stands_with_its_counts(open_page):
    app = open_page(PAGE)
    app.session_state["explorer_populations"] = True
    app.run()
    found = table(app, "Good cells").set_index("Population")
    assert found["Good cells"].sum() == 71
    flagged = found[found["Left out"] > 0]
    assert list(flagged["Why"]) == ["border 1"]
    assert "7" in set(found["Patients"])


def test_populations_of_an_older_catalogue_have_no_value(open_page, monkeypatch, tmp_path, drawn_root):
    root = tmp_path / "reference"
    shutil.copytree(drawn_root, root)
    for shard in root.glob("*/*.parquet"):
        older = pq.read_table(shard)
        pq.write_table(older.drop_columns([ELONGATION]), shard)
    monkeypatch.setenv("LEUKOSCOPE_REFERENCE", str(root))
    app = open_page(PAGE)
    app.selectbox(key="explorer_feature").set_value(ELONGATION).run()
    assert not app.exception
    found = table(app, "n")
    assert found[found["Patients"] != "generated images"]["n"].sum() == 0


def test_without_populations_the_page_says_how_to_get_some_and_shows_the_published_tables(
    open_page, monkeypatch, tmp_path, drawn_root
):
    shutil.copy(drawn_root / "published_populations.csv", tmp_path)
    monkeypatch.setenv("LEUKOSCOPE_REFERENCE", str(tmp_path))
    app = open_page(PAGE)
    assert not app.exception
    assert "make cohort" in texts(app)
    assert table(app, "n")["n"].sum() == 566 + 552
    assert len(app.get("vega_lite_chart")) == 1


def test_a_damaged_population_is_named_and_hides_no_other(open_page, monkeypatch, tmp_path, drawn_root):
    root = tmp_path / "reference"
    shutil.copytree(drawn_root, root)
    (root / "hcl_drawn" / "population.json").write_text("{")
    monkeypatch.setenv("LEUKOSCOPE_REFERENCE", str(root))
    app = open_page(PAGE)
    assert not app.exception
    assert "66 cells in view" in texts(app)
    (told,) = [found for found in app.expander if "Set aside" in found.label]
    assert "hcl_drawn" in read(told.markdown[0].value)


def test_a_link_is_short():
    assert len(to_link(Selection(cell_types=(CellType.MONOCYTE,), ranges=(Range(RATIO, 0.2, 0.4),)))) < 200


@pytest.mark.parametrize("page", [PAGE, "pages/1_Single_cell.py"])
def test_what_was_set_aside_is_named_and_the_page_works(open_page, tmp_path, page):
    folder = tmp_path / "cohort" / "broken [x](a.test)"
    folder.mkdir(parents=True)
    (folder / "population.json").write_text("[" * 100_000)
    (tmp_path / "cohort" / "edits.jsonl").write_text('{"when": "\\ud83d"}\n' * 60)
    app = open_page(page)
    assert not app.exception
    (told,) = [found for found in app.expander if "Set aside" in found.label]
    assert told.label == "Set aside: 61 parts of the cohort"
    assert "broken [x](a.test)" in texts(app)
    assert "[x](" not in "".join(found.value for found in told.markdown)
    assert "and 11 more" in texts(app)


# --- between laboratories ---------------------------------------------------------------------------------------------


def test_two_kinds_of_two_laboratories_are_compared_inside_each_first(shipped_cohort, open_link):
    app = open_link(Explored(question=Question.SEPARATION, pair=("monocyte", "lymphocyte")))
    assert not app.exception
    said = texts(app)
    assert "Monocytes are larger than lymphocytes (+0.99 in Hospital Clinic Barcelona" in said
    assert f"{JOHNS_HOPKINS}: 357 monocytes and 632 lymphocytes, 58 and 69 patients." in said
    assert "Tone (Spearman 0.9" in said
    listed = table(app, "Everywhere")
    assert listed["Everywhere"].is_monotonic_decreasing
    app.button_group(key="contrast_aspect").set_value(Aspect.STAIN).run()
    assert not app.exception
    assert len(table(app, "Everywhere")) > 500
    app.button_group(key="contrast_form").set_value("Chart").run()
    assert not app.exception
    # All cells together is one click away, and stays in the address.
    app.button_group(key="separation_where").set_value("All cells together").run()
    assert not app.exception
    assert list(app.query_params["together"]) == ["1"]
    assert "Monocytes have the larger nucleus" in texts(app)
    assert "tone, colour and texture are compared inside each source only" in texts(app)


def test_a_link_with_a_calibration_that_is_not_kept_here_says_that_values_are_as_measured(open_link):
    app = open_link(Explored(calibrations=("no-such",)))
    assert not app.exception
    assert "Not calibrated by no-such" in texts(app)
    assert "Calibrated by" not in texts(app)


def test_how_lists_are_shown_is_a_part_of_the_address(open_page):
    app = open_page()
    app.query_params["show"], app.query_params["list"] = "cells", "cells_order~Farthest out first"
    app.switch_page(PAGE).run()
    assert app.button_group(key="cells_order").value == "Farthest out first"
    app.button_group(key="cells_order").set_value("Most typical first").run()
    assert "list" not in app.query_params


def test_a_calibration_is_made_laid_over_and_told(shipped_cohort, open_link):
    app = open_link(Explored(question=Question.SEPARATION, groups=("apl", "promyelocyte")))
    assert not app.exception
    assert not any(BY_LABEL[name.partition("  ·")[0]].intensity_dependent for name in table(app, "In words")["Feature"])
    app.selectbox(key="calibration_source").set_value("Munich, bone marrow")
    app.selectbox(key="calibration_to").set_value(BARCELONA)
    app.text_input(key="calibration_name").set_value("munich")
    button(app, "Find the shifts").click().run()
    assert "share no kind of cells" in texts(app)
    app.selectbox(key="calibration_source").set_value(JOHNS_HOPKINS)
    app.text_input(key="calibration_name").set_value("jh-to-bcn")
    button(app, "Find the shifts").click().run()
    assert not app.exception
    assert "features close" in app.success[0].value
    app = open_link(Explored(question=Question.SEPARATION, groups=("apl", "promyelocyte"), calibrations=("jh-to-bcn",)))
    assert not app.exception
    said = texts(app)
    assert "left out differ by" in said
    app.button_group(key="ranking_aspect").set_value(Aspect.STAIN).run()
    assert not app.exception
    assert len(table(app, "In words")) > 5
    # Values are as they were measured wherever nobody asked for calibrated ones.
    app.switch_page("pages/1_Single_cell.py").run()
    assert "leukoscope_calibrated" not in app.session_state

import json

from core.features.catalogue import CATALOGUE
from tests.pages.conftest import table, texts

PAGE = "pages/3_Cohort_explorer.py"


def test_every_population_stands_with_its_counts(open_page):
    app = open_page(PAGE)
    found = table(app, "Good cells").set_index("Population")
    assert found["Good cells"].sum() == 71
    flagged = found[found["Left out"] > 0]
    assert list(flagged["Why"]) == ["border 1"]
    assert "7" in set(found["Patients"])


def test_measured_and_published_stand_side_by_side(open_page):
    app = open_page(PAGE)
    kinds = table(app, "Kind").groupby("Kind")["n"].sum()
    assert kinds["measured"] == 71
    assert kinds["published table"] == 566 + 552
    app.selectbox(key="explorer_feature").set_value("nucleus_shape2D_Elongation").run()
    assert CATALOGUE["nucleus_shape2D_Elongation"].description in texts(app)


def test_every_form_draws_and_no_type_says_so(open_page):
    app = open_page(PAGE)
    for form in ("Cumulative", "Every cell", "Histogram"):
        app.button_group(key="explorer_form").set_value(form).run()
        assert not app.exception
        assert json.loads(app.get("vega_lite_chart")[0].proto.spec)
    app.multiselect(key="explorer_types").set_value([]).run()
    assert "Choose at least one" in app.info[0].value


def test_without_measured_populations_the_published_tables_are_there(open_page, monkeypatch, tmp_path, drawn_root):
    (tmp_path / "published_populations.csv").write_bytes((drawn_root / "published_populations.csv").read_bytes())
    monkeypatch.setenv("LEUKOSCOPE_REFERENCE", str(tmp_path))
    app = open_page(PAGE)
    assert not app.exception
    assert "make cohort" in texts(app)
    assert len(app.get("vega_lite_chart")) == 1


def test_a_damaged_population_is_named_and_hides_no_other(open_page, monkeypatch, tmp_path, drawn_root):
    import shutil

    root = tmp_path / "reference"
    shutil.copytree(drawn_root, root)
    (root / "hcl_drawn" / "population.json").write_text("{")
    monkeypatch.setenv("LEUKOSCOPE_REFERENCE", str(root))
    app = open_page(PAGE)
    assert not app.exception
    assert table(app, "Good cells")["Good cells"].sum() == 66
    assert "hcl_drawn" in app.warning[0].value

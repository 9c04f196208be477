import json
import shutil

import pyarrow.parquet as pq

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


def test_what_changes_with_the_pixels_says_so(open_page):
    app = open_page(PAGE)
    app.selectbox(key="explorer_feature").set_value("nucleus_firstorder_Energy").run()
    assert not app.exception
    assert "same µm per pixel" in texts(app)
    assert len(table(app, "Kind")) == 4


def test_populations_of_an_older_catalogue_say_that_they_lack_the_feature(open_page, monkeypatch, tmp_path, drawn_root):
    root = tmp_path / "reference"
    shutil.copytree(drawn_root, root)
    for shard in root.glob("*/*.parquet"):
        older = pq.read_table(shard)
        pq.write_table(older.drop_columns(["nucleus_glcm_Contrast"]), shard)
    monkeypatch.setenv("LEUKOSCOPE_REFERENCE", str(root))
    app = open_page(PAGE)
    app.selectbox(key="explorer_feature").set_value("nucleus_glcm_Contrast").run()
    assert not app.exception
    assert "None of these populations was measured with this feature" in app.info[0].value


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
    root = tmp_path / "reference"
    shutil.copytree(drawn_root, root)
    (root / "hcl_drawn" / "population.json").write_text("{")
    monkeypatch.setenv("LEUKOSCOPE_REFERENCE", str(root))
    app = open_page(PAGE)
    assert not app.exception
    assert table(app, "Good cells")["Good cells"].sum() == 66
    assert "hcl_drawn" in app.warning[0].value

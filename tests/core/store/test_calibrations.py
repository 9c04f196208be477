"""Calibrations as files, and laid over the values of a cohort."""

from dataclasses import replace

import numpy as np
import pytest

from core.domain.errors import StoreError, UsageError
from core.explorer import view
from core.explorer.calibrating import calibrate
from core.explorer.selection import Quality, Selection
from core.features.catalogue import CATALOGUE
from core.store import calibrations, sql_query
from core.store.calibrations import check_together, delete, find, kept, save
from core.store.database import Cohort
from tests.laboratories import BARCELONA, JOHNS_HOPKINS

TONE, LOGGED, RATIO = "cytoplasm_firstorder_Mean", "cell_firstorder_Variance", "combined_PixelSurface"
EVERY = Selection(quality=Quality.ANY)


@pytest.fixture(scope="module")
def shipped(tmp_path_factory):
    with Cohort.open(rows=tmp_path_factory.mktemp("rows")) as cohort:
        yield cohort


@pytest.fixture(scope="module")
def made(shipped):
    return calibrate(shipped, "jh-to-bcn", JOHNS_HOPKINS, BARCELONA)


def test_a_calibration_is_kept_whole_and_found_by_its_name(tmp_path, made):
    save(tmp_path, made)
    assert find(tmp_path, "jh-to-bcn") == made
    assert kept(tmp_path) == ((made,), ())
    assert set(made.made_of) == {
        "apl_deepapl", "monocyte_deepapl", "lymphocyte_deepapl",
        "monocyte_acevedo", "lymphocyte_acevedo", "promyelocyte_acevedo",
    }  # fmt: skip
    with pytest.raises(StoreError, match="no calibration 'other'; there are: jh-to-bcn"):
        find(tmp_path, "other")
    with pytest.raises(StoreError, match="lower-case letters"):
        save(tmp_path, replace(made, name="../elsewhere"))
    delete(tmp_path, "jh-to-bcn")
    assert kept(tmp_path) == ((), ())


@pytest.mark.parametrize("text", ["{", "[]", '{"name": "x"}'])
def test_a_damaged_file_is_set_aside_in_words(tmp_path, made, text):
    save(tmp_path, made)
    (tmp_path / "calibrations" / "bad.json").write_text(text)
    found, problems = kept(tmp_path)
    assert found == (made,)
    assert "bad.json: not a calibration" in str(problems[0])
    with pytest.raises(StoreError, match="make it again"):
        find(tmp_path, "bad")


def test_calibrations_that_contradict_each_other_are_refused(made):
    back = replace(made, name="back", source=BARCELONA, reference=JOHNS_HOPKINS)
    again = replace(made, name="again")
    with pytest.raises(UsageError, match="one reference"):
        check_together([made, back])
    with pytest.raises(UsageError, match="calibrated twice"):
        check_together([made, again])
    check_together([made, replace(made, name="third", source="elsewhere")])


def test_the_view_shifts_the_source_and_nothing_else(shipped, made):
    calibrated = shipped.calibrated([made])
    features = (TONE, LOGGED, RATIO)
    before, after = (_by_id(cohort, features) for cohort in (shipped, calibrated))
    assert before.keys() == after.keys()
    for name, (source, old) in before.items():
        new = after[name][1]
        if source != JOHNS_HOPKINS:
            assert np.array_equal(new, old, equal_nan=True)
            continue
        assert new[0] == pytest.approx(old[0] + made.shifts[TONE].shift, nan_ok=True)
        assert new[1] == pytest.approx(old[1] * np.exp(made.shifts[LOGGED].shift), nan_ok=True)
        assert new[2] == old[2] or np.isnan(old[2])
    assert shipped.calibrations == ()
    assert shipped.revision != calibrated.revision
    assert calibrated.calibrated(()).revision == shipped.revision


def _by_id(cohort, features):
    found = view.values(cohort, EVERY, features)
    return dict(zip(found.cell_id, zip(found.source, found.matrix, strict=True), strict=True))


def test_many_features_of_few_cells_are_shifted_too(shipped, made):
    """They are read row by row from a cache, by another way."""
    calibrated = shipped.calibrated([made])
    many = tuple(dict.fromkeys([*list(CATALOGUE)[:120], TONE, LOGGED]))
    assert len(many) > view._MOST_COLUMNS
    rows, columns = (_by_id(calibrated, wanted) for wanted in (many, (TONE, LOGGED)))
    places = [many.index(name) for name in (TONE, LOGGED)]
    for name, (_, values) in columns.items():
        assert rows[name][1][places] == pytest.approx(values, nan_ok=True)


def test_sql_and_tables_say_that_they_are_calibrated(shipped, made):
    calibrated = shipped.calibrated([made])
    asked = f"SELECT source, calibrated_by, median({TONE}) AS tone FROM cells WHERE quality_ok GROUP BY ALL"
    tables = [sql_query.run(cohort, asked).table.set_index("source") for cohort in (shipped, calibrated)]
    assert tables[0]["calibrated_by"].isna().all()
    assert tables[1]["calibrated_by"].dropna().to_dict() == {JOHNS_HOPKINS: "jh-to-bcn"}
    moved = tables[1]["tone"] - tables[0]["tone"]
    assert moved[JOHNS_HOPKINS] == pytest.approx(made.shifts[TONE].shift)
    assert (moved.drop(JOHNS_HOPKINS) == 0).all()
    table = view.table(calibrated, Selection(sources=(JOHNS_HOPKINS,)), ["cell_id", "calibrated_by", TONE], limit=3)
    assert table["calibrated_by"].tolist() == ["jh-to-bcn"] * 3
    assert calibrations.SHIFTS in calibrated.changes().relations

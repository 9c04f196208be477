import hashlib
from dataclasses import replace

import numpy as np
import pytest

from core.corrections.deciding import Decision, decide, history
from core.corrections.opening import open_stored, rings_of
from core.domain.types import LabelMap
from core.explorer.cells import cells as stored_cells
from core.explorer.cells import decided, decided_features, features_of
from core.explorer.selection import NOT_LOOKED_AT, Quality, Selection
from core.explorer.view import counts, facets
from core.features.catalogue import CATALOGUE
from core.pipeline import remeasured
from core.store import edits, queries, sql_query
from core.store.database import Cohort
from core.store.outline_log import OutlineStatus, without_ring
from core.store.overlay import corrected_rows, judged
from core.store.schema import OUTLINE_COLUMNS, cell_row, cohort_schema
from core.store.shards import write_population
from tests.core.store.conftest import make_population
from tests.populations import analysed

ACCEPTED, CORRECTED, REJECTED, UNSURE, TAKEN_BACK = OutlineStatus


@pytest.fixture(scope="module")
def measured():
    return [analysed("lymphocyte", seed) for seed in (5, 6, 7)]


@pytest.fixture
def roots(root, tmp_path, measured):
    """A shipped population of three cells, and an empty root of the user's own."""
    shipped = tmp_path / "reference"
    rows = [cell_row(cell, make_population(), outlines=rings_of(cell)) for cell in measured]
    rows[2] |= {"quality_flags": ["doubtful_outline"], "severe_flags": ["doubtful_outline"], "quality_ok": False}
    write_population(shipped, make_population(), [rows], shipped=True)
    return [shipped, root]


@pytest.fixture
def cohort(roots, tmp_path):
    with Cohort.open(roots, tmp_path / "rows") as opened:
        yield opened


@pytest.fixture
def ids(cohort, measured) -> list[str]:
    """In the order of `measured`."""
    return [f"mono:{cell.image.sha256[:16]}:0" for cell in measured]


@pytest.fixture
def deciding(roots, cohort, ids, measured, segmenter):
    """To be called with a cell's number and a status; a correction cuts off the upper part."""

    def on(number: int, status: OutlineStatus, who: str = "A"):
        (row,) = cohort.as_drawn(edits=False).cell_rows("cell_id = $id", {"id": ids[number]})
        opened = open_stored(row, measured[number].image, cell_id=ids[number])
        past = history(roots[1], opened)
        corrected = None
        if status is CORRECTED:
            labels = without_ring(opened.analysis.segmentation.labels).copy()
            labels[: np.flatnonzero(labels.any(axis=1))[0] + 15] = 0
            corrected = remeasured(opened.analysis, LabelMap(labels), segmenter)
        said = Decision(status, who, past[-1].id if past else None, corrected, reasons=("pale",))
        return decide(roots[1], opened, said), corrected

    return on


def everything(cohort) -> list[dict]:
    return cohort.query("SELECT * FROM cells ORDER BY cell_id").to_dict("records")


def plain(rows: list[dict]) -> str:
    return repr([{name: np.asarray(value, dtype=object).tolist() for name, value in row.items()} for row in rows])


def files_of(folder) -> dict[str, str]:
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()}


def test_r34_a_corrected_cell_of_the_shipped_cohort_counts_with_its_new_values_and_no_file_changes(
    cohort, ids, roots, deciding
):
    before = files_of(roots[0])
    _, corrected = deciding(0, CORRECTED)
    (row,) = cohort.query("SELECT * FROM cells WHERE cell_id = $id", {"id": ids[0]}).to_dict("records")
    assert {name: row[name] for name in CATALOGUE if row[name] == row[name]} == {
        name: value for name, value in corrected.features.values.items() if value is not None
    }
    assert (row["outline_by"], row["outline_status"], row["outline_who"], row["outline_why"]) == (
        "person",
        "corrected",
        "A",
        "pale",
    )
    assert np.isnan(row["confidence"])
    assert row["model_confidence"] == 0.97
    assert len(row["model_cell_outline"]) == 1
    assert (row["cell_type"], row["population"]) == ("monocyte", "mono")
    assert files_of(roots[0]) == before
    (info,) = queries.populations(cohort)
    assert (info.n, info.corrected) == (3, 1)


def test_r10_taken_back_the_cell_is_as_the_model_drew_it_to_the_bit(cohort, deciding):
    before = plain(everything(cohort))
    deciding(0, CORRECTED)
    assert plain(everything(cohort)) != before
    assert plain(everything(cohort.as_drawn())) == before
    deciding(0, TAKEN_BACK)
    assert plain(everything(cohort)) == before


def test_columns_that_are_kept_in_memory_give_the_same_as_the_files(cohort, ids, deciding):
    names = [name for name in cohort_schema().names if name not in (*OUTLINE_COLUMNS, "absent", "versions")]
    deciding(0, CORRECTED)
    deciding(1, REJECTED)
    deciding(2, ACCEPTED)
    listed = ", ".join(f'"{name}"' for name in names)
    sql = f"SELECT {listed} FROM cells ORDER BY cell_id"
    assert plain(cohort.query(sql, columns=names).to_dict("records")) == plain(cohort.query(sql).to_dict("records"))


def test_rows_by_cell_are_the_corrected_ones(cohort, ids, deciding):
    _, corrected = deciding(1, CORRECTED)
    names = ["cell_shape2D_PixelSurface", "nucleus_firstorder_Mean"]
    found = cohort.features_of(ids, names)
    assert found[1].tolist() == [corrected.features.values[name] for name in names]
    assert (found[0] == cohort.as_drawn().features_of(ids, names)[0]).all()


@pytest.mark.parametrize(
    ("number", "status", "good", "flags"),
    [
        (2, ACCEPTED, True, []),
        (0, ACCEPTED, True, []),
        (0, REJECTED, False, ["outline_rejected"]),
        (0, UNSURE, True, ["outline_unsure"]),
        (2, UNSURE, False, ["doubtful_outline", "outline_unsure"]),
    ],
)
def test_a_decision_changes_flags_and_what_counts(cohort, ids, deciding, number, status, good, flags):
    deciding(number, status)
    (row,) = cohort.query("SELECT * FROM cells WHERE cell_id = $id", {"id": ids[number]}).to_dict("records")
    assert (row["quality_ok"], list(row["quality_flags"]), row["outline_status"]) == (good, flags, status)
    assert row["outline_by"] is None


@pytest.mark.parametrize("status", [ACCEPTED, UNSURE, REJECTED])
def test_a_corrected_outline_stays_when_somebody_else_decides_on_it(cohort, ids, deciding, roots, status):
    verdict, corrected = deciding(0, CORRECTED)
    later, _ = deciding(0, status, "B")
    assert (later.drawn_in, later.mask_sha256) == (verdict.id, verdict.mask_sha256)
    (row,) = cohort.query("SELECT * FROM cells WHERE cell_id = $id", {"id": ids[0]}).to_dict("records")
    area = "cell_shape2D_PixelSurface"
    assert row[area] == corrected.features.values[area]
    assert (row["outline_by"], row["outline_status"], row["outline_who"]) == ("person", status, "B")
    assert not cohort.problems
    deciding(0, TAKEN_BACK)
    (row,) = cohort.query("SELECT * FROM cells WHERE cell_id = $id", {"id": ids[0]}).to_dict("records")
    assert (row["outline_by"], row[area]) != ("person", corrected.features.values[area])


def test_edits_of_fields_lie_over_corrections(cohort, ids, deciding):
    deciding(0, CORRECTED)
    edits.exclude(cohort, ids[:1], "double", who="B")
    edits.annotate(cohort, ids[:1], "see here", who="B")
    (row,) = cohort.query("SELECT * FROM cells WHERE cell_id = $id", {"id": ids[0]}).to_dict("records")
    assert (row["note"], row["excluded_reason"], row["quality_ok"], row["outline_by"]) == (
        "see here",
        "double",
        False,
        "person",
    )
    assert list(row["severe_flags"]).count("excluded") == 1


def test_sql_of_a_person_sees_the_same(cohort, ids, deciding):
    deciding(0, CORRECTED)
    deciding(1, REJECTED)
    asked = "SELECT cell_id, outline_by, outline_status, quality_ok, cell_shape2D_PixelSurface FROM cells ORDER BY 1"
    answer = sql_query.run(cohort, asked).table
    assert plain(answer.to_dict("records")) == plain(cohort.query(asked).to_dict("records"))
    assert set(answer["outline_status"].dropna()) == {"corrected", "rejected"}


def test_cells_are_chosen_by_what_people_decided_of_their_outlines(cohort, deciding):
    deciding(0, CORRECTED)
    deciding(1, ACCEPTED)
    everyone = Selection(quality=Quality.ANY)

    def cells(*outlines: str) -> int:
        return counts(cohort, replace(everyone, outlines=outlines)).cells

    assert [cells("corrected"), cells("accepted", "corrected"), cells("rejected"), cells(NOT_LOOKED_AT)] == [1, 2, 0, 1]
    offered = {facet.value: facet.cells for facet in facets(cohort, everyone)["outlines"]}
    assert offered == {"accepted": 1, "corrected": 1, NOT_LOOKED_AT: 1}
    assert counts(cohort.as_drawn(), replace(everyone, outlines=(NOT_LOOKED_AT,))).cells == 3


def test_every_decision_changes_the_revision_but_not_that_of_what_the_model_drew(cohort, deciding):
    drawn, seen = cohort.as_drawn().revision, {cohort.revision}
    for status in (ACCEPTED, CORRECTED, TAKEN_BACK):
        deciding(0, status)
        seen.add(cohort.revision)
    assert len(seen) == 4
    assert cohort.as_drawn().revision == drawn


def test_a_cell_that_is_gone_does_not_come_back_by_its_correction(cohort, roots, deciding):
    deciding(0, CORRECTED)
    for shard in (roots[0] / "mono").glob("cells-*.parquet"):
        shard.unlink()
    assert everything(cohort) == []


def test_python_and_sql_say_the_same_of_a_decided_cell(cohort, ids, deciding, roots):
    deciding(0, CORRECTED)
    deciding(1, REJECTED)
    deciding(2, ACCEPTED)
    edits.exclude(cohort, ids[:1], "double", who="B")
    by_sql = stored_cells(cohort, ids)
    in_python = decided(cohort, stored_cells(cohort.as_drawn(), ids))
    for one, other in zip(by_sql, in_python, strict=True):
        assert (one.flags, one.severe_flags, one.quality_ok, one.outline_status, one.outline_who, one.certainty) == (
            other.flags,
            other.severe_flags,
            other.quality_ok,
            other.outline_status,
            other.outline_who,
            other.certainty,
        )
        assert one.drawing == other.drawing
    assert decided_features(cohort, ids[0]).values == features_of(cohort, ids[0]).values
    assert decided_features(cohort, ids[1]) is None


def test_rows_in_python_get_the_flags_that_sql_gives(cohort, ids, deciding, roots):
    verdict, _ = deciding(0, CORRECTED)
    row = judged(corrected_rows(roots[1], {verdict.id})[verdict.id], verdict)
    (found,) = cohort.cell_rows("cell_id = $id", {"id": ids[0]})
    for name in ("quality_flags", "severe_flags", "quality_ok", "outline_status", "outline_who", "outline_when"):
        assert row[name] == found[name]


def test_a_damaged_row_is_left_out_and_the_model_counts(cohort, ids, deciding, roots):
    deciding(0, CORRECTED)
    path = roots[1] / "corrections" / "rows.jsonl"
    path.write_bytes(path.read_bytes()[:-200] + b"\n")
    (roots[1] / "corrections" / "outlines.jsonl").touch()
    (row,) = cohort.query("SELECT * FROM cells WHERE cell_id = $id", {"id": ids[0]}).to_dict("records")
    assert (row["outline_by"], row["outline_status"]) == (None, "corrected")
    assert f"the measurements of the corrected cell {ids[0]} are damaged" in str(cohort.problems[-1])

import json
import os
import time

import numpy as np
import pytest

from core.domain.cell_types import CellType
from core.domain.errors import StoreError
from core.explorer import order
from core.explorer.order import (
    Columns,
    IndexBuild,
    OrderIndex,
    build_index,
    find_index,
    index_path,
    sort_values,
    take,
    write_index,
)
from core.explorer.selection import value_sql
from core.features.catalogue import CATALOGUE
from core.store.database import Cohort
from core.store.edits import exclude
from core.store.shards import append_cells, write_population
from tests.core.explorer.conftest import LYMPHO, spread_rows
from tests.core.store.conftest import AREA, make_population

NAN = np.nan
MATRIX = np.column_stack(
    [
        [3.0, 1.0, 2.0, 5.0, 4.0, 0.5, 7.0, 6.0, 9.0],
        [1.0, 1.0, NAN, 2.0, 2.0, 2.0, 0.0, NAN, -0.0],
        [NAN] * 9,
        [4.0] * 9,
    ]
)
FEATURES = ("distinct", "tied", "absent", "constant")


@pytest.fixture
def changing(tmp_path_factory):
    """A cohort that a test may change, and its root."""
    root = tmp_path_factory.mktemp("cohort")
    population = make_population(LYMPHO, cell_type=CellType.LYMPHOCYTE, um_per_px=0.1)
    write_population(root, population, [spread_rows(population, 50, np.random.default_rng(3))])
    with Cohort.open([root]) as cohort:
        yield cohort, root


def written(tmp_path, matrix=MATRIX, features=FEATURES):
    path = tmp_path / "order-test.bin"
    write_index(path, np.arange(len(matrix), dtype=np.uint64) * 7, features, iter(matrix.T))
    return OrderIndex.open(path)


def test_absent_cells_are_left_out_and_equal_values_are_told():
    rows, first = sort_values(MATRIX[:, 1])
    assert MATRIX[rows, 1].tolist() == [0, 0, 1, 1, 2, 2, 2]
    assert first.tolist() == [True, False, True, False, True, False, False]
    assert sort_values(MATRIX[:, 0])[1] is None


@pytest.mark.parametrize("n", [0, 1, order.PIECE, order.PIECE + 1, 2 * order.PIECE + 3])
def test_piece_by_piece_is_the_same(n):
    rng = np.random.default_rng(n)
    table, places = rng.integers(0, 100, 1000).astype(np.uint8), rng.integers(0, 1000, n).astype(np.uint32)
    np.testing.assert_array_equal(take(table, places), table[places])


@pytest.mark.parametrize("feature", FEATURES)
def test_the_file_lines_cells_up_as_sorting_does(tmp_path, feature):
    index, columns = written(tmp_path), Columns(MATRIX, FEATURES)
    labels = np.arange(9, dtype=np.uint8)
    found, expected = index.line_up(feature, labels), columns.line_up(feature, labels)
    np.testing.assert_array_equal(found.labels, expected.labels)
    np.testing.assert_array_equal(found.first, expected.first)
    assert found.values is None
    np.testing.assert_array_equal(expected.values, MATRIX[expected.labels, FEATURES.index(feature)])
    assert (index.n, index.features) == (columns.n, columns.features)


def test_more_cells_than_a_piece(tmp_path):
    rng = np.random.default_rng(0)
    matrix = rng.integers(0, 50_000, (2 * order.PIECE + 11, 2)).astype(float)
    matrix[rng.random(matrix.shape) < 0.1] = NAN
    index, columns = written(tmp_path, matrix, ("a", "b")), Columns(matrix, ("a", "b"))
    labels = rng.integers(0, 300, len(matrix)).astype(np.uint16)
    for feature in ("b", "a"):
        found, expected = index.line_up(feature, labels), columns.line_up(feature, labels)
        np.testing.assert_array_equal(found.labels, expected.labels)
        np.testing.assert_array_equal(found.first, expected.first)


def test_rows_are_found_whatever_order_the_cells_come_in(tmp_path):
    index = written(tmp_path)
    assert index.rows_of(index.hashes) == slice(None)
    np.testing.assert_array_equal(index.rows_of(np.array([14, 0, 56], dtype=np.uint64)), [2, 0, 8])
    assert len(index.rows_of(np.empty(0, np.uint64))) == 0
    with pytest.raises(StoreError, match="build the index again"):
        index.rows_of(np.array([14, 15], dtype=np.uint64))


@pytest.mark.parametrize("damage", ["missing", "empty", "short", "footer", "length"])
def test_a_damaged_file_is_refused(tmp_path, damage):
    path = written(tmp_path).path
    whole = path.read_bytes()
    if damage == "missing":
        path.unlink()
    elif damage == "length":
        path.write_bytes(whole[:-8] + (10**15).to_bytes(8, "little"))
    else:
        path.write_bytes({"empty": b"", "short": whole[8:], "footer": whole.replace(b'"n"', b'"m"')}[damage])
    with pytest.raises(StoreError, match="build it again"):
        OrderIndex.open(path)


def test_a_file_that_goes_away_says_so(tmp_path):
    index = written(tmp_path)
    index.path.unlink()
    with pytest.raises(StoreError, match="the cohort has changed"):
        index.line_up("tied", np.zeros(9, np.int8))


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="LEUKOSCOPE_CACHE"):
        write_index(tmp_path / "file" / "order-x.bin", np.empty(0, np.uint64), [], iter(()))


def test_the_order_of_a_cohort_is_that_of_its_values(small, tmp_path):
    told = []
    index = build_index(small, tmp_path, lambda done, total: told.append((done, total)))
    assert told == [(done, len(CATALOGUE)) for done in range(1, len(CATALOGUE) + 1)]
    assert index.features == tuple(CATALOGUE)
    found = small.query(
        f"SELECT hash(cell_id) AS hash, {value_sql(CATALOGUE[AREA])} AS v FROM cells ORDER BY v NULLS LAST"
    )
    present = int(found["v"].notna().sum())
    assert 0 < present < index.n == len(found)  # one population has no scale
    line = index.line_up(AREA, np.arange(index.n))
    np.testing.assert_array_equal(index.hashes[line.labels], found["hash"].to_numpy(dtype=np.uint64)[:present])
    assert find_index(small, tmp_path).path == index.path


def test_another_state_of_the_cohort_has_another_index_and_the_old_one_goes(changing, tmp_path):
    cohort, root = changing
    assert find_index(cohort, tmp_path) is None
    old = build_index(cohort, tmp_path)
    append_cells(root, LYMPHO, spread_rows(make_population(LYMPHO), 60, np.random.default_rng(8))[50:])
    assert find_index(cohort, tmp_path) is None
    new = build_index(cohort, tmp_path)
    assert new.n == old.n + 10
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == [new.path.name]


def test_what_readers_change_moves_no_value(changing, tmp_path):
    cohort, _ = changing
    before = index_path(cohort, tmp_path)
    cell = str(cohort.query("SELECT cell_id FROM cells LIMIT 1")["cell_id"].iloc[0])
    exclude(cohort, [cell], "torn", who="reader")
    assert index_path(cohort, tmp_path) == before


def test_a_cohort_that_changes_meanwhile_is_not_indexed(changing, tmp_path, monkeypatch):
    cohort, root = changing
    monkeypatch.setattr(order, "_AT_ONCE", 200 * 50)

    def change(done, total):
        if done == 1:
            append_cells(root, LYMPHO, spread_rows(make_population(LYMPHO), 60, np.random.default_rng(8))[50:])

    with pytest.raises(StoreError, match="changed while"):
        build_index(cohort, tmp_path / "cache", change)
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_build_in_the_background_ends_with_an_index(small, tmp_path):
    build = IndexBuild(small, tmp_path)
    build.wait()
    assert (build.running, build.error, build.done) == (False, None, build.total)
    assert build.index.n == 135


def test_a_cancelled_build_leaves_nothing_behind(small, tmp_path):
    build = IndexBuild(small, tmp_path)
    build.cancel()
    build.wait()
    assert (build.index, build.error) == (None, None)
    assert list(tmp_path.iterdir()) == []


def test_a_build_that_fails_says_why(small, tmp_path):
    (tmp_path / "file").write_text("")
    build = IndexBuild(small, tmp_path / "file")
    build.wait()
    assert "LEUKOSCOPE_CACHE" in str(build.error)


def test_what_a_killed_build_left_is_removed_but_not_what_another_is_writing(tmp_path):
    left, busy = tmp_path / ".order-a.bin-1", tmp_path / ".order-b.bin-2"
    for path in (left, busy):
        path.write_bytes(b"")
    os.utime(left, (time.time() - 7200,) * 2)
    written(tmp_path)
    assert not left.exists()
    assert busy.exists()


def test_the_footer_is_what_the_module_says(tmp_path):
    whole = written(tmp_path).path.read_bytes()
    length = int.from_bytes(whole[-8:], "little")
    assert json.loads(whole[-8 - length : -8]) == {
        "n": 9,
        "features": {"distinct": [9, False], "tied": [7, True], "absent": [0, False], "constant": [9, True]},
    }

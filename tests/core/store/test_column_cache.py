import threading

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.store.column_cache import UNKEPT, ColumnCache
from core.store.database import Cohort
from core.store.schema import cohort_schema
from core.store.shards import append_cells, delete_population, scan, write_population
from tests.core.store.conftest import AREA, RATIO, make_population, make_rows

NAMES = ["cell_id", "cell_type", "patient_id", "note", "severe_flags", AREA]


@pytest.fixture
def shards(root):
    population = make_population()
    write_population(
        root, population, [make_rows(population, [1, None]), make_rows(population, [3], start=2, patient="p1")]
    )
    return scan([root]).populations["mono"].shards


def as_read(shards, names):
    there = [name for name in names if name != "note"]
    read = pa.concat_tables([pq.read_table(shard, columns=there) for shard in shards])
    return {name: read[name].to_pylist() if name in there else [None] * len(read) for name in names}


def test_columns_are_those_of_the_files_in_their_order(shards):
    cache = ColumnCache()
    for _ in range(2):
        assert cache.table(shards, NAMES).to_pydict() == as_read(shards, NAMES)
    assert cache.table(shards[::-1], NAMES).to_pydict() == as_read(shards[::-1], NAMES)


def test_a_column_is_read_once(shards, monkeypatch):
    cache = ColumnCache()
    cache.table(shards, [AREA, "source"])
    monkeypatch.setattr(pq, "ParquetFile", None)
    assert cache.table(shards, ["source", AREA]).num_rows == 3
    with pytest.raises(TypeError):
        cache.table(shards, [RATIO])


def test_a_file_that_has_changed_is_read_again(shards):
    cache = ColumnCache()
    cache.table(shards, [AREA])
    pq.write_table(pq.read_table(shards[0]).slice(0, 1), shards[0])
    assert cache.table(shards, [AREA]).to_pydict() == as_read(shards, [AREA])


def test_what_was_asked_for_longest_ago_goes_first(shards, monkeypatch):
    one = ColumnCache().table(shards, [AREA])
    cache = ColumnCache(budget=5 * one.nbytes // 2)
    cache.table(shards, [AREA])
    cache.table(shards, [RATIO])
    cache.table(shards, [AREA])
    cache.table(shards, ["um_per_px"])
    monkeypatch.setattr(pq, "ParquetFile", None)
    assert cache.table(shards, [AREA]).num_rows == 3
    with pytest.raises(TypeError):
        cache.table(shards, [RATIO])


def test_what_is_long_or_too_much_is_not_kept(shards):
    cache = ColumnCache(request=8 * 3 * 2)
    assert cache.table(shards, [AREA, RATIO]) is not None
    assert cache.table(shards, [AREA, RATIO, "source"]) is None
    assert all(cache.table(shards, [name]) is None for name in UNKEPT)
    assert ColumnCache().table([], [AREA]) is None


def test_a_missing_or_damaged_file_is_told(shards):
    cache = ColumnCache()
    cache.table(shards, [AREA])
    shards[0].write_bytes(b"no shard")
    with pytest.raises(pa.ArrowException):
        cache.table(shards, [AREA])
    shards[0].unlink()
    with pytest.raises(FileNotFoundError):
        cache.table(shards, [AREA])


def test_threads_share_it(shards):
    cache = ColumnCache(budget=100)
    found = []

    def ask():
        found.extend(
            cache.table(shards, [AREA, name]).to_pydict() == as_read(shards, [AREA, name])
            for name in ("source", RATIO) * 10
        )

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 80


@pytest.mark.parametrize(
    ("sql", "columns"),
    [
        ("SELECT count(*) AS n FROM cells", ["population"]),
        (
            f'SELECT cell_id, "{AREA}" * um_per_px ** 2 AS area FROM cells ORDER BY cell_id',
            ["cell_id", AREA, "um_per_px"],
        ),
        (
            "SELECT cell_type, patient_id, note, count(*) AS n FROM cells GROUP BY ALL ORDER BY ALL",
            ["cell_type", "patient_id", "note"],
        ),
        ("SELECT Cell_ID FROM cells WHERE quality_ok ORDER BY CELL_ID", ["cell_id", "quality_ok"]),
        ("SELECT unnest(quality_flags) AS flag FROM cells", ["quality_flags"]),
        (
            "SELECT created, cell_index, other_cells FROM cells ORDER BY cell_index",
            ["created", "cell_index", "other_cells"],
        ),
        ("SELECT cell_id, absent FROM cells ORDER BY cell_id", ["cell_id", "absent"]),
        ("SELECT * FROM cells ORDER BY cell_id", cohort_schema().names),
    ],
)
def test_a_query_that_names_its_columns_says_the_same_as_one_that_reads_the_files(root, shards, sql, columns):
    with Cohort.open([root]) as cohort:
        kept, read = cohort.query(sql, columns=columns), cohort.query(sql)
    assert kept.columns.tolist() == read.columns.tolist()
    assert kept.dtypes.tolist() == read.dtypes.tolist()
    for name in kept:
        assert pa.array(kept[name], from_pandas=True).to_pylist() == pa.array(read[name], from_pandas=True).to_pylist()


def test_columns_that_are_named_are_read_once(root, shards, monkeypatch):
    sql = f'SELECT "{AREA}" FROM cells'
    with Cohort.open([root]) as cohort:
        first = cohort.query(sql, columns=[AREA])
        monkeypatch.setattr(pq, "ParquetFile", None)
        assert cohort.query(sql, columns=[AREA]).equals(first)
        with pytest.raises(TypeError):
            cohort.query(f'SELECT "{RATIO}" FROM cells', columns=[RATIO])


def test_a_column_that_is_spoken_of_but_not_named_is_told(root, shards):
    with Cohort.open([root]) as cohort, pytest.raises(duckdb.BinderException, match=RATIO):
        cohort.query(f'SELECT "{RATIO}" FROM cells', columns=[AREA])


def test_a_population_that_comes_and_goes_is_seen(root, shards):
    other = make_population("other")
    count = "SELECT population, count(*) AS n FROM cells GROUP BY ALL ORDER BY ALL"
    with Cohort.open([root]) as cohort:
        assert cohort.query(count, columns=["population"]).to_numpy().tolist() == [["mono", 3]]
        write_population(root, other, [make_rows(other, [1])])
        append_cells(root, "mono", make_rows(make_population(), [5], start=9))
        assert cohort.query(count, columns=["population"]).to_numpy().tolist() == [["mono", 4], ["other", 1]]
        delete_population(root, "mono")
        assert cohort.query(count, columns=["population"]).to_numpy().tolist() == [["other", 1]]


def test_every_column_has_a_type(shards):
    schema = cohort_schema()
    kept = [name for name in schema.names if name not in UNKEPT]
    table = ColumnCache().table(shards, kept)
    for name in kept:
        kind = table.schema.field(name).type
        assert (kind.value_type if pa.types.is_dictionary(kind) else kind) == schema.field(name).type

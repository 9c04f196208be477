import os
import subprocess
import sys
import textwrap
import threading
import time

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.domain.errors import StoreError
from core.domain.flags import raised
from core.domain.settings import ROOT
from core.store.database import Cohort, query_shards
from core.store.queries import cells, populations, values
from core.store.schema import cohort_schema
from core.store.shards import append_cells, scan, write_parquet, write_population
from tests.core.store.conftest import AREA, RATIO, make_population, make_rows

BLURRED = raised("blurred")


@pytest.fixture
def cohort(root):
    population = make_population()
    write_population(root, population, [make_rows(population, [1, 2, 3])])
    with Cohort.open([root]) as opened:
        yield opened


def test_missing_and_empty_roots_are_an_empty_cohort(root, tmp_path):
    with Cohort.open([root, tmp_path / "nowhere"]) as cohort:
        assert cohort.populations() == ()
        assert cohort.problems == ()
        assert cohort.query("SELECT * FROM cells").columns.tolist() == cohort_schema().names
        with pytest.raises(StoreError, match="there are: none"):
            cells(cohort, "mono")


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_csv('{outside}')",
        "SELECT * FROM read_text('{outside}')",
        "SELECT * FROM read_text('{root}/../secret.csv')",
        "SELECT * FROM glob('{folder}/*')",
        "COPY (SELECT 1) TO '{folder}/out.csv'",
        "ATTACH '{folder}/other.db'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET enable_external_access = true",
        "SET allowed_directories = ['/']",
        "RESET lock_configuration",
    ],
)
def test_the_database_reaches_nothing_outside_the_roots(cohort, root, tmp_path, sql):
    (tmp_path / "secret.csv").write_text("name\nanna\n", encoding="utf-8")
    statement = sql.format(outside=tmp_path / "secret.csv", folder=tmp_path, root=root)
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(duckdb.Error):
        cohort._connection.cursor().execute(statement).fetchall()
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_values_are_parameters_and_names_are_checked(cohort):
    found = cohort.query("SELECT cell_id FROM cells WHERE image_path = $name", {"name": "x' OR '1'='1"})
    assert found.empty
    for name in ['"; DROP TABLE every_column; --', "no_such_column", "count(*)"]:
        with pytest.raises(StoreError, match="no columns"):
            cells(cohort, "mono", [name])


def test_older_shards_lack_columns_and_younger_ones_have_more(cohort, root):
    population = make_population()
    append_cells(root, "mono", make_rows(population, [4], start=3))
    newer, older = sorted(scan([root]).populations["mono"].shards, key=lambda shard: pq.read_metadata(shard).num_rows)
    table = pq.read_table(older)
    pq.write_table(table.drop_columns([RATIO, "provider"]), older)
    pq.write_table(pq.read_table(newer).append_column("nucleus_future_Feature", [[9.0]]), newer)
    frame = cells(cohort, "mono")
    assert frame.columns.tolist() == cohort_schema().names
    lacking = table.num_rows
    assert frame[RATIO].isna().sum() == lacking
    assert frame["provider"].isna().sum() == lacking
    assert frame[AREA].tolist() == [1, 2, 3, 4]


def test_a_column_that_no_shard_has_is_all_null(cohort, root):
    (shard,) = scan([root]).populations["mono"].shards
    pq.write_table(pq.read_table(shard).drop_columns([RATIO]), shard)
    assert values(cohort, "mono", [RATIO])[RATIO].isna().all()


@pytest.mark.parametrize("damage", ["cut", "overwritten", "empty", "text"])
def test_a_damaged_shard_is_named_and_hides_no_other_population(cohort, root, damage):
    other = make_population("other")
    write_population(root, other, [make_rows(other, [7])])
    (shard,) = scan([root]).populations["other"].shards
    content = shard.read_bytes()
    shard.write_bytes(
        {
            "cut": content[: len(content) // 2],
            "overwritten": content[:4] + b"\xff" * (len(content) // 2) + content[4 + len(content) // 2 :],
            "empty": b"",
            "text": b"this is no shard",
        }[damage]
    )
    with pytest.raises(StoreError, match=shard.name):
        cells(cohort, "other")
    assert values(cohort, "mono", [AREA])[AREA].tolist() == [1, 2, 3]
    mono, broken = populations(cohort)
    assert (mono.n, mono.problem) == (3, None)
    assert broken.problem is not None
    assert shard.name in broken.problem


def test_a_damaged_description_hides_no_other_population(cohort, root):
    other = make_population("other")
    write_population(root, other, [make_rows(other, [7])])
    (root / "other" / "population.json").write_bytes(b"\xff\xfe{")
    assert [stored.population.population_id for stored in cohort.populations()] == ["mono"]
    (problem,) = cohort.problems
    assert "other" in str(problem)
    with pytest.raises(StoreError, match=r"population\.json"):
        cells(cohort, "other")


def test_threads_read_whole_shards_while_another_writes_and_replaces(cohort, root):
    """Every reading sees a whole number of shards of four cells; none fails."""
    stop, failures, readings = threading.Event(), [], []
    population = make_population("busy")
    write_population(root, population, [make_rows(population, [1.0] * 4)])

    def read():
        try:
            while not stop.is_set():
                readings.append(len(values(cohort, "busy", [AREA])))
        except Exception as error:  # noqa: BLE001  (handed to the main thread)
            failures.append(error)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for number in range(1, 17):
        append_cells(root, "busy", make_rows(population, [1.0] * 4, start=4 * number))
        if number % 3 == 0:
            write_population(root, population, [make_rows(population, [1.0] * 4)], replace=True)
    stop.set()
    for reader in readers:
        reader.join()
    assert failures == []
    assert len(readings) > 2
    assert all(count and count % 4 == 0 for count in readings)


def test_another_process_may_write_while_this_one_reads(cohort, root):
    script = textwrap.dedent("""
        import sys
        from pathlib import Path
        from core.store.shards import append_cells
        from tests.core.store.conftest import make_population, make_rows

        for number in range(5):
            append_cells(Path(sys.argv[1]), "mono", make_rows(make_population(), [1.0], start=3 + number))
        """)
    seen = {cohort.revision}
    writer = subprocess.Popen([sys.executable, "-c", script, str(root)], cwd=ROOT, env=dict(os.environ))
    counts = []
    while writer.poll() is None:
        counts.append(len(cells(cohort, "mono", ["cell_id"])))
        seen.add(cohort.revision)
        time.sleep(0.01)
    assert writer.returncode == 0
    counts.append(len(cells(cohort, "mono", ["cell_id"])))
    assert counts == sorted(counts)
    assert (counts[0], counts[-1]) == (3, 8)
    assert len(seen) > 1


@pytest.mark.parametrize("name", ["it's mine", "a [1] b", "Zellen für Ä", "50%"])
def test_roots_with_unusual_names_work(tmp_path, name, monkeypatch):
    monkeypatch.setenv("LEUKOSCOPE_REFERENCE", str(tmp_path / "reference"))
    population = make_population()
    write_population(tmp_path / name, population, [make_rows(population, [1, 2])])
    with Cohort.open([tmp_path / name]) as cohort:
        assert values(cohort, "mono", [AREA])[AREA].tolist() == [1, 2]


def test_a_copy_beside_a_folder_whose_name_looks_like_a_pattern_is_not_read(tmp_path):
    for name, area in (("cells [1]", 1.0), ("cells 1", 2.0)):
        (tmp_path / name).mkdir()
        write_parquet(tmp_path / name / "cells.parquet", pa.table({"image_path": ["a.png"], AREA: [area]}))
    shards = [tmp_path / "cells [1]" / "cells.parquet"]
    assert query_shards(shards, f'SELECT "{AREA}" FROM cells')[AREA].tolist() == [1]
    gone = pa.table({"filename": [str(shards[0])], "image_path": ["a.png"]})
    assert query_shards(shards, f'SELECT "{AREA}" FROM cells', superseded=gone).empty


@pytest.mark.parametrize("columns", [(), ("cell_id", "quality_flags")], ids=["from the files", "kept in memory"])
def test_shards_of_before_0_2_0_read_under_the_present_names(root, columns):
    population = make_population()
    write_population(root, population, [make_rows(population, [1, 2], flags=(BLURRED,))])
    append_cells(root, population.population_id, make_rows(population, [3], start=2, flags=(BLURRED,)))
    shards = scan([root]).populations[population.population_id].shards
    first = max(shards, key=lambda shard: pq.read_metadata(shard).num_rows)
    old = pq.read_table(first)
    metadata = old.schema.metadata
    old = old.rename_columns(["flags" if name == "quality_flags" else name for name in old.column_names])
    pq.write_table(old.replace_schema_metadata(metadata), first)
    with Cohort.open([root]) as cohort:
        found = cohort.query("SELECT cell_id, quality_flags FROM cells ORDER BY cell_id", columns=columns)
        assert [list(codes) for codes in found["quality_flags"]] == [["blurred"]] * 3
        assert "flags" not in cohort.query("SELECT * FROM cells")
    frame = query_shards([first], "SELECT quality_flags FROM cells")
    assert [list(codes) for codes in frame["quality_flags"]] == [["blurred"]] * 2

import os
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.domain.errors import StoreError
from core.features.catalogue import CATALOGUE
from core.store import row_cache as module
from core.store.database import Cohort
from core.store.row_cache import RowCache
from core.store.shards import append_cells, delete_population, scan, write_population
from tests.core.store.conftest import AREA, RATIO, make_population, make_rows

NAMES = [RATIO, AREA, "cell_glcm_Contrast"]


@pytest.fixture
def shards(root):
    population = make_population()
    write_population(root, population, [make_rows(population, [1, None, 3]), make_rows(population, [4, 5], start=3)])
    return scan([root]).populations["mono"].shards


def as_stored(shards, names):
    table = pa.concat_tables([pq.read_table(shard, columns=names) for shard in shards]).select(names)
    return np.column_stack([table[name].to_numpy() for name in names])


@pytest.mark.parametrize("chosen", [[], [0], [1, 4], [0, 1, 2, 3, 4]])
@pytest.mark.parametrize("batch", [2, 8192])
def test_rows_are_those_of_the_shards(shards, tmp_path, chosen, batch, monkeypatch):
    monkeypatch.setattr(module, "_BATCH", batch)
    cache = RowCache(tmp_path / "cache")
    for names in (NAMES, list(CATALOGUE), NAMES):
        found = cache.read(shards, np.array(chosen, dtype=np.intp), names)
        np.testing.assert_array_equal(found, as_stored(shards, names)[chosen])
    assert len(list((tmp_path / "cache").iterdir())) == len(shards)


def test_a_feature_that_an_older_shard_lacks_is_absent(shards, tmp_path):
    for shard in shards:
        pq.write_table(pq.read_table(shard).drop_columns([RATIO]), shard)
    found = RowCache(tmp_path).read(shards, np.arange(5), [RATIO, AREA])
    assert np.isnan(found[:, 0]).all()
    np.testing.assert_array_equal(found[:, 1:], as_stored(shards, [AREA]))


def test_a_changed_shard_gets_another_file(shards, tmp_path):
    cache = RowCache(tmp_path)
    cache.read(shards, np.arange(5), NAMES)
    pq.write_table(pq.read_table(shards[0]).slice(1), shards[0])
    np.testing.assert_array_equal(cache.read(shards, np.arange(4), NAMES), as_stored(shards, NAMES))


def test_a_damaged_shard_leaves_nothing_behind(shards, tmp_path):
    content = shards[0].read_bytes()
    shards[0].write_bytes(content[:4] + b"\xff" * (len(content) // 2) + content[4 + len(content) // 2 :])
    with pytest.raises((OSError, pa.ArrowException)):
        RowCache(tmp_path / "cache").read(shards[:1], np.arange(1), NAMES)
    assert list((tmp_path / "cache").glob("*")) == []


def test_a_cache_that_cannot_be_written_costs_time_only(shards, tmp_path, caplog):
    whole = RowCache(tmp_path / "cache").read(shards, np.arange(1), NAMES)
    (tmp_path / "file").write_text("a file")
    cache = RowCache(tmp_path / "file")
    for _ in range(2):
        np.testing.assert_array_equal(cache.read(shards, np.arange(1), NAMES), whole)
    assert "LEUKOSCOPE_CACHE" in caplog.text
    assert len(caplog.records) == len(shards)  # said once, tried once


def test_a_full_disk_leaves_no_part_of_a_cache(shards, tmp_path, full_disk, caplog):
    cache, wanted = RowCache(tmp_path / "cache"), RowCache(tmp_path / "other").read(shards, np.arange(1), NAMES)
    np.testing.assert_array_equal(cache.read(shards, np.arange(1), NAMES), wanted)
    (made,) = [path for path in (tmp_path / "cache").iterdir() if path.stat().st_size][:1]
    made.unlink()
    full_disk(made.name)
    np.testing.assert_array_equal(cache.read(shards, np.arange(1), NAMES), wanted)
    assert not made.exists()
    assert "No space left" in caplog.text


def test_a_cache_that_a_power_cut_shortened_is_made_again(shards, tmp_path):
    folder = tmp_path / "cache"
    wanted = RowCache(folder).read(shards, np.arange(1), NAMES)
    for made in folder.iterdir():
        os.truncate(made, 100)
    np.testing.assert_array_equal(RowCache(folder).read(shards, np.arange(1), NAMES), wanted)


def test_what_nobody_has_read_for_a_month_goes(shards, tmp_path):
    cache = RowCache(tmp_path)
    cache.read(shards[:1], np.arange(1), NAMES)
    (old,) = tmp_path.glob("rows-*")
    month_ago = time.time() - 31 * 24 * 3600
    os.utime(old, (month_ago, month_ago))
    cache.read(shards[1:], np.arange(1), NAMES)
    assert not old.exists()
    cache.read(shards, np.arange(1), NAMES)
    assert old.exists()


def test_features_of_cells_come_in_the_order_asked_for(root, shards, tmp_path):
    with Cohort.open([root], tmp_path / "cache") as cohort:
        frame = cohort.query(f'SELECT cell_id, "{AREA}" AS area FROM cells').iloc[[3, 0, 2, 1]]
        found = cohort.features_of(frame["cell_id"].tolist(), [RATIO, AREA])
        np.testing.assert_array_equal(found[:, 1], frame["area"].to_numpy())
        assert cohort.features_of([], [AREA]).shape == (0, 1)
        with pytest.raises(StoreError, match="changed"):
            cohort.features_of(["mono:nobody:0"], [AREA])
        append_cells(root, "mono", make_rows(make_population(), [9], start=9))
        (new,) = cohort.query(f'SELECT cell_id FROM cells WHERE "{AREA}" = 9')["cell_id"]
        assert cohort.features_of([new], [AREA]).tolist() == [[9.0]]
        delete_population(root, "mono")
        with pytest.raises(StoreError, match="changed"):
            cohort.features_of([new], [AREA])


def test_without_a_folder_there_are_no_rows(root, shards):
    with Cohort.open([root]) as cohort:
        assert not cohort.keeps_rows
        with pytest.raises(StoreError, match="without a cache"):
            cohort.features_of([], [AREA])


def test_a_damaged_shard_is_named(root, shards, tmp_path):
    with Cohort.open([root], tmp_path / "cache") as cohort:
        cells = cohort.query("SELECT cell_id FROM cells")["cell_id"].tolist()
        content = shards[0].read_bytes()
        shards[0].write_bytes(content[: len(content) // 2])
        with pytest.raises(StoreError, match=shards[0].name):
            cohort.features_of(cells, [AREA])

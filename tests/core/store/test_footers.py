import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.features.catalogue import CATALOGUE
from core.store import queries
from core.store.database import Cohort
from core.store.footers import open_shard
from core.store.shards import write_population
from tests.core.store.conftest import AREA, RATIO, make_population, make_rows


@pytest.fixture
def footers_read(monkeypatch):
    """The files whose description was read, in order."""
    read, opened = pq.read_metadata, []

    def counted(path, *args, **kwargs):
        opened.append(path)
        return read(path, *args, **kwargs)

    monkeypatch.setattr(pq, "read_metadata", counted)
    return opened


def test_many_questions_read_the_description_of_a_shard_once(root, footers_read):
    population = make_population()
    write_population(root, population, [make_rows(population, [1, 2]), make_rows(population, [3], start=2)])
    with Cohort.open([root], root / "cache") as cohort:
        queries.populations(cohort)
        for name in (AREA, RATIO, *list(CATALOGUE)[:5]):
            assert len(queries.values(cohort, "mono", [name])) == 3
        reference = queries.reference(cohort, "mono")
        cohort.features_of(list(reference.members["cell_id"]), [AREA])
    assert len(footers_read) == len(set(footers_read)) == 2


def test_a_file_that_has_changed_is_described_anew(tmp_path, footers_read):
    path = tmp_path / "cells.parquet"
    for values in ([1.0], [1.0, 2.0, 3.0]):
        pq.write_table(pa.table({"a": values}), path)
        for _ in range(2):
            with open_shard(path) as opened:
                assert opened.read()["a"].to_pylist() == values
    assert len(footers_read) == 2


def test_what_is_gone_or_none_says_so(tmp_path):
    with pytest.raises(FileNotFoundError):
        open_shard(tmp_path / "gone.parquet")
    (tmp_path / "text.parquet").write_bytes(b"no Parquet at all")
    with pytest.raises(pa.ArrowInvalid):
        open_shard(tmp_path / "text.parquet")

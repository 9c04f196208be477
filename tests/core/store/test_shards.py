import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from core.domain.errors import StoreError
from core.domain.settings import ROOT
from core.store import shards
from core.store.database import Cohort
from core.store.queries import cells, values
from core.store.shards import append_cells, delete_population, scan, write_population
from tests.core.store.conftest import AREA, make_population, make_rows


def areas(root: Path, population_id: str = "mono") -> list[float]:
    with Cohort.open([root]) as cohort:
        return values(cohort, population_id, [AREA])[AREA].tolist()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*"))


def test_what_is_written_can_be_read_and_added_to(root):
    population = make_population()
    assert write_population(root, population, [make_rows(population, [1, 2]), make_rows(population, [3], start=2)]) == 3
    assert append_cells(root, "mono", make_rows(population, [4], start=3)) == 1
    assert areas(root) == [1, 2, 3, 4]
    assert len(scan([root]).populations["mono"].shards) == 3


def test_a_cell_that_is_there_already_is_left_out(root):
    population = make_population()
    rows = make_rows(population, [1, 2])
    assert write_population(root, population, [rows, rows]) == 2
    assert append_cells(root, "mono", [*rows, *make_rows(population, [3], start=2)]) == 1
    assert append_cells(root, "mono", rows) == 0
    assert areas(root) == [1, 2, 3]


def test_a_taken_id_needs_replace_and_replace_leaves_nothing_behind(root):
    population = make_population()
    write_population(root, population, [make_rows(population, [1])])
    with pytest.raises(StoreError, match="already"):
        write_population(root, population, [make_rows(population, [2])])
    write_population(root, population, [make_rows(population, [5, 6])], replace=True)
    assert areas(root) == [5, 6]
    assert [path.name for path in root.iterdir()] == ["mono"]


def test_cells_added_to_a_population_that_is_replaced_meanwhile_are_not_lost_silently(root, monkeypatch):
    population = make_population()
    write_population(root, population, [make_rows(population, [1])])
    write = shards.write_parquet

    def replace_first(path, table):
        monkeypatch.setattr(shards, "write_parquet", write)
        write_population(root, population, [make_rows(population, [5])], replace=True)
        write(path, table)

    monkeypatch.setattr(shards, "write_parquet", replace_first)
    with pytest.raises(StoreError, match="add them again"):
        append_cells(root, "mono", make_rows(population, [2], start=1))
    assert areas(root) == [5]
    assert len(names(root / "mono")) == 2


def test_deleting_removes_all_files(root):
    population = make_population()
    write_population(root, population, [make_rows(population, [1])])
    delete_population(root, "mono")
    assert list(root.iterdir()) == []
    with pytest.raises(StoreError, match="there are: none"):
        delete_population(root, "mono")


@pytest.mark.parametrize("trick", ["..", "../cohort", "a/b", "/", "."])
def test_path_tricks_delete_nothing(root, trick):
    (root / "kept").mkdir()
    with pytest.raises(StoreError):
        delete_population(root, trick)
    with pytest.raises(StoreError):
        append_cells(root, trick, [])
    assert (root / "kept").is_dir()


def test_the_shipped_root_is_written_only_on_purpose(root, tmp_path):
    reference, population = tmp_path / "reference", make_population()
    rows = make_rows(population, [1])
    with pytest.raises(StoreError, match="shipped"):
        write_population(reference, population, [rows])
    assert not reference.exists()
    write_population(reference, population, [rows], shipped=True)
    for refused in (lambda: append_cells(reference, "mono", rows), lambda: delete_population(reference, "mono")):
        with pytest.raises(StoreError, match="shipped"):
            refused()
    assert areas(reference) == [1]


def test_rows_of_another_population_are_refused_and_nothing_appears(root):
    with pytest.raises(StoreError, match="other"):
        write_population(root, make_population(), [make_rows(make_population("other"), [1])])
    assert list(root.iterdir()) == []


def test_a_failing_source_leaves_the_old_population_untouched(root):
    population = make_population()
    write_population(root, population, [make_rows(population, [1])])

    def batches():
        yield make_rows(population, [2])
        raise RuntimeError("the batch stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        write_population(root, population, batches(), replace=True)
    assert areas(root) == [1]
    assert [path.name for path in root.iterdir()] == ["mono"]


@pytest.mark.parametrize(("action", "sync"), [("append", 1), ("replace", 1), ("replace", 3)])
def test_a_writer_killed_before_the_rename_changes_nothing_visible(root, action, sync):
    """A process is killed when the bytes of a shard (1) or the description (3) are on disk and their name is not."""
    population = make_population()
    write_population(root, population, [make_rows(population, [1])])
    script = textwrap.dedent("""
        import os, signal, sys
        from pathlib import Path
        from core.store.shards import append_cells, write_population
        from tests.core.store.conftest import make_population, make_rows

        root, action, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
        really, calls = os.fsync, []

        def sync_and_die(descriptor):
            really(descriptor)
            calls.append(descriptor)
            if len(calls) == count:
                os.kill(os.getpid(), signal.SIGKILL)

        os.fsync = sync_and_die
        rows = make_rows(make_population(), [2.0], start=1)
        if action == "append":
            append_cells(root, "mono", rows)
        else:
            write_population(root, make_population(), [rows], replace=True)
        """)
    command = [sys.executable, "-c", script, str(root), action, str(sync)]
    done = subprocess.run(command, cwd=ROOT, env=dict(os.environ), check=False, timeout=120)
    assert done.returncode == -signal.SIGKILL
    half_way = ".population.json-" if sync == 3 else ".cells-"
    assert any(name.startswith(half_way) for name in names(root / "mono"))
    assert areas(root) == [1]
    append_cells(root, "mono", make_rows(population, [2], start=1))
    assert areas(root) == [1, 2]


def test_shards_are_zstd_and_carry_their_units(root):
    population = make_population()
    write_population(root, population, [make_rows(population, [1])])
    file = pq.ParquetFile(scan([root]).populations["mono"].shards[0])
    assert file.metadata.row_group(0).column(0).compression == "ZSTD"
    assert file.schema_arrow.field(AREA).metadata[b"unit"].decode() == "px²"
    assert b"leukoscope_schema_version" in file.schema_arrow.metadata


def test_a_full_disk_is_told_in_words(root, monkeypatch):
    population = make_population()
    write_population(root, population, [make_rows(population, [1])])

    def no_space(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(StoreError, match="No space left"):
        append_cells(root, "mono", make_rows(population, [2], start=1))
    assert names(root / "mono")[-1] == "population.json"
    assert len(names(root / "mono")) == 2


def test_the_first_root_wins_and_the_clash_is_told(root, tmp_path):
    population, second = make_population(), tmp_path / "second"
    write_population(root, population, [make_rows(population, [1])])
    write_population(second, population, [make_rows(population, [2])])
    with Cohort.open([root, second]) as cohort:
        assert cells(cohort, "mono", [AREA])[AREA].tolist() == [1]
        (problem,) = cohort.problems
        assert "taken" in str(problem)


def test_a_folder_under_another_name_is_a_problem(root):
    population = make_population()
    write_population(root, population, [make_rows(population, [1])])
    (root / "mono").rename(root / "renamed")
    found = scan([root])
    assert found.populations == {}
    assert "'mono'" in str(found.problems[root / "renamed"])


def test_the_revision_changes_with_every_change_and_only_then(root):
    population = make_population()
    revisions = [scan([root]).revision]
    write_population(root, population, [make_rows(population, [1])])
    revisions.append(scan([root]).revision)
    assert scan([root]).revision == revisions[-1]
    append_cells(root, "mono", make_rows(population, [2], start=1))
    revisions.append(scan([root]).revision)
    write_population(root, make_population(title="Another title"), [make_rows(population, [1])], replace=True)
    revisions.append(scan([root]).revision)
    assert len(set(revisions)) == 4

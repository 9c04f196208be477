"""One bad file stays one bad file: each kind of damage is set aside and named, and the rest of the cohort works."""

import os
import shutil
import struct

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.domain.errors import StoreError
from core.store import shard_check
from core.store.database import Cohort
from core.store.queries import cells, populations, values
from core.store.shards import append_cells, scan, write_population
from tests.core.store.conftest import AREA, RATIO, make_population, make_rows, overwrite


@pytest.fixture
def shard(root):
    """One of two shards of a population, three cells each; the other stays as it is."""
    population = make_population()
    write_population(root, population, [make_rows(population, [1, 2, 3])])
    first = scan([root]).populations["mono"].shards
    append_cells(root, "mono", make_rows(population, [4, 5, 6], start=3))
    (second,) = set(scan([root]).populations["mono"].shards) - set(first)
    return second


def rewritten(shard, change):
    pq.write_table(change(pq.read_table(shard)), shard)


def with_column(name, values, kind=None):
    def change(table):
        return table.set_column(table.schema.get_field_index(name), name, pa.array(values, kind))

    return change


def half(shard):
    content = shard.read_bytes()
    shard.write_bytes(content[: len(content) // 2])


def linked(shard):
    shutil.move(shard, shard.parents[2] / "elsewhere.parquet")
    shard.symlink_to(shard.parents[2] / "elsewhere.parquet")


def nowhere(shard):
    shard.unlink()
    shard.symlink_to(shard.parent / "gone.parquet")


def pipe(shard):
    shard.unlink()
    os.mkfifo(shard)


def folder(shard):
    shard.unlink()
    shard.mkdir()


def device(shard):
    shard.unlink()
    shard.symlink_to("/dev/zero")


def broken_text(shard):
    """A text of bytes that are no UTF-8: half a character, as CESU writes it."""
    kind = pa.string()
    bytes_of = [b"mono:a:0", b"mono:\xed\xa0\x80:1", b"mono:b:2"]
    offsets = struct.pack("<4i", 0, 8, 18, 26)
    array = pa.Array.from_buffers(kind, 3, [None, pa.py_buffer(offsets), pa.py_buffer(b"".join(bytes_of)[:26])])
    rewritten(shard, lambda table: table.set_column(table.schema.get_field_index("cell_id"), "cell_id", array))


DAMAGE = {
    "cut": (half, "is damaged"),
    "text": (lambda shard: shard.write_text("not Parquet"), "is damaged"),
    "empty": (lambda shard: shard.write_bytes(b""), "is damaged"),
    "a link that leads out": (linked, "a link that leads out"),
    "a link to nowhere": (nowhere, "a link that leads out"),
    "a device": (device, "a link that leads out"),
    "a pipe": (pipe, "no regular file"),
    "a folder": (folder, "no regular file"),
    "other columns": (lambda shard: pq.write_table(pa.table({"a": [1]}), shard), "no column cell_id, population"),
    "text for a number": (
        lambda shard: rewritten(shard, with_column(AREA, ["a", "b", "c"])),
        f"{AREA} (string where double belongs)",
    ),
    "a number for text": (
        lambda shard: rewritten(shard, with_column("patient_id", [1, 2, 3])),
        "patient_id (int64 where string belongs)",
    ),
    "lists for flags": (
        lambda shard: rewritten(shard, with_column("quality_flags", ["blurred"] * 3)),
        "quality_flags (string where",
    ),
    "another population": (
        lambda shard: rewritten(shard, with_column("population", ["mono", "other", "mono"])),
        "holds cells of 'other', but lies in the folder of 'mono'",
    ),
    "no population": (
        lambda shard: rewritten(shard, with_column("population", [None] * 3, pa.string())),
        "holds cells of nothing",
    ),
    "no cell type": (
        lambda shard: rewritten(shard, with_column("cell_type", ["monocyte", "monocytes", "monocyte"])),
        "cell types that are none: 'monocytes'",
    ),
    "a cell twice": (
        lambda shard: rewritten(shard, with_column("cell_id", ["mono:a:0", "mono:a:0", "mono:a:1"])),
        "holds 1 cells twice, as 'mono:a:0'",
    ),
    "strange ids": (
        lambda shard: rewritten(shard, with_column("cell_id", ["mono:a:0", "b", None], pa.string())),
        "does not begin with 'mono:'",
    ),
    "half a character": (broken_text, "is damaged"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_bad_shard_is_set_aside_and_the_rest_works(shard, root, tmp_path, kind):
    damage, words = DAMAGE[kind]
    with Cohort.open([root], tmp_path / "cache") as cohort:
        before = cohort.revision
        damage(shard)
        assert values(cohort, "mono", [AREA])[AREA].tolist() == [1, 2, 3]
        assert len(cohort.query("SELECT * FROM cells")) == 3
        ids = cells(cohort, "mono")["cell_id"].tolist()
        assert cohort.features_of(ids, [AREA])[:, 0].tolist() == [1, 2, 3]
        (problem,) = cohort.problems
        assert str(shard) in str(problem)
        assert words in str(problem)
        (info,) = populations(cohort)
        assert (info.n, info.problem, info.set_aside) == (3, None, (str(problem),))
        assert cohort.revision != before
        # Cells can still be added, those of the bad shard again, too.
        assert append_cells(root, "mono", make_rows(make_population(), [4, 7], start=5)) == 2
        assert len(cells(cohort, "mono")) == 5


def test_a_shard_that_is_repaired_counts_again(shard, root):
    content = shard.read_bytes()
    with Cohort.open([root]) as cohort:
        half(shard)
        assert len(cohort.problems) == 1
        shard.write_bytes(content)
        assert cohort.problems == ()
        assert len(cells(cohort, "mono")) == 6


def test_of_a_copy_the_older_file_stays(shard, root):
    copy = shard.with_name(shard.name.replace(".parquet", " (copy).parquet"))
    shutil.copy(shard, copy)
    os.utime(copy, (shard.stat().st_mtime + 5,) * 2)
    with Cohort.open([root]) as cohort:
        assert len(cells(cohort, "mono")) == 6
        (problem,) = cohort.problems
    assert f"{copy} holds cells that are in {shard.name} already" in str(problem)


def test_damage_deep_in_a_file_is_found_when_it_is_read(shard, root):
    overwrite(shard, AREA)
    with Cohort.open([root]) as cohort:
        assert cohort.problems == ()  # nobody has looked that deep
        before = cohort.revision
        assert values(cohort, "mono", [AREA])[AREA].tolist() == [1, 2, 3]
        (problem,) = cohort.problems
        assert "is damaged" in str(problem)
        assert cohort.revision != before


@pytest.mark.parametrize("kind", [pa.float32(), pa.int64(), pa.uint8(), pa.decimal128(5, 1), pa.null()])
def test_other_kinds_of_numbers_stand_for_numbers(shard, root, kind):
    wanted = [None] * 3 if kind == pa.null() else [4, 5, 6]
    rewritten(shard, with_column(AREA, wanted, kind))
    with Cohort.open([root]) as cohort:
        assert cohort.problems == ()
        found = [None if value != value else value for value in values(cohort, "mono", [AREA])[AREA]]
        assert found == [1, 2, 3, *wanted]
        sums = cohort.query(f'SELECT sum("{AREA}") AS area FROM cells')["area"]
        assert float(sums[0]) == (6 if kind == pa.null() else 21)


@pytest.mark.parametrize("kind", [pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
def test_other_kinds_of_text_stand_for_text(shard, root, kind):
    rewritten(shard, lambda table: table.set_column(0, "cell_id", table["cell_id"].cast(kind)))
    with Cohort.open([root]) as cohort:
        assert cohort.problems == ()
        assert cells(cohort, "mono")["cell_id"].nunique() == 6


def test_a_population_without_a_sound_shard_is_named_and_hides_no_other(shard, root):
    for each in shard.parent.glob("*.parquet"):
        half(each)
    other = make_population("other")
    write_population(root, other, [make_rows(other, [7])])
    with Cohort.open([root]) as cohort:
        assert len(cohort.problems) == 2
        mono, good = populations(cohort)
        assert (mono.n, good.n) == (0, 1)
        assert "is damaged" in mono.problem
        with pytest.raises(StoreError, match="is damaged"):
            cells(cohort, "mono")
        assert len(cohort.query("SELECT * FROM cells")) == 1


def pipe_description(folder):
    (folder / "population.json").unlink()
    os.mkfifo(folder / "population.json")


def folder_elsewhere(folder):
    shutil.move(folder, folder.parents[1] / "elsewhere")
    folder.symlink_to(folder.parents[1] / "elsewhere")


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "population.json").write_text("[" * 100_000),
        lambda folder: (folder / "population.json").write_text(
            '{"schema_version": 1, "title": ' + "[" * 900 + "]" * 900
        ),
        lambda folder: (folder / "population.json").write_text('{"schema_version": 1}'),
        lambda folder: (folder / "population.json").write_text("[1]"),
        lambda folder: (folder / "population.json").write_bytes(b"\xff\xfe\x00"),
        lambda folder: (folder / "population.json").write_text(
            (folder / "population.json").read_text().replace("Monocytes of a test", "half \\ud83d")
        ),
        pipe_description,
        folder_elsewhere,
    ],
    ids=["100,000 brackets", "900 brackets", "nothing in it", "a list", "no text", "half a character", "pipe", "link"],
)
def test_a_damaged_description_sets_one_population_aside(shard, root, damage):
    other = make_population("other")
    write_population(root, other, [make_rows(other, [7])])
    with Cohort.open([root]) as cohort:
        damage(root / "mono")
        assert [info.population.population_id for info in populations(cohort)] == ["other"]
        assert len(cohort.query("SELECT * FROM cells")) == 1
        (problem,) = cohort.problems
        assert "mono" in str(problem)
        str(problem).encode()


def test_a_shard_is_looked_at_once(shard, root, monkeypatch):
    opened = []
    parquet = pq.ParquetFile
    monkeypatch.setattr(shard_check.pq, "ParquetFile", lambda path, **how: opened.append(path) or parquet(path, **how))
    for _ in range(3):
        scan([root])
    assert len(opened) == len(set(opened)) <= 2


def test_ids_of_a_former_catalogue_still_read(shard, root):
    rewritten(shard, lambda table: table.drop_columns([RATIO, "provider"]))
    with Cohort.open([root]) as cohort:
        assert cohort.problems == ()
        assert len(cells(cohort, "mono")) == 6

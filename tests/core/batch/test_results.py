"""The folder of a run.

What a shard accounts for is believed, the newest record of an image holds, and nothing else counts.
"""

import csv
import hashlib
import io
import json
import os
import uuid
from dataclasses import replace
from datetime import UTC, datetime

import pyarrow.parquet as pq
import pytest

from core.batch.results import Counts, Index, Record, Run, RunFolder, cells_schema, failures_of, new_run
from core.batch.settings import BatchSettings, State
from core.batch.tasks import ImageResult, Stage, Stamp
from core.domain.errors import StoreError, UsageError
from core.features.catalogue import CATALOGUE
from core.store.schema import OUTLINE_COLUMNS

KEY = "a" * 64
WHEN = datetime(2026, 11, 23, 5, 30, tzinfo=UTC)
RUN = Run(KEY, BatchSettings("Größe", um_per_px=0.1), "model-1", "b" * 64, {"numpy": "2"}, WHEN)
FEATURE = next(iter(CATALOGUE))


def measured(path, cells=1, *, value=1.0, flagged=False, sha256="c" * 64, stamp=None, files=()):
    """The result of an image whose cells all have one value."""
    rows = [
        {
            "image_path": path,
            "image_sha256": sha256,
            "cell_index": index,
            "confidence": 0.9 - index / 10,
            "quality_ok": not flagged,
            "created": WHEN,
            FEATURE: value,
        }
        for index in range(cells)
    ]
    return ImageResult(path, sha256, stamp or Stamp(len(path), "today"), rows, dict(files))


def failed(path, stage=Stage.DECODE, reason="no image", sha256="d" * 64):
    return ImageResult(path, sha256, Stamp(len(path), "today"), stage=stage, reason=reason)


@pytest.fixture(params=["disk", "bucket"])
def out(request, tmp_path):
    return str(tmp_path / "out") if request.param == "disk" else f"memory://{uuid.uuid4().hex}"


@pytest.fixture
def disk(tmp_path):
    """Where one with files of its own is needed."""
    with RunFolder(str(tmp_path / "out")) as folder:
        yield folder


def records(folder, key=KEY):
    return [record for _, record in folder.records(folder.shards(key))]


def table(folder, name):
    return list(csv.DictReader(io.StringIO(folder.storage.read(name).decode(), newline="")))


# --- records ----------------------------------------------------------------------------------------------------------


def test_what_was_saved_is_read_back_by_whoever_opens_the_folder_next(out):
    results = [
        measured("b/Größe, 1.png", cells=2),
        measured("a.png", flagged=True, stamp=Stamp(7, "2026")),
        failed("=1+1.png", reason='"quoted",\nin two lines'),
        ImageResult("gone.png", stage=Stage.READ, reason="No such file"),
    ]
    with RunFolder(out) as folder:
        told = folder.save(results[:3], KEY) + folder.save(results[3:], KEY)
    with RunFolder(out) as folder:
        assert records(folder) == told == [Record.of(result) for result in results]
        assert [number for number, _ in folder.records(folder.shards(KEY))] == [0, 0, 0, 1]
    first, second, third, fourth = told
    assert (first.cells, first.flagged, first.confidence, first.stage) == (2, False, 0.8, None)
    assert (second.flagged, second.stamp) == (True, Stamp(7, "2026"))
    assert (third.stage, third.reason, third.confidence) == (Stage.DECODE, '"quoted",\nin two lines', None)
    assert (fourth.sha256, fourth.stamp) == (None, None)


def test_rows_stand_in_the_shard_with_every_column(disk):
    disk.save([measured("a.png", cells=2, value=2.5), failed("b.png")], KEY)
    (shard,) = (disk.storage.root / "cells").iterdir()
    rows = pq.read_table(shard)
    assert rows.schema.names == cells_schema().names
    assert rows.select(["image_path", "cell_index", FEATURE]).to_pylist() == [
        {"image_path": "a.png", "cell_index": index, FEATURE: 2.5} for index in (0, 1)
    ]
    assert set(CATALOGUE) < set(rows.schema.names)


def test_shards_are_read_in_the_order_of_writing_whatever_their_names_and_clocks_say(out, monkeypatch):
    with RunFolder(out) as folder:
        folder.save([measured("a.png")], KEY, "z.parquet")
        folder.save([measured("b.png")], KEY, "m.parquet")
        assert folder.shards(KEY) == ["z.parquet", "m.parquet"]
    monkeypatch.setattr("time.time_ns", lambda: 1)  # set back since
    with RunFolder(out) as folder:
        folder.shards(KEY)
        folder.save([measured("c.png")], KEY, "a.parquet")
        assert folder.shards(KEY) == ["z.parquet", "m.parquet", "a.parquet"]


def test_a_shard_of_the_same_name_overwrites(out):
    with RunFolder(out) as folder:
        folder.save([failed("a.png")], KEY, "chunk.parquet")
        folder.save([measured("a.png")], KEY, "chunk.parquet")
        assert [record.stage for record in records(folder)] == [None]


def test_shards_of_another_run_are_passed_over(out):
    with RunFolder(out) as folder:
        folder.save([measured("a.png")], "other")
        folder.save([measured("b.png")], KEY)
        assert [record.image_path for record in records(folder)] == ["b.png"]
        assert [record.image_path for record in records(folder, "other")] == ["a.png"]


@pytest.mark.parametrize(
    "damage", [lambda content: content[:-20], lambda content: content[:0], lambda content: bytes(len(content))]
)
def test_a_damaged_shard_is_set_aside_unless_nothing_is_to_be_written(damage, out):
    with RunFolder(out) as folder:
        folder.save([measured("a.png")], KEY, "good.parquet")
        folder.save([measured("b.png")], KEY, "bad.parquet")
        content = folder.storage.read("cells/bad.parquet")
        folder.storage.write("cells/bad.parquet", damage(content))
        assert folder.shards(KEY, set_aside=False) == ["good.parquet"]
        assert folder.storage.names("cells") == ["bad.parquet", "good.parquet"]
        assert folder.shards(KEY) == ["good.parquet"]
        assert (folder.storage.names("cells"), folder.storage.names("damaged")) == (["good.parquet"], ["bad.parquet"])
        assert folder.storage.read("damaged/bad.parquet") == damage(content)


def test_a_parquet_file_without_records_is_no_shard(disk):
    disk.save([measured("a.png")], KEY, "good.parquet")
    path = disk.storage.root / "cells" / "other.parquet"
    pq.write_table(cells_schema().empty_table(), path)
    assert [record.image_path for record in records(disk)] == ["a.png"]
    assert not path.exists()


def test_what_is_half_written_is_never_read_and_gone_when_the_folder_is_opened_again(tmp_path):
    with RunFolder(str(tmp_path)) as folder:
        folder.save([measured("a.png")], KEY, "good.parquet")
        content = folder.storage.read("cells/good.parquet")
        for half in (tmp_path / ".unfinished" / "0123", tmp_path / "cells" / ".bad.parquet.part"):
            half.write_bytes(content[:100])
        assert [record.image_path for record in records(folder)] == ["a.png"]
    with RunFolder(str(tmp_path)) as folder:
        assert not (tmp_path / ".unfinished").exists()
        folder.save([measured("b.png")], KEY)
        assert [record.image_path for record in records(folder)] == ["a.png", "b.png"]


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may read everything")
def test_a_shard_that_may_not_be_read_is_told_and_not_done_again(disk):
    disk.save([measured("a.png")], KEY, "closed.parquet")
    path = disk.storage.root / "cells" / "closed.parquet"
    path.chmod(0)
    with pytest.raises(
        StoreError, match=r"closed\.parquet cannot be read \(Permission denied\); check the permissions"
    ):
        disk.shards(KEY)
    assert path.exists()


def test_a_name_that_no_file_can_have_fails_its_image_alone(disk):
    long = f"{'n' * 252}.png"
    results = [
        measured("a/b.png", files={"masks/a/b.png.png": b"mask"}),
        measured(long, files={f"masks/{long}.png": b"mask"}),
    ]
    good, bad = disk.save(results, KEY)
    assert (good.stage, disk.storage.read("masks/a/b.png.png")) == (None, b"mask")
    assert (bad.stage, bad.cells, bad.sha256, bad.stamp) == (Stage.WRITE, 0, "c" * 64, results[1].stamp)
    assert "its results cannot be written under its name (File name too long" in bad.reason
    assert bad.reason.endswith("rename the image")
    (shard,) = (disk.storage.root / "cells").iterdir()
    assert pq.read_table(shard)["image_path"].to_pylist() == ["a/b.png"]


# --- which images are done --------------------------------------------------------------------------------------------


def numbered(*shards):
    """Records as `RunFolder.records` gives them, from lists of results."""
    return [(number, Record.of(result)) for number, results in enumerate(shards) for result in results]


def test_of_several_records_of_an_image_the_newest_holds():
    found = numbered(
        [measured("a.png", cells=3, flagged=True), failed("b.png"), measured("c.png")],
        [measured("a.png"), measured("b.png", cells=2)],
        [failed("c.png"), failed("d.png")],
    )
    index = Index(found)
    assert len(index) == 4
    assert index.counts() == Counts(images=4, cells=3, flagged=0, failed=2)
    assert index.counts_of("a.png") == Counts(1, 1, 0, 0)
    assert {path: index.has_failed(path) for path in ("a.png", "b.png", "c.png", "d.png", "e.png")} == {
        "a.png": False, "b.png": False, "c.png": True, "d.png": True, "e.png": False
    }  # fmt: skip
    assert sorted(index.superseded(found)) == [(0, "a.png"), (0, "b.png"), (0, "c.png")]
    assert failures_of(found) == {"c.png": ("decode", "no image"), "d.png": ("decode", "no image")}


def test_twice_in_one_shard_is_two_records_of_which_the_later_counts():
    index = Index(numbered([failed("a.png"), measured("a.png", cells=2)]))
    assert index.counts() == Counts(1, 2, 0, 0)


def test_an_image_is_done_by_its_stamp_or_else_by_its_content():
    content = b"the image"
    index = Index(numbered([measured("a.png", sha256=hashlib.sha256(content).hexdigest(), stamp=Stamp(9, "today"))]))

    def never():
        raise AssertionError("the content is not to be read")

    assert index.is_done("a.png", Stamp(9, "today"), never)
    assert not index.is_done("b.png", Stamp(9, "today"), never)
    assert index.is_done("a.png", Stamp(9, "tomorrow"), lambda: content)
    assert not index.is_done("a.png", Stamp(9, "tomorrow"), lambda: b"another")
    assert index.is_done("a.png", None, lambda: None), "what cannot be read now is not done again"
    assert (index.knows("a.png"), index.knows("b.png")) == (True, False)


def test_nothing_is_done_where_there_is_no_record():
    index = Index()
    assert (len(index), index.counts(), index.counts_of("a.png")) == (0, Counts(), Counts())
    assert not index.is_done("a.png", None, lambda: None)
    assert list(index.superseded([])) == []


def test_counts_add_up_and_are_taken_back():
    one, other = Counts.of(Record.of(measured("a.png", cells=3, flagged=True))), Counts.of(Record.of(failed("b.png")))
    assert (one, other) == (Counts(1, 3, 1, 0), Counts(1, 0, 0, 1))
    assert one + other == Counts(2, 3, 1, 1)
    assert one + other - one == other


# --- run.json ---------------------------------------------------------------------------------------------------------


def test_a_run_is_read_as_it_was_written(out):
    run = replace(RUN, state=State.STOPPED, counts={"images": 3}, seconds=1.25, starts=2)
    with RunFolder(out) as folder:
        assert folder.run() is None
        folder.write_run(run)
        assert folder.run() == run
        assert json.loads(folder.storage.read("run.json"))["input"] == "Größe"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda _: "{", "not the description of a run"),
        (lambda _: "[]", "not the description of a run"),
        (
            lambda raw: json.dumps({k: v for k, v in raw.items() if k != "model"}),
            "not the description of a run .*'model'",
        ),
        (lambda raw: json.dumps(raw | {"state": "asleep"}), "not the description of a run .*asleep"),
        (lambda raw: json.dumps(raw | {"created": "yesterday"}), "not the description of a run"),
        (
            lambda raw: json.dumps(raw | {"settings": {"input": "in", "colour": 1}}),
            "not the description of a run .*colour",
        ),
        (lambda raw: json.dumps(raw | {"schema_version": 99}), "written by a later version of Leukoscope; update it"),
    ],
)
def test_a_file_that_is_no_description_of_a_run_is_named_and_left_alone(change, words, out):
    content = change(json.loads(RUN.to_json())).encode()
    with RunFolder(out) as folder:
        folder.storage.write("run.json", content)
        with pytest.raises(StoreError, match=rf"run\.json: {words}"):
            folder.begin(RUN)
        assert folder.storage.read("run.json") == content


def test_the_same_key_goes_on_with_the_date_of_the_beginning_and_new_limits(out):
    with RunFolder(out) as folder:
        first, said = folder.begin(RUN)
        assert (first.state, first.starts, said) == (State.RUNNING, 1, "")
        folder.write_run(replace(first, state=State.STOPPED, seconds=5.0))
        again = replace(RUN, created=WHEN.replace(year=2027), settings=replace(RUN.settings, limit=3))
        second, said = folder.begin(again)
        assert (second.created, second.seconds, second.starts, second.settings.limit) == (WHEN, 5.0, 2, 3)
        assert said == "going on with the run of 2026-11-23 05:30 UTC"
        assert folder.run() == second


def test_another_key_moves_everything_of_the_old_run_aside(out):
    with RunFolder(out) as folder:
        folder.begin(RUN)
        folder.save(
            [measured("a.png", files={"masks/a.png.png": b"mask", "outlines/a.png.geojson": b"{}"})], KEY, "1.parquet"
        )
        folder.write_errors({"b.png": ("decode", "no image")})
        folder.write_table(["1.parquet"])
        folder.storage.write("notes.txt", b"of the user")
        other = replace(RUN, key="e" * 64, created=WHEN.replace(year=2027))
        run, said = folder.begin(other)
        assert (run.created, run.starts) == (other.created, 1)
        assert said.endswith("the old is in earlier/20261123-053000-aaaaaaaa")
        earlier = "earlier/20261123-053000-aaaaaaaa"
        assert folder.storage.names(earlier) == [
            *("cells", "cells.csv", "cells.csv-metadata.json", "errors.csv", "masks", "outlines", "run.json")
        ]
        assert folder.storage.read(f"{earlier}/masks/a.png.png") == b"mask"
        assert Run.from_json(folder.storage.read(f"{earlier}/run.json").decode(), "").key == KEY
        assert (folder.shards(KEY), folder.shards(other.key)) == ([], [])
        assert folder.storage.read("errors.csv") is None
        assert folder.storage.read("notes.txt") == b"of the user"


def test_a_move_that_was_cut_off_is_finished_by_the_next_start(disk):
    """run.json goes last: while it is there, the rest belongs to it."""
    disk.begin(RUN)
    disk.save([measured("a.png", files={"masks/a.png.png": b"mask"})], KEY, "1.parquet")
    disk.storage.move("cells", "earlier/20261123-053000-aaaaaaaa/cells")
    disk.begin(replace(RUN, key="e" * 64))
    assert disk.storage.names("earlier/20261123-053000-aaaaaaaa") == ["cells", "masks", "run.json"]


def test_a_new_run_begins_now():
    run = new_run(KEY, BatchSettings("in"), "model-1", "b" * 64, {"numpy": "2"})
    assert abs((datetime.now(UTC) - run.created).total_seconds()) < 60
    assert (run.state, run.starts, run.counts) == (State.RUNNING, 0, {})


# --- tables -----------------------------------------------------------------------------------------------------------


def test_errors_are_sorted_and_no_text_is_taken_for_a_formula(out):
    with RunFolder(out) as folder:
        folder.write_errors(
            {"b.png": ("read", "=HYPERLINK()"), "@a.png": ("decode", 'says "no",\ttwice'), "-1.png": ("list", "+x")}
        )
        assert [tuple(row.values()) for row in table(folder, "errors.csv")] == [
            ("'-1.png", "list", "'+x"),
            ("'@a.png", "decode", 'says "no",\ttwice'),
            ("b.png", "read", "'=HYPERLINK()"),
        ]
        folder.write_errors({})
        assert folder.storage.read("errors.csv") == b"image_path,stage,reason\r\n"


def test_the_table_holds_the_newest_rows_in_order_and_is_written_whole(out):
    with RunFolder(out) as folder:
        folder.save([measured("b.png", cells=2, value=1), measured("c.png", value=1), measured("=d.png", value=1)], KEY)
        folder.save([measured("a.png", value=2), measured("b.png", value=2), failed("c.png")], KEY)
        folder.write_table(folder.shards(KEY))
        rows = table(folder, "cells.csv")
        assert [(row["image_path"], row["cell_index"], float(row[FEATURE])) for row in rows] == [
            ("'=d.png", "0", 1), ("a.png", "0", 2), ("b.png", "0", 2)
        ]  # fmt: skip
        assert list(rows[0]) == [name for name in cells_schema().names if not name.endswith("_outline")]


def test_a_table_without_cells_has_its_header(out):
    with RunFolder(out) as folder:
        folder.write_table([])
        header = folder.storage.read("cells.csv")
        folder.save([failed("a.png")], KEY)
        folder.write_table(folder.shards(KEY))
        assert folder.storage.read("cells.csv") == header
    assert header.count(b"\n") == 1
    assert header.decode().strip().split(",") == [name for name in cells_schema().names if name not in OUTLINE_COLUMNS]


# --- one run at a time ------------------------------------------------------------------------------------------------


def test_a_second_run_is_refused_while_the_folder_is_open_and_harms_nothing(disk):
    with disk.storage.work_folder() as work:
        (work / "cells.csv").write_bytes(b"in the making")
        with pytest.raises(
            UsageError, match=r"another run is writing into .*out; wait until it is finished, stop it, or choose"
        ):
            RunFolder(disk.out).__enter__()
        assert (work / "cells.csv").exists()
    disk.__exit__()
    with RunFolder(disk.out) as folder:
        folder.save([measured("a.png")], KEY)


def test_looking_on_needs_no_lock(disk):
    disk.write_run(RUN)
    disk.save([measured("a.png")], KEY)
    assert RunFolder(disk.out).run() == RUN
    assert len(records(RunFolder(disk.out))) == 1


def test_several_write_into_one_bucket_and_nothing_is_lost():
    out = f"memory://{uuid.uuid4().hex}"
    with RunFolder(out) as one, RunFolder(out) as other:
        one.save([measured("a.png")], KEY)
        other.save([measured("b.png")], KEY)
        assert {record.image_path for record in records(one)} == {"a.png", "b.png"}


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(UsageError, match="choose another --out"), RunFolder(str(tmp_path / "file")):
        pass


@pytest.mark.parametrize(
    "record",
    [
        b"[" * 100_000,
        b"[1]",
        b'{"run": 1, "written": 1, "images": []}',
        b'{"run": "\\ud800", "written": 1, "images": []}',
    ],
    ids=["100,000 brackets", "a list", "a number for a run", "half a character"],
)
def test_a_shard_whose_record_is_none_is_set_aside(disk, record):
    disk.save([measured("a.png")], KEY, "good.parquet")
    table = cells_schema().empty_table().replace_schema_metadata({b"leukoscope_batch": record})
    pq.write_table(table, disk.storage.root / "cells" / "other.parquet")
    assert disk.shards(KEY) == ["good.parquet"]
    assert disk.storage.names("damaged") == ["other.parquet"]


def test_a_shard_that_is_no_shard_is_set_aside(disk):
    disk.save([measured("a.png")], KEY, "good.parquet")
    os.mkfifo(disk.storage.root / "cells" / "pipe.parquet")
    assert disk.shards(KEY) == ["good.parquet"]
    assert disk.storage.names("damaged") == ["pipe.parquet"]


def test_a_description_that_is_a_pipe_is_told_in_words(disk):
    (disk.storage.root / "run.json").unlink(missing_ok=True)
    os.mkfifo(disk.storage.root / "run.json")
    with pytest.raises(StoreError, match=r"run\.json"):
        disk.run()

import logging
import math
import os
import subprocess
import sys
import threading
from dataclasses import fields
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from core.features.catalogue import CATALOGUE
from core.store import queries
from core.store import reference_cache as module
from core.store.database import Cohort
from core.store.edit_log import Field
from core.store.edits import exclude, take_back
from core.store.shards import append_cells, write_population
from tests.core.store.conftest import AREA, RATIO, make_population, make_rows

SOME = (AREA, RATIO)


@pytest.fixture
def two(root):
    """A root with two populations; the first has cells with and without a patient, a value and a scale."""
    for name, patient in (("mono", None), ("other", "p1")):
        population = make_population(name, um_per_px=0.1 if name == "other" else None, um_per_px_origin="drawn")
        areas = [None, *(100.0 + index for index in range(30))]
        rows = make_rows(population, areas, patient=patient)
        rows[1]["patient_id"] = "p2"
        write_population(root, population, [rows])
    return root


def summed_up(monkeypatch):
    """The populations that were not in the cache, in order."""
    made, make = [], queries._made_reference

    def counted(cohort, population_id, features):
        made.append(population_id)
        return make(cohort, population_id, features)

    monkeypatch.setattr(queries, "_made_reference", counted)
    return made


def references(root, features=None):
    """What a program that was just started says of both populations."""
    with Cohort.open([root], root.parent / "cache") as cohort:
        return [queries.reference(cohort, name, features) for name in ("mono", "other")]


def assert_same(one, other):
    for each in fields(one):
        mine, theirs = getattr(one, each.name), getattr(other, each.name)
        if isinstance(mine, pd.DataFrame):
            pd.testing.assert_frame_equal(mine, theirs)
        elif each.name == "ordered":
            assert list(mine) == list(theirs)
            for name in mine:
                np.testing.assert_array_equal(mine[name], theirs[name], strict=True)
        else:
            assert mine == theirs, each.name


@pytest.mark.parametrize("features", [None, SOME])
def test_what_is_read_is_what_was_summed_up(two, features, monkeypatch):
    made = summed_up(monkeypatch)
    before = references(two, features)
    assert made == ["mono", "other"]
    after = references(two, features)
    assert made == ["mono", "other"]
    for one, other in zip(before, after, strict=True):
        assert one is not other
        assert_same(one, other)
    assert [each.summaries[AREA].n_absent for each in after] == [31, 1]  # sizes need a scale
    assert after[0].patients is None
    assert after[1].patients == 2
    assert math.isclose(after[1].summaries[AREA].p50 or 0, 114.5 * 0.01)


def test_a_sample_is_read_as_it_was_drawn(two, monkeypatch):
    monkeypatch.setattr(queries, "MOST_FITTED", 10)
    (before, _), (after, _) = references(two), references(two)
    assert len(after.sample) == 10
    assert_same(before, after)


def test_a_change_of_one_population_makes_that_one_anew(two, monkeypatch):
    references(two)
    made = summed_up(monkeypatch)
    append_cells(two, "mono", make_rows(make_population(), [200.0], start=100))
    assert references(two)[0].n == 32
    assert made == ["mono"]
    assert references(two)[0].n == 32
    assert made == ["mono"]


def test_what_people_change_counts_and_what_they_take_back_too(two, monkeypatch):
    first = references(two)[0]
    made = summed_up(monkeypatch)
    cell_id = first.members["cell_id"][0]
    with Cohort.open([two], two.parent / "cache") as cohort:
        assert queries.reference(cohort, "mono").n == 31
        exclude(cohort, [cell_id], "out of focus", who="somebody")
        assert queries.reference(cohort, "mono").n == 30
        assert queries.reference(cohort, "other").n == 31
        assert queries.reference(cohort.as_drawn(edits=False), "mono").n == 31
        assert made == ["mono"]
        take_back(cohort, [cell_id], Field.EXCLUDED_REASON, who="somebody")
        assert queries.reference(cohort, "mono").n == 31
    assert made == ["mono"]


def test_another_text_of_the_program_makes_all_anew(two, monkeypatch):
    references(two)
    made = summed_up(monkeypatch)
    monkeypatch.setattr(module, "_program", lambda: "another")
    references(two)
    assert made == ["mono", "other"]


@pytest.mark.parametrize("damage", ["cut", "flipped", "foreign", "empty", "folder"])
def test_a_damaged_file_is_made_anew_in_silence(two, damage, monkeypatch, caplog):
    before = references(two)
    for path in (two.parent / "cache").glob("reference-*"):
        content = path.read_bytes()
        path.unlink()
        if damage == "folder":
            path.mkdir()
        else:
            place = len(content) // 2
            flipped = content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]
            path.write_bytes(
                {"cut": content[:place], "flipped": flipped, "foreign": b"PK\x03\x04 " * 99, "empty": b""}[damage]
            )
    made = summed_up(monkeypatch)
    for one, other in zip(before, references(two), strict=True):
        assert_same(one, other)
    assert made == ["mono", "other"]
    if damage != "folder":
        assert not caplog.records
        references(two)
        assert made == ["mono", "other"]


def test_a_folder_that_takes_no_file_costs_time_only(two, caplog):
    (two.parent / "cache").write_text("a file where the folder should be")
    with caplog.at_level(logging.WARNING):
        assert [each.n for each in references(two)] == [31, 31]
    assert sum("LEUKOSCOPE_CACHE" in record.message for record in caplog.records) == 1


def test_what_was_not_read_for_longest_goes_first(two, monkeypatch):
    references(two, SOME)
    folder = two.parent / "cache"
    ours = sorted(folder.glob("reference-*"))
    (folder / ".reference-left.bin-0").write_bytes(b"unfinished")
    for path in folder.iterdir():
        os.utime(path, (1, 1))
    references(two, SOME)  # which reads them
    (folder / "rows-of-another-cache.f64").write_bytes(b"0" * 10_000)
    monkeypatch.setattr(module, "_BUDGET", 10 + sum(path.stat().st_size for path in ours))
    references(two, SOME[:1])
    left = sorted(folder.iterdir())
    assert folder / ".reference-left.bin-0" not in left
    assert folder / "rows-of-another-cache.f64" in left
    assert sum(path.stat().st_size for path in left if path.name.startswith("reference-")) <= module._BUDGET


def test_a_very_large_population_is_not_kept(two, monkeypatch):
    monkeypatch.setattr(module, "_MOST", 16 * len(CATALOGUE) * 31 - 1)
    references(two)
    assert not list((two.parent / "cache").glob("reference-*"))


def test_processes_and_threads_share_the_files(two, monkeypatch):
    script = (
        "from tests.core.store.test_reference_cache import references; from pathlib import Path; import sys;"
        "print([each.n for each in references(Path(sys.argv[1]))])"
    )
    command = [sys.executable, "-c", script, str(two)]
    repository = Path(__file__).parents[3]
    processes = [
        subprocess.Popen(command, cwd=repository, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    got: list[int] = []
    threads = [threading.Thread(target=lambda: got.append(references(two)[0].n)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for process in processes:
        output, errors = process.communicate(timeout=120)
        assert output.strip() == "[31, 31]", errors
    assert got == [31, 31]
    assert len(list((two.parent / "cache").iterdir())) == 2
    made = summed_up(monkeypatch)
    references(two)
    assert not made

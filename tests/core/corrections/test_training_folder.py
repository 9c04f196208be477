import csv
from dataclasses import replace

import numpy as np
import pytest

from core.corrections.deciding import decide
from core.corrections.training_folder import TrainingCell, check_folder, export
from core.domain.errors import UsageError
from core.domain.settings import ROOT
from core.evaluation.datasets import data_set, drawn_mask
from core.image.imaging import load
from core.store.outline_log import OutlineStatus, without_ring
from tests.core.corrections.conftest import saying


def rows_of(path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def decided(root, opened, corrected):
    """Three cells: two corrected of one patient, one accepted."""
    cells = []
    for number, status in enumerate(("corrected", "corrected", "accepted")):
        key = replace(opened.key, image_sha256=f"{number:064x}"[::-1])
        one = replace(opened, key=key)
        status = OutlineStatus(status)
        drawn = corrected if status is OutlineStatus.CORRECTED else None
        verdict = decide(root, one, saying(status, corrected=drawn))
        cells.append(TrainingCell(verdict, opened.analysis.image, "lymphocyte", "patient-7"))
    return cells


def test_r31_the_folder_is_a_data_set_with_the_very_pictures_and_outlines(root, tmp_path, decided, opened, drawn):
    report = export(root, decided, tmp_path / "out")
    assert (report.written, report.left_out) == ({"corrected": 2}, {})
    samples = list(data_set(str(tmp_path / "out")).samples())
    assert len(samples) == 2
    assert len({sample.group for sample in samples}) == 1, "cells of one patient are one group"
    for sample in samples:
        image = load(sample.image)
        assert (image.rgb == opened.analysis.image.rgb).all()
        found = drawn_mask(sample, image.shape)
        assert found.repaired == 0
        assert (without_ring(found.labels) == drawn).all()
    told = rows_of(tmp_path / "out" / "corrections.csv")
    assert {row["status"] for row in told} == {"corrected"}
    assert not (tmp_path / "out" / "accepted").exists()


def test_accepted_outlines_are_a_set_of_their_own(root, tmp_path, decided):
    both = (OutlineStatus.CORRECTED, OutlineStatus.ACCEPTED)
    report = export(root, decided, tmp_path / "out", statuses=both)
    assert report.written == {"corrected": 2, "accepted": 1}
    assert len(list(data_set(str(tmp_path / "out")).samples())) == 2
    assert len(list(data_set(str(tmp_path / "out" / "accepted")).samples())) == 1


def test_a_drawn_outline_that_was_accepted_afterwards_is_a_drawn_one(root, tmp_path, opened, corrected):
    saved = decide(root, opened, saying(OutlineStatus.CORRECTED, corrected=corrected))
    accepted = decide(root, opened, saying(OutlineStatus.ACCEPTED, who="B", on=saved.id))
    report = export(root, [TrainingCell(accepted, opened.analysis.image, None, None)], tmp_path / "out")
    assert report.written == {"corrected": 1}
    assert (tmp_path / "out" / "masks").is_dir()


def test_a_picture_of_another_size_is_left_out_and_named(root, tmp_path, decided):
    cut = replace(decided[0].image, rgb=np.ascontiguousarray(decided[0].image.rgb[:-5]))
    report = export(root, [replace(decided[0], image=cut), decided[1]], tmp_path / "out")
    assert report.written == {"corrected": 1}
    (reason,) = report.left_out.values()
    assert "pixels" in reason


def test_of_a_cell_that_was_decided_on_twice_the_later_counts(root, tmp_path, decided):
    later = replace(decided[0], verdict=replace(decided[0].verdict, id="z", when=decided[1].verdict.when))
    report = export(root, [decided[0], later], tmp_path / "out")
    assert (report.written, len(report.left_out)) == ({"corrected": 1}, 1)


def test_what_nobody_may_train_on_is_refused(root, tmp_path, decided):
    with pytest.raises(UsageError, match="not unsure ones"):
        export(root, decided, tmp_path / "out", statuses=(OutlineStatus.UNSURE,))


def test_pictures_go_into_no_folder_of_the_program_and_over_nothing(tmp_path):
    with pytest.raises(UsageError, match="in that of the program"):
        check_folder(ROOT / "assets" / "new")
    (tmp_path / "there").write_text("x")
    with pytest.raises(UsageError, match="new or empty"):
        check_folder(tmp_path)

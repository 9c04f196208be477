import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from core.cohort import import_images, own_population
from core.corrections.deciding import decide
from core.corrections.opening import rings_of
from core.corrections.pictures import FoldersOfPictures
from core.corrections.rebuilding import rebuild, rebuildable
from core.domain.cell_types import CellType
from core.domain.errors import StoreError, UsageError
from core.domain.options import CellChoice
from core.domain.types import GivenScale, LabelMap, StainFactors
from core.evaluation.datasets import data_set
from core.explorer.cells import cells, opened
from core.features.catalogue import CATALOGUE
from core.image.imaging import encode_png, load
from core.image.synthetic import SYNTHETIC_CELLS, draw_cell
from core.pipeline import analyse_cells, remeasured
from core.populations.outlining import OutlineModel
from core.segmentation.model_registry import find_model
from core.store import queries
from core.store.database import Cohort
from core.store.edit_log import Field
from core.store.edits import exclude, relabel
from core.store.outline_log import OutlineStatus, without_ring
from core.store.schema import cell_row
from core.store.shards import append_cells, write_population
from tests.core.corrections.conftest import saying
from tests.core.store.conftest import make_population, make_rows
from tests.models import OTHER_MODEL

OURS = make_population("ours", cell_type=CellType.HCL, um_per_px=0.1)
KEPT = ["cell_id", "cell_type", "source", "patient_id", "image_path", "image_sha256", "cell_index", "um_per_px"]


@pytest.fixture(scope="module")
def other_entry(other_models):
    return find_model(OTHER_MODEL, other_models)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    for seed in range(3):
        rgb = draw_cell(seed, SYNTHETIC_CELLS["hairy_cell"])[0].rgb
        (folder / f"cell{seed}.png").write_bytes(encode_png(rgb))
    return folder


@pytest.fixture(scope="module")
def measured(tmp_path_factory, pictures, model_entry):
    """A population of three drawn cells, as the shipped model outlined them."""
    root = tmp_path_factory.mktemp("measured")
    import_images(root, OURS, sorted(pictures.iterdir()), model_entry)
    return root


@pytest.fixture
def own(tmp_path, measured):
    root = tmp_path / "cohort"
    shutil.copytree(measured, root)
    return root


@pytest.fixture
def folders(pictures):
    return FoldersOfPictures([pictures])


def stored(root):
    with Cohort.open([root]) as cohort:
        return queries.cells(cohort, "ours").set_index("image_path", drop=False)


def files_of(root):
    return {path.name: path.read_bytes() for path in sorted((root / "ours").iterdir())}


def corrected(root, cell_id, image, segmenter):
    """Correct the outline of a stored cell: its upper rows are cut off."""
    with Cohort.open([root]) as cohort:
        cell = opened(cohort, cells(cohort, [cell_id])[0], image)
    labels = without_ring(cell.analysis.segmentation.labels).copy()
    labels[: np.flatnonzero((labels > 0).any(axis=1))[0] + 12] = 0
    drawn = remeasured(cell.analysis, LabelMap(labels), segmenter)
    decide(root, cell, saying(OutlineStatus.CORRECTED, corrected=drawn))


def test_cells_are_measured_anew_and_keep_who_they_are_and_what_was_said(own, folders, other_entry, model_entry):
    before = stored(own)
    with Cohort.open([own]) as cohort:
        relabel(cohort, before["cell_id"][:1].tolist(), Field.PATIENT_ID, "P7", who="Reader")
        exclude(cohort, before["cell_id"][1:2].tolist(), "a double", who="Reader")
        assert set(queries.reference(cohort, "ours").outlined.models) == {
            OutlineModel(model_entry.model_id, model_entry.sha256)
        }
    before = stored(own)
    told = []
    report = rebuild(own, "ours", other_entry, folders, progress=lambda *progress: told.append(progress))
    assert (report.measured, report.present, report.decided, report.kept) == (3, 0, 0, {})
    assert told == [("ours", number, 3) for number in (1, 2, 3)]
    after = stored(own)
    assert set(after["model_id"]) == {OTHER_MODEL}
    assert after["patient_id"].tolist()[0] == "P7"
    assert after["excluded_reason"].tolist()[1] == "a double"
    for name in KEPT:
        assert after[name].tolist() == before[name].tolist()
    # The same network under another name: the same numbers.
    assert np.array_equal(after[list(CATALOGUE)], before[list(CATALOGUE)], equal_nan=True)
    with Cohort.open([own]) as cohort:
        assert set(queries.reference(cohort, "ours").outlined.models) == {OutlineModel(OTHER_MODEL, other_entry.sha256)}
        assert cohort.population("ours").title == OURS.title
    again = rebuild(own, "ours", other_entry, folders)
    assert (again.measured, again.present) == (0, 3)


def test_cells_whose_image_is_gone_stay_as_they_were_and_are_told(own, pictures, tmp_path, other_entry):
    some = tmp_path / "some"
    some.mkdir()
    shutil.copy(pictures / "cell1.png", some / "renamed.png")
    before = stored(own)
    report = rebuild(own, "ours", other_entry, FoldersOfPictures([some]))
    assert report.measured == 1
    assert report.kept == dict.fromkeys(
        before["cell_id"][["cell0.png", "cell2.png"]], "its image is in none of the folders"
    )
    after = stored(own)
    models = after["model_id"].to_dict()
    assert models["cell1.png"] == OTHER_MODEL
    assert models["cell0.png"] == models["cell2.png"] == before["model_id"].iloc[0]
    kept = ["cell0.png", "cell2.png"]
    assert (
        after.loc[kept]
        .drop(columns=["notes", "cell_outline", "nucleus_outline"])
        .astype(str)
        .equals(before.loc[kept].drop(columns=["notes", "cell_outline", "nucleus_outline"]).astype(str))
    )
    # The rest is measured when the images are there.
    report = rebuild(own, "ours", other_entry, FoldersOfPictures([pictures]))
    assert (report.measured, report.present, report.kept) == (2, 1, {})


def test_without_any_image_nothing_is_written(own, tmp_path, other_entry):
    before = files_of(own)
    assert len(rebuild(own, "ours", other_entry, FoldersOfPictures([tmp_path / "nowhere"])).kept) == 3
    assert files_of(own) == before


def test_a_corrected_outline_is_kept_and_so_is_one_that_was_accepted(own, pictures, folders, other_entry, segmenter):
    first, second, _ = stored(own)["cell_id"]
    corrected(own, first, load(pictures / "cell0.png", 0.1), segmenter)
    with Cohort.open([own]) as cohort:
        cell = opened(cohort, cells(cohort, [second])[0], load(pictures / "cell1.png", 0.1))
    decide(own, cell, saying(OutlineStatus.ACCEPTED))
    before = stored(own)
    report = rebuild(own, "ours", other_entry, folders)
    assert (report.measured, report.decided, report.kept) == (1, 2, {})
    after = stored(own)
    for name in (first, second):
        was, now = (frame.set_index("cell_id").loc[name] for frame in (before, after))
        assert str(now["cell_outline"]) == str(was["cell_outline"])
        assert now[list(CATALOGUE)].equals(was[list(CATALOGUE)])
    assert after["outline_by"].tolist() == ["person", None, None]
    assert after["outline_status"].tolist() == ["corrected", "accepted", None]
    with Cohort.open([own]) as cohort:
        outlined = queries.reference(cohort, "ours").outlined
    assert (outlined.by_person, {model.model_id for model in outlined.models}) == (
        1, {OTHER_MODEL, before["model_id"].iloc[1]},
    )  # fmt: skip


def test_a_rebuild_that_is_killed_leaves_the_old_population(own, pictures, other_models, model_entry):
    before, seen = files_of(own), stored(own)
    script = (
        "import os, signal, sys; from pathlib import Path\n"
        "from core.corrections.pictures import FoldersOfPictures\n"
        "from core.corrections.rebuilding import rebuild\n"
        "from core.segmentation.model_registry import find_model\n"
        "def told(name, done, of):\n"
        "    if done == 2: os.kill(os.getpid(), signal.SIGKILL)\n"
        "root, pictures, models = map(Path, sys.argv[1:])\n"
        "rebuild(root, 'ours', find_model(folder=models), FoldersOfPictures([pictures]), progress=told)\n"
    )
    command = [sys.executable, "-c", script, str(own), str(pictures), str(other_models)]
    killed = subprocess.run(command, check=False, env={**os.environ, "LEUKOSCOPE_MAX_SECONDS": "inf"})
    assert killed.returncode == -signal.SIGKILL
    assert before.items() <= files_of(own).items()
    assert stored(own)["model_id"].equals(seen["model_id"])


@pytest.mark.parametrize("what", ["cells come", "somebody decides"])
def test_what_changes_meanwhile_is_not_lost(own, pictures, folders, other_entry, segmenter, what):
    first = stored(own)["cell_id"].iloc[0]

    def change(_name, done, _of):
        if done == 2 and what == "cells come":
            append_cells(own, "ours", make_rows(OURS, [50.0], start=900))
        elif done == 2:
            corrected(own, first, load(pictures / "cell0.png", 0.1), segmenter)

    with pytest.raises(StoreError, match=r"was changed while it was measured anew .*rebuild it again"):
        rebuild(own, "ours", other_entry, folders, progress=change)
    after = stored(own)
    assert OTHER_MODEL not in set(after["model_id"])
    assert len(after) == (4 if what == "cells come" else 3)


def test_a_population_with_a_damaged_part_is_left_alone(own, folders, other_entry):
    append_cells(own, "ours", make_rows(OURS, [50.0], start=900))
    newest = max((own / "ours").glob("cells-*"), key=lambda path: path.stat().st_mtime_ns)
    newest.write_bytes(newest.read_bytes()[:100])
    with pytest.raises(StoreError, match=newest.name):
        rebuild(own, "ours", other_entry, folders)
    assert newest.exists()


def test_only_ones_own_populations_of_images_are_rebuilt(own, drawn_root, monkeypatch):
    monkeypatch.setenv("LEUKOSCOPE_REFERENCE", str(drawn_root))
    table = [row | {"image_sha256": None, "model_id": None} for row in make_rows(make_population("tab"), [9.0])]
    write_population(own, make_population("tab"), [table])
    with Cohort.open([drawn_root, own]) as cohort:
        assert rebuildable(cohort) == rebuildable(cohort, ["ours", "ours"]) == ["ours"]
        with pytest.raises(UsageError, match=r"monocyte_drawn is shipped.*`leukoscope cohort build`.*LEUKOSCOPE_DATA"):
            rebuildable(cohort, ["ours", "monocyte_drawn"])
        with pytest.raises(UsageError, match=r"tab came as a table without them.*import-table --replace"):
            rebuildable(cohort, ["tab"])
        with pytest.raises(StoreError, match=r"there is no population 'nobody'; there are: .*ours"):
            rebuildable(cohort, ["nobody"])


@pytest.mark.data
def test_cells_of_a_real_field_are_found_again_one_by_one(own, data_dir, other_entry, segmenter):
    """The smear's five cells without the second, numbered otherwise than they are found, beside a cell of marrow."""
    (smear,) = {sample.image for sample in data_set("hairy_cell_smear").samples()}
    marrow = data_set("hairy_cell_marrow").samples()[0].image
    told = own_population("Real", CellType.HCL, "test", tissue="blood", note="", scale=GivenScale(0.1), shipped=())
    rows = []
    for path in (smear, marrow):
        found = analyse_cells(load(path, 0.1), segmenter, CellChoice.ALL if path == smear else CellChoice.ONE)
        for number, cell in enumerate([*found[:1], *reversed(found[2:])]):
            rows.append(cell_row(replace(cell, cell_index=number), told, outlines=rings_of(cell), patient_id="P1"))
    write_population(own, told, [rows])
    with Cohort.open([own]) as cohort:
        before = queries.cells(cohort, "real").set_index("cell_id")
    report = rebuild(own, "real", other_entry, FoldersOfPictures([smear.parent, marrow.parent]))
    assert (report.measured, report.kept) == (len(rows), {})
    with Cohort.open([own]) as cohort:
        after = queries.cells(cohort, "real").set_index("cell_id")
    assert after.index.tolist() == before.index.tolist()
    assert set(after["model_id"]) == {OTHER_MODEL}
    for name in ("centre_x", "centre_y", "cell_shape2D_PixelSurface", "nucleus_shape2D_PixelSurface"):
        assert after[name].tolist() == pytest.approx(before[name].tolist())
    assert set(after["patient_id"]) == {"P1"}


def test_cells_that_were_measured_with_stain_factors_are_measured_with_the_same_again(
    tmp_path, pictures, folders, model_entry, other_entry, segmenter
):
    factors, root = StainFactors("ours-to-bcn", 0.7, 0.8, 1.2), tmp_path / "cohort"
    import_images(root, OURS, sorted(pictures.iterdir()), model_entry, stain=factors)
    before = stored(root)
    assert set(before["stain"]) == {str(factors)}
    assert rebuild(root, "ours", other_entry, folders).measured == 3
    after = stored(root)
    assert set(after["model_id"]) == {OTHER_MODEL}
    assert after["stain"].tolist() == before["stain"].tolist()
    assert all(factors.note in notes for notes in after["notes"])
    assert np.array_equal(after[list(CATALOGUE)], before[list(CATALOGUE)], equal_nan=True)
    # And a correction of one of them, filed and read again.
    corrected(root, after["cell_id"].iloc[0], load(pictures / "cell0.png"), segmenter)
    assert stored(root)["stain"].tolist() == before["stain"].tolist()
    assert stored(root)["outline_by"].iloc[0] == "person"

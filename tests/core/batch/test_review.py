"""The results of a real run, looked through."""

import io
import shutil
import subprocess
import sys
import zipfile
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from core.batch.review import Order, Review, lay_scale, newest_cells
from core.cohort import TISSUES, add_cells, filed, own_population
from core.corrections.deciding import Decision, decide, file_along, history
from core.domain.cell_types import CellType
from core.domain.compartments import Compartment
from core.domain.errors import StoreError
from core.domain.options import Units
from core.domain.types import RED_CELLS, DrawnBy, GivenScale, LabelMap
from core.image.imaging import decode, encode_png
from core.image.masks import cell_mask
from core.image.synthetic import draw_cell
from core.pipeline import remeasured
from core.store import outline_log
from core.store.database import Cohort
from core.store.outline_log import OutlineStatus, without_ring

ROOT = Path(__file__).parents[3]
AREA = "cell_shape2D_PixelSurface"


def _measure(source: Path, out: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "core", "batch", str(source), "--out", str(out), "--label-from", "folder"],
        cwd=ROOT,
        capture_output=True,
    )
    assert done.returncode in {0, 1}, done.stderr.decode()


@pytest.fixture(scope="module")
def measured(tmp_path_factory) -> tuple[Path, Path]:
    """Source and results of a run over three cells, a field of four, one without a type, and three images that fail."""
    folder = tmp_path_factory.mktemp("review")
    for name, seed in (("monocyte/a.png", 1), ("monocyte/b.png", 2), ("lymphocyte/c.png", 3)):
        path = folder / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_png(draw_cell(seed)[0].rgb))
    field = np.concatenate(
        [np.concatenate([draw_cell(seed)[0].rgb for seed in pair], axis=1) for pair in ((4, 5), (6, 7))]
    )
    (folder / "images" / "lymphocyte" / "field.png").write_bytes(encode_png(field))
    for name, content in (("=1+1.png", b"text"), ("other.png", b"words"), ("empty.png", b"")):
        (folder / "images" / "monocyte" / name).write_bytes(content)
    (folder / "images" / "unlabelled.png").write_bytes(encode_png(draw_cell(8)[0].rgb))
    _measure(folder / "images", folder / "out")
    return folder / "images", folder / "out"


@pytest.fixture(scope="module")
def review(measured) -> Review:
    return Review(measured[1], measured[0])


def test_cells_are_counted_by_label(review):
    cells = review.pictured(Order.BY_IMAGE, 0, 100)
    assert review.overview.cells == len(cells) == 8
    assert review.overview.labels == {"monocyte": 2, "lymphocyte": 5}
    assert review.overview.unlabelled == 1
    assert review.overview.good == sum(cell.quality_ok for cell in cells)
    assert review.overview.remarked == sum(cell.quality_ok and bool(cell.flags) for cell in cells)
    assert review.seconds > 0


def test_failures_that_are_alike_are_one_group(review):
    groups = review.failure_groups()
    assert [group.images for group in groups] == [2, 1]
    assert "plain text" in groups[0].reason
    assert not groups[0].reason.startswith(("=1+1", "other"))
    assert groups[0].examples == ("monocyte/=1+1.png", "monocyte/other.png")
    table = pd.read_csv(io.BytesIO(review.failures_csv()))
    assert sorted(table["image_path"]) == ["monocyte/=1+1.png", "monocyte/empty.png", "monocyte/other.png"]


def test_a_page_of_the_table_is_that_part_of_the_order(review):
    whole = review.cells(["outline_quality"], Order.LEAST_CERTAIN, 0, 100)
    assert whole["outline_quality"].is_monotonic_increasing
    parts = [review.cells(["outline_quality"], Order.LEAST_CERTAIN, offset, 3) for offset in (0, 3, 6)]
    assert [len(part) for part in parts] == [3, 3, 2]
    pd.testing.assert_frame_equal(pd.concat(parts, ignore_index=True), whole)
    by_image = review.cells([], Order.BY_IMAGE, 0, 100)
    assert list(by_image.itertuples(index=False, name=None)) == [
        ("lymphocyte/c.png", 0), *(("lymphocyte/field.png", index) for index in range(4)), ("monocyte/a.png", 0),
        ("monocyte/b.png", 0), ("unlabelled.png", 0)
    ]  # fmt: skip


def test_a_cell_is_found_by_its_key_with_picture_and_mask(review):
    for cell in review.pictured(Order.BY_IMAGE, 0, 100):
        again = review.cell(cell.key)
        assert (again.image_path, again.cell_index, again.certainty) == (
            cell.image_path,
            cell.cell_index,
            cell.certainty,
        )
        image, labels = review.picture(cell), review.labels(cell)
        assert image.shape == labels.shape == cell.shape
        # The mask is that of the cell alone, and of the size that was measured.
        size = review.cells(["cell_shape2D_PixelSurface"], Order.BY_IMAGE, 0, 100)
        mine = (size["image_path"] == cell.image_path) & (size["cell_index"] == cell.cell_index)
        assert cell_mask(labels).sum() == pytest.approx(size.loc[mine, "cell_shape2D_PixelSurface"].iloc[0], rel=0.01)
    assert review.cell("lymphocyte/field.png#9") is None
    assert review.cell("'; DROP TABLE cells; --#0") is None


def test_a_picture_that_went_or_changed_is_not_shown(measured, tmp_path):
    source = tmp_path / "images"
    shutil.copytree(measured[0], source)
    review = Review(measured[1], source)
    cell = review.cell("monocyte/a.png#0")
    assert review.picture(cell) is not None
    (source / "monocyte" / "a.png").write_bytes(encode_png(draw_cell(9)[0].rgb))
    assert review.picture(cell) is None
    shutil.rmtree(source)
    assert review.picture(cell) is None
    assert Compartment.NUCLEUS in review.labels(cell)


def test_files_to_take_away_hold_every_cell(review):
    csv = pd.read_csv(io.BytesIO(review.csv()))
    parquet = pd.read_parquet(io.BytesIO(review.parquet()))
    assert len(csv) == len(parquet) == 8
    assert list(csv["image_path"]) == sorted(parquet["image_path"])
    with zipfile.ZipFile(io.BytesIO(review.masks())) as archive:
        names = archive.namelist()
    assert sorted(names) == [
        "instances/lymphocyte/field.png.png", "masks/lymphocyte/c.png.png", "masks/lymphocyte/field.png.png",
        "masks/monocyte/a.png.png", "masks/monocyte/b.png.png", "masks/unlabelled.png.png",
    ]  # fmt: skip


def test_a_run_that_was_stopped_has_a_table_too(measured, tmp_path, review):
    shutil.copytree(measured[1], tmp_path / "out")
    (tmp_path / "out" / "cells.csv").unlink()
    assert Review(tmp_path / "out", measured[0]).csv() == review.csv()


def test_an_image_that_changed_stands_there_once(measured, tmp_path):
    source, out = tmp_path / "images", tmp_path / "out"
    shutil.copytree(measured[0], source)
    _measure(source, out)
    before = Review.revision(out)
    (source / "monocyte" / "a.png").write_bytes(b"no image any more")
    (source / "monocyte" / "b.png").write_bytes(encode_png(draw_cell(11)[0].rgb))
    _measure(source, out)
    assert Review.revision(out) != before
    review = Review(out, source)
    assert review.overview.labels == {"monocyte": 1, "lymphocyte": 5}
    assert "monocyte/a.png" in review.failures
    assert review.cell("monocyte/a.png#0") is None
    rows = [row for rows in review.rows() for row in rows]
    assert len(rows) == 7
    assert [row["image_path"] for rows in review.rows("monocyte") for row in rows] == ["monocyte/b.png"]
    assert review.picture(review.cell("monocyte/b.png#0")) is not None


def test_the_newest_cells_come_first_and_none_is_no_error(measured, tmp_path):
    cells = newest_cells(measured[1], 3)
    assert len(cells) == 3
    assert cells[0].outlines
    assert newest_cells(tmp_path, 3) == []
    empty = Review(tmp_path, tmp_path)
    assert (empty.overview.cells, empty.failures) == (0, {})


def test_a_damaged_shard_is_named(measured, tmp_path):
    shutil.copytree(measured[1], tmp_path / "out")
    for shard in (tmp_path / "out" / "cells").iterdir():
        content, footer = shard.read_bytes(), pq.read_metadata(shard).serialized_size + 8
        shard.write_bytes(bytes(len(content) - footer) + content[-footer:])
    with pytest.raises(StoreError, match="damaged"):
        Review(tmp_path / "out", measured[0])


@pytest.fixture(scope="module")
def corrected_review(measured, tmp_path_factory, segmenter) -> tuple[Review, Path]:
    """The same run: a cell of the field is corrected, another, too, and accepted then, and a third one rejected."""
    root = tmp_path_factory.mktemp("own")
    drawn = Review(measured[1], measured[0])
    for key, status in (
        ("lymphocyte/field.png#1", OutlineStatus.CORRECTED),
        ("monocyte/a.png#0", OutlineStatus.CORRECTED),
        ("monocyte/b.png#0", OutlineStatus.REJECTED),
        ("monocyte/a.png#0", OutlineStatus.ACCEPTED),
    ):
        cell = drawn.opened(drawn.cell(key))
        labels = without_ring(cell.analysis.segmentation.labels).copy()
        labels[: np.flatnonzero(labels.any(axis=1))[0] + 15] = 0
        corrected = None
        if status is OutlineStatus.CORRECTED:
            corrected = remeasured(cell.analysis, LabelMap(labels), segmenter, cell.keep_out)
        before = history(root, cell)
        on = before[-1].id if before else None
        decide(root, cell, Decision(status, "A. Reader", on, corrected, why="pale"))
    return drawn.decided_by(root), root


def test_a_run_shows_what_people_decided(corrected_review, review):
    mine, _ = corrected_review
    assert mine.overview.cells == review.overview.cells
    a, b, c = mine.cells_of(["monocyte/a.png#0", "monocyte/b.png#0", "lymphocyte/c.png#0"])
    assert [(cell.status, cell.certainty is None, cell.drawn_by) for cell in (a, b)] == [
        (OutlineStatus.ACCEPTED, True, DrawnBy.PERSON),
        (OutlineStatus.REJECTED, False, DrawnBy.MODEL),
    ]
    assert ("outline_rejected" in b.flags, b.quality_ok) == (True, False)
    assert c.status is None
    assert a.drawing != review.cell("monocyte/a.png#0").drawing
    assert (cell_mask(mine.labels(a)).sum()) < cell_mask(review.labels(review.cell("monocyte/a.png#0"))).sum()


def test_the_table_of_a_run_has_the_new_values_and_says_whose_they_are(corrected_review, review):
    mine, _root = corrected_review
    by_csv = pd.read_csv(io.BytesIO(mine.csv())).set_index(["image_path", "cell_index"])
    by_parquet = pd.read_parquet(io.BytesIO(mine.parquet())).set_index(["image_path", "cell_index"])
    before = pd.read_csv(io.BytesIO(review.csv())).set_index(["image_path", "cell_index"])
    area, place = "cell_shape2D_PixelSurface", ("monocyte/a.png", 0)
    for table in (by_csv, by_parquet):
        assert table["outline_status"].dropna().to_dict() == {
            ("lymphocyte/field.png", 1): "corrected",
            ("monocyte/a.png", 0): "accepted",
            ("monocyte/b.png", 0): "rejected",
        }
        assert table.loc[place, area] < before.loc[place, area]
        assert table.loc[place, "outline_who"] == "A. Reader"
        others = table[area].drop(index=[place, ("lymphocyte/field.png", 1)])
        assert (others == before.loc[others.index, area]).all()
    assert before["outline_status"].isna().all()


def test_masks_are_the_corrected_ones_with_the_models_beside_them(corrected_review, review):
    mine, _ = corrected_review
    with zipfile.ZipFile(io.BytesIO(mine.masks())) as archive:
        names = set(archive.namelist())
        whole = decode(archive.read("masks/lymphocyte/field.png.png"), "m").rgb
        before = decode(archive.read("model_masks/lymphocyte/field.png.png"), "m").rgb
    with zipfile.ZipFile(io.BytesIO(review.masks())) as archive:
        assert names - set(archive.namelist()) == {
            "model_masks/lymphocyte/field.png.png",
            "model_instances/lymphocyte/field.png.png",
            "model_masks/monocyte/a.png.png",
        }
        assert (decode(archive.read("masks/lymphocyte/field.png.png"), "m").rgb == before).all()
    assert (whole >= 170).sum() < (before >= 170).sum()


def test_the_order_of_a_run_does_not_move_while_one_decides(corrected_review, review):
    mine, root = corrected_review
    assert sorted(mine.listed(Order.LEAST_CERTAIN)) == sorted(review.listed(Order.LEAST_CERTAIN))
    names = dict(review.listed(Order.BY_IMAGE))
    assert {verdict.cell.name for verdict in outline_log.all_standing(root)} <= set(names.values())


def test_decisions_go_along_into_the_cohort(corrected_review, measured, tmp_path):
    mine, root = corrected_review
    own = tmp_path / "own"
    shutil.copytree(root, own)
    mine = Review(measured[1], measured[0]).decided_by(own)
    population = own_population("Mine", CellType.MONOCYTE, "Test", tissue=TISSUES[0], note="", scale=None, shipped=())
    add_cells(own, population, Review(measured[1], measured[0]).rows())
    refile = partial(filed, population=population, patient_id=None)
    rows = mine.decided_rows()
    assert file_along(own, list(mine.decided.values()), rows, refile) == 3
    assert file_along(own, list(mine.decided.values()), rows, refile) == 0, "it is decided there already"
    with Cohort.open([own]) as cohort:
        found = cohort.query("SELECT image_path, outline_status, cell_shape2D_PixelSurface AS area FROM cells")
        drawn = cohort.as_drawn().query("SELECT image_path, cell_shape2D_PixelSurface AS area FROM cells")
    assert sorted(found["outline_status"].dropna()) == ["accepted", "corrected", "rejected"]
    small, large = (table.set_index("image_path")["area"].loc["monocyte/a.png"] for table in (found, drawn))
    assert small < large


def test_a_cell_whose_picture_is_gone_cannot_be_opened(measured, tmp_path):
    review = Review(measured[1], tmp_path)
    with pytest.raises(StoreError, match="put it back where it was"):
        review.opened(review.cell("monocyte/a.png#0"))


def test_a_scale_is_laid_over_a_run_and_taken_away_again(measured, corrected_review, tmp_path):
    """Over tables, files, what people corrected and what goes to the cohort; sizes stay as they are, in pixels."""
    out = tmp_path / "out"
    shutil.copytree(measured[1], out)
    before = Review(out, measured[0]).decided_by(corrected_review[1])
    assert (before.scale, before.laid_scale) == (None, None)
    revision = Review.revision(out)
    scale = GivenScale(0.09, 0.07, RED_CELLS, "0.09 um per pixel, from red cells of 147 images")
    lay_scale(out, scale)
    assert Review.revision(out) != revision
    for review in (Review(out, measured[0]), Review(out, measured[0]).decided_by(corrected_review[1])):
        assert review.scale == review.laid_scale == scale
        assert {cell.um_per_px for cell in review.pictured(Order.BY_IMAGE, 0, 100)} == {0.09}
        pixels, um = pd.read_csv(io.BytesIO(review.csv())), pd.read_csv(io.BytesIO(review.csv(Units.MICROMETRES)))
        for table in (pixels, um, pd.read_parquet(io.BytesIO(review.parquet()))):
            assert set(table["um_per_px"]) == {0.09}
            assert set(table["um_per_px_error"]) == {0.07}
            assert set(table["um_per_px_source"]) == {RED_CELLS}
        np.testing.assert_allclose(um[AREA], pixels[AREA] * 0.09**2)
        assert {row["um_per_px"] for rows in review.rows() for row in rows} == {0.09}
        assert {row["um_per_px_error"] for row in review.decided_rows().values()} <= {0.07}
    after = pd.read_csv(io.BytesIO(Review(out, measured[0]).csv()))
    plain = pd.read_csv(io.BytesIO(Review(measured[1], measured[0]).csv()))
    np.testing.assert_array_equal(after[AREA], plain[AREA])
    lay_scale(out, None)
    assert Review(out, measured[0]).csv() == Review(measured[1], measured[0]).csv()


def test_the_images_of_a_run_say_what_their_red_cells_did(review):
    said = review.red_cells()
    assert len(said) == 5
    assert all((one.diameter_px is None) == (one.discs == 0) for one in said)


def test_a_damaged_scale_of_a_run_is_told(measured, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(measured[1], out)
    (out / "scale.json").write_text('{"um_per_px": 99}')
    with pytest.raises(StoreError, match=r"scale.json of this run is damaged"):
        Review(out, measured[0])

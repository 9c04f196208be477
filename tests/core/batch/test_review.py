"""The results of a real run, looked through."""

import io
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from core.batch.review import Order, Review, newest_cells
from core.domain.compartments import Compartment
from core.domain.errors import StoreError
from core.image.imaging import encode_png
from core.image.masks import cell_mask
from core.image.synthetic import draw_cell

ROOT = Path(__file__).parents[3]


def _measure(source: Path, out: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "core", "batch", str(source), "--out", str(out), "--label-from", "folder"],
        cwd=ROOT,
        capture_output=True,
    )
    assert done.returncode in {0, 1}, done.stderr.decode()


@pytest.fixture(scope="module")
def measured(tmp_path_factory) -> tuple[Path, Path]:
    """Source and results of a run over three cells, a field of four, and four images that fail in three ways."""
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
    assert review.overview.cells == 7
    assert review.overview.labels == {"monocyte": 2, "lymphocyte": 5}
    assert review.overview.good == sum(cell.quality_ok for cell in review.pictured(Order.BY_IMAGE, 0, 100))
    assert review.seconds > 0


def test_failures_that_are_alike_are_one_group(review):
    groups = review.failure_groups()
    assert [group.images for group in groups] == [2, 1, 1]
    assert "plain text" in groups[0].reason
    assert not groups[0].reason.startswith(("=1+1", "other"))
    assert groups[0].examples == ("monocyte/=1+1.png", "monocyte/other.png")
    table = pd.read_csv(io.BytesIO(review.failures_csv()))
    assert sorted(table["image_path"]) == [
        "monocyte/=1+1.png",
        "monocyte/empty.png",
        "monocyte/other.png",
        "unlabelled.png",
    ]


def test_a_page_of_the_table_is_that_part_of_the_order(review):
    whole = review.cells(["outline_quality"], Order.LEAST_CERTAIN, 0, 100)
    assert whole["outline_quality"].is_monotonic_increasing
    parts = [review.cells(["outline_quality"], Order.LEAST_CERTAIN, offset, 3) for offset in (0, 3, 6)]
    assert [len(part) for part in parts] == [3, 3, 1]
    pd.testing.assert_frame_equal(pd.concat(parts, ignore_index=True), whole)
    by_image = review.cells([], Order.BY_IMAGE, 0, 100)
    assert list(by_image.itertuples(index=False, name=None)) == [
        ("lymphocyte/c.png", 0), *(("lymphocyte/field.png", index) for index in range(4)), ("monocyte/a.png", 0),
        ("monocyte/b.png", 0)
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
    assert len(csv) == len(parquet) == 7
    assert list(csv["image_path"]) == sorted(parquet["image_path"])
    with zipfile.ZipFile(io.BytesIO(review.masks())) as archive:
        names = archive.namelist()
    assert sorted(names) == [
        "instances/lymphocyte/field.png.png", "masks/lymphocyte/c.png.png", "masks/lymphocyte/field.png.png",
        "masks/monocyte/a.png.png", "masks/monocyte/b.png.png",
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
    assert len(rows) == 6
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

"""What becomes of the images of a batch.

The rows of one at a time, the files beside them, and at which stage one fails.
"""

import hashlib
import io
import json
from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
import pytest
from PIL import Image

from core.batch import analysis
from core.batch.analysis import Analyst
from core.batch.results import cells_schema
from core.batch.settings import BatchSettings
from core.batch.tasks import Loaded, Stage, Stamp, Task
from core.domain.cell_types import CELL_TYPES, CellType
from core.domain.compartments import Compartment
from core.domain.errors import ImageError
from core.domain.types import Segmentation, as_label_map
from core.features.catalogue import CATALOGUE
from core.image.imaging import decode, encode_png
from core.image.masks import encode_grey, with_environment
from core.image.synthetic import SYNTHETIC_CELLS, draw_cell
from core.pipeline import OutlinedCell, analyse

WHEN = datetime(2026, 11, 23, 5, 30, tzinfo=UTC)
STAMP = Stamp(9, "today")


@pytest.fixture(scope="module")
def analyst(model_entry):
    """Opens the model once; settings are exchanged by `wanting`."""
    return Analyst(BatchSettings("in"), model_entry, WHEN, "cpu")


@pytest.fixture
def wanting(analyst, monkeypatch):
    def chosen(**settings) -> Analyst:
        monkeypatch.setattr(analyst, "_settings", BatchSettings("in", **settings))
        return analyst

    return chosen


@pytest.fixture
def outlined_by_hand(monkeypatch):
    """Instead of by the network: every image has one cell with these labels."""

    def use(labels):
        def outline_many(images, segmenter, cells, **_):
            return [
                (OutlinedCell(image, Segmentation(as_label_map(labels), 0.9, 0, "by hand", "CPU", 1.0)),)
                for image in images
            ]

        monkeypatch.setattr(analysis, "outline_many", outline_many)

    return use


def loaded(rgb, path="monocyte/a.png", cell_type=None, patient=None):
    return Loaded(Task(path, cell_type, patient), encode_png(rgb), STAMP)


def drawn(seed, kind="monocyte"):
    return draw_cell(seed, SYNTHETIC_CELLS[kind])[0].rgb


def alone(analyst, one):
    (result,) = analyst.analyse([one], lambda: None)
    return result


def pixels(content):
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image)


WHITE = np.full((120, 160, 3), 255, np.uint8)


# --- rows -------------------------------------------------------------------------------------------------------------


def test_a_row_is_what_the_pipeline_finds_under_the_columns_of_the_run(wanting, segmenter):
    one = loaded(drawn(1), cell_type="monocyte", patient="p1")
    result = alone(wanting(um_per_px=0.1), one)
    assert (result.image_path, result.stamp, result.stage, result.reason) == ("monocyte/a.png", STAMP, None, None)
    assert result.sha256 == hashlib.sha256(one.data).hexdigest()
    (row,) = result.rows
    found = analyse(decode(one.data, "a.png", 0.1), segmenter)
    assert {name: row[name] for name in CATALOGUE} == found.features.values
    assert row["quality_flags"] == [flag.code for flag in found.flags]
    assert (row["confidence"], row["model_id"]) == (found.segmentation.confidence, segmenter.card.model_id)
    assert set(row) == set(cells_schema().names)
    assert (row["image_path"], row["image_sha256"], row["cell_index"]) == ("monocyte/a.png", result.sha256, 0)
    assert (row["cell_type"], row["patient_id"], row["um_per_px"], row["created"]) == ("monocyte", "p1", 0.1, WHEN)


def test_what_nobody_said_of_an_image_is_not_made_up(wanting):
    (row,) = alone(wanting(), loaded(drawn(1))).rows
    assert [row[name] for name in ("cell_type", "patient_id", "diagnosis", "source", "tissue", "um_per_px")] == [
        None
    ] * 6


def test_results_keep_the_order_of_the_images_whatever_becomes_of_them(wanting):
    batch = [
        loaded(drawn(1), "1.png"),
        Loaded(Task("2.png"), b"no image"),
        loaded(drawn(5, "lymphocyte"), "3.png"),
        Loaded(Task("4.png"), problem="4.png: No such file"),
    ]
    told = []
    results = wanting(cells="one").analyse(batch, lambda: told.append(1))
    assert [result.image_path for result in results] == ["1.png", "2.png", "3.png", "4.png"]
    assert [result.stage for result in results] == [None, Stage.DECODE, None, Stage.READ]
    assert [result.sha256 for result in results[:3]] == [hashlib.sha256(one.data).hexdigest() for one in batch[:3]]
    assert len(told) == 4, "a sign of life before finding, before outlining, and after every cell"
    # Images that go through the network together give what each gives alone, to a pixel or two of the outline.
    area = "cell_shape2D_PixelSurface"
    assert results[2].rows[0][area] == pytest.approx(alone(wanting(cells="one"), batch[2]).rows[0][area], rel=1e-3)
    assert results[2].rows[0][area] != pytest.approx(results[0].rows[0][area], rel=1e-3)


# --- failures ---------------------------------------------------------------------------------------------------------


def test_an_image_that_could_not_be_read_fails_with_what_was_said(wanting):
    result = alone(wanting(), Loaded(Task("a.png"), problem="a.png: No such file", stamp=STAMP))
    assert (result.stage, result.reason, result.sha256, result.stamp) == (
        Stage.READ,
        "a.png: No such file",
        None,
        STAMP,
    )


def test_content_that_is_no_image_fails_with_its_checksum(wanting):
    result = alone(wanting(), Loaded(Task("b/a.png"), b"no image", STAMP))
    assert (result.stage, result.sha256) == (Stage.DECODE, hashlib.sha256(b"no image").hexdigest())
    assert result.reason.startswith("a.png: expected a PNG, JPEG, TIFF")
    assert (list(result.rows), dict(result.files)) == ([], {})


def test_a_field_without_a_cell_fails_where_all_are_asked_for(wanting):
    result = alone(wanting(cells="all"), loaded(WHITE, "b/a.png"))
    assert (result.stage, result.reason) == (Stage.OUTLINE, "b/a.png: no stained leukocyte was found in the field")
    assert result.sha256 == hashlib.sha256(loaded(WHITE).data).hexdigest()
    assert alone(wanting(cells="auto"), loaded(WHITE)).flagged, "left to itself it is an image of one cell, flagged"


@pytest.mark.parametrize("path", ["../a.png", "b/../../a.png", "/etc/a.png", "C:/a.png"])
def test_a_name_that_leaves_the_folder_is_never_written_under(path, wanting, outlined_by_hand):
    outlined_by_hand(np.zeros(WHITE.shape[:2], np.uint8))
    result = alone(wanting(), loaded(WHITE, path))
    assert (result.stage, dict(result.files)) == (Stage.MEASURE, {})
    assert "must be a path inside its folder" in result.reason


@pytest.mark.parametrize(
    ("error", "stage", "words"),
    [
        (ImageError("a.png: too dark"), Stage.MEASURE, "a.png: too dark"),
        (MemoryError(), Stage.MEMORY, "monocyte/a.png: needs more memory than an image may take; raise --memory-limit"),
        (RuntimeError("Failed to allocate memory for requested buffer"), Stage.MEMORY, "raise --memory-limit"),
        (
            ZeroDivisionError("by zero"),
            Stage.MEASURE,
            "monocyte/a.png: unexpected ZeroDivisionError: by zero; please report it",
        ),
    ],
)
def test_whatever_goes_wrong_costs_its_image_and_says_what_it_was(
    error, stage, words, wanting, outlined_by_hand, monkeypatch
):
    outlined_by_hand(np.zeros(WHITE.shape[:2], np.uint8))
    grey = WHITE // 2
    measure = analysis.measure

    def fail(cell, *arguments, **others):
        if (cell.image.rgb == grey).all():
            raise error
        return measure(cell, *arguments, **others)

    monkeypatch.setattr(analysis, "measure", fail)
    bad, good = wanting().analyse([loaded(grey), loaded(WHITE, "good.png")], lambda: None)
    assert (bad.stage, bad.sha256) == (stage, hashlib.sha256(loaded(grey).data).hexdigest())
    assert bad.reason.endswith(words)
    assert not good.failed


def test_the_image_that_spoils_a_batch_is_found_and_the_others_are_measured(wanting, monkeypatch):
    outline_many = analysis.outline_many

    def spoiled(images: Sequence, *arguments, **others):
        if any((image.rgb == 255).all() for image in images):
            raise MemoryError
        return outline_many(images, *arguments, **others)

    monkeypatch.setattr(analysis, "outline_many", spoiled)
    results = wanting(cells="one").analyse(
        [loaded(drawn(1), "1.png"), loaded(WHITE, "2.png"), loaded(drawn(2), "3.png")], lambda: None
    )
    assert [(result.image_path, result.stage) for result in results] == [
        ("1.png", None),
        ("2.png", Stage.MEMORY),
        ("3.png", None),
    ]


# --- files ------------------------------------------------------------------------------------------------------------


def with_hole():
    """A cell of two pieces; in the larger a hole with an island, and a nucleus of two lobes.

    A pixel's corner is at its number.
    """
    labels = np.zeros((120, 160), np.uint8)
    labels[10:90, 20:100] = Compartment.CYTOPLASM
    labels[20:40, 30:90] = Compartment.BACKGROUND
    labels[25:35, 50:70] = Compartment.CYTOPLASM
    labels[10:30, 120:150] = Compartment.CYTOPLASM
    labels[50:60, 30:50] = Compartment.NUCLEUS
    labels[65:80, 60:80] = Compartment.NUCLEUS
    return with_environment(as_label_map(labels))


def area(ring):
    """Of a closed ring, by the shoelace formula."""
    x, y = np.array(ring).T
    return abs(np.dot(x[:-1], y[1:]) - np.dot(x[1:], y[:-1])) / 2


def feature_of(result):
    collection = json.loads(result.files["outlines/monocyte/a.png.geojson"])
    assert collection["type"] == "FeatureCollection"
    (feature,) = collection["features"]
    return feature


def test_only_a_mask_is_written_unless_more_is_wanted(wanting, outlined_by_hand):
    labels = with_hole()
    outlined_by_hand(labels)
    result = alone(wanting(), loaded(WHITE))
    assert list(result.files) == ["masks/monocyte/a.png.png"]
    np.testing.assert_array_equal(pixels(result.files["masks/monocyte/a.png.png"]), encode_grey(labels))
    more = alone(wanting(overlay=True, outlines=True), loaded(WHITE))
    assert list(more.files) == [
        "masks/monocyte/a.png.png",
        "overlays/monocyte/a.png.png",
        "outlines/monocyte/a.png.geojson",
    ]
    height, width, channels = pixels(more.files["overlays/monocyte/a.png.png"]).shape
    assert (width / height, channels) == (160 / 120, 3)


def test_outlines_are_polygons_with_holes_in_pixels_of_the_image(wanting, outlined_by_hand):
    outlined_by_hand(with_hole())
    feature = feature_of(alone(wanting(outlines=True), loaded(WHITE)))
    assert feature["geometry"]["type"] == feature["nucleusGeometry"]["type"] == "MultiPolygon"
    by_rings = sorted(feature["geometry"]["coordinates"], key=lambda polygon: -area(polygon[0]))
    assert [len(polygon) for polygon in by_rings] == [
        2,
        1,
        1,
    ], "the hole belongs to the piece it is in, the island is a piece"
    # Between the middles of pixels a line cuts the corners off.
    assert [area(ring) for polygon in by_rings for ring in polygon] == pytest.approx([6400, 1200, 600, 200], abs=1)
    assert sorted(area(polygon[0]) for polygon in feature["nucleusGeometry"]["coordinates"]) == pytest.approx(
        [200, 300], abs=1
    )
    for polygon in by_rings:
        assert all(ring[0] == ring[-1] for ring in polygon)
    outer = np.array(by_rings[0][0])
    assert (outer.min(0).tolist(), outer.max(0).tolist()) == ([20, 10], [100, 90])


def test_a_cell_in_one_piece_is_one_polygon_named_as_qupath_names_it(wanting, outlined_by_hand):
    labels = np.zeros((120, 160), np.uint8)
    labels[10:90, 20:100] = Compartment.CYTOPLASM
    outlined_by_hand(labels)
    feature = feature_of(alone(wanting(outlines=True), loaded(WHITE, cell_type="hcl")))
    assert feature["geometry"]["type"] == "Polygon"
    assert "nucleusGeometry" not in feature
    said = feature["properties"]
    assert (said["objectType"], said["name"], said["measurements"]["Confidence"]) == ("cell", "1", 0.9)
    info = CELL_TYPES[CellType.HCL]
    assert said["classification"]["name"] == info.name
    assert "#{:02X}{:02X}{:02X}".format(*said["classification"]["color"]) == info.colour.upper()
    unlabelled = feature_of(alone(wanting(outlines=True), loaded(WHITE)))
    assert "classification" not in unlabelled["properties"]
    assert unlabelled["id"] == feature["id"], "the same cell of the same image"
    assert feature_of(alone(wanting(outlines=True), loaded(WHITE // 2)))["id"] != feature["id"]


def test_where_nothing_was_outlined_there_is_an_empty_collection(wanting, outlined_by_hand):
    outlined_by_hand(np.zeros(WHITE.shape[:2], np.uint8))
    result = alone(wanting(outlines=True), loaded(WHITE))
    assert json.loads(result.files["outlines/monocyte/a.png.geojson"]) == {"type": "FeatureCollection", "features": []}
    assert result.flagged


def test_cells_of_a_field_have_a_row_each_a_mask_together_and_numbers(wanting):
    field = np.concatenate([drawn(1), drawn(2, "lymphocyte")], axis=1)
    result = alone(wanting(cells="all", outlines=True, overlay=True), loaded(field))
    assert [row["cell_index"] for row in result.rows] == [0, 1]
    assert [row["image_path"] for row in result.rows] == ["monocyte/a.png"] * 2
    mask, numbers = (
        pixels(result.files["masks/monocyte/a.png.png"]),
        pixels(result.files["instances/monocyte/a.png.png"]),
    )
    assert mask.shape == numbers.shape == field.shape[:2]
    assert set(np.unique(numbers)) == {0, 1, 2}
    features = json.loads(result.files["outlines/monocyte/a.png.geojson"])["features"]
    for number, (row, feature) in enumerate(zip(result.rows, features, strict=True), start=1):
        own = numbers == number
        place = (
            slice(row["place_top"], row["place_top"] + row["place_height"]),
            slice(row["place_left"], row["place_left"] + row["place_width"]),
        )
        assert own[place].sum() == own.sum() > 0
        assert feature["properties"]["name"] == str(number)
        left = np.array(feature["geometry"]["coordinates"][0])[:, 0]
        columns = np.flatnonzero((own & (mask >= Compartment.CYTOPLASM.grey)).any(axis=0))
        assert left.min() == pytest.approx(columns[0], abs=1), "in pixels of the field, not of the cut-out"
        assert left.max() == pytest.approx(columns[-1] + 1, abs=1)
        assert row["cell_shape2D_PixelSurface"] == pytest.approx((own & (mask >= Compartment.CYTOPLASM.grey)).sum())

"""COCO and GeoJSON as masks; what is drawn back must be the very pixels that were outlined."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from core.domain.compartments import Compartment
from core.domain.errors import MaskError
from core.domain.types import as_label_map
from core.image.mask_coding import MaskCoding
from core.image.mask_shapes import decode_shapes
from core.image.masks import outlines, region_mask
from core.image.synthetic import draw_cell


@pytest.fixture(scope="module")
def drawn():
    labels = draw_cell(2)[1].copy()
    labels[labels == Compartment.ENVIRONMENT] = Compartment.BACKGROUND
    labels = labels[:, 20:]  # so height and width differ
    labels[60:64, 60:62] = labels[0, 0]
    return as_label_map(labels)


def polygon(labels, region):
    rings = [ring.astype(float).tolist() for ring in outlines(labels, region)]
    return {"type": "Polygon", "coordinates": sorted(rings, key=len, reverse=True)}


def feature(geometry, name=None, **more):
    properties = {"objectType": "annotation"} | ({"classification": {"name": name, "color": [1, 2, 3]}} if name else {})
    return {"type": "Feature", "geometry": geometry, "properties": properties} | more


def read(content, labels, **more):
    return decode_shapes(json.dumps(content).encode(), "mask.json", labels.shape, **more)


def runs(mask):
    """COCO's uncompressed counts."""
    flat = np.concatenate([[False], mask.T.ravel(), [False]])
    changes = np.flatnonzero(np.diff(flat.astype(int)))
    counts = np.diff(np.concatenate([[0], changes, [mask.size]])).tolist()
    return counts[:-1] if counts[-1] == 0 else counts


def packed(counts):
    """As `rleToString` of the COCO API packs them."""
    text = ""
    for i, count in enumerate(counts):
        value = count - (counts[i - 2] if i > 2 else 0)
        more = True
        while more:
            bits = value & 31
            value >>= 5
            more = value != -1 if bits & 16 else value != 0
            text += chr((bits | (32 if more else 0)) + 48)
    return text


def coco(labels, kind, image="cell.png"):
    def drawn_as(region):
        mask = region_mask(labels, region)
        if kind == "polygons":
            return [ring[:-1].ravel().tolist() for ring in outlines(labels, region)]
        counts = runs(mask)
        return {"size": list(mask.shape), "counts": packed(counts) if kind == "packed" else counts}

    return {
        "images": [{"id": 7, "file_name": image, "height": labels.shape[0], "width": labels.shape[1]}],
        "categories": [{"id": 1, "name": "cell"}, {"id": 2, "name": "Nucleus"}],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 2, "segmentation": drawn_as("nucleus")},
            {"id": 2, "image_id": 7, "category_id": 1, "segmentation": drawn_as("cell")},
        ],
    }


# --- GeoJSON ---


def test_annotations_of_nucleus_and_cytoplasm_are_read_with_their_holes(drawn):
    nucleus, cytoplasm = (
        feature(polygon(drawn, "nucleus"), "Nucleus"),
        feature(polygon(drawn, "cytoplasm"), "Cytoplasm"),
    )
    for content in (
        {"type": "FeatureCollection", "features": [nucleus, cytoplasm]},
        [cytoplasm, nucleus],
        {
            "type": "FeatureCollection",
            "features": [
                feature(
                    {"type": "GeometryCollection", "geometries": [f["geometry"]]},
                    f["properties"]["classification"]["name"],
                )
                for f in (nucleus, cytoplasm)
            ],
        },
    ):
        decoded = read(content, drawn)
        np.testing.assert_array_equal(decoded.labels, drawn)
        assert (decoded.repaired, decoded.notes, decoded.coding) == (0, (), "2 drawn shapes")


def test_a_cell_of_qupath_has_its_nucleus_whatever_its_class(drawn):
    cell = feature(polygon(drawn, "cell"), "Monocyte", nucleusGeometry=polygon(drawn, "nucleus"))
    cell["properties"]["objectType"] = "cell"
    np.testing.assert_array_equal(read(cell, drawn).labels, drawn)
    multi = {"type": "MultiPolygon", "coordinates": [polygon(drawn, "cell")["coordinates"]]}
    np.testing.assert_array_equal(read([cell | {"geometry": multi}], drawn).labels, drawn)


def test_shapes_of_other_classes_are_left_out_and_told(drawn):
    red_cell = feature({"type": "Polygon", "coordinates": [[[0, 0], [30, 0], [30, 30], [0, 0]]]}, "Red blood cell")
    content = [feature(polygon(drawn, "cell"), "Cell"), feature(polygon(drawn, "nucleus"), "nuclei"), red_cell]
    decoded = read(content, drawn)
    np.testing.assert_array_equal(decoded.labels, drawn)
    assert decoded.notes == ("shapes of other classes were left out: Red blood cell (1)",)


def test_classes_that_say_nothing_are_named_and_can_be_given_a_meaning(drawn):
    content = [feature(polygon(drawn, "cell"), "Lymphocyte"), feature(polygon(drawn, "nucleus"), "Kern")]
    with pytest.raises(
        MaskError, match=r"their classes are Lymphocyte \(1\), Kern \(1\); name the classes .*--mask-cod"
    ):
        read(content, drawn)
    coding = MaskCoding("c.json", {}, {"lymphocyte": "cell", "kern": "nucleus"})
    np.testing.assert_array_equal(read(content, drawn, coding=coding).labels, drawn)


def test_shapes_in_other_coordinates_are_refused_and_those_cut_by_the_edge_told(drawn):
    far = {"type": "Polygon", "coordinates": [(np.array(polygon(drawn, "cell")["coordinates"][0]) + 9000).tolist()]}
    with pytest.raises(MaskError, match=r"lie outside the image of 360 x 340 pixels \(x from 9\d+ to 9\d+"):
        read(feature(far, "Cell"), drawn)
    over = {"type": "Polygon", "coordinates": [[[-50, 100], [100, 100], [100, 200], [-50, 200], [-50, 100]]]}
    decoded = read(feature(over, "Cell"), drawn)
    assert np.count_nonzero(decoded.labels) == 100 * 100
    assert decoded.notes == ("parts of the shapes lie beyond the image's edge and were cut off",)


# --- COCO ---


@pytest.mark.parametrize("kind", ["polygons", "counts", "packed"])
def test_coco_is_read_in_each_of_its_forms(drawn, kind):
    np.testing.assert_array_equal(read(coco(drawn, kind), drawn, image_name="cell.png").labels, drawn)


@given(arrays(bool, (5, 70), elements=st.booleans()))
def test_run_lengths_give_back_the_pixels(mask):
    for counts in (runs(mask), packed(runs(mask))):
        content = {
            "annotations": [{"segmentation": {"size": [5, 70], "counts": counts}, "category_id": 1}],
            "categories": [{"id": 1, "name": "nucleus"}],
        }
        if mask.any():
            np.testing.assert_array_equal(read(content, mask).labels == Compartment.NUCLEUS, mask)


def test_packed_run_lengths_are_read_as_the_coco_api_writes_them():
    """By hand after its `rleToString`: from the fourth count on differences, 3 - 5 = -2 is N."""
    counts = [12, 1, 5, 5, 3, 5, 3, 5, 5, 1, 19]
    assert packed(counts) == "<154N0002L>"
    mask = np.repeat(np.arange(len(counts)) % 2 == 1, counts).reshape(8, 8).T
    content = {"segmentation": {"size": [8, 8], "counts": "<154N0002L>"}, "category_id": 1}
    coding = MaskCoding("c.json", {}, {"1": "nucleus"})
    np.testing.assert_array_equal(read(content, mask, coding=coding).labels == Compartment.NUCLEUS, mask)


def test_of_several_images_the_one_of_this_name_is_taken(drawn):
    one, other = coco(drawn, "polygons", "set/cell.png"), coco(as_label_map(drawn[::-1].copy()), "polygons", "b.png")
    other["images"][0]["id"] = 8
    both = one | {"images": one["images"] + other["images"]}
    both["annotations"] = one["annotations"] + [a | {"image_id": 8} for a in other["annotations"]]
    for name in ("cell.png", "cell.tif"):
        np.testing.assert_array_equal(read(both, drawn, image_name=name).labels, drawn)
    with pytest.raises(MaskError, match=r"the shapes of 2 images \(cell\.png, b\.png\).*that of c\.png is not said"):
        read(both, drawn, image_name="c.png")


def test_the_only_image_of_a_file_is_taken_whatever_its_name_and_told(drawn):
    decoded = read(coco(drawn, "packed", "other.png"), drawn, image_name="cell.png")
    np.testing.assert_array_equal(decoded.labels, drawn)
    assert decoded.notes == ("the shapes are those of other.png, the only image of mask.json",)


def test_a_mask_of_the_transposed_image_is_refused_with_that_cause(drawn):
    with pytest.raises(MaskError, match=r"mask\.json: image and mask must agree in size.*rows and columns swapped"):
        read(coco(as_label_map(drawn.T.copy()), "packed"), drawn, image_name="cell.png")


# --- what is neither ---


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'{"type": "FeatureCollection", "fea', "no complete JSON"),
        (b'{"nucleus": 3}', "the JSON is neither"),
        (b'{"type": "FeatureCollection", "features": []}', "there is none"),
        (b'{"type": "Feature", "geometry": {"type": "Polygon", "coordinates": "far"}}', "not as these have it"),
        (b'{"annotations": [{"segmentation": {"size": [10, 12], "counts": [5, 5]}}]}', "must add up to 120"),
    ],
)
def test_what_is_no_mask_is_refused_with_its_cause(content, words):
    with pytest.raises(MaskError, match=r"mask\.json: ") as refused:
        decode_shapes(content, "mask.json", (10, 12))
    assert words in str(refused.value)


def test_shapes_need_the_size_of_the_image():
    with pytest.raises(MaskError, match="only be drawn for an image of known size"):
        decode_shapes(b"{}", "mask.json", None)

import json

import numpy as np
import shapely
import shapely.geometry

from core.domain.cell_types import CELL_TYPES, CellType
from core.exchange import qupath
from core.exchange.cells import Handing
from core.features.catalogue import CATALOGUE
from core.image.drawn_masks import read_mask
from tests.exchange import AREA, FIELD, HOLED, ROWS, SHAPES, TWIN, handover, truth


def written(tmp_path, what=None):
    qupath.write(Handing(what or handover()), tmp_path / "out")
    return {path.relative_to(tmp_path / "out").as_posix(): path for path in (tmp_path / "out").rglob("*.geojson")}


def test_every_geometry_is_valid_and_its_area_that_of_the_pixels_within_the_tolerance(tmp_path):
    files = written(tmp_path)
    assert set(files) == {"field.geojson", "a _b_/005.geojson", "a _b_/005_jpg.geojson", "_con/05.tar.geojson"}
    seen = 0
    for path in files.values():
        for feature in json.loads(path.read_text())["features"]:
            cell = shapely.geometry.shape(feature["geometry"])
            nucleus = shapely.geometry.shape(feature["nucleusGeometry"])
            assert cell.is_valid
            assert nucleus.is_valid
            assert nucleus.difference(cell.buffer(1)).area == 0
            seen += 1
    assert seen == 5
    (holed,) = json.loads(files["a _b_/005.geojson"].read_text())["features"]
    whole = truth()[HOLED, 1]
    for geometry, pixels in ((holed["geometry"], whole >= 2), (holed["nucleusGeometry"], whole == 3)):
        shape = shapely.geometry.shape(geometry)
        assert shape.interiors
        assert abs(shape.area - pixels.sum()) < 0.02 * pixels.sum()
        rows, columns = np.indices(pixels.shape)
        np.testing.assert_array_equal(shapely.contains_xy(shape, columns + 0.5, rows + 0.5), pixels)


def test_measurements_say_their_unit_and_flags_and_type_are_there(tmp_path):
    first, second = json.loads(written(tmp_path)["field.geojson"].read_text())["features"]
    said = first["properties"]
    label = f"{CATALOGUE[AREA].label} µm²"
    assert said["measurements"][label] == ROWS[0][AREA] * 0.1**2
    assert said["measurements"]["Good quality"] == 1.0
    assert second["properties"]["measurements"]["Good quality"] == 0.0
    assert "border" in second["properties"]["metadata"]["quality_flags"]
    info = CELL_TYPES[CellType.MONOCYTE]
    assert said["classification"]["name"] == info.name
    assert "#" + "".join(f"{part:02X}" for part in said["classification"]["color"]) == info.colour.upper()
    unscaled = written(tmp_path / "px", handover(lambda row: row | {"um_per_px": None}))
    (feature,) = json.loads(unscaled["a _b_/005.geojson"].read_text())["features"]
    assert feature["properties"]["measurements"][f"{CATALOGUE[AREA].label} px²"] == ROWS[2][AREA]
    assert not any("µm" in name for name in feature["properties"]["measurements"])


def test_what_comes_back_is_read_as_the_same_mask(tmp_path):
    files = written(tmp_path)
    for name, file in ((HOLED, "a _b_/005.geojson"), (TWIN, "a _b_/005_jpg.geojson"), (FIELD, "field.geojson")):
        labels = read_mask(files[file], shape=SHAPES[name]).labels
        wanted = np.maximum.reduce([whole for (image, _), whole in truth().items() if image == name])
        np.testing.assert_array_equal(labels, wanted)

import numpy as np
import ome_types
import tifffile

from core.exchange import label_tiff
from core.exchange.cells import Handing
from tests.exchange import FIELD, HOLED, SHAPES, handover, truth


def test_tifffile_and_ome_read_planes_numbers_and_scale(tmp_path):
    label_tiff.write(Handing(handover()), tmp_path / "out")
    files = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.*")}
    assert files == {"field.tif", "a _b_/005.tif", "a _b_/005_jpg.tif", "_con/05.tar.tif"}
    for name, file in ((FIELD, "field.tif"), (HOLED, "a _b_/005.tif")):
        path = tmp_path / "out" / file
        with tifffile.TiffFile(path) as opened:
            assert opened.is_ome
            assert opened.series[0].axes == "CYX"
            nucleus, cell, instance = opened.asarray()
        wanted = {number: whole for (image, number), whole in truth().items() if image == name}
        assert nucleus.shape == SHAPES[name]
        for number, whole in wanted.items():
            np.testing.assert_array_equal(instance == number, whole >= 2)
        everything = np.maximum.reduce(list(wanted.values()))
        np.testing.assert_array_equal(cell, everything >= 2)
        np.testing.assert_array_equal(nucleus, everything == 3)
        (image,) = ome_types.from_tiff(path).images
        assert image.name == name
        assert (image.pixels.physical_size_x, image.pixels.physical_size_y) == (0.1, 0.1)
        assert image.pixels.physical_size_x_unit.value == "µm"
        assert [channel.name for channel in image.pixels.channels] == ["nucleus", "cell", "instance"]


def test_without_a_scale_none_is_said(tmp_path):
    label_tiff.write(Handing(handover(lambda row: row | {"um_per_px": None})), tmp_path)
    (image,) = ome_types.from_tiff(tmp_path / "field.tif").images
    assert image.pixels.physical_size_x is None

import json

import numpy as np
import pytest
from pycocotools.coco import COCO

from core.exchange import coco
from core.exchange.cells import Handing
from tests.exchange import HOLED, handover, truth

# pycocotools has not learnt of numpy's `copy` yet.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture(scope="module", params=["instances.json", "instances_polygons.json"])
def read(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("coco") / "out"
    coco.write(Handing(handover()), folder)
    return COCO(str(folder / request.param))


def test_pycocotools_reads_the_very_pixels(read):
    categories = {category["id"]: category["name"] for category in read.loadCats(read.getCatIds())}
    seen = 0
    for annotation in read.loadAnns(read.getAnnIds()):
        name = read.loadImgs(annotation["image_id"])[0]["file_name"]
        whole = truth()[name, annotation["attributes"]["number"]]
        pixels = whole == 3 if categories[annotation["category_id"]] == "nucleus" else whole >= 2
        np.testing.assert_array_equal(read.annToMask(annotation), pixels)
        rows, columns = np.nonzero(pixels)
        assert annotation["area"] == pixels.sum()
        assert annotation["bbox"] == [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]
        seen += 1
    assert seen == 10
    assert len(read.getImgIds()) == 4


def test_polygons_are_polygons_where_there_is_no_hole(tmp_path):
    coco.write(Handing(handover()), tmp_path / "out")
    read = json.loads((tmp_path / "out" / "instances_polygons.json").read_text())
    names = {image["id"]: image["file_name"] for image in read["images"]}
    kinds = {(names[one["image_id"]], type(one["segmentation"])) for one in read["annotations"]}
    assert (HOLED, dict) in kinds
    assert {kind for name, kind in kinds if name != HOLED} == {list, dict}  # a field has a hole, too
    assert sum(isinstance(one["segmentation"], list) for one in read["annotations"]) == 6
    assert json.loads(read["info"]["software"])["leukoscope"]

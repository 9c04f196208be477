import numpy as np
import yaml
from skimage.draw import polygon2mask

from core.exchange import yolo
from core.exchange.cells import Handing
from tests.exchange import FIELD, NESTED, SHAPES, TWIN, handover, truth

FILES = {FIELD: "field.txt", TWIN: "a _b_/005_jpg.txt", NESTED: "_con/05.tar.txt"}


def test_the_shapes_fill_the_cells_without_their_holes(tmp_path):
    yolo.write(Handing(handover()), tmp_path / "out")
    data = yaml.safe_load((tmp_path / "out" / "data.yaml").read_text())
    assert data["names"] == {0: "nucleus", 1: "cell"}
    for name, file in FILES.items():
        height, width = SHAPES[name]
        filled = {number: np.zeros((height, width), bool) for number in data["names"]}
        for line in (tmp_path / "out" / "labels" / file).read_text().splitlines():
            number, *shares = line.split()
            points = np.array(shares, float).reshape(-1, 2)
            assert len(points) >= 3
            assert ((points >= 0) & (points <= 1)).all()
            filled[int(number)] |= polygon2mask((height, width), points[:, ::-1] * (height, width) - 0.5)
        whole = np.maximum.reduce([labels for (image, _), labels in truth().items() if image == name])
        holes = 82 if name == FIELD else 0
        assert (filled[1] ^ (whole >= 2)).sum() <= 1 + 0.002 * (whole >= 2).sum()
        assert abs((filled[0] ^ (whole == 3)).sum() - holes) <= 1 + 0.005 * (whole == 3).sum()


def test_parts_of_a_cell_are_lines_of_their_own(tmp_path):
    yolo.write(Handing(handover()), tmp_path / "out")
    lines = (tmp_path / "out" / "labels" / FILES[TWIN]).read_text().splitlines()
    assert [line[0] for line in lines] == ["0", "1", "1", "1"]

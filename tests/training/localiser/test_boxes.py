import numpy as np
import pytest

from core.domain.errors import DataSetError
from tests.training.localiser.boxed import SIDE, write_boxed
from training.localiser.boxes import KINDS, BoxedImage, completed, read_boxed, split_boxed
from training.localiser.config import LocaliserConfig


def test_boxes_are_read_in_pixels_and_masks_become_boxes_of_leukocytes_alone(tiny_data):
    write_boxed(tiny_data)
    drawn, masked = read_boxed(("PBC",)), read_boxed(("set1",))
    assert len(drawn) == 6
    first = drawn[0]
    assert first.rgb.shape == (SIDE, SIDE, 3)
    assert np.bincount(first.kinds).tolist() == [1, 1, 3]
    assert first.leukocyte_diameter == pytest.approx(80, abs=0.1)
    assert first.labelled == frozenset(range(len(KINDS)))
    assert {len(image.boxes) for image in masked} == {1}
    assert all(2 not in image.labelled for image in masked)
    with pytest.raises(DataSetError, match="no boxes are known"):
        read_boxed(("moon",))


def test_a_box_that_the_edge_cuts_is_made_as_long_across_it_as_along_it():
    boxes = np.array([[0, 40, 30, 100], [20, 20, 60, 60], [50, 70, 110, 100]], np.float32)
    assert completed(boxes, (100, 120)).tolist() == [[-30, 40, 30, 100], [20, 20, 60, 60], [50, 70, 110, 130]]


def test_groups_stay_whole_and_the_last_fields_of_bccd_are_for_validation():
    def image(source, number, group):
        none = np.zeros(0, np.intp)
        return BoxedImage(
            f"{number}", source, group, np.zeros((8, 8, 3), np.uint8), np.zeros((0, 4)), none, frozenset()
        )

    images = [image("bccd" if number % 3 else "BCCD", number, f"BCCD/{number:05d}") for number in range(40)]
    images += [image("Raabin-WBC", number, f"Raabin-WBC/slide-{number // 4}") for number in range(80)]
    images += [image("BCDD", number, f"BCDD/{number}") for number in range(20)]
    parts = split_boxed(images, LocaliserConfig(leave_out=("BCDD",), validation=0.2))
    assert sum(map(len, parts)) == len(images)
    assert {one.source for one in parts[2]} == {"BCDD"}
    groups = [{one.group for one in part} for part in parts]
    assert not groups[0] & groups[1]
    fields = [[group for group in part if group.startswith("BCCD/")] for part in groups]
    assert (len(fields[0]), len(fields[1])) == (32, 8)
    assert max(fields[0]) < min(fields[1])
    assert any(group.startswith("Raabin") for group in groups[1])

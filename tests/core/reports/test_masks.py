import io
from dataclasses import replace

import numpy as np
from PIL import Image

from core.domain.types import BoundingBox
from core.image.masks import cell_mask, encode_grey
from core.reports.masks import mask_files


def test_masks_of_one_cell_and_of_a_field_touching_cells_kept_apart_by_number(cell):
    labels = cell.segmentation.labels
    (alone,) = mask_files("one", cell.image.shape, [cell]).items()
    assert alone[0] == "one.png"
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(alone[1]))), encode_grey(labels))
    height, width = labels.shape
    both = [replace(cell, cell_index=index, place=BoundingBox(index * width, 0, width, height)) for index in (0, 1)]
    files = {
        name: np.asarray(Image.open(io.BytesIO(data)))
        for name, data in mask_files("field", (height, 2 * width), both).items()
    }
    assert set(files) == {"field.png", "field_instances.png"}
    np.testing.assert_array_equal(files["field.png"], np.tile(encode_grey(labels), (1, 2)))
    own = cell_mask(labels)
    np.testing.assert_array_equal(files["field_instances.png"], np.concatenate([own * 1, own * 2], axis=1))

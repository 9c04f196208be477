"""Real cells of every source, with drawn masks where there are any and the shipped model's elsewhere."""

import pytest

from core.domain.options import CellChoice, Device
from core.domain.types import CellImage, LabelMap
from core.evaluation.datasets import DATA_SETS, data_set
from core.image.drawn_masks import read_mask
from core.image.imaging import load
from core.image.masks import with_environment
from core.pipeline import outline_cells
from core.segmentation.model_registry import find_model
from core.segmentation.segmenter import OnnxSegmenter


@pytest.fixture(scope="session")
def real_cells(data_dir) -> list[tuple[str, CellImage, LabelMap]]:
    """Some 40 cells with their data set: every tenth drawn one of sets 1 and 2, and a few of each other source."""
    segmenter = OnnxSegmenter.from_entry(find_model(), Device.CPU, threads=2)
    cells = []
    for name in DATA_SETS:
        samples = data_set(name).samples()
        if samples[0].mask:
            chosen = [(load(s.image), read_mask(s.mask).labels) for s in samples[::10]]
            cells += [(name, image, with_environment(labels)) for image, labels in chosen]
        else:
            which = CellChoice.ALL if name == "hairy_cell_smear" else CellChoice.ONE
            found = [
                cell
                for s in samples[:: -(-len(samples) // 3)]
                for cell in outline_cells(load(s.image), segmenter, which)
            ]
            cells += [(name, cell.image, cell.segmentation.labels) for cell in found]
    return cells

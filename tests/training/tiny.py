"""A small data set of drawn cells in the layout of set 1 and set 2: real files, read by the real reader."""

import csv
from pathlib import Path

import numpy as np

from core.domain.cell_types import CellType
from core.domain.types import as_label_map
from core.image.imaging import encode_png
from core.image.masks import encode_grey
from core.image.synthetic import SYNTHETIC_CELLS, draw_cell
from core.image.window import Window, resample, resample_labels
from training.augmentation import jitter_stain
from training.config import TrainingConfig

SIDE = 120
PER_TYPE = {"set1": 8, "set2": 5}
# The two images of set 1 that are filed as the same photograph.
DUPLICATES = ("set1/lymphocyte-0", "set1/lymphocyte-1")


def tiny_config(**changes: object) -> TrainingConfig:
    """Settings under which an epoch takes seconds."""
    small: dict[str, object] = {
        "data_sets": ("set1",),
        "input_size": 64,
        "epochs": 2,
        "batch_size": 4,
        "workers": 0,
        "threads": 1,
    }
    return TrainingConfig(**{**small, **changes})  # type: ignore[arg-type]


def write_tiny_data(root: Path) -> Path:
    """Write both sets under `root`: few drawings, turned and stained anew, so that no two images are alike."""
    drawn = {
        cell_type: [draw_cell(seed, SYNTHETIC_CELLS[cell_type]) for seed in range(2)]
        for cell_type in ("lymphocyte", "monocyte")
    }
    rng = np.random.default_rng(3)
    for name, count in PER_TYPE.items():
        folder = root / "wbc_zheng" / name
        for part in ("images", "masks"):
            (folder / part).mkdir(parents=True)
        rows = []
        for cell_type, cells in drawn.items():
            for number in range(count):
                image, labels = cells[number % 2]
                window = Window.whole(image.shape)
                stem = f"{cell_type}-{number}"
                rgb = np.ascontiguousarray(np.rot90(jitter_stain(resample(image.rgb, window, SIDE), rng), number // 2))
                mask = encode_grey(
                    as_label_map(np.ascontiguousarray(np.rot90(resample_labels(labels, window, SIDE), number // 2)))
                )
                (folder / "images" / f"{stem}.png").write_bytes(encode_png(rgb))
                (folder / "masks" / f"{stem}.png").write_bytes(encode_png(mask))
                group = "a" if f"{name}/{stem}" in DUPLICATES else ""
                rows.append(
                    {
                        "image_id": stem,
                        "class_label": 0,
                        "cell_type": CellType(cell_type).value,
                        "duplicate_group": group,
                    }
                )
        with (folder / "labels.csv").open("w", newline="", encoding="utf-8") as handle:
            writer = csv.DictWriter(handle, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    return root

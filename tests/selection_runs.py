"""Folders of model-selection runs with known scores, written by the code that writes real ones."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from core.evaluation import model_selection as results

# Mean Dice by architecture; folds, images and parts are spread around it.
LEVELS = {"unet": 0.95, "fpn": 0.94, "pspnet": 0.90}
K = 5
IMAGES_A_FOLD = 4
LEAK = 0.02


def write_run(
    root: Path, name: str = "drawn", *, skip: Sequence[tuple[str, int]] = (), failed: Sequence[tuple[str, int]] = ()
) -> Path:
    """A run of three architectures over five grouped folds, and of U-Net as published, there better by LEAK.

    `skip` and `failed` name grouped folds (architecture, fold) that are not there yet, or went wrong.
    """
    folder = root / name
    folder.mkdir(parents=True)
    (folder / results.CONFIG_FILE).write_text(
        f'name = "{name}"\ndata_sets = ["set2"]\ngrouped = {list(LEVELS)}\nas_published = ["unet"]\nk = [{K}]\n'
        'encoder = "tu-tf_efficientnet_lite0"\ninput_size = 64\nepochs = 3\nimages_per_epoch = 8\nseed = 7\n'.replace(
            "'", '"'
        ),
        encoding="utf-8",
    )
    units = [("grouped", fold, architecture) for fold in range(1, K + 1) for architecture in LEVELS]
    units += [("as-published", fold, "unet") for fold in range(1, K + 1)]
    for protocol, fold, architecture in units:
        if protocol == "grouped" and (architecture, fold) in skip:
            continue
        bad = protocol == "grouped" and (architecture, fold) in failed
        results.add_unit(
            folder, f"{protocol}-{fold}-{architecture}", _tables(name, protocol, fold, architecture, bad=bad)
        )
    return folder


def _tables(run: str, protocol: str, fold: int, architecture: str, *, bad: bool) -> dict[str, list[dict[str, object]]]:
    unit = {"run_id": run, "protocol": protocol, "k": K, "fold": fold, "architecture": architecture}
    rng = np.random.default_rng((fold, sorted(LEVELS).index(architecture)))
    level = (
        LEVELS[architecture] + (LEAK if protocol == "as-published" else 0) + 0.002 * (fold - 3) + rng.normal(0, 0.001)
    )
    images = [
        {
            **unit,
            "sample_id": f"set2/{fold}{i}",
            "copy": copy,
            "cell_type": "monocyte",
            "dice_nucleus": dice + 0.01,
            "dice_cytoplasm": dice - 0.01,
        }
        for i in range(IMAGES_A_FOLD)
        for copy in (0, 1)
        for dice in [level + 0.01 * (i - 1.5)]
    ]
    row = {
        **unit,
        "encoder": "tu-tf_efficientnet_lite0",
        "epochs": 3,
        "seconds": 60.0,
        "parameters": 1000000 * (1 + sorted(LEVELS).index(architecture)),
        "seed": 7,
        "status": "diverged" if bad else "done",
        "reason": "the loss was nan in epoch 2" if bad else "",
        "data_sets": "set2",
        "input_size": 64,
        "images_train": 4 * len(images),
        "images_validation": len(images),
    }
    if not bad:
        row |= {"dice_nucleus": level + 0.01, "dice_cytoplasm": level - 0.01, "dice_mean": level, "loss": 1 - level}
    epochs = [
        {
            **unit,
            "epoch": e,
            "train_loss": 1 / e,
            "val_loss": 1 / e,
            "val_dice_nucleus": level - 0.1 / e,
            "val_dice_cytoplasm": level - 0.2 / e,
        }
        for e in (1, 2, 3)
    ]
    return {"folds": [row], "images": [] if bad else images, "epochs": epochs}


def tables(folder: Path, protocol: str | None = "grouped") -> tuple[pd.DataFrame, pd.DataFrame]:
    """`folds` and `images` of a run, of one protocol or of both."""
    both = (results.read(folder, "folds"), results.read(folder, "images"))
    return both if protocol is None else tuple(table[table["protocol"] == protocol] for table in both)

"""A laboratory of drawn images with boxes, in the layout of txl_pbc: real files, read by the real reader."""

import csv
from pathlib import Path

import numpy as np

from core.image.imaging import encode_png

SIDE = 200


def write_boxed(root: Path, count: int = 6) -> Path:
    """Images with a leukocyte (a disc with a nucleus), red cells (rings) and a platelet each; returns the folder."""
    folder = root / "txl_pbc"
    if folder.is_dir():
        return folder
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True)
    rng = np.random.default_rng(5)
    rows = []
    y, x = np.mgrid[:SIDE, :SIDE]
    for number in range(count):
        rgb = np.full((SIDE, SIDE, 3), (235, 225, 220), np.int16)
        lines = []
        places = [(0, 100, 100, 40), (1, 30, 30, 21), (1, 160, 40, 21), (1, 40, 165, 21), (2, 165, 160, 8)]
        for kind, row, column, radius in places:
            row, column = row + int(rng.integers(-5, 6)), column + int(rng.integers(-5, 6))
            away = np.hypot(y - row, x - column)
            colour = [(190, 170, 210), (210, 150, 150), (150, 90, 170)][kind]
            rgb[away < radius] = colour
            if kind == 0:
                rgb[away < 0.7 * radius] = (90, 50, 140)
            share = 2 * radius / SIDE
            lines.append(f"{kind} {column / SIDE} {row / SIDE} {share} {share}")
        name = f"drawn{number}.png"
        noisy = np.clip(rgb + rng.normal(0, 3, rgb.shape), 0, 255).astype(np.uint8)
        (folder / "images" / name).write_bytes(encode_png(noisy))
        (folder / "labels" / f"drawn{number}.txt").write_text("\n".join(lines))
        rows.append({"file": name, "source": "PBC", "original": name, "slide": ""})
    with (folder / "manifest.csv").open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return folder

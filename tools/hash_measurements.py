"""Writes one hash per image over all that is measured of it, to prove that a change changes no number.

`python -m tools.hash_measurements > before.txt`, then the same afterwards, then `diff`. A line is `<image> <cells>
<sha256>`; the hash is over every cell's label map, its 720 values to the bit, its absences and its flags (code and
severity, not their words).
"""

import argparse
import dataclasses
import hashlib
import struct
import sys
from pathlib import Path

from core.domain.settings import load_settings
from core.image.listing import find_images
from core.pipeline import AnalysisRequest, Outcome, analyse_many
from core.segmentation.model_registry import find_model

FOLDERS = ("wbc_zheng/set1/images", "wbc_zheng/set2/images", "acevedo", "hairy_cell_smear", "hairy_cell_marrow")


def digest(outcome: Outcome) -> str:
    """SHA-256 of everything that was measured of an image."""
    total = hashlib.sha256()
    for cell in outcome.analyses:
        labels = cell.segmentation.labels
        place = dataclasses.astuple(cell.place) if cell.place else None
        total.update(f"{cell.cell_index} {place} {labels.shape}".encode())
        total.update(labels.tobytes())
        for name, value in cell.features.values.items():
            total.update(name.encode() + (b"absent" if value is None else struct.pack("<d", value)))
        total.update(repr(sorted(cell.features.absent.items())).encode())
        total.update(repr(sorted((flag.code, flag.severe) for flag in cell.flags)).encode())
    return total.hexdigest()


def main() -> None:
    """Hash every image of the folders, in the order of their names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "folders", nargs="*", type=Path, help="folders of images; without, the collections the model was measured on"
    )
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    data = load_settings().data
    folders = arguments.folders or [data / folder for folder in FOLDERS]
    paths = [path for folder in folders for path in find_images([folder])]
    for outcome in analyse_many([AnalysisRequest(path) for path in paths], find_model(), jobs=arguments.jobs):
        name = outcome.path.relative_to(data) if outcome.path.is_relative_to(data) else outcome.path
        print(name, len(outcome.analyses), digest(outcome) if outcome.reason is None else outcome.reason, flush=True)
    print(f"{len(paths):,} images", file=sys.stderr)


if __name__ == "__main__":
    main()

"""`python -m core batch`: the arguments, progress on standard error, and the exit code."""

import argparse
from typing import Final

from core.batch.settings import CELLS, DEVICES, FEATURE_ENGINES

DESCRIPTION: Final = (
    "Measure a folder, a ZIP file or a bucket of any size. Stopped, killed or out of disk, the same command goes on where it was; "
    "the finished table is the same. Exit code 0: every image measured; 1: some failed (errors.csv) or the run was stopped; 2: wrong use."
)


def parser(*, add_help: bool = True) -> argparse.ArgumentParser:
    """Return the arguments of the command."""
    made = argparse.ArgumentParser(prog="python -m core batch", description=DESCRIPTION, add_help=add_help)
    add = made.add_argument
    add("input", metavar="INPUT", help="folder, ZIP file, or URL that fsspec knows (s3://, gs://, memory://)")
    add("--out", required=True, help="folder (or URL) for the results")
    add("--jobs", type=_positive, default=1, help="worker processes, one thread each (default 1)")
    add("--engine", choices=["local", "ray"], default="local", help="ray: on a cluster (see requirements-cluster.txt)")
    add("--ray-address", metavar="ADDRESS", help="cluster to join; a local one is started without it")
    add("--device", choices=DEVICES, default="auto", help="cuda fails where it cannot run; auto falls back to the CPU")
    add("--model", metavar="ID", help="model of the manifest (default: its default)")
    add("--batch-size", type=_batch_size, default=None, metavar="auto|N", help="images outlined together (auto: 1 on CPU, 16 on CUDA)")
    add("--limit", type=_positive, metavar="N", help="only the first N images")
    add("--dry-run", action="store_true", help="list and count, and say what would be done; writes nothing")
    add("--pattern", metavar="GLOB", help="only images whose relative path fits, as '*/blood_*.png'")
    add("--um-per-pixel", type=float, metavar="UM", help="scale of all images in micrometres per pixel")
    add("--cells", choices=CELLS, default="auto", help="one: the cell in the middle; all: every leukocyte; auto: what the image shows")
    add("--feature-engine", choices=FEATURE_ENGINES, default="fast", help="reference is pyradiomics itself")
    add("--label-from", metavar="HOW", help="cell type of each image: folder, regex:PATTERN with a group named label, or csv:FILE")
    add("--patient-from", metavar="HOW", help="patient of each image: folder, regex:PATTERN with a group named patient, or csv:FILE")
    add("--overlay", action="store_true", help="also write pictures with the outlines drawn over them")
    add("--outlines", action="store_true", help="also write outlines as GeoJSON, a file per image, for QuPath")
    add("--retry-failed", action="store_true", help="try again what failed before")
    add("--time-limit", type=float, default=60.0, metavar="S", help="seconds an image may take (default 60)")
    add(
        "--memory-limit", type=_positive, default=2048, metavar="MB", help="memory an image may take beyond its worker's own (default 2048)"
    )
    add("--turns", metavar="FOLDER", help="take turns with the other runs that name this folder")
    add("--owner", default="", help="whose run it is, for --turns")
    add("--json", action="store_true", help="print one machine-readable object to standard output")
    return made


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        msg = f"must be 1 or more, but is {value}"
        raise argparse.ArgumentTypeError(msg)
    return value


def _batch_size(text: str) -> int | None:
    return None if text == "auto" else _positive(text)

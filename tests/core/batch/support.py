"""Measurers without a network, for what has nothing to do with one; workers find them here by name."""

import ctypes
import re
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np

from core.batch import run as batch_run
from core.batch.measure import Measurer
from core.batch.run import Batch, run_batch
from core.batch.settings import BatchSettings
from core.batch.tasks import ImageResult, Stage
from core.domain.errors import ImageError
from core.features.catalogue import CATALOGUE
from core.image.imaging import decode, encode_png
from core.segmentation.model_registry import find_model


class Quick(Measurer):
    """Reads and decodes for real; the only feature it measures is the mean of the pixels."""

    on_gpu = False
    batch_size = 1

    def open(self):
        pass

    def measure(self, loaded, alive=lambda: None):
        alive()
        return [self._one(one) for one in loaded]

    def _one(self, one):
        if one.problem:
            return one.failed(Stage.READ, one.problem)
        path = one.task.image_path
        try:
            image = decode(one.data, path)
        except ImageError as error:
            return one.failed(Stage.DECODE, str(error))
        row = {
            "image_path": path,
            "image_sha256": image.sha256,
            "cell_index": 0,
            "cell_type": one.task.cell_type,
            "patient_id": one.task.patient_id,
            "confidence": 0.9,
            "quality_ok": True,
            "created": self._created,
            next(iter(CATALOGUE)): float(image.rgb.mean()),
        }
        return ImageResult(
            path, image.sha256, one.stamp, [row], {f"masks/{path}.png": encode_png(image.rgb[..., 0].copy())}
        )


class Slow(Quick):
    """Takes 20 ms an image, so that there is time to be killed."""

    seconds = 0.02

    def _one(self, one):
        time.sleep(self.seconds)
        return super()._one(one)


class Slower(Slow):
    """Takes 100 ms an image, so that another run can begin and end meanwhile."""

    seconds = 0.1


class Vanishing(Quick):
    """Somebody deletes a file between its listing and its reading."""

    def read(self, task):
        if "vanish" in task.image_path:
            Path(self.settings.input, task.image_path).unlink()
        return super().read(task)


class Poisoned(Quick):
    """Does what the image's name says."""

    def _one(self, one):
        name = one.task.image_path
        if "hang" in name:
            re.match(
                r"(a|aa)+$", "a" * 60 + "b"
            )  # for ages, and without letting another thread of the process do anything
        if "eat" in name:
            hoard = [np.ones(2**20) for _ in range(2**20)]
            raise AssertionError(len(hoard))
        if "crash" in name:
            ctypes.string_at(0)
        if "exit" in name:
            sys.exit(3)
        return super()._one(one)


class PoisonedTogether(Poisoned):
    """The same, several at a time."""

    batch_size = 4


def write_images(folder, count, size=24, start=0):
    """Images of distinct noise, spread over sub-folders of a hundred."""
    for number in range(start, start + count):
        path = folder / f"{number // 100:03d}" / f"{number:06d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_png(np.random.default_rng(number).integers(0, 256, (size, size, 3), np.uint8)))


def batch(folder, out, measurer=Quick, jobs=2, **settings):
    options = {
        name: settings.pop(name) for name in ("retry_failed", "turns", "engine", "batch_size") if name in settings
    }
    return Batch(
        str(out), BatchSettings(str(folder), **settings), find_model(), jobs=jobs, measurer=measurer, **options
    )


def run(folder, out, measurer=Quick, **settings):
    return run_batch(batch(folder, out, measurer, **settings))


if __name__ == "__main__":
    # A run of its own process, to be killed: python -m tests.core.batch.support INPUT OUT
    batch_run.FLUSH_S = 0.25
    ended = run_batch(batch(Path(sys.argv[1]), Path(sys.argv[2]), Slow), partial(print, flush=True))
    sys.exit(0 if ended.state == "finished" else 1)

"""What `python -m training localise` and `finding` do."""

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from core.domain.errors import UsageError
from core.domain.options import Device
from core.segmentation.localiser import Localiser, OnnxLocaliser
from core.support import files
from training.localiser.boxes import BoxedImage, read_boxed, split_boxed
from training.localiser.config import LocaliserConfig
from training.localiser.evaluation import (
    TorchLocaliser,
    choose_scores,
    finding_in_words,
    localiser_card,
    score_localiser,
    summarise_finding,
)
from training.localiser.loop import SCORES_FILE, SPLIT_FILE, LocaliserEpoch, fit_localiser, load_localiser
from training.messages import kept_in
from training.provenance import commit, versions
from training.terminal import in_time, say


def localise(arguments: argparse.Namespace) -> int:
    """Train a localiser, choose its thresholds on validation images, and score it on what was left out."""
    config = LocaliserConfig.from_toml(arguments.config)
    config = replace(
        config, leave_out=tuple(arguments.leave_out) or config.leave_out, epochs=arguments.epochs or config.epochs
    )
    started = time.monotonic()

    def show(row: LocaliserEpoch) -> None:
        left = in_time(row.seconds * (config.epochs - row.epoch))
        say(f"epoch {row.epoch}/{config.epochs}: loss {row.loss:.4f}, {row.seconds:.0f} s, about {left} left")

    with kept_in(arguments.out):
        validation, held = fit_localiser(config, arguments.out, on_epoch=show)
    print(f"{config.epochs} epochs in {in_time(time.monotonic() - started)}")
    _measure(arguments.out, validation, held)
    print(f"next: python -m export {arguments.out} --out {arguments.out}.onnx")
    return 0


def finding(arguments: argparse.Namespace) -> int:
    """Score a localiser by source and magnification.

    A run on its validation and left-out images, a file on those of the sources.
    """
    localiser: Localiser
    if arguments.localiser.is_dir():
        _, config = load_localiser(arguments.localiser)
        _, validation, held = split_boxed(read_boxed(arguments.sources or config.sources), config)
        _measure(arguments.localiser, validation, held)
        return 0
    localiser = OnnxLocaliser(arguments.localiser, Device.CPU, threads=1)
    images = read_boxed(arguments.sources or LocaliserConfig().sources)
    if arguments.split:
        images = _of_part(images, arguments.split, arguments.part)
    scores = score_localiser(localiser, images, arguments.shrunk, on_view=_tell)
    rows = summarise_finding(scores, localiser.card.least_scores)
    print(json.dumps(rows) if arguments.json else finding_in_words(rows))
    return 0


def _of_part(images: Sequence[BoxedImage], run: Path, part: str) -> list[BoxedImage]:
    """The images of a part of a run's split."""
    try:
        names = set(json.loads((run / SPLIT_FILE).read_text(encoding="utf-8"))[part])
    except (OSError, ValueError, KeyError) as error:
        msg = f"{run} does not tell in {SPLIT_FILE} which images are its part {part} ({error})"
        raise UsageError(msg) from error
    return [image for image in images if f"{image.source}/{image.image_id}" in names]


def _measure(run: Path, validation: Sequence[BoxedImage], held: Sequence[BoxedImage]) -> None:
    """Choose the thresholds of a run on its validation images; write and print the scores of those and the others."""
    network, config = load_localiser(run)
    localiser = TorchLocaliser(network, localiser_card(config))
    chosen_on = score_localiser(localiser, validation, on_view=_tell)
    least = choose_scores(chosen_on)
    report: dict[str, Any] = {"least_scores": least, "validation": summarise_finding(chosen_on, least)}
    if held:
        report["left_out"] = summarise_finding(score_localiser(localiser, held, on_view=_tell), least)
    files.write_text(run / SCORES_FILE, json.dumps(report, indent=1))
    files.write_text(run / "made_with.json", json.dumps({"versions": versions(), "commit": commit()}, indent=1))
    print("least scores: " + ", ".join(f"{kind} {score}" for kind, score in least.items()))
    for part in ("validation", "left_out"):
        if part in report:
            print(f"{part.replace('_', ' ')}:\n{finding_in_words(report[part])}")


def _tell(number: int) -> None:
    say(f"{number} pictures looked at", for_now=True)

"""`leukoscope batch`: very many images.

Light to import: its workers import what they need themselves, and pages start one such process a run.
"""

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Final

from core.batch.results import RunFolder
from core.batch.run import Batch, plan, run_batch
from core.batch.settings import BatchSettings, Progress, State
from core.cli.common import (
    add_choice,
    add_depth,
    add_feature_engine,
    add_json,
    add_model,
    add_scale_from,
    add_stain,
    add_units,
    asked_scale,
    asked_stain,
    positive,
)
from core.domain.errors import UsageError
from core.domain.flags import UNLIKE_TRAINING
from core.domain.options import CellChoice
from core.image.depth import Depths
from core.image.listing import Passed, told
from core.quality.outline_quality import judge_of_file, stain_news
from core.segmentation.model_registry import find_model
from core.support.text import shown

# Where standard error is no terminal, a line every so many tellings.
_QUIET_BEATS: Final = 30

_DESCRIPTION: Final = (
    "Measure a folder, a ZIP file or a bucket of any size. Stopped, killed or out of disk, the same command goes on"
    " where it was; the finished table is the same. The same image under two paths is counted once. Exit code 0: every"
    " image measured; 1: some failed (errors.csv) or the run was stopped; 2: wrong use."
)


def batch(parser: argparse.ArgumentParser) -> None:
    """Measure a folder, a ZIP file or a bucket."""
    parser.description = _DESCRIPTION
    parser.set_defaults(run=_batch)
    _add_source(parser)
    _add_measuring(parser)
    _add_results(parser)
    _add_workers(parser)
    add_json(parser)


def _add_source(parser: argparse.ArgumentParser) -> None:
    """Which images, and what is known of them."""
    add = parser.add_argument
    add("input", metavar="INPUT", help="folder, ZIP file, or URL that fsspec knows (s3://, gs://, memory://)")
    add("--pattern", metavar="GLOB", help="only images whose relative path fits, as '*/blood_*.png'")
    add("--limit", type=positive, metavar="N", help="only the first N images")
    add_scale_from(parser, "--um-per-pixel", "--um-per-px")
    add_depth(parser)
    text = (
        "{} of each image: folder, folder:N (1 is the first below INPUT), regex:PATTERN with a group named {}, or"
        " csv:FILE (also .tsv, .xlsx, .parquet; columns image_path and {})"
    )
    add("--label-from", metavar="HOW", help=text.format("cell type", "label", "cell_type"))
    add("--patient-from", metavar="HOW", help=text.format("patient", "patient", "patient_id"))


def _add_measuring(parser: argparse.ArgumentParser) -> None:
    """What is measured, and how much an image may take."""
    text = "one: the cell in the middle; all: every leukocyte; auto: what the image shows"
    add_choice(parser, "--cells", CellChoice, text)
    add_feature_engine(parser)
    add_stain(parser)
    add_model(parser)
    add = parser.add_argument
    add("--time-limit", type=float, default=60.0, metavar="S", help="seconds an image may take (default 60)")
    text = "memory an image may take beyond its worker's own (default 2048)"
    add("--memory-limit", type=positive, default=2048, metavar="MB", help=text)


def _add_results(parser: argparse.ArgumentParser) -> None:
    """Where results go, and which there are."""
    add = parser.add_argument
    add("--out", required=True, metavar="DIR", help="folder (or URL) for the results")
    add_units(parser)
    add("--overlay", action="store_true", help="also write pictures with the outlines drawn over them")
    add("--outlines", action="store_true", help="also write outlines as GeoJSON, a file per image, for QuPath")
    add("--dry-run", action="store_true", help="list and count, and say what would be done; writes nothing")
    add("--retry-failed", action="store_true", help="try again what failed before")


def _add_workers(parser: argparse.ArgumentParser) -> None:
    """Who does the work."""
    add = parser.add_argument
    text = "worker processes, one thread each (default 1; on a cluster, all it has room for)"
    add("--jobs", type=positive, help=text)
    text = "images outlined together (auto: 1 on CPU, 16 on CUDA)"
    add("--batch-size", type=_batch_size, metavar="auto|N", help=text)
    add("--engine", choices=["local", "ray"], default="local", help="ray: on a cluster (see requirements-cluster.txt)")
    add("--ray-address", metavar="ADDRESS", help="cluster to join; a local one is started without it")
    add("--turns", metavar="FOLDER", help="take turns with the other runs that name this folder")
    add("--owner", default="", metavar="NAME", help="whose run it is, for --turns")


def _batch_size(text: str) -> int | None:
    return None if text == "auto" else positive(text)


def _batch(arguments: argparse.Namespace) -> int:
    asked = _asked(arguments)
    if arguments.dry_run:
        return _tell_plan(asked, as_json=arguments.json)
    ended = run_batch(asked, _Line(arguments.out))
    folder = RunFolder(arguments.out)
    news = stain_news(*folder.flagged(UNLIKE_TRAINING), judge_of_file(asked.model.quality, asked.model.sha256))
    if news:
        print(f"note: {news}", file=sys.stderr)
    if arguments.json:
        said = {"last": None, "stain": news, "images": folder.remarks()}
        print(json.dumps({"out": arguments.out, **asdict(ended), **said}))
    _tell_passed_over(ended.passed_over)
    if ended.failed:
        print(
            f"failed: {ended.failed:,} of {ended.done:,} images; {arguments.out}/errors.csv says why", file=sys.stderr
        )
    return 0 if ended.state is State.FINISHED and not ended.failed else 1


def _asked(arguments: argparse.Namespace) -> Batch:
    settings = BatchSettings(
        arguments.input,
        arguments.pattern,
        asked_scale(arguments),
        arguments.cells,
        arguments.feature_engine,
        arguments.overlay,
        arguments.outlines,
        arguments.label_from,
        arguments.patient_from,
        arguments.limit,
        arguments.time_limit,
        arguments.memory_limit,
        arguments.units,
        Depths(arguments.bit_depth),
        asked_stain(arguments),
    )
    turns = None
    if arguments.turns is not None:
        from core.batch.fair_queue import FairQueue

        turns = FairQueue(Path(arguments.turns), arguments.owner, str(Path(arguments.out).resolve()))
    engine = None
    if arguments.engine == "ray":
        # Here, because whoever has one machine needs no Ray.
        from core.batch.cluster import ray_engine

        engine = ray_engine(arguments.ray_address, arguments.jobs)
    elif arguments.ray_address is not None:
        msg = "--ray-address is that of a cluster, but --engine is local; add --engine ray"
        raise UsageError(msg)
    return Batch(
        arguments.out,
        settings,
        find_model(arguments.model),
        arguments.jobs or 1,
        arguments.device,
        arguments.batch_size,
        arguments.retry_failed,
        turns,
        engine=engine,
    )


def _tell_plan(asked: Batch, *, as_json: bool) -> int:
    tally = plan(asked)
    for note in tally.notes:
        print(f"note: {note}", file=sys.stderr)
    for path, reason in tally.refused.items():
        print(shown(f"would fail: {path}: {reason}"), file=sys.stderr)
    _tell_passed_over(tally.passed_over)
    if as_json:
        print(json.dumps(asdict(tally)))
    else:
        print(
            f"{tally.listed:,} images: {tally.to_do:,} to do, {tally.done:,} done before, {len(tally.refused):,} that"
            " cannot be measured"
        )
        for path, patient, cell_type in tally.examples:
            said = [f"patient {patient}"] if patient else []
            said += [f"cell type {cell_type}"] if cell_type else []
            print(f"{path}: {', '.join(said) or 'no patient, no cell type'}")
    return 1 if tally.refused else 0


def _tell_passed_over(passed: Mapping[str, Passed]) -> None:
    if passed:
        print(told(passed), file=sys.stderr)


class _Line:
    """Progress on standard error: one line that is overwritten on a terminal, one line from time to time elsewhere."""

    def __init__(self, out: str) -> None:
        self._out = out
        self._said: tuple[State, str] | None = None
        self._notes: set[str] = set()
        self._beats = 0

    def __call__(self, progress: Progress) -> None:
        terminal = sys.stderr.isatty()
        for note in progress.notes:
            if note not in self._notes:
                print(f"note: {note}", file=sys.stderr)
        self._notes |= set(progress.notes)
        news = (progress.state, progress.message) != self._said and not progress.message.endswith("so far")
        if terminal or news or self._beats % _QUIET_BEATS == 0:
            self._said = (progress.state, progress.message)
            print(
                _sentence(progress),
                file=sys.stderr,
                end="\r" if terminal and not progress.state.ended else "\n",
                flush=True,
            )
        self._beats += 1


def _sentence(progress: Progress) -> str:
    of = "" if progress.total is None else f" of {progress.total:,}"
    parts = [f"{progress.state}: {progress.done:,}{of} images, {progress.cells:,} cells"]
    if progress.failed:
        parts.append(f"{progress.failed:,} failed")
    if progress.rate is not None and not progress.state.ended:
        parts.append(f"{progress.rate:.1f} a second")
    if progress.seconds_left is not None:
        parts.append(
            f"about {progress.seconds_left / 60:.0f} min left"
            if progress.seconds_left > 90
            else f"about {progress.seconds_left:.0f} s left"
        )
    if progress.message:
        parts.append(progress.message)
    return ", ".join(parts)

"""`leukoscope segment`, `analyse` and `features`: images and masks that are named one by one."""

import argparse
import json
import os
import sys
from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any, Final

import pandas as pd

from core.charts.labels import um_range
from core.charts.overlay import field_png, outlined_png
from core.charts.trust import likeness_features, likeness_sizes
from core.cli.cohort import references
from core.cli.common import (
    add_choice,
    add_depth,
    add_excel,
    add_feature_engine,
    add_jobs,
    add_json,
    add_model,
    add_scale,
    add_stain,
    add_units,
    asked_scale,
    asked_stain,
    count_images,
    in_bounds,
)
from core.domain.compartments import Compartment
from core.domain.errors import StoreError, UsageError
from core.domain.flags import UNLIKE_TRAINING
from core.domain.options import CellChoice, Device, FeatureEngine, Paper, Units
from core.domain.types import CellAnalysis
from core.evaluation.agreement import load as load_reliability
from core.features.catalogue import CATALOGUE
from core.features.extract import extract
from core.image.drawn_masks import read_mask, turned_by, without_specks
from core.image.imaging import base_name, encode_png, file_depths, load
from core.image.listing import PassedOver, find_images, told
from core.image.mask_coding import read_coding
from core.image.masks import encode_grey, with_environment
from core.pipeline import AnalysisRequest, Outcome, analyse_many
from core.populations.nearness import NearestPopulations
from core.populations.placement import models_beside, place_cell
from core.populations.summaries import ReferencePopulation
from core.quality.drawn import assess_drawn
from core.quality.outline_quality import judge_of_file, stain_news
from core.reports.cell import html_pages
from core.reports.first_page import FirstPage, first_page
from core.reports.pdf import pdf_pages
from core.reports.tables import analyses_table
from core.segmentation.field_of_view import composed
from core.segmentation.model_registry import find_model
from core.store.export import to_csv, to_parquet, write_cells
from core.store.schema import check_relative
from core.support import files
from core.support.text import shown

_MASKS: Final = "masks"
_INSTANCES: Final = "instances"
_OVERLAYS: Final = "overlays"
_REPORTS_FOLDER: Final = "reports"
_REPORTS: Final = ("html", "pdf")
_KINDS: Final = (_INSTANCES, _OVERLAYS)

# --- segment and analyse ----------------------------------------------------------------------------------------------


def segment(parser: argparse.ArgumentParser) -> None:
    """Outline the cells of images."""
    _add_inputs(parser)
    parser.set_defaults(run=_segment, stain=None)


def analyse(parser: argparse.ArgumentParser) -> None:
    """Outline, measure and place the cells of images."""
    _add_inputs(parser)
    add_stain(parser)
    add_units(parser)
    add_excel(parser)
    text = "also write a page about each cell to `reports`, in one file an image"
    parser.add_argument("--report", choices=_REPORTS, help=text)
    add_choice(parser, "--paper", Paper, "what a report as PDF is printed on")
    parser.set_defaults(run=_analyse)


def _add_inputs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("inputs", nargs="+", type=Path, metavar="INPUT", help="image files or folders of them")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the results")
    parser.add_argument("--overlay", action="store_true", help="also write pictures with the outlines drawn over them")
    text = "one: the cell in the middle; all: every leukocyte of the field; auto (default): what the image shows"
    add_choice(parser, "--cells", CellChoice, text)
    add_model(parser)
    add_jobs(parser)
    add_scale(parser)
    add_depth(parser)
    add_feature_engine(parser)
    add_json(parser)


def _segment(arguments: argparse.Namespace) -> int:
    out: Path = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    run = _Told()
    for outcome, name, result in _outcomes(arguments, run):
        _write_masks(outcome, out, result, overlay=arguments.overlay)
        run.image(outcome, name, result)
    return _conclude(arguments, run, {"out": str(out), "cells": run.cells, "flagged": run.flagged})


def _analyse(arguments: argparse.Namespace) -> int:
    out, units = arguments.out, Units(arguments.units)
    if units is Units.MICROMETRES and arguments.um_per_px is None:
        msg = "--units um needs the scale of the images; give --um-per-px, or leave the table in pixels"
        raise UsageError(msg)
    (out / _MASKS).mkdir(parents=True, exist_ok=True)
    populations = references()
    reports = _Reports(arguments, populations) if arguments.report else None
    run = _Told()
    rows: list[dict[Hashable, Any]] = []  # plain values: pandas 2 warns of tables without a value that are put together
    places: list[dict[str, Any]] = []
    for outcome, name, result in _outcomes(arguments, run):
        _write_masks(outcome, out / _MASKS, result, overlay=arguments.overlay)
        run.image(outcome, name, f"{_MASKS}/{result}")
        named = [replace(a, image=replace(a.image, name=name)) for a in outcome.analyses]
        rows += analyses_table(named).to_dict("records")
        if reports is not None:
            reports.write(named, PurePosixPath(result))
        for analysis in named:
            run.model_notes[models_beside(analysis, populations)] = None
            places += [
                {
                    "image_path": name,
                    "cell_index": analysis.cell_index,
                    **_place_row(comparison),
                    "model_note": placed.model_note,
                }
                for placed in place_cell(analysis, populations)
                for comparison in placed.comparisons
                if comparison.comparable
            ]
    table = pd.DataFrame(rows, columns=analyses_table([]).columns)
    write_cells(table, out / "features.parquet", units)
    write_cells(table, out / "features.csv", units, excel=arguments.excel)
    to_parquet(pd.DataFrame(places), out / "places.parquet")
    errors = pd.DataFrame({"image_path": list(run.failed_names), "reason": list(run.failures.values())})
    files.write_bytes(out / "errors.csv", to_csv(errors, excel=arguments.excel))
    notes = [note for note in run.model_notes if note]
    for note in notes:
        print(shown(f"note: {note}"), file=sys.stderr)
    return _conclude(arguments, run, {"out": str(out), "cells": run.cells, "model_notes": notes})


class _Reports:
    """Writes a page about each cell, those of an image in one file."""

    def __init__(self, arguments: argparse.Namespace, populations: Sequence[ReferencePopulation]) -> None:
        self._folder, self._paper = arguments.out / _REPORTS_FOLDER, Paper(arguments.paper)
        self._kind, self._created = arguments.report, datetime.now().astimezone()
        self._model, self._populations = find_model(arguments.model), populations
        measured = self._model.reliability
        self._reliability = load_reliability(measured) if measured is not None else {}
        shapes, sizes = likeness_features(self._reliability), likeness_sizes(self._reliability)
        self._nearest = NearestPopulations(populations, shapes, sizes)

    def write(self, analyses: Sequence[CellAnalysis], result: PurePosixPath) -> None:
        """Write the report of an image; `result` is the name of its mask."""
        pages = [self._page(analysis) for analysis in analyses]
        name = analyses[0].image.name
        made = pdf_pages(pages, self._paper, name) if self._kind == "pdf" else html_pages(pages, name).encode()
        _write(self._folder / result.with_suffix(f".{self._kind}"), made)

    def _page(self, analysis: CellAnalysis) -> FirstPage:
        codes = [flag.code for flag in analysis.flags]
        severe = [flag.code for flag in analysis.flags if flag.severe]
        nearness = self._nearest.of(analysis.features, analysis.image.um_per_px, codes, severe)
        return first_page(analysis, self._populations, nearness, self._model, self._reliability, self._created)


def _place_row(comparison: Any) -> dict[str, Any]:  # noqa: ANN401 (a FeatureComparison; its fields are copied by name)
    names = ("population", "feature", "value", "basis", "percentile", "robust_z", "inside")
    row = {name: getattr(comparison, name) for name in names}
    return {**row, "basis": str(row["basis"])}


class _Told:
    """What is said of a run: each image with what opening it did and the flags of its cells, and the failures."""

    def __init__(self) -> None:
        self.cells = self.unlike_training = 0
        self.images: list[dict[str, Any]] = []
        self.flagged: dict[str, list[str]] = {}
        self.failures: dict[str, str] = {}
        self.failed_names: list[str] = []
        self.model_notes: dict[str | None, None] = {}
        self.passed_over = PassedOver()

    def image(self, outcome: Outcome, name: str, mask: str) -> None:
        """Take in a measured image."""
        flags = {flag.code: flag.message for analysis in outcome.analyses for flag in analysis.flags}
        notes = list(dict.fromkeys(note for analysis in outcome.analyses for note in analysis.image.notes))
        self.cells += len(outcome.analyses)
        codes = [{flag.code for flag in analysis.flags} for analysis in outcome.analyses]
        self.unlike_training += sum(UNLIKE_TRAINING in found for found in codes)
        self.images.append(
            {"image_path": name, "mask": mask, "cells": len(outcome.analyses), "notes": notes, "flags": flags}
        )
        if flags:
            self.flagged[str(outcome.path)] = list(flags)

    def failure(self, path: Path, name: str, reason: str) -> None:
        """Take in an image that could not be measured."""
        self.failures[str(path)] = reason
        self.failed_names.append(name)


def _outcomes(arguments: argparse.Namespace, run: _Told) -> Iterator[tuple[Outcome, str, str]]:
    """Analyse all inputs with progress: each with its name in tables and that of its result.

    Failures are taken in with their reasons and not yielded.
    """
    engine = FeatureEngine(arguments.feature_engine)
    engine.check_installed()
    found = find_images(arguments.inputs, run.passed_over)
    # A file that is given in two ways is measured once.
    inside = {name: path for path, name in reversed(list(zip(found, _inside(found, arguments.inputs), strict=True)))}
    paths = sorted(inside.values())
    results = dict(zip(inside.values(), result_names(list(inside)), strict=True))
    names = {path: _speakable(name) for name, path in inside.items()}
    depths, cells = file_depths(paths, arguments.bit_depth), CellChoice(arguments.cells)
    scale, stain = asked_scale(arguments), asked_stain(arguments)
    jobs = [AnalysisRequest(path, scale, cells, engine, depths, stain) for path in paths]
    model = find_model(arguments.model)
    show = count_images(len(jobs))
    for number, outcome in enumerate(
        analyse_many(jobs, model, jobs=arguments.jobs, device=Device(arguments.device)), start=1
    ):
        show(number)
        if outcome.reason is not None:
            run.failure(outcome.path, names[outcome.path], outcome.reason)
        else:
            yield outcome, names[outcome.path], results[outcome.path]


def _inside(paths: Sequence[Path], inputs: Sequence[Path]) -> list[str]:
    """Paths relative to the folder that all inputs share: what is above it tells about the machine."""
    # Not resolved: an image is called as its link is.
    base = os.path.commonpath([_absolute(entry if entry.is_dir() else entry.parent) for entry in inputs])
    return [Path(os.path.relpath(_absolute(path), base)).as_posix() for path in paths]


def _absolute(path: Path) -> str:
    return os.path.normpath(Path.cwd() / path)


def result_names(names: Sequence[str]) -> list[str]:
    """Names of the results of images, each in its sub-folder: `p1/1.png` for `p1/1.tif`.

    Images of one folder that differ in nothing but the ending keep it, as in a batch: `1.tif.png`, `1.bmp.png`. So do
    all where a result would still come twice or lie among results of another kind.
    """
    short = [str(PurePosixPath(name).with_suffix(".png")) for name in names]
    often = Counter(short)
    chosen = [one if often[one] == 1 else f"{name}.png" for name, one in zip(names, short, strict=True)]
    whole = [f"{name}.png" for name in names]
    chosen = chosen if len(set(chosen)) == len(chosen) else whole
    if mixed := next((name for name in names if name.partition("/")[0] in _KINDS and "/" in name), None):
        msg = (
            f"a folder of images must not be called {' or '.join(_KINDS)}, as folders of results are, but {mixed} lies"
            " in one; rename it, or give it alone"
        )
        raise UsageError(msg)
    return chosen


def _speakable(name: str) -> str:
    """A name without what another system takes for a path that leads out of the folder."""
    try:
        check_relative(name)
    except StoreError:
        return "/".join(base_name(part) for part in name.split("/"))
    return name


def _write_masks(outcome: Outcome, folder: Path, name: str, *, overlay: bool) -> None:
    """One mask an image; for a field also the cells' labels as a 16-bit image, and a picture with their numbers."""
    first = outcome.analyses[0]
    cells = [(analysis.place, analysis.segmentation.labels) for analysis in outcome.analyses if analysis.place]
    labels, numbers = composed(outcome.shape, cells) if cells else (first.segmentation.labels, None)
    _write(folder / name, encode_png(encode_grey(labels)))
    if numbers is not None:
        _write(folder / _INSTANCES / name, encode_png(numbers))
    if overlay:
        # The cells carry their cut-outs only, so the field is opened once more.
        whole = load(outcome.path, first.image.um_per_px, outcome.depths) if cells else first.image
        picture = field_png(whole, cells) if cells else outlined_png(whole, labels)
        _write(folder / _OVERLAYS / name, picture)


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_bytes(path, content)


def _conclude(arguments: argparse.Namespace, run: _Told, result: dict[str, Any]) -> int:
    others = run.passed_over.by_ending
    if others:
        print(shown(told(others)), file=sys.stderr)
    for path, reason in run.failures.items():
        print(shown(f"failed: {path}: {reason}"), file=sys.stderr)
    model = find_model(arguments.model)
    news = stain_news(run.unlike_training, run.cells, judge_of_file(model.quality, model.sha256))
    if news:
        print(f"note: {news}", file=sys.stderr)
    if arguments.json:
        result["stain"] = news
        passed = {ending: asdict(one) for ending, one in others.items()}
        print(json.dumps({**result, "images": run.images, "failed": run.failures, "passed_over": passed}))
    return 1 if run.failures else 0


# --- features of a given mask -----------------------------------------------------------------------------------------


def features(parser: argparse.ArgumentParser) -> None:
    """Measure a mask that somebody drew."""
    parser.add_argument("--image", type=Path, required=True, metavar="FILE", help="the image")
    text = "its mask: grey levels 0/128/255, 0/85/170/255 or of its own, COCO, or GeoJSON as of QuPath"
    parser.add_argument("--mask", type=Path, required=True, metavar="FILE", help=text)
    text = "a mask of the nucleus alone; --mask then shows the whole cell"
    parser.add_argument("--nucleus-mask", type=Path, metavar="FILE", help=text)
    text = 'what colours, levels or classes mean, as {"#ff0000": "cytoplasm", "#0000ff": "nucleus", ...}'
    parser.add_argument("--mask-coding", type=Path, metavar="FILE", help=text)
    add_scale(parser)
    add_feature_engine(parser)
    add_json(parser)
    parser.set_defaults(run=in_bounds(_features))


def _features(arguments: argparse.Namespace) -> int:
    image = load(arguments.image, asked_scale(arguments))
    mask = without_specks(
        read_mask(
            arguments.mask,
            image.shape,
            image_name=image.name,
            coding=read_coding(arguments.mask_coding) if arguments.mask_coding else None,
            nucleus=arguments.nucleus_mask,
        )
    )
    # A drawn environment is measured as it is drawn; masks of the older coding have none and get the usual ring.
    labels = mask.labels if (mask.labels == Compartment.ENVIRONMENT).any() else with_environment(mask.labels)
    measured = extract(image.rgb, labels, FeatureEngine(arguments.feature_engine))
    flags = assess_drawn(image, labels, measured, specks=mask.specks)
    notes = [*image.notes, *mask.notes]
    if (turn := turned_by(arguments.image)) not in {1, turned_by(arguments.mask)}:
        notes.append(
            f"the image was turned upright as its file asks (EXIF orientation {turn}), and the mask's file asks for"
            " another turn or none: a mask drawn on the picture as stored must be turned alike"
        )
    if mask.repaired:
        notes.append(
            f"{arguments.mask.name}: {mask.repaired} pixels held a value of no code and were given the nearest"
        )
    values, units = measured.values, {name: CATALOGUE[name].unit.px for name in measured.values}
    if image.um_per_px is not None:
        units = {name: CATALOGUE[name].unit.um for name in values}
        values = {
            name: None if value is None else CATALOGUE[name].in_um(value, image.um_per_px)
            for name, value in values.items()
        }
    if arguments.json:
        print(
            json.dumps(
                {
                    "features": values,
                    "absent": measured.absent,
                    "units": units,
                    "um_per_px": image.um_per_px,
                    "um_per_px_error": image.um_per_px_error,
                    "quality_ok": not any(flag.severe for flag in flags),
                    "quality_flags": [flag.code for flag in flags],
                    "severe_flags": [flag.code for flag in flags if flag.severe],
                    "flag_messages": {flag.code: flag.message for flag in flags},
                    "notes": notes,
                    "repaired": mask.repaired,
                }
            )
        )
        return 0
    for line in [*(f"note: {note}" for note in notes), *(f"{flag.code}: {flag.message}" for flag in flags)]:
        print(line, file=sys.stderr)
    for name, value in values.items():
        spread = um_range(CATALOGUE[name], measured.values[name], image.um_per_px, image.um_per_px_error)
        print(
            f"{name:{max(map(len, CATALOGUE))}}"
            f" {'absent: ' + measured.absent[name] if value is None else f'{value:.6g} {units[name]}{spread}'}"
        )
    return 0

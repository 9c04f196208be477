"""`leukoscope segment`, `analyse` and `features`: images and masks that are named one by one."""

import argparse
import json
import sys
from collections.abc import Hashable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pandas as pd

from core.charts.overlay import field_png, outlined_png
from core.cli.cohort import references
from core.cli.common import (
    add_choice,
    add_depth,
    add_feature_engine,
    add_jobs,
    add_json,
    add_model,
    add_scale,
    count_images,
)
from core.domain.compartments import Compartment
from core.domain.options import CellChoice, Device, FeatureEngine
from core.features.catalogue import CATALOGUE
from core.features.extract import extract
from core.image.imaging import encode_png, file_depths, load, load_grey
from core.image.listing import PassedOver, find_images, told
from core.image.masks import decode_grey, encode_grey, with_environment
from core.pipeline import AnalysisRequest, Outcome, analyse_many
from core.populations.placement import place_cell
from core.reports.tables import analyses_table
from core.segmentation.field_of_view import composed
from core.segmentation.model_registry import find_model
from core.store.export import to_csv, to_parquet

# --- segment and analyse ----------------------------------------------------------------------------------------------


def segment(parser: argparse.ArgumentParser) -> None:
    """Outline the cells of images."""
    _add_inputs(parser)
    parser.set_defaults(run=_segment)


def analyse(parser: argparse.ArgumentParser) -> None:
    """Outline, measure and place the cells of images."""
    _add_inputs(parser)
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
    failures: dict[str, str] = {}
    passed_over = PassedOver()
    flagged: dict[str, list[str]] = {}
    cells = 0
    for outcome in _outcomes(arguments, failures, passed_over):
        _write_masks(outcome, out, overlay=arguments.overlay)
        cells += len(outcome.analyses)
        codes = dict.fromkeys(flag.code for analysis in outcome.analyses for flag in analysis.flags)
        if codes:
            flagged[str(outcome.path)] = list(codes)
    return _conclude(arguments, failures, passed_over, {"out": str(out), "cells": cells, "flagged": flagged})


def _analyse(arguments: argparse.Namespace) -> int:
    out: Path = arguments.out
    masks = out / "masks"
    masks.mkdir(parents=True, exist_ok=True)
    populations = references()
    failures: dict[str, str] = {}
    passed_over = PassedOver()
    rows: list[dict[Hashable, Any]] = []  # plain values: pandas 2 warns of tables without a value that are put together
    places: list[dict[str, Any]] = []
    for outcome in _outcomes(arguments, failures, passed_over):
        _write_masks(outcome, masks, overlay=arguments.overlay)
        named = [replace(a, image=replace(a.image, name=str(outcome.path))) for a in outcome.analyses]
        rows += analyses_table(named).to_dict("records")
        for analysis in named:
            places += [
                {"image_path": analysis.image.name, "cell_index": analysis.cell_index, **_place_row(comparison)}
                for placed in place_cell(analysis, populations)
                for comparison in placed.comparisons
                if comparison.comparable
            ]
    table = pd.DataFrame(rows, columns=analyses_table([]).columns)
    to_parquet(table, out / "features.parquet")
    (out / "features.csv").write_bytes(to_csv(table))
    to_parquet(pd.DataFrame(places), out / "places.parquet")
    errors = pd.DataFrame({"image_path": list(failures), "reason": list(failures.values())})
    (out / "errors.csv").write_bytes(to_csv(errors))
    return _conclude(arguments, failures, passed_over, {"out": str(out), "cells": len(table)})


def _place_row(comparison: Any) -> dict[str, Any]:  # noqa: ANN401 (a FeatureComparison; its fields are copied by name)
    names = ("population", "feature", "value", "basis", "percentile", "robust_z", "inside")
    row = {name: getattr(comparison, name) for name in names}
    return {**row, "basis": str(row["basis"])}


def _outcomes(arguments: argparse.Namespace, failures: dict[str, str], passed_over: PassedOver) -> Iterator[Outcome]:
    """Analyse all inputs with progress; failures are collected with their reasons and not yielded."""
    engine = FeatureEngine(arguments.feature_engine)
    engine.check_installed()
    paths = find_images(arguments.inputs, passed_over)
    seen: dict[str, Path] = {}
    unique = []
    for path in paths:
        if path.stem in seen:
            failures[str(path)] = (
                f"{path.name} would overwrite the result of {seen[path.stem]}; rename it or use another --out"
            )
        else:
            seen[path.stem] = path
            unique.append(path)
    depths = file_depths(unique, arguments.bit_depth)
    cells = CellChoice(arguments.cells)
    jobs = [AnalysisRequest(path, arguments.um_per_px, cells, engine, depths) for path in unique]
    model = find_model(arguments.model)
    show = count_images(len(jobs))
    for number, outcome in enumerate(
        analyse_many(jobs, model, jobs=arguments.jobs, device=Device(arguments.device)), start=1
    ):
        show(number)
        if outcome.reason is not None:
            failures[str(outcome.path)] = outcome.reason
        else:
            yield outcome


def _write_masks(outcome: Outcome, folder: Path, *, overlay: bool) -> None:
    """One mask an image; for a field also the cells' labels as a 16-bit image, and a picture with their numbers."""
    name = f"{outcome.path.stem}.png"
    first = outcome.analyses[0]
    cells = [(analysis.place, analysis.segmentation.labels) for analysis in outcome.analyses if analysis.place]
    labels, numbers = composed(outcome.shape, cells) if cells else (first.segmentation.labels, None)
    (folder / name).write_bytes(encode_png(encode_grey(labels)))
    if numbers is not None:
        (folder / "instances").mkdir(exist_ok=True)
        (folder / "instances" / name).write_bytes(encode_png(numbers))
    if overlay:
        (folder / "overlays").mkdir(exist_ok=True)
        # The cells carry their cut-outs only, so the field is opened once more.
        whole = load(outcome.path, first.image.um_per_px, outcome.depths) if cells else first.image
        picture = field_png(whole, cells) if cells else outlined_png(whole, labels)
        (folder / "overlays" / name).write_bytes(picture)


def _conclude(
    arguments: argparse.Namespace, failures: dict[str, str], passed_over: PassedOver, result: dict[str, Any]
) -> int:
    others = passed_over.by_ending
    if others:
        print(told(others), file=sys.stderr)
    for path, reason in failures.items():
        print(f"failed: {path}: {reason}", file=sys.stderr)
    if arguments.json:
        passed = {ending: asdict(one) for ending, one in others.items()}
        print(json.dumps({**result, "failed": failures, "passed_over": passed}))
    return 1 if failures else 0


# --- features of a given mask -----------------------------------------------------------------------------------------


def features(parser: argparse.ArgumentParser) -> None:
    """Measure a mask that somebody drew."""
    parser.add_argument("--image", type=Path, required=True, metavar="FILE", help="the image")
    text = "its mask: grey levels 0/128/255 or 0/85/170/255"
    parser.add_argument("--mask", type=Path, required=True, metavar="FILE", help=text)
    add_scale(parser)
    add_feature_engine(parser)
    add_json(parser)
    parser.set_defaults(run=_features)


def _features(arguments: argparse.Namespace) -> int:
    image = load(arguments.image, arguments.um_per_px)
    mask = decode_grey(load_grey(arguments.mask), arguments.mask.name)
    if mask.repaired:
        print(
            f"{arguments.mask.name}: {mask.repaired} pixels held a value of no code and were given the nearest",
            file=sys.stderr,
        )
    # A drawn environment is measured as it is drawn; masks of the older coding have none and get the usual ring.
    labels = mask.labels if (mask.labels == Compartment.ENVIRONMENT).any() else with_environment(mask.labels)
    features = extract(image.rgb, labels, FeatureEngine(arguments.feature_engine))
    values = features.values
    if image.um_per_px is not None:
        values = {
            name: None if value is None else CATALOGUE[name].in_um(value, image.um_per_px)
            for name, value in values.items()
        }
    if arguments.json:
        print(json.dumps({"features": values, "absent": features.absent}))
        return 0
    for name, value in values.items():
        unit = CATALOGUE[name].unit.px if image.um_per_px is None else CATALOGUE[name].unit.um
        print(
            f"{name:{max(map(len, CATALOGUE))}}"
            f" {'absent: ' + features.absent[name] if value is None else f'{value:.6g} {unit}'}"
        )
    return 0

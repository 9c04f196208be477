"""`leukoscope reliability`, `novelty`, `quality`, `nearness` and `selection`: how far numbers can be trusted."""

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import pandas as pd

from core.charts.trust import likeness_features, likeness_sizes
from core.cli.common import add_jobs, add_json, add_model, add_out_file, count_images, positive
from core.domain.errors import UsageError
from core.domain.options import Device
from core.domain.settings import check_own, load_settings
from core.evaluation import model_selection, novelty_fit, quality_fit
from core.evaluation.agreement import Grade, load, save, to_json
from core.evaluation.datasets import DataSet, data_set
from core.evaluation.model_comparison import (
    Measure,
    fair,
    few_images,
    leaks,
    paired_differences,
    ranking,
    title,
    verdict,
)
from core.evaluation.nearness_check import Setting, check_nearness, nearness_row
from core.evaluation.reliability import measure_reliability, store
from core.evaluation.true_cells import LABORATORIES
from core.quality import novelty as knowledge
from core.quality import outline_quality
from core.quality.outline_signs import OUTLINE_SIGNS
from core.segmentation.model_registry import ModelEntry, find_model
from core.store.database import Cohort
from core.support import files


def _add_measuring(parser: argparse.ArgumentParser, limited: str) -> None:
    """Arguments of what is measured of a model and kept beside it."""
    add_out_file(parser, "write the result here instead")
    parser.add_argument("--limit", type=positive, metavar="N", help=limited)
    add_model(parser)
    add_jobs(parser)
    add_json(parser)


def _add_own(parser: argparse.ArgumentParser, text: str) -> None:
    """Folders of one's own."""
    parser.add_argument("--data", type=Path, nargs="+", default=[], metavar="FOLDER", help=text)


def _own(arguments: argparse.Namespace) -> list[DataSet]:
    return [data_set(str(folder)) for folder in arguments.data]


def _kept_in(arguments: argparse.Namespace, model: ModelEntry) -> Path:
    """Where a measurement is kept: beside the model's file, or `--out`; raises UsageError if it cannot be written."""
    if arguments.limit is not None and arguments.out is None:
        msg = (
            "a measurement of a few images says too little to be kept with the model; with --limit give --out FILE as"
            " well"
        )
        raise UsageError(msg)
    out: Path = arguments.out or model.path
    check_own(out, "give --out FILE")
    try:  # now, not after minutes of measuring
        TemporaryFile(dir=out.parent).close()
    except OSError as error:
        msg = f"the result cannot be kept in {out.parent} ({error.strerror}); give --out FILE in another folder"
        raise UsageError(msg) from error
    return out


def _late_progress() -> Callable[[int, int], None]:
    """Progress whose total is known with the first image."""
    show: list[Callable[[int], None]] = []

    def progress(done: int, total: int) -> None:
        if not show:
            show.append(count_images(total))
        show[0](done)

    return progress


# --- reliability ------------------------------------------------------------------------------------------------------


def reliability(parser: argparse.ArgumentParser) -> None:
    """Grade every feature."""
    _add_measuring(parser, "only so many images, evenly out of all; needs --out")
    _add_own(parser, "folders of your own (images/ and masks/) that the model was trained on")
    parser.set_defaults(run=_reliability)


def _reliability(arguments: argparse.Namespace) -> int:
    model = find_model(arguments.model)
    out = _kept_in(arguments, model)
    report = measure_reliability(
        model,
        jobs=arguments.jobs,
        device=Device(arguments.device),
        limit=arguments.limit,
        own=_own(arguments),
        progress=_late_progress(),
    )
    if arguments.out is None:
        store(report, model)
    else:
        save(report, out)
    if arguments.json:
        print(to_json(report), end="")
        return 0
    for grade in Grade:
        print(f"{grade}: {sum(feature.grade is grade for feature in report.features.values())} features")
    return 0


# --- novelty ----------------------------------------------------------------------------------------------------------


def novelty(parser: argparse.ArgumentParser) -> None:
    """Learn what a leukocyte is."""
    _add_measuring(parser, "only so many images of each kind; needs --out")
    _add_own(parser, "folders of your own (images/ and masks/) whose leukocytes are known, too")
    parser.set_defaults(run=_novelty)


def _novelty(arguments: argparse.Namespace) -> int:
    model = find_model(arguments.model)
    out = _kept_in(arguments, model)
    learnt = novelty_fit.learn(
        model,
        jobs=arguments.jobs,
        device=Device(arguments.device),
        limit=arguments.limit,
        own=_own(arguments),
        progress=_late_progress(),
    )
    if arguments.out is None:
        novelty_fit.store(learnt, model)
    else:
        knowledge.save(learnt, out)
    if arguments.json:
        print(knowledge.to_json(learnt), end="")
        return 0
    print(
        f"A cell is flagged as unlike a leukocyte beyond a distance of {learnt.detector.limit:.2f}, and as a"
        f" granulocyte where both odds exceed e to the power {learnt.granulocyte.limit:g}. Shares in per cent, with"
        " their 95 % intervals."
    )
    for name, rows in learnt.measured.items():
        table = pd.DataFrame([{column: _percent(value) for column, value in row.items()} for row in rows])
        print(f"\n{_NOVELTY_TITLES[name]}\n{table.to_string(index=False)}")
    return 0


_NOVELTY_TITLES = {
    "kinds": (
        "What is no leukocyte: AUC of the distance against lymphocytes and monocytes of known and of never fitted"
        " laboratories; shares flagged as unlike, as too small, refused by any severe flag, and refused without"
        " these two"
    ),
    "cells": (
        "Leukocytes: shares flagged falsely by what was fitted without the cell's fold, or without its laboratory (left"
        " out); refused for that alone; called granulocytes"
    ),
    "granulocytes": "Neutrophils and eosinophils against mononuclear cells of known laboratories",
}


def _percent(value: Any) -> Any:  # noqa: ANN401 (any cell of a table)
    """A share with its interval in per cent; anything else as it is."""
    if not isinstance(value, list):
        return value
    share, low, high = (100 * each for each in value)
    return f"{share:.1f} ({low:.1f}-{high:.1f})"


# --- quality of outlines ----------------------------------------------------------------------------------------------


def quality(parser: argparse.ArgumentParser) -> None:
    """Learn to tell how well a cell is outlined."""
    text = (
        "outlines of a network trained without some laboratories, as `python -m training outlines` writes them; they"
        " stand for the model's own there. May be given several times"
    )
    parser.add_argument("--table", type=Path, action="append", default=[], metavar="FILE", help=text)
    _add_measuring(parser, "only so many images of each laboratory; needs --out")
    parser.set_defaults(run=_quality)


def _quality(arguments: argparse.Namespace) -> int:
    model = find_model(arguments.model)
    out = _kept_in(arguments, model)
    tables = [_outlines_in(path) for path in arguments.table]
    there = {source for table in tables for source in table["source"]}
    sources = tuple(source for source in LABORATORIES if source not in there)
    if sources:
        device = Device(arguments.device)
        progress = _late_progress()
        tables.append(
            quality_fit.measure_model(
                model, sources=sources, jobs=arguments.jobs, device=device, limit=arguments.limit, progress=progress
            )
        )
    given = [f" --table {path.name}" for path in arguments.table]
    given += [f" --limit {arguments.limit}"] if arguments.limit is not None else []
    judge = quality_fit.judge_of(model, tables, f"python -m core quality --model {model.model_id}{''.join(given)}")
    if arguments.out is None:
        quality_fit.store(judge, model)
    else:
        outline_quality.save(judge, out)
    if arguments.json:
        print(outline_quality.to_json(judge), end="")
        return 0
    print(
        f"An outline is doubtful below an expected Dice of {judge.limit:.3f}; usual is {judge.usual:.3f}. Laboratories"
        " are judged by what was fitted, and by the limit that was chosen, without them."
    )
    for name, rows in judge.measured.items():
        print(f"\n{_QUALITY_TITLES[name]}\n{pd.DataFrame(rows).to_string(index=False)}")
    return 0


_QUALITY_TITLES = {
    "laboratories": (
        f"By laboratory: rank correlation with the Dice (where only boxes are drawn, with their overlap); of outlines"
        f" below {quality_fit.POOR} the share flagged, of those from {quality_fit.RIGHT} on the share refused; `all`"
        " counts outlines spoilt by hand, too"
    ),
    "calibration": "Expected and true Dice of the drawn cells",
}


def _outlines_in(path: Path) -> pd.DataFrame:
    """A table of outlines; raises UsageError where it is none."""
    try:
        table = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        msg = f"--table {path.name}: expected a table that `python -m training outlines` wrote ({error})"
        raise UsageError(msg) from error
    if missing := sorted({"model_id", "source", "kind", "dice", "box_iou", "drawn", *OUTLINE_SIGNS} - set(table)):
        msg = f"--table {path.name}: without {', '.join(missing)}; write it with `python -m training outlines`"
        raise UsageError(msg)
    return table


# --- nearest populations ----------------------------------------------------------------------------------------------


def nearness(parser: argparse.ArgumentParser) -> None:
    """Check which populations are called nearest."""
    add_out_file(parser, "write the counts here as well, as JSON")
    parser.add_argument(
        "--limit", type=positive, metavar="N", help="only so many cells of a population and images of a type"
    )
    add_model(parser)
    add_jobs(parser)
    add_json(parser)
    parser.set_defaults(run=_nearness)


def _nearness(arguments: argparse.Namespace) -> int:
    model = find_model(arguments.model)
    reliability = {} if model.reliability is None else load(model.reliability)
    with Cohort.open([load_settings().reference]) as cohort:
        counts = check_nearness(
            model,
            cohort,
            likeness_features(reliability),
            likeness_sizes(reliability),
            jobs=arguments.jobs,
            device=Device(arguments.device),
            limit=arguments.limit,
            progress=_late_progress(),
        )
    text = json.dumps([asdict(count) for count in counts], indent=1) + "\n"
    if arguments.out is not None:
        files.write_text(arguments.out, text)
    if arguments.json:
        print(text, end="")
        return 0
    for setting in Setting:
        rows = [nearness_row(count) for count in counts if count.setting is setting]
        print(f"\n{setting.capitalize()}\n{pd.DataFrame(rows).to_string(index=False)}")
    return 0


# --- model selection --------------------------------------------------------------------------------------------------


def selection(parser: argparse.ArgumentParser) -> None:
    """Compare architectures."""
    parser.add_argument("name", nargs="?", metavar="RUN", help="folder in LEUKOSCOPE_SELECTION (default: the first)")
    protocols = ["grouped", "as-published"]
    parser.add_argument("--protocol", choices=protocols, default=protocols[0], help="what was dealt into the folds")
    parser.add_argument("--of", choices=["mean", "nucleus", "cytoplasm"], default="mean", help="Dice of what")
    add_json(parser)
    parser.set_defaults(run=_selection)


def _selection(arguments: argparse.Namespace) -> int:
    runs = {folder.name: folder for folder in model_selection.run_folders()}
    name = arguments.name or next(iter(runs), None)
    if name not in runs:
        there = f"there are {', '.join(runs)}" if runs else "there are none; `python -m training select` makes one"
        msg = (
            f"no run {name!r} in {load_settings().selection}; {there}"
            if name
            else f"no run in {load_settings().selection}; {there}"
        )
        raise UsageError(msg)
    everything, images = (model_selection.read(runs[name], table) for table in ("folds", "images"))
    folds = everything[everything["protocol"] == arguments.protocol]
    if fair(folds).empty:
        msg = f"in {name} no {arguments.protocol} fold is finished by every architecture yet"
        raise UsageError(msg)
    measure = Measure(f"dice_{arguments.of}")
    scores, differences = ranking(folds, measure), paired_differences(folds, measure)
    added = leaks(everything, images, measure)
    if arguments.json:
        rows = {
            key: [asdict(row) for row in records]
            for key, records in (("ranking", scores), ("differences", differences), ("leaks", added))
        }
        print(json.dumps({"run": name, "protocol": arguments.protocol, "measure": measure.value, **rows}))
        return 0
    print(verdict(scores, differences))
    if few := few_images(images[images["protocol"] == arguments.protocol]):
        print(few)
    for score in scores:
        spread = "" if score.low is None else f" (95 % {score.low:.4f} to {score.high:.4f})"
        print(f"{title(score.architecture):14} {score.mean:.4f}{spread}, {score.folds} folds")
    for pair in differences:
        print(
            f"{title(pair.first)} - {title(pair.second)}: {100 * pair.mean:+.2f} points ({100 * pair.low:+.2f} to"
            f" {100 * pair.high:+.2f}), p {pair.p_adjusted:.3f} after Holm, chance of a practical tie"
            f" {pair.practically_equal:.0%}"
        )
    for leak in added:
        print(
            f"{title(leak.architecture)}: rotated copies in the training images add {100 * leak.added:+.2f} points "
            f"({100 * leak.low:+.2f} to {100 * leak.high:+.2f}) on {leak.originals} originals"
        )
    return 0

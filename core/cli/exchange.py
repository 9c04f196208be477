"""`leukoscope exchange`: cells for other programs, from a run, the cohort, a case or an image."""

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from core.batch.review import Review
from core.cases.export import case_handed_over
from core.cases.store import Cases
from core.cli.common import add_action, add_model, add_scale, add_units, asked_scale
from core.domain.errors import UsageError
from core.domain.options import CellChoice, Device, Units
from core.domain.settings import load_settings
from core.exchange.cells import Handover, of_analyses
from core.exchange.writing import FORMATS, check_free, export
from core.explorer import export as cohort_export
from core.explorer.selection import Quality, Selection, from_json
from core.image.imaging import load
from core.pipeline import analyse_cells
from core.segmentation.model_registry import find_model
from core.segmentation.segmenter import OnnxSegmenter
from core.store.database import Cohort
from core.support import files
from core.support.text import shown

if TYPE_CHECKING:
    from core.cli.common import Actions


def exchange(parser: argparse.ArgumentParser) -> None:
    """Where the cells come from."""
    actions = parser.add_subparsers(required=True, metavar="SOURCE")
    text = "The cells of a run of `leukoscope batch`, as people decided on their outlines."
    _add(actions, "run", _of_run, text).add_argument("run_folder", type=Path, metavar="DIR", help="its --out")
    cohort = _add(actions, "cohort", _of_cohort, "Cells of the cohort: populations, or a selection saved on the page.")
    cohort.add_argument(
        "populations", nargs="*", metavar="POPULATION", help="as `cohort list` names them (default: all)"
    )
    cohort.add_argument("--selection", type=Path, metavar="FILE", help="only cells of a selection saved on the page")
    cohort.add_argument("--good-only", action="store_true", help="only cells without a severe quality flag")
    text = "its folder: runs/cases/PERSON/CASE"
    _add(actions, "case", _of_case, "The cells of a case.").add_argument("case", type=Path, metavar="DIR", help=text)
    image = _add(actions, "image", _of_image, "The cells of an image, which are outlined and measured first.")
    image.add_argument("image", type=Path, metavar="IMAGE", help="a cell or a field")
    add_scale(image)
    add_model(image)


def _add(
    actions: "Actions", name: str, source: Callable[[argparse.Namespace], Iterator[Handover]], text: str
) -> argparse.ArgumentParser:
    parser = add_action(actions, name, _exchange, text)
    parser.set_defaults(source=contextmanager(source))
    opened = "; ".join(f"{name}: {known.opens_in}" for name, known in FORMATS.items())
    parser.add_argument("--format", required=True, choices=list(FORMATS), help=f"what opens it ({opened})")
    text = "new folder, or for anndata and xlsx a new file that ends in .h5ad or .xlsx"
    parser.add_argument("--out", type=Path, required=True, metavar="PATH", help=text)
    parser.add_argument("--force", action="store_true", help="replace what is there already")
    add_units(parser)
    return parser


def _exchange(arguments: argparse.Namespace) -> int:
    check_free(arguments.out, FORMATS[arguments.format], force=arguments.force)  # before the work, not after it
    with arguments.source(arguments) as handover:
        handing = export(handover, arguments.format, arguments.out, Units(arguments.units), force=arguments.force)
    if arguments.json:
        told = {"out": str(arguments.out), "images": handing.images, "cells": handing.cells}
        print(json.dumps(told | {"left_out": handing.left_out}))
    else:
        print(f"{handing.cells:,} cells of {handing.images:,} images written to {shown(str(arguments.out))}")
    for reason, count in handing.left_out.items():
        print(f"left out: {count:,} cells: {reason}", file=sys.stderr)
    return 1 if handing.left_out else 0


def _of_run(arguments: argparse.Namespace) -> Iterator[Handover]:
    folder: Path = arguments.run_folder
    yield Review(folder, folder).decided_by(load_settings().cohort).handed_over(folder.resolve().name)


def _of_cohort(arguments: argparse.Namespace) -> Iterator[Handover]:
    if arguments.selection is not None:
        if arguments.populations or arguments.good_only:
            msg = "--selection says which cells; leave out populations and --good-only"
            raise UsageError(msg)
        selection = from_json(files.read_text(arguments.selection))
    else:
        quality = Quality.GOOD if arguments.good_only else Quality.ANY
        selection = Selection(populations=tuple(arguments.populations), quality=quality)
    with Cohort.open() as cohort:
        for name in arguments.populations:
            cohort.population(name)  # an unknown one is told, and what there is
        yield cohort_export.handed_over(cohort, selection)


def _of_case(arguments: argparse.Namespace) -> Iterator[Handover]:
    folder = arguments.case.resolve()
    cases = Cases(folder.parent)
    yield case_handed_over(load_settings().cohort, cases, cases.open(folder.name))


def _of_image(arguments: argparse.Namespace) -> Iterator[Handover]:
    image = load(arguments.image, asked_scale(arguments))
    segmenter = OnnxSegmenter.from_entry(find_model(arguments.model), Device(arguments.device))
    yield of_analyses(image.name, analyse_cells(image, segmenter, CellChoice.AUTO))

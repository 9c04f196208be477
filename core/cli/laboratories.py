"""`leukoscope cohort calibrate`, `calibrations`, `laboratories`: what a source's stain and camera shift."""

import argparse
import sys
from typing import TYPE_CHECKING

import pandas as pd

from core.cli.common import add_action, cell_type, count_done
from core.domain.cell_types import CellType
from core.domain.settings import check_own, load_settings
from core.explorer.calibrating import calibrate
from core.explorer.laboratory_effect import LaboratoryTables, tables
from core.features.catalogue import CATALOGUE
from core.store import calibrations, stains
from core.store.database import Cohort
from core.store.schema import check_population_id
from core.support import records

if TYPE_CHECKING:
    from core.cli.common import Actions


def add_calibrate(actions: "Actions") -> None:
    """Add `cohort calibrate`."""
    text = (
        "Find what sets a source's tone, colour and texture apart from another's, in kinds of cells that both have:"
        " one shift a feature, kept under a name and applied to no value until it is asked for. Refused, with the"
        " reason, where it would erase more than stain."
    )
    parser = add_action(actions, "calibrate", _calibrate, text)
    parser.add_argument("source", metavar="SOURCE", help="the source to calibrate, as `cohort laboratories` lists it")
    parser.add_argument("--to", required=True, metavar="SOURCE", help="the source to which it is set")
    kinds = [str(kind) for kind in CellType]
    text = "the kinds of cells to make it from: %(choices)s (default: all that both have enough of)"
    parser.add_argument("--types", nargs="+", type=cell_type, choices=kinds, metavar="TYPE", help=text)
    text = "what to call it: lower-case letters, digits, '_' and '-'"
    parser.add_argument("--name", required=True, metavar="NAME", help=text)


def add_calibrations(actions: "Actions") -> None:
    """Add `cohort calibrations`."""
    text = "List the calibrations and stain factors that were made, or forget one."
    parser = add_action(actions, "calibrations", _calibrations, text)
    parser.add_argument("--forget", metavar="NAME", help="remove the calibration of this name")
    parser.add_argument("--forget-stain", metavar="NAME", help="remove the stain factors of this name")


def add_laboratories(actions: "Actions") -> None:
    """Add `cohort laboratories`."""
    text = (
        "How much of the difference between sources is the laboratory's, family by family: as measured, calibrated, and"
        " in a kind of cells left out; and whether differences inside the sources agree. These are the tables of"
        " docs/laboratories.md."
    )
    add_action(actions, "laboratories", _laboratories, text)


def _calibrate(arguments: argparse.Namespace) -> int:
    root = load_settings().cohort
    check_own(root, "set LEUKOSCOPE_COHORT to a folder of yours")
    check_population_id(arguments.name)  # before the work, not after it
    kinds = [CellType(name) for name in arguments.types] if arguments.types else None
    with Cohort.open() as cohort:
        made = calibrate(cohort, arguments.name, arguments.source, arguments.to, kinds, count_done("resamplings"))
    calibrations.save(root, made)
    for line in (made.sentence, *made.warnings):
        print(line, file=sys.stderr)
    if arguments.json:
        print(records.to_json(made))
        return 0
    closing = pd.DataFrame(
        [
            {"family": CATALOGUE[name].family.value, "closes": shift.closes, "features": 1}
            for name, shift in made.shifts.items()
        ]
    )
    print(closing.groupby("family", sort=False).sum().reset_index().to_string(index=False))
    print(f"kept as {made.name}; `leukoscope cohort compare ... --calibrated {made.name}` applies it")
    return 0


def _calibrations(arguments: argparse.Namespace) -> int:
    root = load_settings().cohort
    if arguments.forget:
        calibrations.delete(root, arguments.forget)
    if arguments.forget_stain:
        stains.delete(root, arguments.forget_stain)
    (made, damaged), (factors, others) = calibrations.kept(root), stains.kept(root)
    for problem in (*damaged, *others):
        print(f"set aside: {problem}", file=sys.stderr)
    if arguments.json:
        print(records.to_json({"calibrations": made, "stains": factors}))
    else:
        told = [(each.name, each.sentence, each.created) for each in made]
        told += [(each.name, each.sentence, each.created) for each in factors]
        for name, sentence, created in told:
            print(f"{name}: {sentence} Made {created}.")
    return 1 if damaged or others else 0


def _laboratories(arguments: argparse.Namespace) -> int:
    with Cohort.open() as cohort:
        found = tables(cohort, count_done("splits"))
    if arguments.json:
        print(records.to_json(found))
        return 0
    for heading, frame in frames(found).items():
        print(f"{heading}\n{frame.to_string(index=False, float_format=lambda value: f'{value:.2f}', na_rep='')}\n")
    return 0


def frames(found: LaboratoryTables) -> dict[str, pd.DataFrame]:
    """The tables by what stands above them."""
    shown = {
        "Good cells of each source": pd.DataFrame(
            [{"source": each.source, **{kind.value: n for kind, n in each.cells.items()}} for each in found.sources]
        )
    }
    for pair in found.pairs:
        apart = f"; of those that close {pair.false:.0%} lie apart on the other half" if pair.false is not None else ""
        shown[f"{pair.source} against {pair.reference}: median |delta| by family{apart}"] = pd.DataFrame(
            [
                {
                    "family": family.family.value,
                    "features": family.features,
                    "floor": family.floor,
                    "cells": kind.cell_type.value,
                    "raw": kind.raw,
                    "calibrated": kind.calibrated,
                    "kind left out": kind.held_out,
                    "below 0.2, raw": kind.raw_close,
                    "below 0.2, left out": kind.held_out_close,
                    "closing": family.closing,
                }
                for family in pair.families
                for kind in family.kinds
            ]
        )
    for kinds in found.apart:
        heading = f"{kinds.first} against {kinds.second} inside {', '.join(kinds.sources)}: how these agree"
        shown[heading] = pd.DataFrame(
            [
                {
                    "family": family.family.value,
                    "features": family.features,
                    "Spearman": family.rank,
                    "strong": family.strong,
                    "of these one sign": family.same_sign,
                    "clear everywhere": family.clear,
                }
                for family in kinds.families
            ]
        )
    return shown

"""`leukoscope cohort stain`: three factors that set the stain of a source to that of another."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from core.cli.common import add_action, count_done, positive
from core.corrections.pictures import FoldersOfPictures
from core.domain.settings import check_own, load_settings
from core.domain.types import CellImage
from core.explorer.cells import StoredCell, picture
from core.explorer.staining import FindPicture, StainEffect, check_enough, stain_effect, stain_factors
from core.store import stains
from core.store.database import Cohort
from core.store.outline_log import CellKey
from core.store.schema import check_population_id
from core.support import records

if TYPE_CHECKING:
    from core.cli.common import Actions


def add_stain_factors(actions: "Actions") -> None:
    """Add `cohort stain`."""
    text = (
        "Find three factors, of red, green and blue, that set the stain of a source to that of another, from the nuclei"
        " of lymphocytes in its pictures. They are kept under a name and applied where images are measured with"
        " `--stain NAME`; cells that are there already stay as they are."
    )
    parser = add_action(actions, "stain", _stain, text)
    text = "the source whose stain is to be set, as `cohort laboratories` lists it"
    parser.add_argument("source", metavar="SOURCE", help=text)
    parser.add_argument("--to", required=True, metavar="SOURCE", help="the source to whose stain it is set")
    text = "what to call them: lower-case letters, digits, '_' and '-'"
    parser.add_argument("--name", required=True, metavar="NAME", help=text)
    text = "where the images are (default: the data folder and those that pages may choose from)"
    parser.add_argument("--images", type=Path, nargs="+", metavar="FOLDER", default=[], help=text)
    text = "also measure up to N monocytes and N lymphocytes of each source with and without the factors"
    parser.add_argument("--check", type=positive, metavar="N", help=text)


def _stain(arguments: argparse.Namespace) -> int:
    root = load_settings().cohort
    check_own(root, "set LEUKOSCOPE_COHORT to a folder of yours")
    check_population_id(arguments.name)  # before the work, not after it
    if arguments.check is not None:
        check_enough(arguments.check)
    find_picture, effects = pictures_in(arguments.images), None
    with Cohort.open() as cohort:
        made = stain_factors(cohort, arguments.name, arguments.source, arguments.to, find_picture)
        stains.save(root, made)
        print(made.sentence, file=sys.stderr)
        if arguments.check is not None:
            effects = stain_effect(cohort, made, find_picture, arguments.check, progress=count_done("kinds of cells"))
    if arguments.json:
        said: dict[str, Any] = {"stain": made, "effect": effects}
        print(records.to_json(said))
        return 0
    for channel, factor in zip(("red", "green", "blue"), made.factors.channels, strict=True):
        print(f"{channel}: {factor:.4f}")
    if effects is not None:
        print(f"\nmedian |delta| between the two sources\n{_shown(effects)}\n")
    print(f"kept as {made.name}; `leukoscope analyse|batch|cohort import ... --stain {made.name}` measures with it")
    return 0


def pictures_in(folders: Sequence[Path]) -> FindPicture:
    """Finds pictures of cells in the data folder and the folders of pages, or by their content in those given."""
    settings, given = load_settings(), FoldersOfPictures(folders)

    def find(cell: StoredCell) -> CellImage | None:
        found = picture(cell, settings)
        if found is None and folders and cell.image_sha256 is not None:
            found = given.of(CellKey(cell.image_sha256, cell.cell_index, cell.shape, cell.place, cell.cell_id))
        return found

    return find


def _shown(effects: Sequence[StainEffect]) -> str:
    table = pd.DataFrame(
        [
            {
                "family": effect.family.value,
                "features": effect.features,
                "cells": effect.cell_type.value,
                "n": f"{effect.cells[0]} / {effect.cells[1]}",
                "raw": effect.raw,
                "restained": effect.restained,
                "factors found in": "other cells" if effect.unseen else "these cells",
            }
            for effect in effects
        ]
    )
    return table.to_string(index=False, float_format=lambda value: f"{value:.2f}")

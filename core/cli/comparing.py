"""`leukoscope cohort compare`: groups of cells feature by feature, all together or inside each laboratory."""

import argparse
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pandas as pd

from core.charts.trust import Reliability
from core.cli.common import add_action, add_excel, add_out_file, cell_type, count_done
from core.domain.cell_types import CellType
from core.domain.errors import ModelError, UsageError
from core.domain.settings import load_settings
from core.evaluation.agreement import load as load_reliability
from core.explorer import view
from core.explorer.contrasts import contrast
from core.explorer.ranking import FEWEST
from core.explorer.selection import CHOICES, Selection, from_json
from core.explorer.view import By
from core.reports import contrasts as contrasts_report
from core.reports.comparison import compare, html_report, to_frame
from core.segmentation.model_registry import find_model
from core.store import calibrations
from core.store.database import Cohort
from core.store.export import to_csv
from core.support import files

if TYPE_CHECKING:
    from core.cli.common import Actions

_INSIDE: Final = "source"
_UNPRINTED: Final = ("label", "model_note", "not_compared", "calibrated_by")


def add_compare(actions: "Actions") -> None:
    """Add `cohort compare`."""
    text = (
        "Two or more groups of cells feature by feature, morphology first: the numbers of the page Cohort explorer."
        " With --within source two groups inside each laboratory that has both, what holds in all of them first."
    )
    parser = add_action(actions, "compare", _compare, text)
    text = "names of two or more groups (default: all that have enough cells)"
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=text)
    properties = [by.name.lower() for by in By]
    text = "what groups are (default: populations; cell_type with --within)"
    parser.add_argument("--by", choices=properties, help=text)
    text = "compare two groups inside each source; nothing of stain, light or camera is between them"
    parser.add_argument("--within", choices=[_INSIDE], help=text)
    text = "with calibrations laid over the values, as `cohort calibrations` names them"
    parser.add_argument("--calibrated", nargs="+", metavar="NAME", default=[], help=text)
    for key, (column, called) in CHOICES.items():
        option = f"--{column.removesuffix('_id').replace('_', '-')}"
        kinds = [str(kind) for kind in CellType] if key == "cell_types" else None
        read = cell_type if kinds else str
        text = f"only cells of this {called}{': %(choices)s' if kinds else ''}"
        shown = called.upper().replace(" ", "_")
        parser.add_argument(option, dest=key, nargs="+", type=read, choices=kinds, metavar=shown, help=text)
    parser.add_argument("--selection", type=Path, metavar="FILE", help="only cells of a selection saved on the page")
    add_out_file(parser, "write the table (.csv) or a report (.html) instead")
    add_excel(parser)


def _compare(arguments: argparse.Namespace) -> int:
    if arguments.out is not None and arguments.out.suffix not in (".csv", ".html"):
        msg = f"--out must end in .csv or .html, but is {arguments.out.name}"
        raise UsageError(msg)
    reliability = _reliability_if_known()
    with Cohort.open() as opened:
        chosen = [calibrations.find(load_settings().cohort, name) for name in arguments.calibrated]
        cohort = opened.calibrated(chosen)
        if arguments.within:
            return _inside_each(cohort, arguments, reliability)
        return _all_together(cohort, arguments, reliability)


def _all_together(cohort: Cohort, arguments: argparse.Namespace, reliability: Reliability) -> int:
    by, selection = By[(arguments.by or "population").upper()], _selected(arguments)
    if by is By.POPULATION:
        for name in arguments.groups:
            cohort.population(name)  # names those there are where it is unknown
    names = arguments.groups or [group.name for group in view.groups(cohort, selection, by) if group.cells >= FEWEST]
    compared = compare(cohort, selection, by, [(name,) for name in names], names, reliability, count_done("features"))
    frame, ranking = to_frame(compared, reliability), compared.separated.ranking
    compared_rows = frame[frame["not_compared"].isna()]
    refused = len(frame) - len(compared_rows)
    why = f"{refused} features are not compared; the column not_compared of .csv and --json says why."
    for line in (
        *compared.in_view.warnings,
        *(each.sentence for each in cohort.calibrations),
        f"{ranking.note[:1].upper()}{ranking.note[1:]}.",
        *([ranking.sampling] if ranking.sampling else []),
        *([why] if refused else []),
    ):
        print(line, file=sys.stderr)
    _tell(
        arguments,
        frame,
        frame[frame["not_compared"].isna()],
        lambda: html_report(compared, reliability, datetime.now(UTC)),
    )
    return 0


def _inside_each(cohort: Cohort, arguments: argparse.Namespace, reliability: Reliability) -> int:
    by = By[(arguments.by or "cell_type").upper()]
    names = [cell_type(name) for name in arguments.groups] if by is By.CELL_TYPE else arguments.groups
    selection = _selected(arguments)
    found = contrast(cohort, selection, by, [(name,) for name in names], names, count_done("sources"))
    frame = contrasts_report.to_frame(found, reliability)
    for line in contrasts_report.sentences(found):
        print(line, file=sys.stderr)
    report = contrasts_report.html_report
    _tell(arguments, frame, frame, lambda: report(found, selection, cohort.revision, reliability, datetime.now(UTC)))
    return 0


def _tell(arguments: argparse.Namespace, frame: pd.DataFrame, printed: pd.DataFrame, report: Callable[[], str]) -> None:
    """Write the file that was asked for, and print the table, as object or as text where there is no file."""
    if arguments.out is not None and arguments.out.suffix == ".html":
        files.write_text(arguments.out, report())
    elif arguments.out is not None:
        files.write_bytes(arguments.out, to_csv(frame, excel=arguments.excel))
    if arguments.json:
        print(frame.to_json(orient="records"))
    elif arguments.out is None:
        table = printed.drop(columns=[name for name in _UNPRINTED if name in printed])
        print(table.to_string(index=False, float_format=lambda value: f"{value:.4g}"))


def _reliability_if_known() -> Reliability:
    """What was measured of the default model; empty without it, because cells can be compared all the same."""
    with suppress(ModelError):
        measured = find_model(None).reliability
        return load_reliability(measured) if measured is not None and measured.is_file() else {}
    return {}


def _selected(arguments: argparse.Namespace) -> Selection:
    """The cells that are compared, from a saved selection and filters; raises SelectionError."""
    saved = from_json(arguments.selection.read_text(encoding="utf-8")) if arguments.selection else Selection()
    given: dict[str, Any] = {key: tuple(getattr(arguments, key)) for key in CHOICES if getattr(arguments, key)}
    if "cell_types" in given:
        given["cell_types"] = tuple(CellType(name) for name in given["cell_types"])
    return replace(saved, **given)

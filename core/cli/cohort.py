"""`leukoscope cohort`: reference populations and your own."""

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pandas as pd

from core.cli.common import (
    add_action,
    add_depth,
    add_excel,
    add_jobs,
    add_model,
    add_scale,
    add_scale_from,
    add_stain,
    add_units,
    asked_scale,
    asked_stain,
    cell_type,
    count_images,
    in_bounds,
)
from core.cli.comparing import add_compare
from core.cli.laboratories import add_calibrate, add_calibrations, add_laboratories
from core.cli.ruler import add_ruler
from core.cli.staining import add_stain_factors
from core.cohort import Filed, ImportReport, build_reference, filed_once, folders_of, import_images
from core.corrections.pictures import FoldersOfPictures
from core.corrections.rebuilding import RebuildReport, rebuild, rebuildable
from core.domain.cell_types import CellType, folder_cell_type, named_cell_type
from core.domain.errors import DataSetError, UsageError
from core.domain.options import Device, Units
from core.domain.settings import check_own, load_settings
from core.domain.types import GivenScale
from core.image.file_scale import BY_RED_CELLS, OF_FILE, number
from core.image.listing import PassedOver, find_images, told
from core.pipeline import scale_of_red_cells
from core.populations.comparison import beside_published
from core.populations.summaries import ReferencePopulation
from core.segmentation.model_registry import find_model
from core.store import queries, shards
from core.store.database import Cohort
from core.store.export import to_csv, write_cells
from core.store.named_scales import remember
from core.store.plausibility import Judgement, Rejected
from core.store.published import published_references
from core.store.schema import Population
from core.store.tables import TableColumns, check_table, import_table, look
from core.support import files
from core.support.text import shown

if TYPE_CHECKING:
    from core.cli.common import Actions

# Rows, images and names that are told; files and --json hold all of them.
_TOLD = 5
_EXAMPLES = 3


def cohort(parser: argparse.ArgumentParser) -> None:
    """Actions on populations."""
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    for add in (
        _add_build,
        _add_import,
        _add_import_table,
        _add_rebuild,
        add_ruler,
        _add_list,
        _add_summary,
        add_compare,
        add_calibrate,
        add_calibrations,
        add_laboratories,
        add_stain_factors,
        _add_published,
        _add_export,
        _add_delete,
    ):
        add(actions)


def references() -> list[ReferencePopulation]:
    """Populations of the cohort with at least one good cell, and the published tables."""
    with Cohort.open() as cohort:
        measured = queries.references(cohort)
    return [*measured, *published_references(load_settings().reference)]


# --- build ------------------------------------------------------------------------------------------------------------


def _add_build(actions: "Actions") -> None:
    parser = add_action(actions, "build", _build, "Build the shipped reference populations from the data folder.")
    add_model(parser)
    add_jobs(parser)


def _build(arguments: argparse.Namespace) -> int:
    started, folder = time.monotonic(), load_settings().reference
    check_own(folder, "set LEUKOSCOPE_REFERENCE to a folder of yours")
    reports = build_reference(folder, find_model(arguments.model), jobs=arguments.jobs, progress=_population_progress())
    print(f"built in {(time.monotonic() - started) / 60:.1f} min", file=sys.stderr)
    return _tell_imports(reports, as_json=arguments.json)


# --- import -----------------------------------------------------------------------------------------------------------


def _add_import(actions: "Actions") -> None:
    text = "Analyse a folder of images into a population of your own."
    parser = add_action(actions, "import", _import, text)
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="where the images are")
    parser.add_argument(
        "--layout", choices=["flat", "folders"], default="flat", help="folders: one sub-folder per cell type, as MLL23"
    )
    parser.add_argument("--only", nargs="+", metavar="FOLDER", help="with --layout folders: these only")
    _add_dry_run(parser)
    _add_cell_type(parser, "what the cells are (default: what the folder's name says)")
    parser.add_argument("--title", help="what pages call the population (default: made from folder and source)")
    _add_filing(parser)
    add_model(parser)
    add_jobs(parser)
    add_scale_from(parser, "--um-per-px")
    add_stain(parser)
    add_depth(parser)


def _add_cell_type(parser: argparse.ArgumentParser, text: str) -> None:
    kinds = [str(kind) for kind in CellType]
    help_text = f"{text}: %(choices)s, or another name of one"
    parser.add_argument("--cell-type", metavar="TYPE", type=cell_type, choices=kinds, help=help_text)


def _add_dry_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dry-run", action="store_true", help="say what would be read and filed; writes nothing")


def _add_population(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("population", metavar="POPULATION", help="its identifier, as `cohort list` prints it")


def _add_filing(parser: argparse.ArgumentParser) -> None:
    """How a population of one's own is described, whatever it comes from."""
    text = "laboratory or collection, shown beside every comparison"
    parser.add_argument("--source", required=True, metavar="NAME", help=text)
    parser.add_argument("--id", help="identifier of the population (default: made from its name)")
    parser.add_argument("--tissue", default="peripheral blood", help="what was smeared")
    parser.add_argument("--citation", default="own images", help="publication to be cited with the cells")
    parser.add_argument("--terms", default="own images", help="under which terms the images may be used")
    parser.add_argument("--note", default="", help="what a reader should know of the cells, shown with them")
    parser.add_argument("--replace", action="store_true", help="put it in the place of a population of the same id")


def _import(arguments: argparse.Namespace) -> int:
    source: Path = arguments.folder
    passed_over = PassedOver()
    if arguments.layout == "folders":
        chosen = _chosen_folders(arguments, passed_over)
    else:
        chosen = {source.name: find_images([source], passed_over)}
    if passed_over.by_ending:
        print(told(passed_over.by_ending), file=sys.stderr)
    kinds = {name: CellType(arguments.cell_type or folder_cell_type(name)) for name in chosen}
    filed = filed_once(chosen, {name: kind if kind is not CellType.OTHER else name for name, kind in kinds.items()})
    _tell_folders(arguments, kinds)
    arguments.um_per_px, stain = asked_scale(arguments), asked_stain(arguments)
    if arguments.um_per_px == BY_RED_CELLS:
        arguments.um_per_px = _told_by_red_cells(arguments, filed)
    if arguments.dry_run:
        return _tell_filed(filed, kinds, as_json=arguments.json)
    reports = []
    for name, images in filed.items():
        if not images.images:
            continue
        slug = "".join(c if c.isalnum() else "_" for c in f"{name}_{arguments.source}".lower()).strip("_")[:63]
        population = _own_population(
            arguments,
            arguments.id or slug,
            kinds[name],
            arguments.title or f"{name.replace('_', ' ')}, {arguments.source}",
        )
        report = import_images(
            load_settings().cohort,
            population,
            images.images,
            find_model(arguments.model),
            scale=arguments.um_per_px,
            bit_depth=arguments.bit_depth,
            jobs=arguments.jobs,
            progress=_population_progress(),
            replace_old=arguments.replace,
            stain=stain,
        )
        report.duplicates = images.copies
        reports.append(report)
    if reports and (um_per_px := number(arguments.um_per_px)) is not None:
        scale = arguments.um_per_px if isinstance(arguments.um_per_px, GivenScale) else GivenScale(um_per_px)
        remember(load_settings().cohort, arguments.source, scale)
    if reports:
        reports[0].passed_over = passed_over.by_ending
    return _tell_imports(reports, as_json=arguments.json)


def _told_by_red_cells(arguments: argparse.Namespace, filed: dict[str, Filed]) -> GivenScale:
    """The scale that the red cells of the images tell; raises UsageError where they tell none."""
    paths = (str(path) for one in filed.values() for path in one.images)
    model, device = find_model(arguments.model), Device(arguments.device)
    given = scale_of_red_cells(paths, lambda path: files.read_bytes(Path(path)), model, device=device).taken()
    print(f"note: the scale is {given.origin}", file=sys.stderr)
    return given


def _tell_folders(arguments: argparse.Namespace, kinds: dict[str, CellType]) -> None:
    """Say where a folder's name was taken for no cell type, or where folders of types lie in a flat one."""
    if arguments.cell_type:
        return
    if unnamed := [name for name, kind in kinds.items() if kind is CellType.OTHER]:
        words = f"no cell type is called {', '.join(map(repr, unnamed))}, so the cells are filed as other"
        print(f"note: {words}; --cell-type says what they are", file=sys.stderr)
    if arguments.layout == "flat" and arguments.folder.is_dir():
        below = sorted(path.name for path in arguments.folder.iterdir() if path.is_dir())
        if typed := [name for name in below if named_cell_type(name)]:
            words = f"sub-folders are called after cell types ({', '.join(typed[:_TOLD])})"
            print(f"note: {words}, but all go into one population; see --layout folders", file=sys.stderr)


def _tell_filed(filed: dict[str, Filed], kinds: dict[str, CellType], *, as_json: bool) -> int:
    if as_json:
        plain = [
            {
                "folder": name,
                "cell_type": kinds[name],
                "images": len(one.images),
                "duplicates": one.copies,
                "examples": [path.as_posix() for path in one.images[:_EXAMPLES]],
            }
            for name, one in filed.items()
        ]
        print(json.dumps(plain))
        return 0
    for name, one in filed.items():
        copies = f", {len(one.copies)} more are copies" if one.copies else ""
        print(f"{name}: {len(one.images)} images as {kinds[name].value}{copies}")
        for path in one.images[:_EXAMPLES]:
            print(f"  {path.as_posix()}: cell type {kinds[name].value}, no patient")
    return 0


def _chosen_folders(arguments: argparse.Namespace, passed_over: PassedOver) -> dict[str, list[Path]]:
    if arguments.id or arguments.title:
        msg = "--id and --title name one population; with --layout folders each folder names its own"
        raise UsageError(msg)
    folders = folders_of(arguments.folder, passed_over)
    if not arguments.only:
        return folders
    if unknown := sorted(set(arguments.only) - set(folders)):
        msg = f"--only names folders that are not there: {', '.join(unknown)}; there are {', '.join(folders)}"
        raise UsageError(msg)
    return {name: folders[name] for name in arguments.only}


def _own_population(arguments: argparse.Namespace, population_id: str, cell_type: CellType, title: str) -> Population:
    """Description of a population of the user's own, from the arguments that both imports have."""
    of_file, scale = arguments.um_per_px == OF_FILE, arguments.um_per_px
    given = scale if isinstance(scale, GivenScale) else None
    origin = "stated by each file" if of_file else "given at import" if scale is not None else "unknown"
    return Population(
        population_id=population_id,
        cell_type=cell_type,
        title=title,
        source=arguments.source,
        tissue=arguments.tissue,
        citation=arguments.citation,
        terms=arguments.terms,
        note=arguments.note,
        created=datetime.now(UTC).date().isoformat(),
        um_per_px=number(scale),
        um_per_px_origin=(given.origin if given else "") or origin,
        um_per_px_error=given.error if given else None,
    )


def _population_progress() -> Callable[[str, int, int], None]:
    shows: dict[str, Callable[[int], None]] = {}

    def show(population_id: str, done: int, total: int) -> None:
        if population_id not in shows:
            print(population_id, file=sys.stderr)
            shows[population_id] = count_images(total)
        if done == total or done % 50 == 0:
            shows[population_id](done)

    return show


def _tell_imports(reports: Iterable[ImportReport], *, as_json: bool) -> int:
    reports = list(reports)
    for report in reports:
        for name, reason in report.failures.items():
            print(shown(f"failed: {report.population_id}: {name}: {reason}"), file=sys.stderr)
        if report.duplicates:
            name, kept = next(iter(report.duplicates.items()))
            many = "image is a copy" if len(report.duplicates) == 1 else "images are copies"
            words = f"{len(report.duplicates)} {many} and counted once ({name} is {kept})"
            print(shown(f"note: {report.population_id}: {words}"), file=sys.stderr)
    if as_json:
        print(json.dumps([asdict(report) for report in reports]))
    else:
        for report in reports:
            print(f"{report.population_id}: {report.cells} cells, {len(report.failures)} images failed")
    return 1 if any(report.failures for report in reports) else 0


# --- import-table -----------------------------------------------------------------------------------------------------

# A table may have very many rows.
_TIMES_AN_IMAGE: Final = 10


def _add_import_table(actions: "Actions") -> None:
    text = (
        "Make a table of measured cells (.csv, .tsv, .xlsx, .parquet; columns named as in the catalogue) a population"
        " of your own. Rows whose numbers cannot be true are left out and told."
    )
    parser = add_action(actions, "import-table", in_bounds(_import_table, _TIMES_AN_IMAGE), text)
    parser.add_argument("file", type=Path, metavar="FILE", help="the table")
    parser.add_argument("--name", required=True, metavar="NAME", help="what the population is called")
    units = [str(unit) for unit in Units]
    text = "what lengths and areas in the table are counted in, where it does not say so itself"
    parser.add_argument("--units", choices=units, help=text)
    _add_dry_run(parser)
    _add_cell_type(parser, "what cells are whose row does not say it")
    _add_filing(parser)
    add_scale(parser, of_files=False)


def _import_table(arguments: argparse.Namespace) -> int:
    looked = look(arguments.file)
    cell_type = CellType(arguments.cell_type) if arguments.cell_type else looked.cell_type
    if cell_type is None:
        msg = f"{arguments.file.name} has no column cell_type; give --cell-type"
        raise UsageError(msg)
    slug = "".join(c if c.isascii() and c.isalnum() else "_" for c in arguments.name.lower()).strip("_")[:63]
    arguments.um_per_px = asked_scale(arguments)
    population = _own_population(arguments, arguments.id or slug, cell_type, arguments.name)
    judgement = Judgement()
    units = looked.units_or(Units(arguments.units) if arguments.units else None, arguments.file.name)
    try:
        if arguments.dry_run:
            checked = check_table(population, arguments.file, units=units, judgement=judgement)
            cells, examples = checked.cells, checked.examples
        else:
            root = load_settings().cohort
            cells = import_table(
                root, population, arguments.file, units=units, replace=arguments.replace, judgement=judgement
            )
            examples = ()
    except DataSetError:
        _tell_rows(judgement)
        raise
    _tell_rows(judgement)
    _tell_rejected(arguments, judgement)
    if arguments.json:
        told = {"population_id": population.population_id, "cells": cells, "dry_run": arguments.dry_run}
        told |= {"rejected": [asdict(one) for one in judgement.rejected], "duplicates": judgement.doubled}
        print(json.dumps({**told, "examples": examples, **asdict(looked), "units": units}))
        return 1 if judgement.left_out else 0
    _tell_table(arguments, looked, population, cells, units)
    for image, patient, kind in examples:
        print(f"  {image}: {f'patient {patient}' if patient else 'no patient'}, cell type {kind}")
    return 1 if judgement.left_out else 0


def _tell_table(
    arguments: argparse.Namespace, looked: TableColumns, population: Population, cells: int, units: Units
) -> None:
    print(f"read as {looked.words}")
    for note in looked.notes:
        print(f"note: {note}", file=sys.stderr)
    would = "would be filed, " if arguments.dry_run else ""
    print(
        f"{population.population_id}: {cells} cells, {would}sizes taken for"
        f" {'micrometres' if units is Units.MICROMETRES else 'pixels'}"
    )
    print(f"{len(looked.taken)} columns taken; not taken: {shown(', '.join(looked.not_taken)) or 'none'}")
    print(f"{len(looked.missing)} features of the catalogue are not in the table{_some(looked.missing)}")


def _tell_rows(judgement: Judgement) -> None:
    for one in judgement.rejected[:_TOLD]:
        print(f"impossible: row {one.row}, column {one.column}: {one.value:g} {one.words}", file=sys.stderr)


def _tell_rejected(arguments: argparse.Namespace, judgement: Judgement) -> None:
    """Tell how many rows are left out, and write them beside the table, where that may be written to."""
    if judgement.left_out:
        place = None if arguments.dry_run else _write_rejected(arguments.file, judgement.rejected)
        words = f"{judgement.left_out} of {judgement.rows} rows cannot be true and are left out"
        print(f"note: {words}; {place.name if place else '--json'} names them", file=sys.stderr)
    if judgement.doubled:
        row, earlier = judgement.doubled[0]
        words = f"{len(judgement.doubled)} rows say again what another says, and are counted once"
        print(f"note: {words} (row {row} is row {earlier})", file=sys.stderr)


def _write_rejected(table: Path, rejected: Sequence[Rejected]) -> Path | None:
    """`<table>.rejected.csv`; None where the folder takes no file."""
    place = table.with_name(f"{table.name}.rejected.csv")
    try:
        place.write_bytes(to_csv(pd.DataFrame([asdict(one) for one in rejected])))
    except OSError:
        return None
    return place


def _some(names: Sequence[str]) -> str:
    return f": {', '.join(names[:5])}{' ...' if len(names) > 5 else ''}" if names else ""


# --- rebuild ----------------------------------------------------------------------------------------------------------


def _add_rebuild(actions: "Actions") -> None:
    text = (
        "Measure populations of your own anew with the present model, from their images, which are found by their"
        " content. Labels, patients, edits and outlines on which a person decided stay. Each population is exchanged"
        " in one step."
    )
    parser = add_action(actions, "rebuild", _rebuild, text)
    text = "their identifiers, as `cohort list` prints them (default: all of your own that have images)"
    parser.add_argument("populations", nargs="*", metavar="POPULATION", help=text)
    text = "where the images are (default: the folders that pages may choose from)"
    parser.add_argument("--images", type=Path, nargs="+", metavar="FOLDER", help=text)
    add_model(parser)
    add_jobs(parser)
    add_depth(parser)


def _rebuild(arguments: argparse.Namespace) -> int:
    settings, model = load_settings(), find_model(arguments.model)
    folders, reports = FoldersOfPictures(arguments.images or settings.roots), []
    show = _population_progress()
    with Cohort.open() as cohort:
        names = rebuildable(cohort, arguments.populations)
    for name in names:
        report = rebuild(
            settings.cohort, name, model, folders, bit_depth=arguments.bit_depth, jobs=arguments.jobs,
            device=Device(arguments.device), progress=show,
        )  # fmt: skip
        reports.append(report)
        if not arguments.json:
            _tell_rebuilt(report)
    if arguments.json:
        print(json.dumps({"model_id": model.model_id, "populations": [asdict(report) for report in reports]}))
    elif not reports:
        print("there is no population of your own that names its images, so nothing was measured")
    return 1 if any(report.kept for report in reports) else 0


def _tell_rebuilt(report: RebuildReport) -> None:
    said = f"measured anew by {report.model_id}: {report.measured}, by it before: {report.present}"
    decided = f", left because a person decided on the outline: {report.decided}" if report.decided else ""
    kept = f", left as they were with their old model: {len(report.kept)}" if report.kept else ""
    print(f"{report.population_id}: cells {said}{decided}{kept}")
    for why, count in Counter(report.kept.values()).most_common(_TOLD):
        print(shown(f"note: {report.population_id}: cells left as they were: {count}, {why}"), file=sys.stderr)


# --- list and summary -------------------------------------------------------------------------------------------------


def _add_list(actions: "Actions") -> None:
    text = (
        "Populations with their counts and what was left out of the summaries. What is damaged is set aside and named"
        " on standard error; the exit code is then 1."
    )
    add_action(actions, "list", _list, text)


def _add_summary(actions: "Actions") -> None:
    text = "Percentiles, mean and spread of every feature of a population."
    parser = add_action(actions, "summary", _summary, text)
    _add_population(parser)
    parser.add_argument("--um", action="store_true", help="sizes in micrometres, over cells with a scale")


def _list(arguments: argparse.Namespace) -> int:
    with Cohort.open() as cohort:
        infos, problems = queries.populations(cohort), [str(problem) for problem in cohort.problems]
    for problem in problems:
        print(f"set aside: {shown(problem)}", file=sys.stderr)
    if arguments.json:
        rows = [{**asdict(info), "population": asdict(info.population)} for info in infos]
        counted = {line for info in infos for line in info.set_aside}
        if others := [line for line in problems if line not in counted]:  # of no population that can be read
            rows.append({"population": {"population_id": None}, "n": 0, "n_good": 0, "set_aside": others})
        print(json.dumps(rows))
        return 1 if problems else 0
    for info in infos:
        many = "" if info.patients == 1 else "s"
        patients = "patients unknown" if info.patients is None else f"{info.patients} patient{many}"
        excluded = ", ".join(f"{count} {code}" for code, count in info.excluded.items())
        left_out = f"; left out: {excluded}" if excluded else ""
        print(
            f"{info.population.population_id:24} {shown(info.population.title):40} {info.n_good} of {info.n} cells,"
            f" {patients}{f', {info.corrected} outlines corrected' if info.corrected else ''}{left_out}"
        )
    return 1 if problems else 0


def _summary(arguments: argparse.Namespace) -> int:
    with Cohort.open() as cohort:
        summaries = queries.summaries(cohort, arguments.population, in_um=arguments.um)
    if arguments.json:
        print(json.dumps([asdict(summary) for summary in summaries]))
        return 0
    frame = pd.DataFrame([asdict(summary) for summary in summaries])[
        ["feature", "basis", "n", "p2", "p50", "p98", "mean", "std"]
    ]
    print(frame.to_string(index=False, float_format=lambda value: f"{value:.5g}"))
    return 0


# --- published, export, delete ----------------------------------------------------------------------------------------


def _add_published(actions: "Actions") -> None:
    text = "Measured populations beside the thesis's printed tables, where a feature has no unit."
    add_action(actions, "published", _published, text)


def _add_export(actions: "Actions") -> None:
    parser = add_action(actions, "export", _export, "Write a population as CSV or Parquet.")
    _add_population(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="a name that ends in .csv or .parquet")
    add_units(parser)
    parser.add_argument("--good-only", action="store_true", help="only cells without a severe quality flag")
    add_excel(parser)


def _add_delete(actions: "Actions") -> None:
    _add_population(add_action(actions, "delete", _delete, "Delete a population of your own."))


def _published(arguments: argparse.Namespace) -> int:
    known = references()
    table = beside_published([r for r in known if not r.published], [r for r in known if r.published])
    print(
        table.to_json(orient="records")
        if arguments.json
        else table.to_string(index=False, float_format=lambda value: f"{value:.3f}")
    )
    return 0


def _export(arguments: argparse.Namespace) -> int:
    with Cohort.open() as cohort:
        frame = queries.cells(cohort, arguments.population, good_only=arguments.good_only)
    write_cells(frame, arguments.out, Units(arguments.units), excel=arguments.excel)
    print(f"{len(frame)} cells written to {arguments.out}", file=sys.stderr)
    return 0


def _delete(arguments: argparse.Namespace) -> int:
    shards.delete_population(load_settings().cohort, arguments.population)
    return 0

"""`python -m core`: the command line over the same engine as the pages.

Exit codes: 0 all went well, 1 some inputs failed, 2 wrong use.
"""

import sys

if __name__ == "__main__" and sys.argv[1:2] == ["batch"]:
    # Its workers import what they need themselves; nearly everything below would only keep them waiting.
    from core.batch.command import main as batch_main

    sys.exit(batch_main(sys.argv[2:]))

import argparse
import csv
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import pandas as pd

from core.batch import command as batch_command
from core.charts.overlay import field_png, outlined_png
from core.charts.trust import Reliability
from core.cohort import ImportReport, build_reference, folders_of, import_images
from core.domain.cell_types import CellType, folder_cell_type
from core.domain.compartments import Compartment
from core.domain.errors import CoreError, ModelError, UsageError
from core.domain.settings import load_settings
from core.evaluation import model_selection, novelty_fit
from core.evaluation.agreement import Grade, save, to_json
from core.evaluation.agreement import load as load_reliability
from core.evaluation.model_comparison import Measure, fair, leaks, paired_differences, ranking, title, verdict
from core.evaluation.reliability import measure_reliability, store
from core.explorer import view
from core.explorer.ranking import FEWEST
from core.explorer.selection import CHOICES, Selection, from_json
from core.explorer.view import By
from core.features.catalogue import CATALOGUE
from core.features.extract import Engine, extract
from core.image.imaging import encode_png, find_images, load, load_grey
from core.image.masks import decode_grey, encode_grey, with_environment
from core.pipeline import Job, Outcome, analyse_many
from core.populations.comparison import beside_published
from core.populations.placement import place_cell
from core.quality import novelty
from core.reports.comparison import compare, html_report, to_frame
from core.reports.tables import analyses_table
from core.segmentation.field_of_view import Cells, composed
from core.segmentation.model_registry import ModelEntry, find_model, list_models
from core.segmentation.providers import Device
from core.segmentation.segmenter import OnnxSegmenter
from core.store import queries, shards
from core.store.database import Cohort
from core.store.export import to_csv, to_parquet
from core.store.published import published_references
from core.store.schema import Population
from core.store.tables import Units, import_table, look


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, run, and turn the errors a user can cause into a sentence; returns the exit code."""
    arguments = _parser().parse_args(argv)
    try:
        return int(arguments.run(arguments))
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except CoreError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        raise
    except OSError as error:  # --out is a file, its folder is missing or closed to us, the disk is full
        print(f"error: {error.filename}: {error.strerror}; choose another place for the results", file=sys.stderr)
        return 2


# --- segment and analyse ----------------------------------------------------------------------------------------------


def _segment(arguments: argparse.Namespace) -> int:
    out: Path = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    failures: dict[str, str] = {}
    flagged: dict[str, list[str]] = {}
    cells = 0
    for outcome in _outcomes(arguments, failures):
        _write_masks(outcome, out, overlay=arguments.overlay)
        cells += len(outcome.analyses)
        codes = dict.fromkeys(flag.code for analysis in outcome.analyses for flag in analysis.flags)
        if codes:
            flagged[str(outcome.path)] = list(codes)
    return _conclude(arguments, failures, {"out": str(out), "cells": cells, "flagged": flagged})


def _analyse(arguments: argparse.Namespace) -> int:
    out: Path = arguments.out
    masks = out / "masks"
    masks.mkdir(parents=True, exist_ok=True)
    references = _references()
    failures: dict[str, str] = {}
    tables, places = [], []
    for outcome in _outcomes(arguments, failures):
        _write_masks(outcome, masks, overlay=arguments.overlay)
        named = [replace(a, image=replace(a.image, name=str(outcome.path))) for a in outcome.analyses]
        tables.append(analyses_table(named))
        for analysis in named:
            places += [
                {"image_path": analysis.image.name, "cell_index": analysis.cell_index, **_place_row(comparison)}
                for placed in place_cell(analysis, references)
                for comparison in placed.comparisons
                if comparison.comparable
            ]
    table = pd.concat(tables, ignore_index=True) if tables else analyses_table([])
    to_parquet(table, out / "features.parquet")
    (out / "features.csv").write_bytes(to_csv(table))
    to_parquet(pd.DataFrame(places), out / "places.parquet")
    errors = pd.DataFrame({"image_path": list(failures), "reason": list(failures.values())})
    (out / "errors.csv").write_bytes(to_csv(errors))
    return _conclude(arguments, failures, {"out": str(out), "cells": len(table)})


def _place_row(comparison: Any) -> dict[str, Any]:  # noqa: ANN401 (a FeatureComparison; its fields are copied by name)
    names = ("population", "feature", "value", "basis", "percentile", "robust_z", "inside")
    row = {name: getattr(comparison, name) for name in names}
    return {**row, "basis": str(row["basis"])}


def _outcomes(arguments: argparse.Namespace, failures: dict[str, str]) -> Iterator[Outcome]:
    """Analyse all inputs, showing progress; failures are collected with their reasons and not yielded."""
    paths = find_images(arguments.inputs)
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
    jobs = [Job(path, arguments.um_per_px, Cells(arguments.cells), Engine(arguments.feature_engine)) for path in unique]
    model = find_model(arguments.model)
    show = _progress(len(jobs))
    for number, outcome in enumerate(
        analyse_many(jobs, model, jobs=arguments.jobs, device=Device(arguments.device)), start=1
    ):
        show(number)
        if outcome.reason is not None:
            failures[str(outcome.path)] = outcome.reason
        else:
            yield outcome


def _write_masks(outcome: Outcome, folder: Path, *, overlay: bool) -> None:
    """One mask an image; of a field also the cells' labels as a 16-bit image, and a picture with their numbers."""
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
        picture = (
            field_png(load(outcome.path, first.image.um_per_px), cells) if cells else outlined_png(first.image, labels)
        )
        (folder / "overlays" / name).write_bytes(picture)


def _conclude(arguments: argparse.Namespace, failures: dict[str, str], result: dict[str, Any]) -> int:
    for path, reason in failures.items():
        print(f"failed: {path}: {reason}", file=sys.stderr)
    if arguments.json:
        print(json.dumps({**result, "failed": failures}))
    return 1 if failures else 0


def _progress(total: int) -> Callable[[int], None]:
    started = time.monotonic()

    def show(done: int) -> None:
        rate = done / max(time.monotonic() - started, 1e-9)
        line = f"{done}/{total} images, {rate:.1f} a second, about {(total - done) / rate:.0f} s left"
        print(line, file=sys.stderr, end="\r" if sys.stderr.isatty() and done < total else "\n", flush=True)

    return show


# --- features of a given mask -----------------------------------------------------------------------------------------


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
    found = extract(image.rgb, labels, Engine(arguments.feature_engine))
    values = found.values
    if image.um_per_px is not None:
        values = {
            name: None if value is None else CATALOGUE[name].in_um(value, image.um_per_px)
            for name, value in values.items()
        }
    if arguments.json:
        print(json.dumps({"features": values, "absent": found.absent}))
        return 0
    for name, value in values.items():
        unit = CATALOGUE[name].unit.px if image.um_per_px is None else CATALOGUE[name].unit.um
        print(
            f"{name:{max(map(len, CATALOGUE))}}"
            f" {'absent: ' + found.absent[name] if value is None else f'{value:.6g} {unit}'}"
        )
    return 0


def _catalogue(arguments: argparse.Namespace) -> int:
    rows = [spec.row() for spec in CATALOGUE.values()]
    if arguments.json:
        print(json.dumps(rows, ensure_ascii=False))
        return 0
    table = csv.DictWriter(sys.stdout, list(rows[0]), lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    return 0


# --- cohort -----------------------------------------------------------------------------------------------------------


def _cohort() -> Cohort:
    settings = load_settings()
    return Cohort.open([settings.reference, settings.cohort], settings.cache)


def _references() -> list[Any]:
    with _cohort() as cohort:
        measured = [
            queries.reference(cohort, info.population.population_id)
            for info in queries.populations(cohort)
            if info.n_good
        ]
    return [*measured, *published_references(load_settings().reference)]


def _cohort_build(arguments: argparse.Namespace) -> int:
    started = time.monotonic()
    reports = build_reference(
        load_settings().reference, find_model(arguments.model), jobs=arguments.jobs, progress=_population_progress()
    )
    print(f"built in {(time.monotonic() - started) / 60:.1f} min", file=sys.stderr)
    return _tell_imports(reports, as_json=arguments.json)


def _cohort_import(arguments: argparse.Namespace) -> int:
    source: Path = arguments.folder
    chosen = _chosen_folders(arguments) if arguments.layout == "folders" else {source.name: find_images([source])}
    reports = []
    for name, images in chosen.items():
        cell_type = CellType(arguments.cell_type) if arguments.cell_type else folder_cell_type(name)
        slug = "".join(c if c.isalnum() else "_" for c in f"{name}_{arguments.source}".lower()).strip("_")[:63]
        population = _own_population(
            arguments,
            arguments.id or slug,
            cell_type,
            arguments.title or f"{name.replace('_', ' ')}, {arguments.source}",
        )
        reports.append(
            import_images(
                load_settings().cohort,
                population,
                images,
                find_model(arguments.model),
                jobs=arguments.jobs,
                progress=_population_progress(),
                replace_old=arguments.replace,
            )
        )
    return _tell_imports(reports, as_json=arguments.json)


def _chosen_folders(arguments: argparse.Namespace) -> dict[str, list[Path]]:
    if arguments.id or arguments.title:
        msg = "--id and --title name one population; with --layout folders each folder names its own"
        raise UsageError(msg)
    folders = folders_of(arguments.folder)
    if not arguments.only:
        return folders
    if unknown := sorted(set(arguments.only) - set(folders)):
        msg = f"--only names folders that are not there: {', '.join(unknown)}; there are {', '.join(folders)}"
        raise UsageError(msg)
    return {name: folders[name] for name in arguments.only}


def _population_progress() -> Callable[[str, int, int], None]:
    shows: dict[str, Callable[[int], None]] = {}

    def show(population_id: str, done: int, total: int) -> None:
        if population_id not in shows:
            print(population_id, file=sys.stderr)
            shows[population_id] = _progress(total)
        if done == total or done % 50 == 0:
            shows[population_id](done)

    return show


def _tell_imports(reports: Iterable[ImportReport], *, as_json: bool) -> int:
    reports = list(reports)
    for report in reports:
        for name, reason in report.failures.items():
            print(f"failed: {report.population_id}: {name}: {reason}", file=sys.stderr)
    if as_json:
        print(json.dumps([asdict(report) for report in reports]))
    else:
        for report in reports:
            print(f"{report.population_id}: {report.cells} cells, {len(report.failures)} images failed")
    return 1 if any(report.failures for report in reports) else 0


def _cohort_list(arguments: argparse.Namespace) -> int:
    with _cohort() as cohort:
        infos = queries.populations(cohort)
    if arguments.json:
        print(json.dumps([{**asdict(info), "population": asdict(info.population)} for info in infos]))
        return 0
    for info in infos:
        patients = "patients unknown" if info.patients is None else f"{info.patients} patients"
        excluded = ", ".join(f"{count} {code}" for code, count in info.excluded.items())
        left_out = f"; left out: {excluded}" if excluded else ""
        print(
            f"{info.population.population_id:24} {info.population.title:40} {info.n_good} of {info.n} cells,"
            f" {patients}{left_out}"
        )
    return 0


def _cohort_summary(arguments: argparse.Namespace) -> int:
    with _cohort() as cohort:
        found = queries.summaries(cohort, arguments.population, in_um=arguments.um)
    if arguments.json:
        print(json.dumps([asdict(summary) for summary in found]))
        return 0
    frame = pd.DataFrame([asdict(summary) for summary in found])[
        ["feature", "basis", "n", "p2", "p50", "p98", "mean", "std"]
    ]
    print(frame.to_string(index=False, float_format=lambda value: f"{value:.5g}"))
    return 0


def _cohort_compare(arguments: argparse.Namespace) -> int:
    by, settings, reliability = By[arguments.by.upper()], load_settings(), _reliability_if_known()
    with _cohort() as cohort:
        selection = _selected(arguments)
        if by is By.POPULATION:
            for name in arguments.groups:
                cohort.population(name)  # names those there are where it is unknown
        names = arguments.groups or [
            group.name for group in view.groups(cohort, selection, by) if group.cells >= FEWEST
        ]
        compared = compare(
            cohort, selection, by, [(name,) for name in names], names, reliability, settings.cache, _feature_progress()
        )
    frame = to_frame(compared, reliability)
    for line in (
        *compared.in_view.warnings,
        f"{compared.separated.ranking.note[:1].upper()}{compared.separated.ranking.note[1:]}.",
    ):
        print(line, file=sys.stderr)
    if arguments.out is not None and arguments.out.suffix == ".html":
        arguments.out.write_text(html_report(compared, reliability, datetime.now(UTC)), encoding="utf-8")
    elif arguments.out is not None:
        arguments.out.write_bytes(to_csv(frame))
    if arguments.json:
        print(frame.to_json(orient="records"))
    elif arguments.out is None:
        print(frame.drop(columns="label").to_string(index=False, float_format=lambda value: f"{value:.4g}"))
    return 0


def _reliability_if_known() -> Reliability:
    """What was measured of the default model; empty where there is none, because cells can be compared without."""
    with suppress(ModelError):
        measured = find_model(None).reliability
        return load_reliability(measured) if measured is not None and measured.is_file() else {}
    return {}


def _selected(arguments: argparse.Namespace) -> Selection:
    """The cells that are compared, from a saved selection and the filters; raises UsageError or SelectionError."""
    if arguments.out is not None and arguments.out.suffix not in (".csv", ".html"):
        msg = f"--out must end in .csv or .html, but is {arguments.out.name}"
        raise UsageError(msg)
    saved = from_json(arguments.selection.read_text(encoding="utf-8")) if arguments.selection else Selection()
    given: dict[str, Any] = {key: tuple(getattr(arguments, key)) for key in CHOICES if getattr(arguments, key)}
    if "cell_types" in given:
        given["cell_types"] = tuple(CellType(name) for name in given["cell_types"])
    return replace(saved, **given)


def _feature_progress() -> Callable[[int, int], None]:
    """Progress on one line, for a person who waits."""

    def show(done: int, total: int) -> None:
        if sys.stderr.isatty():
            print(f"{done}/{total} features", file=sys.stderr, end="\r" if done < total else "\n", flush=True)

    return show


def _cohort_import_table(arguments: argparse.Namespace) -> int:
    found = look(arguments.file)
    cell_type = CellType(arguments.cell_type) if arguments.cell_type else found.cell_type
    if cell_type is None:
        msg = f"{arguments.file.name} has no column cell_type; give --cell-type"
        raise UsageError(msg)
    slug = "".join(c if c.isascii() and c.isalnum() else "_" for c in arguments.name.lower()).strip("_")[:63]
    population = _own_population(arguments, arguments.id or slug, cell_type, arguments.name)
    cells = import_table(
        load_settings().cohort, population, arguments.file, units=Units(arguments.units), replace=arguments.replace
    )
    if arguments.json:
        print(json.dumps({"population_id": population.population_id, "cells": cells, **asdict(found)}))
        return 0
    print(
        f"{population.population_id}: {cells} cells, sizes taken for"
        f" {'micrometres' if arguments.units == 'um' else 'pixels'}"
    )
    print(f"{len(found.taken)} columns taken; not taken: {', '.join(found.not_taken) or 'none'}")
    print(f"{len(found.missing)} features of the catalogue are not in the table{_some(found.missing)}")
    return 0


def _some(names: Sequence[str]) -> str:
    return f": {', '.join(names[:5])}{' ...' if len(names) > 5 else ''}" if names else ""


def _own_population(arguments: argparse.Namespace, population_id: str, cell_type: CellType, title: str) -> Population:
    """Description of a population of the user's own, from the arguments that both imports have."""
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
        um_per_px=arguments.um_per_px,
        um_per_px_origin="given at import" if arguments.um_per_px is not None else "unknown",
    )


def _cohort_published(arguments: argparse.Namespace) -> int:
    references = _references()
    table = beside_published([r for r in references if not r.published], [r for r in references if r.published])
    print(
        table.to_json(orient="records")
        if arguments.json
        else table.to_string(index=False, float_format=lambda value: f"{value:.3f}")
    )
    return 0


def _cohort_export(arguments: argparse.Namespace) -> int:
    with _cohort() as cohort:
        frame = queries.cells(cohort, arguments.population, good_only=arguments.good_only)
    if arguments.out.suffix == ".parquet":
        to_parquet(frame, arguments.out)
    elif arguments.out.suffix == ".csv":
        arguments.out.write_bytes(to_csv(frame))
    else:
        msg = f"--out must end in .csv or .parquet, but is {arguments.out.name}"
        raise UsageError(msg)
    print(f"{len(frame)} cells written to {arguments.out}", file=sys.stderr)
    return 0


def _cohort_delete(arguments: argparse.Namespace) -> int:
    shards.delete_population(load_settings().cohort, arguments.population)
    return 0


# --- models -----------------------------------------------------------------------------------------------------------


def _models_list(arguments: argparse.Namespace) -> int:
    entries = list_models()
    if arguments.json:
        rows = [
            {"model_id": e.model_id, "file": e.path.name, "sha256": e.sha256, "card": asdict(e.card)} for e in entries
        ]
        print(json.dumps({"default": entries[0].model_id, "models": rows}))
        return 0
    for number, entry in enumerate(entries):
        dice = entry.card.scores.get("test", {}).get("mean_dice", "not measured")
        default = ", opened by default" if number == 0 else ""
        print(
            f"{entry.model_id}: {entry.card.architecture} with {entry.card.encoder}, test Dice {dice},"
            f" {entry.card.created}{default}"
        )
    return 0


def _models_verify(arguments: argparse.Namespace) -> int:
    rows = []
    for entry in list_models():
        try:
            segmenter = OnnxSegmenter.from_entry(entry, Device(arguments.device))
            rows.append({"model_id": entry.model_id, "ok": True, "provider": segmenter.provider})
        except CoreError as error:
            rows.append({"model_id": entry.model_id, "ok": False, "reason": str(error)})
    for row in rows:
        state = f"checksum right, runs on {row['provider']}" if row["ok"] else row["reason"]
        print(f"{row['model_id']}: {state}", file=sys.stderr)
    if arguments.json:
        print(json.dumps(rows))
    return 0 if all(row["ok"] for row in rows) else 1


# --- model selection --------------------------------------------------------------------------------------------------


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
            key: [asdict(row) for row in found]
            for key, found in (("ranking", scores), ("differences", differences), ("leaks", added))
        }
        print(json.dumps({"run": name, "protocol": arguments.protocol, "measure": measure.value, **rows}))
        return 0
    print(verdict(scores, differences))
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
            f"{title(leak.architecture)}: twins in the training images add {100 * leak.added:+.2f} points "
            f"({100 * leak.low:+.2f} to {100 * leak.high:+.2f}) on {leak.originals} originals"
        )
    return 0


# --- reliability ------------------------------------------------------------------------------------------------------


def _reliability(arguments: argparse.Namespace) -> int:
    model = find_model(arguments.model)
    out = _kept_in(arguments, model)
    report = measure_reliability(
        model, jobs=arguments.jobs, device=Device(arguments.device), limit=arguments.limit, progress=_late_progress()
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


def _kept_in(arguments: argparse.Namespace, model: ModelEntry) -> Path:
    """The model's file, beside which a measurement is kept, or --out; raises UsageError where it cannot be."""
    if arguments.limit is not None and arguments.out is None:
        msg = (
            "a measurement of a few images says too little to be kept with the model; with --limit give --out FILE as"
            " well"
        )
        raise UsageError(msg)
    out: Path = arguments.out or model.path
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
            show.append(_progress(total))
        show[0](done)

    return progress


# --- novelty ----------------------------------------------------------------------------------------------------------


def _novelty(arguments: argparse.Namespace) -> int:
    model = find_model(arguments.model)
    out = _kept_in(arguments, model)
    found = novelty_fit.learn(
        model, jobs=arguments.jobs, device=Device(arguments.device), limit=arguments.limit, progress=_late_progress()
    )
    if arguments.out is None:
        novelty_fit.store(found, model)
    else:
        novelty.save(found, out)
    if arguments.json:
        print(novelty.to_json(found), end="")
        return 0
    print(
        f"A cell is flagged as unlike a leukocyte beyond a distance of {found.familiarity.limit:.2f}, and as a"
        f" granulocyte where both odds exceed e to the power {found.granulocyte.limit:g}. Shares in per cent, with"
        " their 95 % intervals."
    )
    for name, rows in found.measured.items():
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
        " out); refused for that alone; told to be granulocytes"
    ),
    "granulocytes": "Neutrophils and eosinophils against mononuclear cells of known laboratories",
}


def _percent(value: Any) -> Any:  # noqa: ANN401 (any cell of a table)
    """A share with its interval in per cent; anything else as it is."""
    if not isinstance(value, list):
        return value
    share, low, high = (100 * each for each in value)
    return f"{share:.1f} ({low:.1f}-{high:.1f})"


# --- arguments --------------------------------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m core", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(
        group: Any,  # noqa: ANN401 (argparse exports no type for it)
        name: str,
        run: Callable[[argparse.Namespace], int],
        text: str,
        *shared: argparse.ArgumentParser,
    ) -> argparse.ArgumentParser:
        added: argparse.ArgumentParser = group.add_parser(name, help=text, description=text, parents=list(shared))
        added.set_defaults(run=run)
        added.add_argument("--json", action="store_true", help="print one machine-readable object to standard output")
        return added

    model = argparse.ArgumentParser(add_help=False)
    model.add_argument("--model", metavar="ID", help="model of the manifest (default: its default)")
    model.add_argument(
        "--device",
        choices=[str(d) for d in Device],
        default="auto",
        help="cuda fails where it cannot run; auto falls back to the CPU",
    )
    model.add_argument(
        "--jobs", type=_positive, default=1, help="processes, one thread each (default 1 process with all threads)"
    )
    scale = argparse.ArgumentParser(add_help=False)
    scale.add_argument("--um-per-px", type=float, metavar="UM", help="scale of the images in micrometres per pixel")
    engine = argparse.ArgumentParser(add_help=False)
    engine.add_argument(
        "--feature-engine",
        choices=[str(e) for e in Engine],
        default=str(Engine.FAST),
        help="reference is pyradiomics itself",
    )

    for name, run, text in (
        ("segment", _segment, "Write one mask per image: 255 nucleus, 170 cytoplasm, 85 environment, 0 background."),
        (
            "analyse",
            _analyse,
            (
                "Segment, measure and place in the populations: features.parquet, features.csv, places.parquet, masks,"
                " errors.csv."
            ),
        ),
    ):
        added = command(commands, name, run, text, model, scale, engine)
        added.add_argument("inputs", nargs="+", type=Path, metavar="INPUT", help="image files or folders of them")
        added.add_argument("--out", type=Path, required=True, help="folder for the results")
        added.add_argument(
            "--overlay", action="store_true", help="also write pictures with the outlines drawn over them"
        )
        added.add_argument(
            "--cells",
            choices=[str(c) for c in Cells],
            default=str(Cells.AUTO),
            help="one: the cell in the middle; all: every leukocyte of the field; auto (default): what the image shows",
        )

    added = commands.add_parser(
        "batch",
        help="the same for very many images, resumable",
        description=batch_command.DESCRIPTION,
        parents=[batch_command.parser(add_help=False)],
    )
    added.set_defaults(run=batch_command.run)

    text = "Measure a drawn mask; no model needed. Sizes in pixels, or um with a scale."
    added = command(commands, "features", _features, text, scale, engine)
    added.add_argument("--image", type=Path, required=True)
    added.add_argument("--mask", type=Path, required=True, help="grey levels 0/128/255 or 0/85/170/255")

    command(
        commands,
        "catalogue",
        _catalogue,
        "Every feature as a row of CSV: name, meaning, formula, unit, what it depends on.",
    )

    filed = argparse.ArgumentParser(add_help=False)
    filed.add_argument("--source", required=True, help="laboratory or collection, shown beside every comparison")
    filed.add_argument("--id", help="identifier of the population (default: made from its name)")
    filed.add_argument("--tissue", default="peripheral blood")
    filed.add_argument("--citation", default="own images")
    filed.add_argument("--terms", default="own images")
    filed.add_argument("--note", default="")
    filed.add_argument("--replace", action="store_true", help="put it in the place of a population of the same id")

    cohort = commands.add_parser("cohort", help="reference populations and your own").add_subparsers(
        required=True, metavar="ACTION"
    )
    command(cohort, "build", _cohort_build, "Build the shipped reference populations from the data folder.", model)
    added = command(
        cohort,
        "import",
        _cohort_import,
        "Analyse a folder of images into a population of your own.",
        model,
        scale,
        filed,
    )
    added.add_argument("folder", type=Path)
    added.add_argument(
        "--layout", choices=["flat", "folders"], default="flat", help="folders: one sub-folder per cell type, as MLL23"
    )
    added.add_argument("--only", nargs="+", metavar="FOLDER", help="with --layout folders: these only")
    added.add_argument("--cell-type", choices=[str(t) for t in CellType], help="default: from the folder's name")
    added.add_argument("--title")
    text = (
        "Make a table of measured cells (.csv, .parquet; columns named as in the catalogue) a population of your own,"
        " whole or not at all."
    )
    added = command(cohort, "import-table", _cohort_import_table, text, scale, filed)
    added.add_argument("file", type=Path)
    added.add_argument("--name", required=True, help="what the population is called")
    added.add_argument(
        "--units",
        required=True,
        choices=[str(u) for u in Units],
        help="what lengths and areas in the table are counted in",
    )
    added.add_argument(
        "--cell-type", choices=[str(t) for t in CellType], help="of cells whose row says none (default: the table's)"
    )
    command(cohort, "list", _cohort_list, "Populations with their counts and what was left out of the summaries.")
    added = command(
        cohort, "summary", _cohort_summary, "Percentiles, mean and spread of every feature of a population."
    )
    added.add_argument("population")
    added.add_argument("--um", action="store_true", help="sizes in micrometres, over cells with a scale")
    text = (
        "Two or more groups of cells feature by feature, the best separated first: the numbers of the page Cohort"
        " explorer."
    )
    added = command(cohort, "compare", _cohort_compare, text)
    added.add_argument(
        "groups", nargs="*", metavar="GROUP", help="names of two or more groups (default: all that have enough cells)"
    )
    added.add_argument(
        "--by",
        choices=[b.name.lower() for b in By],
        default="population",
        help="what groups are (default: populations)",
    )
    for key, (column, called) in CHOICES.items():
        option = f"--{column.removesuffix('_id').replace('_', '-')}"
        kinds = [str(t) for t in CellType] if key == "cell_types" else None
        added.add_argument(
            option, dest=key, nargs="+", choices=kinds, metavar=called.upper(), help=f"only cells of this {called}"
        )
    added.add_argument("--selection", type=Path, metavar="FILE", help="only cells of a selection saved on the page")
    added.add_argument("--out", type=Path, metavar="FILE", help="write the table (.csv) or a report (.html) instead")
    command(
        cohort,
        "published",
        _cohort_published,
        "Measured populations beside the thesis's printed tables, where a feature has no unit.",
    )
    added = command(cohort, "export", _cohort_export, "Write a population as CSV or Parquet.")
    added.add_argument("population")
    added.add_argument("--out", type=Path, required=True)
    added.add_argument("--good-only", action="store_true", help="only cells without a severe quality flag")
    added = command(cohort, "delete", _cohort_delete, "Delete a population of your own.")
    added.add_argument("population")

    text = "Measure on the model's test images how far each feature can be trusted, and keep it with the model."
    added = command(commands, "reliability", _reliability, text, model)
    added.add_argument("--out", type=Path, metavar="FILE", help="write the result here instead")
    added.add_argument(
        "--limit", type=_positive, metavar="N", help="only so many images, evenly out of all; needs --out"
    )

    text = (
        "Learn what leukocytes look like to a model, measure how well that tells them from everything else, and keep it"
        " with the model."
    )
    added = command(commands, "novelty", _novelty, text, model)
    added.add_argument("--out", type=Path, metavar="FILE", help="write the result here instead")
    added.add_argument("--limit", type=_positive, metavar="N", help="only so many images of each kind; needs --out")

    text = "Which architecture is better, and how sure that is: a run of `python -m training select`."
    added = command(commands, "selection", _selection, text)
    added.add_argument("name", nargs="?", metavar="RUN", help="folder in LEUKOSCOPE_SELECTION (default: the first)")
    added.add_argument(
        "--protocol", choices=["grouped", "as-published"], default="grouped", help="what was dealt into the folds"
    )
    added.add_argument("--of", choices=["mean", "nucleus", "cytoplasm"], default="mean", help="Dice of what")

    models = commands.add_parser("models", help="the models that are there").add_subparsers(
        required=True, metavar="ACTION"
    )
    command(models, "list", _models_list, "Models with their cards.")
    added = command(models, "verify", _models_verify, "Check every model's SHA-256 and open it on the wanted device.")
    added.add_argument("--device", choices=[str(d) for d in Device], default="auto")
    return parser


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        msg = f"must be 1 or more, but is {value}"
        raise argparse.ArgumentTypeError(msg)
    return value


if __name__ == "__main__":
    # A pipe closed by its reader (`| head`) is no error of ours.
    try:
        code = main()
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    sys.exit(code)

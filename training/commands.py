"""What the commands of `python -m training` do; `training.__main__` has their arguments."""

import argparse
import json
import multiprocessing
import sys
import time
from collections.abc import Callable, Sequence
from multiprocessing.context import SpawnProcess
from pathlib import Path

import torch

from core.charts.overlay import field_png
from core.domain.errors import UsageError
from core.domain.options import Device
from core.domain.settings import check_own, load_settings
from core.domain.types import CellImage
from core.evaluation import model_selection as results
from core.evaluation.datasets import COPIES_MANIFEST, Sample, data_set
from core.evaluation.model_comparison import Measure, fair, few_images, paired_differences, ranking, title, verdict
from core.evaluation.paired import better, better_in_words, paired_by_data_set, to_plain
from core.evaluation.paired import in_words as paired_in_words
from core.evaluation.quality_fit import gathered
from core.evaluation.training_runs import CASES_FOLDER
from core.evaluation.true_cells import LABORATORIES, measure, true_pictures
from core.segmentation.field_of_view import FieldCell
from core.segmentation.localiser import OnnxLocaliser
from training import selection
from training.augment import write_copies
from training.calibration import trust
from training.config import SelectionConfig, TrainingConfig
from training.data import load_labelled, masked_samples
from training.evaluate import (
    annotator_agreement,
    by_cell_type,
    by_data_set,
    dice_by_image,
    in_a_line,
    in_words,
    summarise,
)
from training.evaluate import evaluate as score_cells
from training.fields import MadeField, score_fields, summarise_fields
from training.laboratories import by_laboratory, score_laboratories
from training.laboratories import in_words as in_words_of_laboratory
from training.loop import EpochLog, fit
from training.messages import kept_in
from training.scored import ScoredModel, opened, untouched
from training.segmenter import TorchSegmenter, shipped_localiser
from training.selection import AS_PUBLISHED, GROUPED, SelectionUnit, units_of
from training.terminal import in_time, named, say, show_unit, shown, work
from training.trainer import find_device


def finetune(arguments: argparse.Namespace) -> int:
    """Train a network, and score it on the images it never saw."""
    config = TrainingConfig.from_toml(arguments.config)
    started = time.monotonic()

    def show(row: EpochLog) -> None:
        say(
            f"epoch {row.epoch}/{config.epochs}: loss {row.train_loss:.4f}, validation nucleus"
            f" {row.val_dice_nucleus:.4f} cytoplasm {row.val_dice_cytoplasm:.4f}, {row.seconds:.0f} s, about"
            f" {in_time(row.seconds * (config.epochs - row.epoch))} left"
        )

    with kept_in(arguments.out):
        report = fit(config, arguments.out, device=find_device(arguments.device), on_epoch=show)
    print(
        f"{report.epochs} epochs in {in_time(time.monotonic() - started)}; best validation Dice"
        f" {report.best_val_dice:.4f} in epoch {report.best_epoch}{' (stopped early)' if report.stopped_early else ''}"
    )
    print(
        f"test, {report.test['images']} images never seen, in the window around the drawn"
        f" cell:\n{in_words(report.test)}"
    )
    print(f"the best and worst are pictures in {report.folder / CASES_FOLDER}")
    print(f"next: python -m export {report.folder} --out {report.folder.parent / 'models' / report.folder.name}.onnx")
    return 0


def augment(arguments: argparse.Namespace) -> int:
    """Write rotated and flipped copies of images and masks."""
    samples = masked_samples(tuple(arguments.data_sets))
    started = time.monotonic()

    def show(number: int) -> None:
        left = (time.monotonic() - started) / number * (len(samples) - number)
        say(f"{number}/{len(samples)} images, about {in_time(left)} left", for_now=number < len(samples))

    written = write_copies(samples, arguments.out, on_image=show)
    print(
        f"{written} copies of {len(samples)} images in {arguments.out}; their originals are in"
        f" {arguments.out / COPIES_MANIFEST}"
    )
    return 0


def select(arguments: argparse.Namespace) -> int:
    """Compare architectures, alone or with further processes."""
    config = SelectionConfig.from_toml(arguments.config)
    root = arguments.out or load_settings().selection
    check_own(root, "give --out DIR, and show it on the page with LEUKOSCOPE_SELECTION")
    device = find_device(arguments.device)
    cards = torch.cuda.device_count() if device.type == "cuda" and device.index is None else 0
    if arguments.retry:
        say(f"{results.discard_failed(root / config.name)} failed folds will be tried again")
    others: list[SpawnProcess] = []

    def start_others() -> None:
        for number in range(1, arguments.workers):
            name = f"cuda:{number % cards}" if cards else str(device)
            others.append(multiprocessing.get_context("spawn").Process(target=work, args=(config, root, name)))
            others[-1].start()

    def take_part(on_start: Callable[[], None] | None = None) -> Path:
        return selection.select(
            config,
            root,
            torch.device("cuda:0") if cards else device,
            on_start=on_start,
            on_epoch=show_epoch,
            on_unit=show_unit,
        )

    def show_epoch(unit: SelectionUnit, epoch: int) -> None:
        say(f"{named(unit)}: epoch {epoch}/{config.epochs}", for_now=True)

    try:
        with kept_in(root / config.name):
            folder = take_part(start_others)
            for other in others:
                other.join()
            if any(other.exitcode for other in others):  # what it was at is free again
                folder = take_part()
    finally:
        for other in others:
            other.terminate()
            other.join()
    return _tell(config, folder)


def _tell(config: SelectionConfig, folder: Path) -> int:
    """Print the results of a run so far, what failed, and where to look; returns the exit code."""
    folds, images = (results.read(folder, table) for table in ("folds", "images"))
    for protocol in (GROUPED, AS_PUBLISHED):
        rows = folds[folds["protocol"] == protocol]
        if fair(rows).empty:
            continue
        scores = ranking(rows, Measure.MEAN)
        print(f"{protocol}: {verdict(scores, paired_differences(rows, Measure.MEAN))}")
        if few := few_images(images[images["protocol"] == protocol]):
            print(f"  {few}")
        for score in scores:
            interval = "" if score.low is None else f" (95 % interval {score.low:.4f} to {score.high:.4f})"
            print(f"  {title(score.architecture):14} Dice {score.mean:.4f}{interval}, {score.folds} folds")
    failed = folds[folds["status"] != "done"]
    for row in failed.to_dict("records"):
        unit = SelectionUnit(row["protocol"], row["k"], row["fold"], row["architecture"])
        print(f"failed: {named(unit)}: {row['status']}: {row['reason']}; --retry tries again", file=sys.stderr)
    units = len(units_of(config))
    rest = "" if len(folds) >= units else "; other processes work on the rest"
    print(f"{len(folds)} of {units} folds are in {shown(folder)}{rest}")
    elsewhere = (
        f"LEUKOSCOPE_SELECTION={shown(folder.parent)} "
        if folder.parent.resolve() != load_settings().selection.resolve()
        else ""
    )
    print(f"next: {elsewhere}python -m core selection {folder.name}, or {elsewhere}make app and its page Models")
    return 1 if len(failed) else 0


def evaluate(arguments: argparse.Namespace) -> int:
    """Score a model on drawn masks, or two beside each other."""
    if arguments.against:
        return _evaluate_both(arguments)
    model = opened(arguments.model, views=arguments.views)
    samples = masked_samples(tuple(arguments.data_sets))
    chosen = _of_part(samples, model, arguments.part, arguments.data_sets)

    def show(number: int) -> None:
        say(f"{number}/{len(chosen)} images", for_now=number < len(chosen))

    scores = score_cells(model.segmenter, chosen, on_image=show)
    parts, annotators = {"all": summarise(scores), **by_data_set(scores)}, annotator_agreement(samples)
    types = {
        name: by_cell_type([score for score in scores if score.sample_id.startswith(f"{name}/")])
        for name in by_data_set(scores)
    }
    confidence, validation = trust(scores), model.segmenter.card.validation
    if arguments.json:
        facts = {"model": model.name, "part": arguments.part, "views": arguments.views, "confidence": confidence}
        print(json.dumps({**facts, **parts, "cell_types": types, "validation": validation, "annotators": annotators}))
        return 0
    for name, summary in parts.items():
        where = " and ".join(arguments.data_sets) if name == "all" else name
        if name != "all" or len(parts) > 2:
            print(f"{model.name}, {arguments.part} images of {where}, n = {summary['images']}:\n{in_words(summary)}")
        for cell_type, of_type in types.get(name, {}).items():
            print(f"  {cell_type}, n = {of_type['images']}: {in_a_line(of_type)}")
    for scheme, result in validation.items():
        print(f"networks trained in the same way, {scheme}:")
        for name, summary in result["sources"].items():
            print(f"  on {name}, n = {summary['images']}: {in_a_line(summary)}")
    if confidence["spearman"] is not None:
        print(f"confidence and Dice of the cell: rank correlation {confidence['spearman']:.2f}")
    for pair in annotators:
        dice = ", ".join(f"{region} {pair[region]:.4f}" for region in ("nucleus", "cytoplasm", "cell"))
        print(f"annotators, {pair['first']} and {pair['second']}: {dice}")
    return 0


def laboratories(arguments: argparse.Namespace) -> int:
    """Score a model in each laboratory."""
    model = opened(arguments.model, localiser=arguments.localiser)
    samples = [sample for name in arguments.data_sets for sample in data_set(name).samples()]
    if model.split and not arguments.all:
        samples = untouched(samples, [model.split])

    def show(number: int) -> None:
        say(f"{number}/{len(samples)} images", for_now=number < len(samples))

    results = by_laboratory(score_laboratories(model.segmenter, samples, on_image=show))
    if arguments.json:
        print(json.dumps({"model": model.segmenter.card.model_id, **results}))
    else:
        print("\n".join(in_words_of_laboratory(name, result) for name, result in results.items()))
    return 0


def _evaluate_both(arguments: argparse.Namespace) -> int:
    """Score two models on the same images, which neither learnt from, and say which is better."""
    models = [opened(name, views=arguments.views) for name in (arguments.against, arguments.model)]
    samples = _common(models, masked_samples(tuple(arguments.data_sets)), arguments.part)
    groups = {sample.sample_id: sample.group for sample in samples}

    def scored(model: ScoredModel) -> dict[str, dict[str, float]]:
        def show(number: int) -> None:
            say(f"{model.name}: {number}/{len(samples)} images", for_now=number < len(samples))

        return dice_by_image(score_cells(model.segmenter, samples, on_image=show))

    first, second = (model.name for model in models)
    found = paired_by_data_set(scored(models[0]), scored(models[1]), groups)
    if arguments.json:
        facts = {"model": second, "against": first, "part": arguments.part, "views": arguments.views}
        facts |= {"images": len(samples), "better": {1: second, -1: first}.get(better(found["all"]))}
        print(json.dumps({**facts, **{name: to_plain(part) for name, part in found.items()}}))
        return 0
    seen = "that neither learnt from" if arguments.part == "test" else "whoever learnt from them"
    for name, part in found.items():
        if name != "all" or len(found) > 2:
            where = " and ".join(arguments.data_sets) if name == "all" else name
            print(f"{first} and {second} on images of {where} {seen}:\n{paired_in_words(part, first, second)}")
    print(better_in_words(found["all"], first, second))
    return 0


def _common(models: Sequence[ScoredModel], samples: list[Sample], part: str) -> list[Sample]:
    """The images on which two models can be compared; raises UsageError where nobody knows them, or there are none."""
    if part == "all":
        return samples
    if part != "test":
        msg = f"--against compares on images that neither model learnt from, but --part is {part}; leave it out"
        raise UsageError(msg)
    splits = [model.split for model in models if model.split]
    if len(splits) < len(models):
        unknown = next(model.name for model in models if not model.split)
        msg = f"model {unknown} has no split on record, so nobody knows what it learnt from; use --part all"
        raise UsageError(msg)
    if common := untouched(samples, splits):
        return common
    msg = (
        f"{models[0].name} or {models[1].name} learnt from each of the {len(samples)} images, or from one of its"
        " group; name other data sets, or use --part all"
    )
    raise UsageError(msg)


def _of_part(samples: list[Sample], model: ScoredModel, part: str, data_sets: Sequence[str]) -> list[Sample]:
    """The samples of one part of the split that a model was trained with; raises UsageError where there is none."""
    if part == "all":
        return samples
    if model.split is None:
        msg = f"model {model.name} has no split on record; use --part all"
        raise UsageError(msg)
    ids = set(json.loads(model.split.read_text(encoding="utf-8"))[part])
    if chosen := [sample for sample in samples if sample.sample_id in ids]:
        return chosen
    there = f"none of the {len(ids)} {part} images of {model.name} is in {', '.join(data_sets)}"
    msg = f"{there}; name the data sets it was trained on, such as {min(ids).split('/')[0]}, or use --part all"
    raise UsageError(msg)


def fields(arguments: argparse.Namespace) -> int:
    """Score a model on fields that are composed of drawn cells."""
    model = opened(arguments.model, views=arguments.views)
    report: dict[str, object] = {
        "model": model.name,
        "part": arguments.part,
        "views": arguments.views,
        "seed": arguments.seed,
    }
    if arguments.pictures:
        arguments.pictures.mkdir(parents=True, exist_ok=True)
    for name in arguments.data_sets:
        items = [
            load_labelled(sample)[0] for sample in _of_part(masked_samples((name,)), model, arguments.part, [name])
        ]

        def show(number: int, made: MadeField, cells: list[FieldCell], name: str = name) -> None:
            say(f"{name}: field {number + 1}/{arguments.fields}: {len(cells)} of {len(made.standings)} cells")
            if arguments.pictures:
                file = arguments.pictures / f"{Path(name).name}_{number:02d}.png"
                file.write_bytes(
                    field_png(CellImage(made.rgb, file.name, ""), [(cell.place, cell.labels) for cell in cells])
                )

        scores = score_fields(
            model.segmenter,
            items,
            arguments.fields,
            cells=arguments.cells,
            side=arguments.side,
            touching=arguments.touching,
            seed=arguments.seed,
            on_field=show,
        )
        report[name] = summarise_fields(scores)
    print(json.dumps(report, indent=1))
    return 0


def outlines(arguments: argparse.Namespace) -> int:
    """Outline the drawn cells of laboratories with a network that was trained without them."""
    if unknown := sorted(set(arguments.data) - set(LABORATORIES)):
        msg = f"no laboratory {', '.join(unknown)} with drawn cells is known; known are {', '.join(LABORATORIES)}"
        raise UsageError(msg)
    given = arguments.localiser
    localiser = OnnxLocaliser(given, Device.CPU) if given is not None else shipped_localiser()
    segmenter = TorchSegmenter.from_run(arguments.run, find_device(arguments.device), localiser=localiser)
    pictures = true_pictures(arguments.limit, tuple(arguments.data))

    def show(number: int, total: int) -> None:
        say(f"{number}/{total} images", for_now=number < total)

    table = gathered(pictures, (measure(picture, segmenter) for picture in pictures), show)
    table.to_parquet(arguments.out, index=False)
    print(f"{len(table)} outlines of {len(pictures)} images are in {shown(arguments.out)}")
    print(f"next: python -m core quality --table {shown(arguments.out)}")
    return 0

"""`python -m training`.

Copy images for training, compare architectures, train a network, and score it on cells and on fields.
"""

import argparse
import errno
import json
import multiprocessing
import sys
import time
from collections.abc import Callable, Sequence
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Final

import torch

from core.charts.overlay import field_png
from core.domain.errors import CoreError, UsageError
from core.domain.options import VIEWS, Device
from core.domain.settings import load_settings
from core.domain.types import CellImage
from core.evaluation import model_selection as results
from core.evaluation.datasets import COPIES_MANIFEST, Sample
from core.evaluation.model_comparison import Measure, fair, paired_differences, ranking, title, verdict
from core.evaluation.training_runs import CASES_FOLDER
from core.segmentation.field_of_view import FieldCell
from core.segmentation.model_registry import ModelEntry, find_model
from core.segmentation.segmenter import OnnxSegmenter
from training.augment import COPIES, write_copies
from training.calibration import trust
from training.config import SelectionConfig, TrainingConfig
from training.data import load_labelled, masked_samples
from training.evaluate import annotator_agreement, by_cell_type, by_data_set, evaluate, in_a_line, in_words, summarise
from training.fields import MadeField, score_fields, summarise_fields
from training.loop import EpochLog, fit
from training.selection import AS_PUBLISHED, GROUPED, Unit, select, units_of
from training.terminal import in_time, log_to_terminal, named, say, show_unit, shown, work
from training.trainer import find_device, is_out_of_memory

# The disk's reasons to refuse: nothing in the program can mend them.
_NOT_OURS: Final = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS)
# What a shell gives a program that was stopped by Ctrl-C.
_INTERRUPTED: Final = 130

_FOLDERS: Final = (
    "A data set is one that the program knows (set1, set2) or a folder of yours with images/ and masks/ in it: files of"
    " equal names, masks in grey levels 0 background, 128 cytoplasm, 255 nucleus (or 0, 85, 170, 255). A folder of such"
    " folders, one per cell type, is read too. labels.csv (image_id,cell_type,duplicate_group) beside images/ may name"
    " the types, and which images show the same cell."
)
_DATA_SETS: Final = "names of data sets, or paths of folders"
_DEVICE: Final = "auto, cpu, cuda or cuda:<number> (default: auto, CUDA where there is one)"


def _finetune(arguments: argparse.Namespace) -> int:
    config = TrainingConfig.from_toml(arguments.config) if arguments.config else TrainingConfig()
    started = time.monotonic()

    def show(row: EpochLog) -> None:
        say(
            f"epoch {row.epoch}/{config.epochs}: loss {row.train_loss:.4f}, validation nucleus"
            f" {row.val_dice_nucleus:.4f} cytoplasm {row.val_dice_cytoplasm:.4f}, {row.seconds:.0f} s, about"
            f" {in_time(row.seconds * (config.epochs - row.epoch))} left"
        )

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


def _augment(arguments: argparse.Namespace) -> int:
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


def _select(arguments: argparse.Namespace) -> int:
    config = SelectionConfig.from_toml(arguments.config)
    root = arguments.out or load_settings().selection
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
        return select(
            config,
            root,
            torch.device("cuda:0") if cards else device,
            on_start=on_start,
            on_epoch=show_epoch,
            on_unit=show_unit,
        )

    def show_epoch(unit: Unit, epoch: int) -> None:
        say(f"{named(unit)}: epoch {epoch}/{config.epochs}", for_now=True)

    try:
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
    """Print what came out of a run so far, what failed, and where to look; returns the exit code."""
    folds = results.read(folder, "folds")
    for protocol in (GROUPED, AS_PUBLISHED):
        rows = folds[folds["protocol"] == protocol]
        if fair(rows).empty:
            continue
        scores = ranking(rows, Measure.MEAN)
        print(f"{protocol}: {verdict(scores, paired_differences(rows, Measure.MEAN))}")
        for score in scores:
            interval = "" if score.low is None else f" (95 % interval {score.low:.4f} to {score.high:.4f})"
            print(f"  {title(score.architecture):14} Dice {score.mean:.4f}{interval}, {score.folds} folds")
    failed = folds[folds["status"] != "done"]
    for row in failed.to_dict("records"):
        unit = Unit(row["protocol"], row["k"], row["fold"], row["architecture"])
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


def _evaluate(arguments: argparse.Namespace) -> int:
    entry = find_model(arguments.model)
    samples = masked_samples(tuple(arguments.data_sets))
    chosen = _of_part(samples, entry, arguments.part, arguments.data_sets)

    def show(number: int) -> None:
        say(f"{number}/{len(chosen)} images", for_now=number < len(chosen))

    segmenter = OnnxSegmenter.from_entry(entry, Device.CPU, views=arguments.views)
    scores = evaluate(segmenter, chosen, on_image=show)
    parts, annotators = {"all": summarise(scores), **by_data_set(scores)}, annotator_agreement(samples)
    types = {
        name: by_cell_type([score for score in scores if score.sample_id.startswith(f"{name}/")])
        for name in by_data_set(scores)
    }
    confidence, validation = trust(scores), entry.card.validation
    if arguments.json:
        facts = {"model": entry.model_id, "part": arguments.part, "views": arguments.views, "confidence": confidence}
        print(json.dumps({**facts, **parts, "cell_types": types, "validation": validation, "annotators": annotators}))
        return 0
    for name, found in parts.items():
        where = " and ".join(arguments.data_sets) if name == "all" else name
        if name != "all" or len(parts) > 2:
            print(f"{entry.model_id}, {arguments.part} images of {where}, n = {found['images']}:\n{in_words(found)}")
        for cell_type, its in types.get(name, {}).items():
            print(f"  {cell_type}, n = {its['images']}: {in_a_line(its)}")
    for scheme, of in validation.items():
        print(f"networks trained in the same way, {scheme}:")
        for name, found in of["sources"].items():
            print(f"  on {name}, n = {found['images']}: {in_a_line(found)}")
    if confidence["spearman"] is not None:
        print(f"confidence and Dice of the cell: rank correlation {confidence['spearman']:.2f}")
    for pair in annotators:
        dice = ", ".join(f"{region} {pair[region]:.4f}" for region in ("nucleus", "cytoplasm", "cell"))
        print(f"annotators, {pair['first']} and {pair['second']}: {dice}")
    return 0


def _of_part(samples: list[Sample], entry: ModelEntry, part: str, data_sets: Sequence[str]) -> list[Sample]:
    """The samples of one part of the split that a model was trained with; raises UsageError where there is none."""
    if part == "all":
        return samples
    if entry.split is None:
        msg = f"model {entry.model_id} has no split on record; use --part all"
        raise UsageError(msg)
    ids = set(json.loads(entry.split.read_text(encoding="utf-8"))[part])
    if chosen := [sample for sample in samples if sample.sample_id in ids]:
        return chosen
    there = f"none of the {len(ids)} {part} images of {entry.model_id} is in {', '.join(data_sets)}"
    msg = f"{there}; name the data sets it was trained on, such as {min(ids).split('/')[0]}, or use --part all"
    raise UsageError(msg)


def _fields(arguments: argparse.Namespace) -> int:
    entry = find_model(arguments.model)
    outline = OnnxSegmenter.from_entry(entry, Device.CPU, views=arguments.views).outline
    report: dict[str, object] = {
        "model": entry.model_id,
        "part": arguments.part,
        "views": arguments.views,
        "seed": arguments.seed,
    }
    if arguments.pictures:
        arguments.pictures.mkdir(parents=True, exist_ok=True)
    for name in arguments.data_sets:
        items = [
            load_labelled(sample)[0] for sample in _of_part(masked_samples((name,)), entry, arguments.part, [name])
        ]

        def show(number: int, made: MadeField, found: list[FieldCell], name: str = name) -> None:
            say(f"{name}: field {number + 1}/{arguments.fields}: {len(found)} of {len(made.standings)} cells")
            if arguments.pictures:
                file = arguments.pictures / f"{Path(name).name}_{number:02d}.png"
                file.write_bytes(
                    field_png(CellImage(made.rgb, file.name, ""), [(cell.place, cell.labels) for cell in found])
                )

        scores = score_fields(
            outline,
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


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        msg = f"must be at least 1, but is {number}"
        raise argparse.ArgumentTypeError(msg)
    return number


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    text = "Train a network on 60 % of the images, choose its best epoch on 20 %, and test it on the 20 % it never saw."
    more = (
        "The folder of the run holds config.toml, split.json, log.csv (a row as each epoch ends: the app's page Models"
        " draws it), the best weights, scores.json, and in cases/ pictures of the best and worst test images. Ctrl-C"
        " stops it; the same command goes on."
    )
    finetune = commands.add_parser(
        "finetune", help="train a network; goes on where a stopped run was", description=f"{text} {more} {_FOLDERS}"
    )
    finetune.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="TOML file of settings; copy training/configs/finetune.toml (default: it)",
    )
    finetune.add_argument(
        "--out", type=Path, required=True, metavar="RUN", help="folder of the run; the app shows those in runs/"
    )
    finetune.add_argument("--device", default="auto", help=_DEVICE)
    finetune.set_defaults(run=_finetune, resumable=True)

    text = (
        f"Write {COPIES} copies of every image and mask: rotations by 45 degrees, and the flip's. `select` makes the"
        " same copies in memory by itself; this is for looking at them and for other programs."
    )
    augment = commands.add_parser(
        "augment", help=f"write {COPIES} turned copies of every image", description=f"{text} {_FOLDERS}"
    )
    augment.add_argument("--data-sets", nargs="+", required=True, metavar="NAME", help=_DATA_SETS)
    augment.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="new folder; it can be named as a data set afterwards"
    )
    augment.set_defaults(run=_augment, resumable=False)

    text = (
        "Compare architectures by k-fold cross-validation. Results are kept fold by fold; Ctrl-C stops it, and the same"
        " command goes on. The same command in another terminal, or on another machine that shares the folder, works on"
        " the same run."
    )
    choose = commands.add_parser(
        "select", help="compare architectures by cross-validation", description=f"{text} {_FOLDERS}"
    )
    choose.add_argument(
        "--config",
        type=Path,
        required=True,
        metavar="FILE",
        help="TOML file of settings; copy training/configs/select.toml and change it",
    )
    choose.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="folder of results (default: LEUKOSCOPE_SELECTION, or assets/model_selection)",
    )
    choose.add_argument(
        "--workers",
        type=_positive,
        default=1,
        metavar="N",
        help="processes that share the run, a GPU each where there are (default: 1)",
    )
    choose.add_argument("--device", default="auto", help=_DEVICE)
    choose.add_argument("--retry", action="store_true", help="first forget the folds that failed")
    choose.set_defaults(run=_select, resumable=True)

    scored = argparse.ArgumentParser(add_help=False)
    scored.add_argument(
        "--model",
        metavar="ID",
        help="model in LEUKOSCOPE_MODELS, as `python -m core models list` names it (default: its default)",
    )
    scored.add_argument(
        "--part",
        choices=["train", "validation", "test", "all"],
        default="test",
        help="part of its split (default: test)",
    )
    scored.add_argument(
        "--data-sets", nargs="+", default=["set1", "set2"], metavar="NAME", help=f"{_DATA_SETS} (default: set1 set2)"
    )
    scored.add_argument(
        "--views",
        type=int,
        choices=VIEWS,
        default=1,
        help="the fine pass is the mean of so many rotations and mirror images (default: 1)",
    )
    text = "Score a model on drawn masks as a user meets it: the network finds the cell itself."
    score = commands.add_parser(
        "evaluate",
        help="score a model on drawn masks, beside the annotators' own agreement",
        description=text,
        parents=[scored],
    )
    score.add_argument("--json", action="store_true", help="print one machine-readable object to standard output")
    score.set_defaults(run=_evaluate, resumable=False)
    text = (
        "Score how a model finds and outlines the cells of fields, composed of drawn cells, platelets and red cells of"
        " the images."
    )
    field = commands.add_parser(
        "fields", help="score a model on fields with several cells", description=text, parents=[scored]
    )
    field.add_argument("--fields", type=_positive, default=8, metavar="N", help="fields per data set (default: 8)")
    field.add_argument(
        "--cells",
        type=_positive,
        default=18,
        metavar="N",
        help="cells per field, as far as there is room (default: 18)",
    )
    field.add_argument(
        "--side", type=_positive, metavar="PX", help="side of a field (default: five times that of the images)"
    )
    field.add_argument(
        "--touching",
        type=float,
        default=0.5,
        metavar="SHARE",
        help="of the cells that touch another one (default: 0.5)",
    )
    field.add_argument("--seed", type=int, default=7)
    field.add_argument(
        "--pictures", type=Path, metavar="DIR", help="for the fields with what was found; they are made of the images"
    )
    field.set_defaults(run=_fields, resumable=False)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Parse, run, and turn the errors a user can cause into a sentence; returns the exit code."""
    arguments = _parser().parse_args(argv)
    log_to_terminal()
    try:
        return int(arguments.run(arguments))
    except CoreError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (OSError, MemoryError, RuntimeError) as error:
        if is_out_of_memory(error):
            print(f"error: out of memory ({error}); take a smaller batch_size, input_size or encoder", file=sys.stderr)
        elif isinstance(error, OSError) and error.errno in _NOT_OURS:
            print(f"error: {error}", file=sys.stderr)
        else:
            raise
        return 2
    except KeyboardInterrupt:
        say("stopped; the same command goes on where it was" if arguments.resumable else "stopped; nothing was kept")
        return _INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())

"""`leukoscope corrections`: what people decided of outlines, as lists and as folders to train on."""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import pandas as pd

from core.cli.common import add_action
from core.corrections import drafts, training_folder
from core.corrections.pictures import FoldersOfPictures
from core.corrections.training_folder import TrainingCell
from core.domain.errors import UsageError
from core.domain.settings import load_settings
from core.store import outline_log
from core.store.database import Cohort
from core.store.outline_log import OutlineStatus, OutlineVerdict
from core.store.overlay import corrected_rows
from core.support import records
from core.support.text import shown

if TYPE_CHECKING:
    from core.cli.common import Actions


def corrections(parser: argparse.ArgumentParser) -> None:
    """Actions on what people decided of outlines."""
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    for add in (_add_list, _add_export, _add_forget):
        add(actions)


# --- list -------------------------------------------------------------------------------------------------------------


def _add_list(actions: "Actions") -> None:
    parser = add_action(actions, "list", _list, "Every decision about an outline, or those that hold (--standing).")
    parser.add_argument("--standing", action="store_true", help="of each cell only the decision that holds")


def _list(arguments: argparse.Namespace) -> int:
    root = load_settings().cohort
    content = outline_log.read(root)
    verdicts = outline_log.all_standing(root) if arguments.standing else list(content.records)
    for problem in content.problems:
        print(f"warning: {problem}", file=sys.stderr)
    if arguments.json:
        print(records.to_json({"corrections": verdicts, "summary": _summary(verdicts)}))
        return 1 if content.problems else 0
    for verdict in verdicts:
        dice = f"  Dice to the model's {verdict.dice['cell']:.3f}" if "cell" in verdict.dice else ""
        blind = "  drawn blind" if verdict.blind else ""
        when = verdict.when.isoformat(timespec="seconds")
        name = shown(verdict.cell.name if len(verdict.cell.name) < 40 else f"{verdict.cell.name[:37]}...")
        why = f"  {shown(verdict.reason)}" if verdict.reason else ""
        print(f"{when}  {shown(verdict.who)}  {verdict.status}  {name}{dice}{blind}{why}")
    counted = ", ".join(f"{count:,} {status}" for status, count in _summary(verdicts)["by_status"].items())
    print(f"{len(verdicts):,} decisions" + (f": {counted}" if counted else ""))
    return 1 if content.problems else 0


def _summary(verdicts: list[OutlineVerdict]) -> dict[str, Any]:
    """Counts, and how far drawn outlines agree with the model's, apart for those drawn blind."""
    by_status = Counter(verdict.status.value for verdict in verdicts)
    dice: dict[str, Any] = {}
    for name, blind in (("seen", False), ("blind", True)):
        found = [verdict.dice["cell"] for verdict in verdicts if verdict.blind is blind and "cell" in verdict.dice]
        dice[name] = {"n": len(found), "median_dice_cell": round(median(found), 4) if found else None}
    return {"by_status": dict(by_status), "to_the_model": dice}


# --- export -----------------------------------------------------------------------------------------------------------


def _add_export(actions: "Actions") -> None:
    text = (
        "Copy pictures and outlines of corrected cells into a folder that `python -m training finetune` reads. This is"
        " the only command that copies pictures."
    )
    parser = add_action(actions, "export", _export, text)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="new or empty folder")
    add = parser.add_argument
    text = "where the images are (default: the folders that pages may choose from)"
    add("--images", type=Path, nargs="+", metavar="FOLDER", help=text)
    statuses = [status.value for status in training_folder.MAY_BE_EXPORTED]
    text = "corrected ones (default), and accepted ones, which go to a folder of their own and are nothing to test on"
    add("--status", nargs="+", choices=statuses, default=[training_folder.DRAWN[0].value], help=text)
    add("--yes", action="store_true", help="copy without asking for a confirmation")


def _export(arguments: argparse.Namespace) -> int:
    settings = load_settings()
    statuses = tuple(OutlineStatus(status) for status in arguments.status)
    training_folder.check_folder(arguments.out)
    standing = sorted(outline_log.all_standing(settings.cohort), key=lambda verdict: verdict.when, reverse=True)
    wanted = [verdict for verdict in standing if training_folder.status_for_training(verdict) in statuses]
    if not wanted:
        msg = f"expected {' or '.join(statuses)} outlines, but there are none; correct some cells first"
        raise UsageError(msg)
    if not arguments.yes and not _confirmed(len(wanted), arguments.out):
        print("nothing was copied", file=sys.stderr)
        return 1
    missing: dict[str, str] = {}
    folders = FoldersOfPictures(arguments.images or settings.roots)
    cells = _with_pictures(wanted, folders, missing)
    report = training_folder.export(settings.cohort, cells, arguments.out, statuses=statuses)
    left_out = report.left_out | missing
    if arguments.json:
        print(json.dumps({"written": report.written, "left_out": left_out, "folder": str(arguments.out)}))
    else:
        for status, count in report.written.items():
            print(f"{count:,} {status}")
        for name, reason in left_out.items():
            print(f"left out: {shown(name)}: {shown(reason)}", file=sys.stderr)
        if report.written:
            print(f"next: leukoscope adapt {arguments.out} --out runs/NAME teaches the model in use these cells")
    return 1 if left_out else 0


def _confirmed(number: int, folder: Path) -> bool:
    print(f"This copies {number:,} pictures to {folder}. Type yes to go on: ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() == "yes"


def _with_pictures(
    verdicts: list[OutlineVerdict], folders: FoldersOfPictures, missing: dict[str, str]
) -> Iterator[TrainingCell]:
    """The cells whose pictures are at hand; the names of the others are put into `missing` with the reason."""
    drawn = {verdict.drawn_in for verdict in verdicts if verdict.drawn_in is not None}
    rows = corrected_rows(load_settings().cohort, drawn)
    filed = _filed([verdict.cell.cell_id for verdict in verdicts if verdict.cell.cell_id])
    for verdict in verdicts:
        image = folders.of(verdict.cell)
        if image is None:
            missing[verdict.cell.name] = "no image with its checksum is in the folders; name its folder with --images"
            continue
        row = filed.get(verdict.cell.cell_id or "", rows.get(verdict.drawn_in or "", {}))
        yield TrainingCell(verdict, image, row.get("cell_type"), row.get("patient_id"))


def _filed(cell_ids: list[str]) -> dict[str, dict[str, Any]]:
    """Type and patient of cells of the cohort, as readers have changed them."""
    if not cell_ids:
        return {}
    with Cohort.open() as cohort:
        sql = "SELECT cell_id, cell_type, patient_id FROM cells WHERE cell_id IN (SELECT unnest($ids))"
        found = cohort.query(sql, {"ids": cell_ids}, columns=("cell_id", "cell_type", "patient_id"))
    return {
        str(row["cell_id"]): {str(name): None if pd.isna(value) else value for name, value in row.items()}
        for row in found.to_dict("records")
    }


# --- forget -----------------------------------------------------------------------------------------------------------


def _add_forget(actions: "Actions") -> None:
    text = "Delete what was decided of an image, or by a person, with names, reasons, outlines and drafts."
    parser = add_action(actions, "forget", _forget, text)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--image", metavar="SHA256", help="checksum of the image, or its first 12 digits or more")
    which.add_argument("--who", metavar="NAME", help="who decided, as it was typed")


def _forget(arguments: argparse.Namespace) -> int:
    root = load_settings().cohort
    if arguments.image is not None and len(arguments.image) < 12:
        msg = f"expected at least 12 digits of a checksum, but got {arguments.image!r}"
        raise UsageError(msg)

    def meant(verdict: OutlineVerdict) -> bool:
        if arguments.who is not None:
            return bool(verdict.who == arguments.who)
        return verdict.cell.image_sha256.startswith(arguments.image.lower())

    forgotten = outline_log.forget(root, meant)
    image = arguments.image.lower() if arguments.image is not None else None
    dropped = drafts.forget_drafts(root, {verdict.cell.name for verdict in forgotten}, image)
    if arguments.json:
        print(json.dumps({"forgotten": len(forgotten), "drafts": dropped}))
    else:
        print(f"{len(forgotten):,} decisions and {dropped:,} drafts were deleted")
    return 0

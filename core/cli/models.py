"""`leukoscope models`: what models there are, whether they are whole, and what they run on."""

import argparse
import json
import sys
from dataclasses import asdict

from core.cli.common import add_action, add_device
from core.domain.errors import CoreError
from core.domain.options import Device
from core.segmentation.model_registry import list_models
from core.segmentation.segmenter import OnnxSegmenter


def models(parser: argparse.ArgumentParser) -> None:
    """Actions on the models."""
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    add_action(actions, "list", _list, "Models with their cards, and what they run on.")
    text = "Check every model's SHA-256 and open it on the wanted device."
    add_device(add_action(actions, "verify", _verify, text))


def _list(arguments: argparse.Namespace) -> int:
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


def _verify(arguments: argparse.Namespace) -> int:
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

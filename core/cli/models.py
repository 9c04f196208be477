"""`leukoscope models`: what models there are, which is in use, whether their files are intact, what they run on."""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from core.cli.common import add_action, add_device
from core.domain.errors import CoreError
from core.domain.options import Device
from core.segmentation.model_registry import OF_FORMER_MODELS, ModelEntry, find_model, list_models, use_model
from core.segmentation.processing import card_text, complete_card
from core.segmentation.segmenter import OnnxSegmenter


def models(parser: argparse.ArgumentParser) -> None:
    """Actions on the models."""
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    add_action(actions, "list", _list, "Models with their cards, what they run on, and why not on a GPU.")
    text = "Check the SHA-256 of every model and of what was measured of it, and open it on the wanted device."
    add_device(add_action(actions, "verify", _verify, text))
    text = "Print a model's complete card (JSON): all that another program needs to get from an image to its mask."
    card = add_action(actions, "card", _card, text)
    card.add_argument("model", nargs="?", metavar="ID", help="as `leukoscope models list` names it (default: in use)")
    text = "Use a model from now on, on the pages and by every command; your models folder keeps the choice."
    use = add_action(actions, "use", _use, text)
    use.add_argument("model", metavar="ID", help="as `leukoscope models list` names it")


def _list(arguments: argparse.Namespace) -> int:
    entries = list_models()
    opened = _opened(entries[0], Device.AUTO)
    if arguments.json:
        rows = [
            {
                "model_id": e.model_id,
                "file": e.path.name,
                "sha256": e.sha256,
                "shipped": e.shipped,
                "hides_shipped": e.hides_shipped,
                "card": asdict(e.card),
            }
            for e in entries
        ]
        print(json.dumps({"default": entries[0].model_id, "models": rows, "runs": opened}))
        return 0
    for number, entry in enumerate(entries):
        dice = entry.card.scores.get("test", {}).get("mean_dice", "not measured")
        whose = "shipped" if entry.shipped else "your own"
        hides = ", hides the shipped one of that name" if entry.hides_shipped else ""
        print(
            f"{entry.model_id}: {entry.card.architecture} with {entry.card.encoder}, test Dice {dice},"
            f" {entry.card.created}, {whose}{hides}{'' if number else ', in use'}"
        )
    if not opened["ok"]:
        print(f"cannot be opened: {opened['reason']}")
    else:
        no_cuda = opened["why_no_cuda"]
        print(f"runs on the {opened['provider']}{f', not on a CUDA GPU: {no_cuda}' if no_cuda else ''}")
    return 0


def _use(arguments: argparse.Namespace) -> int:
    before = use_model(arguments.model)
    former = before.model_id if before else None
    if arguments.json:
        print(json.dumps({"in_use": arguments.model, "before": former}))
    elif former == arguments.model:
        print(f"{former} is in use, as before")
    else:
        print(f"{arguments.model} is in use from now on{f', instead of {former}' if former else ''}")
        print(OF_FORMER_MODELS)
    return 0


def _card(arguments: argparse.Namespace) -> int:
    entry = find_model(arguments.model)
    print(card_text(complete_card(entry, OnnxSegmenter.from_entry(entry, Device.CPU)), compact=arguments.json), end="")
    return 0


def _verify(arguments: argparse.Namespace) -> int:
    rows = [_opened(entry, Device(arguments.device)) for entry in list_models()]
    for row in rows:
        state = f"{_seals(row['not_sealed'])}, runs on {row['provider']}" if row["ok"] else row["reason"]
        print(f"{row['model_id']}: {state}", file=sys.stderr)
    if arguments.json:
        print(json.dumps(rows))
    return 0 if all(row["ok"] for row in rows) else 1


def _seals(lacking: Sequence[str]) -> str:
    if not lacking:
        return "checksums right"
    return f"checksum of the model right, but not sealed: {', '.join(lacking)} (made by an earlier version)"


def _opened(entry: ModelEntry, device: Device) -> dict[str, Any]:
    """What a model runs on, or the reason why it cannot be opened."""
    try:
        segmenter = OnnxSegmenter.from_entry(entry, device)
    except CoreError as error:
        return {"model_id": entry.model_id, "ok": False, "reason": str(error)}
    seals = {"not_sealed": list(entry.unsealed)}
    why = {"why_no_cuda": segmenter.why_no_cuda} if device is Device.AUTO else {}
    return {"model_id": entry.model_id, "ok": True, "provider": segmenter.provider, **seals, **why}

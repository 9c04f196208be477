"""A localiser's run to one ONNX file with its card inside, verified against torch."""

import argparse
import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np
import onnx
import onnxruntime
import torch

from core.domain.errors import ModelError, UsageError
from core.segmentation.localiser_card import LOCALISER_KEY, LocaliserCard
from core.segmentation.processing import (
    LOCALISER_DOC,
    LOCALISER_INPUT_DOC,
    LOCALISER_OUTPUT_DOC,
    PROCESSING_KEY,
    processing,
)
from core.support import files
from export.to_onnx import OPSET, describe, remove_notes, smooth_noise, write_program
from training.localiser.boxes import KINDS
from training.localiser.config import LocaliserConfig
from training.localiser.evaluation import localiser_card
from training.localiser.loop import CONFIG_FILE, LOG_FILE, SCORES_FILE, SPLIT_FILE, load_localiser
from training.localiser.network import LocaliserNetwork

_TRACED: Final = 160
# Maps of torch and onnxruntime may differ by this much: a score by less than 0.001, a length by less than 0.5 %.
MAX_DIFFERENCE: Final = 5e-3


def is_localiser(checkpoint: Path) -> bool:
    """Whether a folder, or the folder of a file, holds the run of a localiser."""
    path = (checkpoint.parent if checkpoint.is_file() else checkpoint) / CONFIG_FILE
    try:
        LocaliserConfig.from_toml(path)
    except UsageError:
        return False
    return True


def export_run(arguments: argparse.Namespace) -> int:
    """Do what the arguments of `python -m export` say of a localiser's run; returns the exit code."""
    run: Path = arguments.checkpoint.parent if arguments.checkpoint.is_file() else arguments.checkpoint
    card = export_localiser(run, arguments.out)
    size = arguments.out.stat().st_size
    if arguments.json:
        print(json.dumps({"file": arguments.out.name, "bytes": size, "parity": card.parity}))
    else:
        difference = card.parity["max_difference"]
        print(f"{arguments.out}: {size / 1e6:.1f} MB; beside torch, maps differ by at most {difference:.2g}")
    return 0


def export_localiser(run: Path, out: Path) -> LocaliserCard:
    """Write the network of a run to `out`, whole or not at all; returns its card.

    Raises
    ------
    ModelError
        If the run has no network, or onnxruntime and torch disagree.
    """
    network, config = load_localiser(run)
    measured = _measured(run)
    card = localiser_card(config, measured.get("least_scores"))
    split = json.loads((run / SPLIT_FILE).read_text(encoding="utf-8"))
    epochs = len((run / LOG_FILE).read_text(encoding="utf-8").splitlines()) - 1
    with TemporaryDirectory() as folder:
        draft = Path(folder) / out.name
        write_program(network, _TRACED, draft, ("images", "objects"))
        card = replace(
            card,
            localiser_id=out.stem,
            training_data=_described(split["train"], epochs * config.scenes_per_epoch),
            split=(
                f"{len(split['train'])} images to learn from, {len(split['validation'])} to choose scores on, by slide"
                f" (Raabin-WBC), range of numbers (BCCD) or image, seed {config.seed}; left out: "
                + (", ".join(config.leave_out) or "no source")
            ),
            scores={key: value for key, value in measured.items() if key != "least_scores"},
            licence="Apache-2.0 for the weights; see assets/NOTICE.md for the training data",
            created=datetime.now(UTC).date().isoformat(),
            opset=OPSET,
            parity=verify_localiser(network, draft),
        )
        _embed(draft, card)
        out.parent.mkdir(parents=True, exist_ok=True)
        files.write_bytes(out, draft.read_bytes())
    return card


def verify_localiser(network: LocaliserNetwork, path: Path) -> dict[str, float]:
    """The largest difference of the maps over seeded inputs of several shapes; raises ModelError if it is too large."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(7)
    difference = 0.0
    for shape in ((1, 256, 256), (3, 128, 192), (1, 512, 480)):
        images = smooth_noise(rng, shape)
        with torch.no_grad():
            expected = network(torch.from_numpy(images)).numpy()
        (got,) = session.run(None, {"images": images})
        if got.shape != (shape[0], len(KINDS) + 4, shape[1] // 4, shape[2] // 4):
            msg = f"the exported localiser gives {got.shape} for an input of {images.shape}"
            raise ModelError(msg)
        difference = float(np.maximum(difference, np.abs(got - expected).max()))
    if not difference <= MAX_DIFFERENCE:
        msg = (
            f"onnxruntime and torch disagree: maps by {difference:.2g} (at most {MAX_DIFFERENCE}); nothing was exported"
        )
        raise ModelError(msg)
    return {"max_difference": difference}


def _measured(run: Path) -> dict[str, Any]:
    path = run / SCORES_FILE
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def _described(images: list[str], scenes: int) -> str:
    sources: dict[str, int] = {}
    for name in images:
        source = name.split("/")[0]
        sources[source] = sources.get(source, 0) + 1
    counted = ", ".join(f"{source} {count}" for source, count in sorted(sources.items()))
    return (
        f"{len(images)} images ({counted}) in {scenes} scenes of random scale, stain and camera. Boxes: TXL-PBC (MIT)"
        " over Raabin-WBC (free for research), BCDD, BCCD and Acevedo (CC BY 4.0); drawn masks: set1 and set2 of Zheng"
        " et al. 2018, BCCD. Smudge cells were made of drawn nuclei: no real one was seen."
    )


def _embed(path: Path, card: LocaliserCard) -> None:
    model = onnx.load(str(path))
    remove_notes(model)
    describe(model, LOCALISER_DOC, LOCALISER_INPUT_DOC, LOCALISER_OUTPUT_DOC)
    onnx.helper.set_model_props(model, {LOCALISER_KEY: card.to_json(), PROCESSING_KEY: json.dumps(processing())})
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(path))

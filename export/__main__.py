"""`python -m export RUN --out FILE.onnx`: export, verify against torch, score on the untouched test part, embed the card."""

import argparse
import json
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from core.compartments import CHANNELS, ENVIRONMENT_RING_FRACTION
from core.datasets import data_set
from core.errors import CoreError
from core.inference.providers import Device
from core.inference.segmenter import OnnxSegmenter
from core.model_card import ModelCard
from export.to_onnx import OPSET, convert, embed_card, load_network, register
from training.config import TrainingConfig
from training.data import MEAN, STD, masked_samples
from training.evaluate import appearance_of, by_data_set, evaluate, summarise
from training.loop import SPLIT_FILE

INTENDED_USE = (
    "Outlines of nucleus and cytoplasm of one leukocyte in a stained peripheral-blood image, as the basis of measurements, for research "
    "and decision support. Not a diagnostic device: a morphologist decides."
)
LIMITS = (
    "Trained on {n} cells of two laboratories, neither of which gives a scale; hairy cells, promyelocytes and blasts were not among them. "
    "Other stains and cameras, very thin cytoplasm, touching cells, and images of anything but a leukocyte need a look at the outline."
)


def _card(run: Path, config: TrainingConfig, model_id: str) -> ModelCard:
    split = json.loads((run / SPLIT_FILE).read_text(encoding="utf-8"))
    counts = {part: len(ids) for part, ids in split.items()}
    sources = "; ".join(f"{name}: {data_set(name).citation} ({data_set(name).terms})" for name in config.data_sets)
    split_text = (
        f"{counts['train']} train, {counts['validation']} validation, {counts['test']} test images by groups of originals "
        f"(duplicates together), stratified by data set and cell type, seed {config.seed}"
    )
    return ModelCard(
        model_id=model_id,
        architecture=config.architecture,
        encoder=config.encoder,
        input_size=config.input_size,
        mean=MEAN,
        std=STD,
        classes=tuple(channel.label for channel in CHANNELS),
        cell_fill=config.cell_fill,
        training_data=f"{counts['train']} images. {sources}. Environment: a derived ring of {ENVIRONMENT_RING_FRACTION:.0%} of the "
        "cell's diameter.",
        split=split_text,
        scores={},
        intended_use=INTENDED_USE,
        limits=LIMITS.format(n=counts["train"]),
        licence="Apache-2.0 for the weights; see assets/NOTICE.md for the training data",
        created=datetime.now(UTC).date().isoformat(),
        opset=0,
    )


def _run(arguments: argparse.Namespace) -> int:
    run: Path = arguments.checkpoint.parent if arguments.checkpoint.is_file() else arguments.checkpoint
    out: Path = arguments.out
    network, config = load_network(run)
    split = json.loads((run / SPLIT_FILE).read_text(encoding="utf-8"))
    samples = {sample.sample_id: sample for sample in masked_samples(config.data_sets)}
    card = replace(_card(run, config, out.stem), appearance=appearance_of([samples[i] for i in split["train"]]))
    out.parent.mkdir(parents=True, exist_ok=True)
    draft = out.with_suffix(".part.onnx")
    try:
        parity = convert(network, config.input_size, draft)
        card = replace(card, parity=parity, opset=OPSET)
        embed_card(draft, card)
        scores = evaluate(OnnxSegmenter(draft, Device.CPU), [samples[i] for i in split["test"]])
        card = replace(card, scores={"test": summarise(scores), **by_data_set(scores)})
        embed_card(draft, card)
        draft.replace(out)
    finally:
        draft.unlink(missing_ok=True)
    register(out, card, run, default=not arguments.not_default)
    print(json.dumps({"file": out.name, "bytes": out.stat().st_size, "parity": card.parity, "scores": card.scores}, indent=1))
    return 0


def main(argv: list[str] | None = None) -> int:
    """Parse, run, and turn the errors a user can cause into a sentence; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m export", description=__doc__)
    parser.add_argument("checkpoint", type=Path, metavar="RUN", help="folder of a training run, or a file in it")
    parser.add_argument("--out", type=Path, required=True, help="the .onnx file; its folder's manifest.json gets an entry")
    parser.add_argument("--not-default", action="store_true", help="do not make it the model the app opens with")
    arguments = parser.parse_args(argv)
    if arguments.out.suffix != ".onnx":
        parser.error(f"--out must end in .onnx, but is {arguments.out.name}")
    try:
        return _run(arguments)
    except CoreError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())

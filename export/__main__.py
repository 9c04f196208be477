"""`python -m export RUN --out FILE.onnx`: export, verify, score on the untouched test part, embed the card.

An fp32 file is verified against torch. A smaller precision is made from such a file and measured against it on the validation part:
where it harms the outlines or the features, it is refused.
"""

import argparse
import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from core.compartments import CHANNELS, ENVIRONMENT_RING_FRACTION
from core.datasets import Sample, data_set
from core.errors import CoreError, ModelError
from core.inference.providers import Device
from core.inference.segmenter import OnnxSegmenter
from core.model_card import ModelCard
from export.fidelity import compare, harm
from export.precision import Precision, agreement, calibration_crops, canonical_crops, to_fp16, to_int8
from export.to_onnx import OPSET, convert, embed_card, register
from training.config import TrainingConfig
from training.data import MEAN, STD, masked_samples
from training.evaluate import appearance_of, by_data_set, evaluate, summarise
from training.loop import SCORES_FILE, SPLIT_FILE, load_network

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
        coarse_size=config.coarse_size,
        temperature=json.loads((run / SCORES_FILE).read_text(encoding="utf-8")).get("temperature", 1.0),
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
    known = {sample.sample_id: sample for sample in masked_samples(config.data_sets)}
    split = json.loads((run / SPLIT_FILE).read_text(encoding="utf-8"))
    parts = {part: [known[sample_id] for sample_id in ids] for part, ids in split.items()}
    card = replace(_card(run, config, out.stem), appearance=appearance_of(parts["train"]), opset=OPSET)
    with TemporaryDirectory() as folder:
        draft = Path(folder) / out.name
        card = replace(card, parity=convert(network, config.input_size, draft))
        embed_card(draft, card)
        if arguments.precision is not Precision.FP32:
            draft, card = _reduced(draft, card, config, parts, arguments)
        scores = evaluate(OnnxSegmenter(draft, Device.CPU), parts["test"])
        card = replace(card, scores={"test": summarise(scores), **by_data_set(scores)})
        embed_card(draft, card)
        out.parent.mkdir(parents=True, exist_ok=True)
        unfinished = out.with_suffix(".part")
        shutil.copyfile(draft, unfinished)
        unfinished.replace(out)
    register(out, card, run, default=not arguments.not_default)
    summary = {"file": out.name, "bytes": out.stat().st_size, "parity": card.parity, "fidelity": card.fidelity, "scores": card.scores}
    print(json.dumps(summary, indent=1))
    return 0


def _reduced(
    original: Path, card: ModelCard, config: TrainingConfig, parts: Mapping[str, Sequence[Sample]], arguments: argparse.Namespace
) -> tuple[Path, ModelCard]:
    """The model file in fewer bits, and its card with what they cost; raises ModelError where they harm, unless forced."""
    out, precision = original.with_name("reduced.onnx"), arguments.precision
    recipe = "weights and arithmetic in half precision"
    if precision is Precision.FP16:
        to_fp16(original, out)
    else:
        crops = calibration_crops(parts["train"], config)
        # Every third crop is left to choose by: recipes are not compared on what they were made from.
        recipe = str(to_int8(original, out, [crop for i, crop in enumerate(crops) if i % 3], crops[::3]))
    parity = agreement(original, out, canonical_crops(parts["validation"], config))
    card = replace(card, precision=str(precision), parity=parity)
    embed_card(out, card)
    cost = compare(OnnxSegmenter(original, Device.CPU), OnnxSegmenter(out, Device.CPU), parts["validation"])
    if (reasons := harm(cost)) and not arguments.force:
        msg = f"{precision} harms the measurements: {'; '.join(reasons)}; nothing was exported. Use fp32, or --force if you must"
        raise ModelError(msg)
    return out, replace(card, fidelity={"recipe": recipe, **cost})


def main(argv: list[str] | None = None) -> int:
    """Parse, run, and turn the errors a user can cause into a sentence; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m export", description=__doc__)
    parser.add_argument("checkpoint", type=Path, metavar="RUN", help="folder of a training run, or a file in it")
    parser.add_argument("--out", type=Path, required=True, help="the .onnx file; its folder's manifest.json gets an entry")
    parser.add_argument(
        "--precision",
        type=Precision,
        choices=list(Precision),
        default=Precision.FP32,
        help="bits of weights and arithmetic (default: fp32)",
    )
    parser.add_argument("--force", action="store_true", help="export a precision even though it harms the measurements")
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

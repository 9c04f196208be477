"""A model file of a training run: converted, verified, scored on the untouched test part, with its card inside."""

import argparse
import hashlib
import json
import shutil
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from core.domain.cell_types import CELL_TYPES, CellType
from core.domain.compartments import ENVIRONMENT_RING_FRACTION
from core.domain.errors import ModelError
from core.domain.options import Device, Precision
from core.domain.settings import load_settings
from core.evaluation.datasets import DATA_SETS, Sample, data_set
from core.evaluation.training_runs import CONFIG_FILE, SCORES_FILE
from core.segmentation.localiser import OnnxLocaliser
from core.segmentation.model_card import ModelCard
from core.segmentation.model_registry import known_models
from core.segmentation.segmenter import OnnxSegmenter
from export.adapted import carry_over, taught_in_words
from export.default import BesideModelInUse, check_replaced, compared, why_not
from export.fidelity import compare, harm
from export.localiser import export_localiser
from export.precision import agreement, calibration_crops, canonical_crops, to_fp16, to_int8
from export.to_onnx import OPSET, convert, embed_card, register
from training.architectures.weights import Normalisation
from training.config import TrainingConfig
from training.data import masked_samples
from training.evaluate import appearance_of, by_data_set, evaluate, in_words, summarise
from training.experiments.validation import for_card
from training.loop import SPLIT_FILE, load_network, temperature_of
from training.segmenter import inference_card

INTENDED_USE = (
    "Outlines of nucleus and cytoplasm of one leukocyte in a stained peripheral-blood image, as the basis of"
    " measurements, for research and decision support. Not a diagnostic device: a morphologist decides."
)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def limits(train: Sequence[Sample], data_sets: Sequence[str]) -> str:
    """Known limits of a network trained on these cells."""
    counts = Counter(sample.cell_type for sample in train)
    types = ", ".join(
        f"{count} {CELL_TYPES[cell_type].plural}"
        for cell_type, count in counts.most_common()
        if cell_type is not CellType.OTHER
    )
    named = (
        f" ({types}{f', {counts[CellType.OTHER]} of no named type' if counts[CellType.OTHER] else ''})"
        if types
        else " of no named type"
    )
    absent = [
        info.plural
        for cell_type, info in CELL_TYPES.items()
        if info.mononuclear and not counts[cell_type] and cell_type is not CellType.OTHER
    ]
    lacking = f"; {', '.join(absent)} were not among them" if absent and types else ""
    return (
        f"Trained on {len(train)} cells{named} of {', '.join(data_set(name).title for name in data_sets)}{lacking}."
        " Other stains and cameras, very thin cytoplasm, touching cells, and images of anything but a leukocyte need a"
        " look at the outline."
    )


def _runs_behind(config: TrainingConfig) -> list[TrainingConfig]:
    """The settings of the runs that a mean is of; exported models among them tell nothing here."""
    folders = [Path(run) for run in config.average_of]
    return [TrainingConfig.from_toml(folder / CONFIG_FILE) for folder in folders if folder.is_dir()]


def _card(
    config: TrainingConfig, scale: Normalisation, model_id: str, parts: Mapping[str, Sequence[Sample]]
) -> ModelCard:
    counts = {part: len(samples) for part, samples in parts.items()}
    sources = [data_set(name) for name in config.data_sets]
    described = "; ".join(f"{source.name}: {source.citation} ({source.terms})" for source in sources)
    split_text = (
        f"{counts['train']} train, {counts['validation']} validation, {counts['test']} test images by groups of"
        f" originals (duplicates together), stratified by data set and cell type, seed {config.seed}"
    )
    public = all(source.name in DATA_SETS for source in sources)
    taught = ""
    for part in (config, *_runs_behind(config)):
        if part.pseudo_sets:
            outlined = masked_samples(part.pseudo_sets)
            # Pseudo-labelled images are called <data set>-<image>.
            named = {Path(sample.sample_id).name.split("-")[0] for sample in outlined}
            origins = [
                f"; {name}: {DATA_SETS[name].citation} ({DATA_SETS[name].terms})"
                for name in sorted(named & DATA_SETS.keys())
            ]
            taught += (
                f" In {part.pseudo_probability:.0%} of the draws of its last part one of {len(outlined)} images that"
                f" nobody drew, outlined by a network of the same split{''.join(origins)}."
            )
    return replace(
        inference_card(config, scale),
        model_id=model_id,
        training_data=(
            f"{counts['train']} images. {described}. Environment: a derived ring of {ENVIRONMENT_RING_FRACTION:.0%} of"
            f" the cell's diameter.{taught}"
        ),
        split=split_text,
        appearance=appearance_of(parts["train"]),
        intended_use=INTENDED_USE,
        limits=limits(parts["train"], config.data_sets),
        licence=(
            "Apache-2.0 for the weights; see assets/NOTICE.md for the training data"
            if public
            else "that of whoever trained it"
        ),
        created=datetime.now(UTC).date().isoformat(),
        opset=OPSET,
    )


def _parts(run: Path, config: TrainingConfig) -> dict[str, list[Sample]]:
    """The images of a run's split, as they are now; raises ModelError where some of them are gone.

    Of data sets that the run itself did not have, but the model that it began with, there are none.
    """
    known = {sample.sample_id: sample for sample in masked_samples(config.data_sets)}
    had = {data_set(name).name for name in config.data_sets}
    split = {
        part: [sample_id for sample_id in ids if sample_id.split("/")[0] in had]
        for part, ids in json.loads((run / SPLIT_FILE).read_text(encoding="utf-8")).items()
    }
    if gone := [sample_id for ids in split.values() for sample_id in ids if sample_id not in known]:
        msg = (
            f"{len(gone)} images of the training are no longer there, first {gone[0]}; put them back: the model is"
            " scored on some of them"
        )
        raise ModelError(msg)
    return {part: [known[sample_id] for sample_id in ids] for part, ids in split.items()}


def export(arguments: argparse.Namespace) -> int:
    """Do what the arguments of `python -m export` say; returns the exit code. Raises CoreError."""
    run: Path = arguments.checkpoint.parent if arguments.checkpoint.is_file() else arguments.checkpoint
    out: Path = arguments.out
    network, config, scale = load_network(run)
    known = known_models(out.parent)
    if not (run / SCORES_FILE).exists():
        _say(
            "this training has not ended; its best weights so far are exported, and its probabilities are not"
            " calibrated"
        )
    parts = _parts(run, config)
    card = replace(_card(config, scale, out.stem, parts), temperature=temperature_of(run))
    card = replace(card, training_data=card.training_data + taught_in_words(run))
    for validated in arguments.validation:
        card = replace(card, validation={**card.validation, **for_card(validated)})
    with TemporaryDirectory() as folder:
        draft, localiser = Path(folder) / out.name, Path(folder) / f"{out.stem}.localiser.onnx"
        if arguments.localiser:
            _place_localiser(arguments.localiser, localiser)
            card = replace(
                card, localiser={"file": localiser.name, "sha256": hashlib.sha256(localiser.read_bytes()).hexdigest()}
            )
        _say(f"writing {out.name} and comparing it with torch")
        card = replace(card, parity=convert(network, config.input_size, draft))
        embed_card(draft, card)
        if arguments.precision is not Precision.FP32:
            _say(
                f"making it {arguments.precision}, and measuring {len(parts['validation'])} validation images with both"
            )
            draft, card = _reduced(
                draft, replace(card, precision=str(arguments.precision)), config, parts, force=arguments.force
            )
        _say(f"scoring {len(parts['test'])} test images")
        scores = evaluate(OnnxSegmenter(draft, Device.CPU), parts["test"])
        comparison = compared(scores, parts["test"], known)
        reason = why_not(scores, comparison, wished=arguments.default)
        check_replaced(card.model_id, known, reason)
        scored = {"test": summarise(scores), **by_data_set(scores)}
        card = replace(card, scores=scored, comparison=comparison.to_plain())
        embed_card(draft, card)
        out.parent.mkdir(parents=True, exist_ok=True)
        register(draft, out, card, run, default=not reason)
    carried = carry_over(run, known_models(out.parent).named(card.model_id))
    if arguments.json:
        facts = {"parity": card.parity, "fidelity": card.fidelity, "scores": card.scores, "comparison": card.comparison}
        decided = {"default": not reason, "why_not": reason}
        print(json.dumps({"file": out.name, "bytes": out.stat().st_size, **facts, **decided}))
    else:
        _tell(out, card, comparison, reason)
        if carried:
            print(f"carried over from the model it began with, and not measured anew: {', '.join(carried)}")
    return 0


def _place_localiser(source: Path, out: Path) -> None:
    """Put the localiser of a run, or of a file, beside the model; raises ModelError where there is none."""
    if source.is_dir():
        export_localiser(source, out)
    else:
        OnnxLocaliser(source, Device.CPU)
        shutil.copyfile(source, out)


def _tell(out: Path, card: ModelCard, comparison: BesideModelInUse, why_not_used: str) -> None:
    """Print what was exported, how good it is, also beside the model in use, and how the app gets to it."""
    print(f"{out}: {out.stat().st_size / 1e6:.1f} MB, {card.precision}")
    beside = "torch" if card.precision == Precision.FP32 else "the fp32 file"
    agreement = f"{card.parity['mask_agreement']:.4%} of the mask's pixels agree"
    print(f"beside {beside}: logits differ by at most {card.parity['max_logit_difference']:.2g}, {agreement}")
    print(
        f"test, {card.scores['test']['images']} images never seen, cell found by the"
        f" network:\n{in_words(card.scores['test'])}"
    )
    print(comparison.in_words(card.model_id))
    elsewhere = f"LEUKOSCOPE_MODELS={out.parent} " if out.parent.resolve() != load_settings().models.resolve() else ""
    known = known_models(out.parent)
    if known.named(card.model_id).hides_shipped:
        print(f"it hides the shipped model {card.model_id}; under another name both are listed")
    if why_not_used:
        print(f"the app still opens with {known.chosen or 'no model'}: {why_not_used}")
        print(f"to use it all the same: {elsewhere}leukoscope models use {card.model_id}")
    else:
        print(f"the app opens with {card.model_id}")
    print(f"next: {elsewhere}make app, or {elsewhere}python -m core segment IMAGE --out DIR --model {card.model_id}")


def _reduced(
    original: Path, card: ModelCard, config: TrainingConfig, parts: Mapping[str, Sequence[Sample]], *, force: bool
) -> tuple[Path, ModelCard]:
    """The model file in fewer bits, as the card's `precision` says, and its card with the costs; or ModelError."""
    out, precision, scale = (
        original.with_name("reduced.onnx"),
        Precision(card.precision),
        Normalisation(card.mean, card.std),
    )
    recipe = "weights and arithmetic in half precision"
    if precision is Precision.FP16:
        to_fp16(original, out)
    else:
        crops = calibration_crops(parts["train"], config, scale)
        # Every third crop is left to choose by: recipes are not compared on what they were made from.
        recipe = str(to_int8(original, out, [crop for i, crop in enumerate(crops) if i % 3], crops[::3]))
    parity = agreement(original, out, canonical_crops(parts["validation"], config, scale))
    card = replace(card, parity=parity)
    embed_card(out, card)
    cost = compare(OnnxSegmenter(original, Device.CPU), OnnxSegmenter(out, Device.CPU), parts["validation"])
    if (reasons := harm(cost)) and not force:
        msg = (
            f"{precision} harms the measurements: {'; '.join(reasons)}; nothing was exported. Use fp32, or --force if"
            " you must"
        )
        raise ModelError(msg)
    return out, replace(card, fidelity={"recipe": recipe, **cost})

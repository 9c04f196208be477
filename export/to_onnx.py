"""A trained run to one ONNX file with its card inside; verified against torch, or nothing is left behind."""

import copy
import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import onnxruntime
import pandas as pd
import torch
from numpy.typing import NDArray
from segmentation_models_pytorch.decoders.pspnet.decoder import PSPBlock
from timm.layers.conv2d_same import Conv2dSame

from core.domain.compartments import CHANNELS
from core.domain.errors import ModelError
from core.evaluation.training_runs import CONFIG_FILE, LOG_FILE
from core.segmentation.model_card import METADATA_KEY, ModelCard
from core.segmentation.model_registry import MANIFEST, SEALED, checksum, load_manifest, manifest_text
from core.segmentation.processing import INPUT_DOC, MODEL_DOC, OUTPUT_DOC, PROCESSING_KEY, processing
from core.support import files
from training.config import TrainingConfig
from training.loop import SPLIT_FILE

OPSET: Final = 20
# Logits of torch and onnxruntime may differ by this much (a probability moves by less than 0.001); masks by nothing to
# speak of.
MAX_LOGIT_DIFFERENCE: Final = 5e-3
MIN_MASK_AGREEMENT: Final = 0.9999


class _EvenSame(Conv2dSame):
    """TensorFlow's SAME padding for inputs whose sides the stride divides, as for multiples of 32.

    timm computes this padding from the shape at run time; under a dynamic shape each layer's expression then contains
    all those before it, and the exporter does not come to an end.
    """

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        pads: list[int] = []
        for kernel, stride, dilation in reversed(list(zip(self.kernel_size, self.stride, self.dilation, strict=True))):
            total = max(0, (kernel - 1) * dilation + 1 - stride)
            pads += [total // 2, total - total // 2]
        return torch.nn.functional.conv2d(
            torch.nn.functional.pad(features, pads), self.weight, self.bias, self.stride, 0, self.dilation, self.groups
        )


class _MatrixPooled(PSPBlock):  # type: ignore[misc]  # has no types
    """PSPNet's adaptive average pooling as two products with matrices of bin weights.

    ONNX has no adaptive pooling, and the exporter unrolls it for the traced size alone; bins computed from the shape
    hold for any.
    """

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        height, width = features.shape[2:]
        pooled = self.pool[1](_bins(height, self.pool_size) @ features @ _bins(width, self.pool_size).T)
        return torch.nn.functional.interpolate(pooled, size=(height, width), mode="bilinear", align_corners=True)


def _bins(length: int, count: int) -> torch.Tensor:
    """Weights (count, length) that average `length` values into `count` bins, as torch's adaptive pooling does."""
    number, place = torch.arange(count)[:, None], torch.arange(length)
    start, stop = number * length // count, ((number + 1) * length + count - 1) // count
    return ((place >= start) & (place < stop)).float() / (stop - start).float()


class _Clamp(torch.nn.ReLU6):
    """ReLU6 as a clamp: decomposing it under a dynamic shape is a fifth of an export's time."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return torch.clamp(input, 0.0, 6.0)


_EXPORTABLE: Final[dict[type[torch.nn.Module], type[torch.nn.Module]]] = {
    Conv2dSame: _EvenSame,
    PSPBlock: _MatrixPooled,
    torch.nn.ReLU6: _Clamp,
}


def exportable(network: torch.nn.Module) -> torch.nn.Module:
    """A copy in forms that can be exported at any size; equal for inputs with sides that are multiples of 32."""
    network = copy.deepcopy(network)
    for module in network.modules():
        module.__class__ = _EXPORTABLE.get(type(module), type(module))
    return network


def convert(network: torch.nn.Module, size: int, out: Path) -> dict[str, float]:
    """Write the network to `out` with dynamic batch, height and width (multiples of 32); returns the measured parity.

    `size` is the side of the traced input. Raises ModelError, and removes the file, when onnxruntime and torch
    disagree.
    """
    write_program(network, size, out, ("image", "logits"))
    try:
        return verify_parity(network, out, size)
    except ModelError:
        out.unlink()
        raise


def write_program(network: torch.nn.Module, size: int, out: Path, names: tuple[str, str]) -> None:
    """Write a network to `out`, for images of any number and any sides that are multiples of 32.

    `names` are those of its input and output.
    """
    batch, height, width = (torch.export.Dim(name, min=1) for name in ("batch", "height32", "width32"))
    program = torch.onnx.export(
        exportable(network),
        (torch.zeros(2, 3, size, size),),
        input_names=[names[0]],
        output_names=[names[1]],
        dynamic_shapes=({0: batch, 2: 32 * height, 3: 32 * width},),
        opset_version=OPSET,
        dynamo=True,
        external_data=False,
        optimize=False,
        verbose=False,
    )
    if program is None:
        msg = "torch.onnx.export returned no program"
        raise ModelError(msg)
    _ask_normalised_maps_for_their_shape(program.model.graph)
    program.optimize()
    program.save(str(out), external_data=False)


def _ask_normalised_maps_for_their_shape(graph: Any) -> None:  # noqa: ANN401 (an onnx_ir graph, which has no types)
    """Take a shape after batch normalisation instead of before; else the two layers are not fused."""
    for node in graph:
        if node.op_type == "BatchNormalization":
            for user, index in tuple(node.inputs[0].uses()):
                if user.op_type == "Shape":
                    user.replace_input_with(index, node.outputs[0])
    graph.sort()


def embed_card(path: Path, card: ModelCard) -> None:
    """Write the card into the model file's metadata, without the exporter's notes, and check the file as a whole."""
    model = onnx.load(str(path))
    remove_notes(model)
    describe(model, MODEL_DOC, INPUT_DOC, OUTPUT_DOC)
    onnx.helper.set_model_props(model, {METADATA_KEY: card.to_json(), PROCESSING_KEY: json.dumps(processing())})
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(path))


def describe(model: onnx.ModelProto, model_doc: str, input_doc: str, output_doc: str) -> None:
    """Let a file say what it is, what it takes and what it gives, for whoever opens it without us."""
    model.doc_string = model.graph.doc_string = model_doc
    model.graph.input[0].doc_string, model.graph.output[0].doc_string = input_doc, output_doc


def remove_notes(model: onnx.ModelProto) -> None:
    """Remove the exporter's notes on each node: stack traces that name folders of the machine at hand."""
    for node in model.graph.node:
        node.ClearField("metadata_props")


def verify_parity(network: torch.nn.Module, path: Path, size: int) -> dict[str, float]:
    """Largest logit difference and share of equal mask pixels, over seeded inputs of several batch sizes and shapes.

    Raises
    ------
    ModelError
        If they exceed the limits above, or an output has another shape.
    """
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(7)
    difference, equal, pixels = 0.0, 0, 0
    for shape in ((1, size, size), (3, size, size), (1, size + 64, size + 32)):
        images: NDArray[np.float32] = smooth_noise(rng, shape)
        with torch.no_grad():
            expected = network(torch.from_numpy(images)).numpy()
        (got,) = session.run(None, {"image": images})
        if got.shape != (shape[0], len(CHANNELS), *shape[1:]):
            msg = (
                f"the exported network gives {got.shape} for an input of {images.shape}, expected {len(CHANNELS)}"
                " channels of the same size"
            )
            raise ModelError(msg)
        difference = float(np.maximum(difference, np.abs(got - expected).max()))  # NaN stays NaN
        equal += int(((got > 0) == (expected > 0)).sum())
        pixels += expected.size
    agreement = equal / pixels
    if not (difference <= MAX_LOGIT_DIFFERENCE and agreement >= MIN_MASK_AGREEMENT):
        msg = (
            f"onnxruntime and torch disagree: logits by {difference:.2g} (at most {MAX_LOGIT_DIFFERENCE}), masks agree"
            f" in {agreement:.4%} of the pixels (at least {MIN_MASK_AGREEMENT:.2%}); nothing was exported"
        )
        raise ModelError(msg)
    return {"max_logit_difference": difference, "mask_agreement": agreement}


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int, int]) -> NDArray[np.float32]:
    """Blotches of the size of nuclei rather than white noise, so that the logits take values of both signs."""
    coarse = rng.normal(size=(shape[0], 3, shape[1] // 16, shape[2] // 16))
    return np.asarray(coarse.repeat(16, axis=2).repeat(16, axis=3), dtype=np.float32)


def register(draft: Path, out: Path, card: ModelCard, run: Path, *, default: bool) -> None:
    """Put a model file into its folder and enter it into the manifest there, all of it or nothing.

    Beside it come its localiser, which lies beside the draft, the training log and the split. The manifest holds the
    checksums of all and a copy of the card. Measurements of an earlier file of that id (its reliability and what it
    knows) are removed.
    """
    folder = out.parent
    manifest: dict[str, Any] = load_manifest(folder) if (folder / MANIFEST).exists() else {"models": {}}
    before = manifest["models"].get(card.model_id, {})
    content = draft.read_bytes()
    beside = {"log": f"{card.model_id}.log.csv", "split": f"{card.model_id}.split.json"}
    parts = {
        out.name: content,
        beside["log"]: training_log(run).to_csv(index=False).encode(),
        beside["split"]: (run / SPLIT_FILE).read_bytes(),
    }
    manifest["models"][card.model_id] = {
        "file": out.name,
        "sha256": checksum(content),
        "card": json.loads(card.to_json()),
        **beside,
        SEALED: {kind: checksum(parts[name]) for kind, name in beside.items()},
    }
    if default:
        manifest["default"] = card.model_id
    if card.localiser:
        parts[card.localiser["file"]] = draft.with_name(card.localiser["file"]).read_bytes()
    with ExitStack() as stack:
        # They get their names when all are written, the last first: the manifest comes last, which names the others.
        for name, part in {MANIFEST: manifest_text(manifest).encode(), **parts}.items():
            stack.enter_context(files.replacing(folder / name)).write_bytes(part)
    for measured in ("reliability", "novelty", "quality"):
        if measured in before:
            (folder / before[measured]).unlink(missing_ok=True)


def training_log(run: Path) -> pd.DataFrame:
    """The log of a run after those of the runs it started from, as far as they are there; epochs count on."""
    config = TrainingConfig.from_toml(run / CONFIG_FILE)
    log = pd.read_csv(run / LOG_FILE)
    earlier = config.average_of[-1] if config.average_of else config.start_from
    if earlier and (Path(earlier) / LOG_FILE).is_file():
        log = pd.concat([training_log(Path(earlier)), log], ignore_index=True)
        log["epoch"] = range(1, len(log) + 1)
    return log

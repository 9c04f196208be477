"""The exported fp32 graph with fewer bits: half-precision floats, or 8-bit integers by static calibration."""

import contextlib
import io
import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationMethod, QuantType, quantize_static
from onnxruntime.quantization.calibrate import CalibrationDataReader, create_calibrator, save_tensors_data
from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry
from onnxruntime.quantization.shape_inference import quant_pre_process
from scipy import special

from core.domain.options import Device
from core.evaluation.datasets import Sample
from core.segmentation.providers import open_session
from training.architectures.weights import Normalisation
from training.config import TrainingConfig
from training.data import SegDataset

# Of their crops, at canonical scale and of the whole image, two thirds find the ranges and a third chooses the recipe.
CALIBRATION_CELLS: Final = 48
Crops = Sequence[NDArray[np.float32]]


# --- half precision ---------------------------------------------------------------------------------------------------

_FLOAT, _HALF = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16
# ONNX wants the factors of an enlargement in fp32 whatever is enlarged.
_FP32_INPUTS: Final = {"Resize": (1, 2)}


def to_fp16(source: Path, out: Path) -> None:
    """Write a half-precision copy that takes and gives fp32, as every model file does.

    A GPU computes in half precision; onnxruntime on a CPU casts back to fp32, so that there only the file is smaller.
    """
    model = onnx.load(str(source))
    graph = model.graph
    keep = {name for node in graph.node for i in _FP32_INPUTS.get(node.op_type, ()) for name in node.input[i : i + 1]}
    for node in graph.node:
        constant_of_fp32 = node.op_type == "Constant" and node.output[0] in keep
        for attribute in node.attribute:
            if (
                attribute.type == onnx.AttributeProto.TENSOR
                and attribute.t.data_type == _FLOAT
                and not constant_of_fp32
            ):
                attribute.t.CopyFrom(_halved(attribute.t))
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == _FLOAT:
                attribute.i = _HALF
    for tensor in graph.initializer:
        if tensor.data_type == _FLOAT and tensor.name not in keep:
            tensor.CopyFrom(_halved(tensor))
    (image,), (logits,) = graph.input, graph.output
    inner_image, inner_logits = f"{image.name}_fp16", f"{logits.name}_fp16"
    for node in graph.node:
        node.input[:] = [inner_image if name == image.name else name for name in node.input]
        node.output[:] = [inner_logits if name == logits.name else name for name in node.output]
    graph.node.insert(0, onnx.helper.make_node("Cast", [image.name], [inner_image], to=_HALF))
    graph.node.append(onnx.helper.make_node("Cast", [inner_logits], [logits.name], to=_FLOAT))
    graph.ClearField("value_info")
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(out))


def _halved(tensor: onnx.TensorProto) -> onnx.TensorProto:
    limit = np.finfo(np.float16).max
    return onnx.numpy_helper.from_array(
        np.clip(onnx.numpy_helper.to_array(tensor), -limit, limit).astype(np.float16), tensor.name
    )


# --- 8-bit integers ---------------------------------------------------------------------------------------------------

_METHODS: Final[Mapping[str, CalibrationMethod]] = MappingProxyType(
    {
        "minmax": CalibrationMethod.MinMax,
        "percentile": CalibrationMethod.Percentile,
        "entropy": CalibrationMethod.Entropy,
    }
)
# A recipe that keeps fewer layers is preferred while its error is at most this share above the least.
_TOLERANCE: Final = 0.1
# All operators, not convolutions alone: only then is an activation merged into its convolution's output, and its
# clipped range is what 8 bits are spent on. Convolutions alone cost the first network we shipped ten times as much
# Dice.
_OPERATORS: Final = sorted({*QLinearOpsRegistry, *QDQRegistry})


@dataclass(frozen=True)
class Recipe:
    """How a network was turned into integers: how ranges were found, and which of its convolutions stayed fp32."""

    calibration: str
    kept: str
    kept_nodes: tuple[str, ...]
    difference: float

    def __str__(self) -> str:
        return f"static, {self.calibration} calibration, {self.kept} of the convolutions in fp32"


class _Reader(CalibrationDataReader):  # type: ignore[misc]  # has no types
    """One crop, handed over once."""

    def __init__(self, crop: NDArray[np.float32]) -> None:
        self._rest = iter([{"image": crop[None]}])

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        return next(self._rest, None)


def to_int8(source: Path, out: Path, calibration: Crops, trial: Crops) -> Recipe:
    """Write an 8-bit copy, the best of several recipes, and say which.

    Activations are unsigned, weights signed and per channel. Weights of 7 bits would be safe on processors without
    VNNI, but cost up to three times the error; `core.segmentation.providers` asks onnxruntime for exact products there
    instead.

    Parameters
    ----------
    calibration, trial
        Network inputs (3, S, S) in which ranges are found, and others on which the recipes are compared: by the mean
        difference of the probabilities from those of `source`.
    """
    expected = [special.expit(logits) for logits in run(source, trial)]
    recipes: list[tuple[Recipe, bytes]] = []
    with tempfile.TemporaryDirectory() as name, _quietly():
        folder = Path(name)
        prepared = folder / "prepared.onnx"
        quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
        layers = _sensitive(onnx.load(str(prepared)).graph)
        for method in _METHODS:
            ranges = _ranges(prepared, method, calibration, folder)
            for kept, nodes in layers.items():
                quantize_static(
                    prepared,
                    out,
                    calibration_cache_path=ranges,
                    calibrate_method=_METHODS[method],
                    op_types_to_quantize=_OPERATORS,
                    nodes_to_exclude=list(nodes),
                    per_channel=True,
                    activation_type=QuantType.QUInt8,
                    weight_type=QuantType.QInt8,
                )
                got = [special.expit(logits) for logits in run(out, trial)]
                difference = float(np.mean([np.abs(a - b).mean() for a, b in zip(got, expected, strict=True)]))
                recipes.append((Recipe(method, kept, nodes, difference), out.read_bytes()))
    best = min(recipe.difference for recipe, _ in recipes)
    near = [pair for pair in recipes if pair[0].difference <= (1 + _TOLERANCE) * best]
    recipe, content = min(near, key=lambda pair: (len(pair[0].kept_nodes), pair[0].difference))
    out.write_bytes(content)
    return recipe


def run(model: Path, crops: Crops) -> Iterator[NDArray[np.float32]]:
    """Logits (C, S, S) of each input (3, S, S), on the CPU."""
    session = open_session(model, Device.CPU)
    for crop in crops:
        yield session.run(None, {"image": crop[None]})[0][0]


def agreement(original: Path, reduced: Path, crops: Crops) -> dict[str, float]:
    """Largest difference of the logits of two model files over the crops, and the share of equal mask pixels."""
    pairs = list(zip(run(original, crops), run(reduced, crops), strict=True))
    difference = float(np.max([np.abs(a - b).max() for a, b in pairs]))
    return {
        "max_logit_difference": difference,
        "mask_agreement": float(np.mean([((a > 0) == (b > 0)).mean() for a, b in pairs])),
    }


def canonical_crops(
    samples: Sequence[Sample], config: TrainingConfig, scale: Normalisation
) -> list[NDArray[np.float32]]:
    """Network inputs (3, S, S) of cells at their canonical scale, as the network sees them."""
    data = SegDataset.from_samples(samples, config, augment=False, scale=scale)
    return [data[i][0].numpy() for i in range(len(data))]


def calibration_crops(
    samples: Sequence[Sample], config: TrainingConfig, scale: Normalisation
) -> list[NDArray[np.float32]]:
    """Up to `CALIBRATION_CELLS` cells of the samples, evenly, as they lie in the localiser's window."""
    places = np.linspace(0, len(samples) - 1, CALIBRATION_CELLS).astype(int)
    return canonical_crops([samples[i] for i in np.unique(places)], config, scale)


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Without onnxruntime's progress and log lines of quantisation, one for each tensor it leaves as it is."""
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(logging.NOTSET)


def _ranges(model: Path, method: str, crops: Crops, folder: Path) -> Path:
    """Find the range of every tensor over the crops; returns the file they are kept in."""
    ranges = folder / f"{method}.json"
    calibrator = create_calibrator(
        model, _OPERATORS, str(folder / "augmented.onnx"), _METHODS[method], extra_options={"symmetric": False}
    )
    for crop in crops:  # one by one: all maps of all crops would fill the memory
        calibrator.collect_data(_Reader(crop))
    save_tensors_data(calibrator.compute_data(), ranges)
    return ranges


def _sensitive(graph: onnx.GraphProto) -> dict[str, tuple[str, ...]]:
    """What may be left in fp32, from none to more: names of convolutions by a description."""
    # The first three are the image's own convolution and the block after it, which sees few maps of very different
    # range; the last gives the logits. Measured on the first network we shipped, no other layer left in fp32 gained as
    # much.
    convolutions = [node.name for node in graph.node if node.op_type == "Conv"]
    first = tuple(convolutions[:3])
    return {"none": (), "first three": first, "first three and last": (*first, convolutions[-1])}

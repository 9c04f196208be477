"""`python -m export.cost RUN_FOLDER`: what each architecture of a model-selection run costs on this machine.

Parameters, multiply-adds, size of the model file and time of one image do not depend on what was learned: the networks
are built untrained, and nothing is downloaded. They are exported as a trained one is, and run on one thread, one image
at a time.
"""

# ruff: noqa: T201 (a command line prints)

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import onnxruntime
import pandas as pd
import torch
from numpy.typing import NDArray
from torch.utils.flop_counter import FlopCounterMode

from core.domain.errors import CoreError, UsageError
from core.domain.options import Device
from core.evaluation import model_selection as results
from core.segmentation.providers import open_session
from export.to_onnx import convert, remove_notes
from training.architectures import build, count_parameters
from training.provenance import cpu_name, versions

THREADS: Final = 1
# Rounds before those that count: memory is allotted, and kernels are chosen, in the first.
WARM_UP: Final = 3


@dataclass(frozen=True)
class Candidate:
    """A network of a run: its row of the costs without times, and runners of one image in onnxruntime and PyTorch."""

    row: dict[str, Any]
    run_onnx: Callable[[], object]
    run_torch: Callable[[], object]


def architectures_of(folder: Path) -> list[tuple[str, str, int]]:
    """Architecture, encoder and input size of the finished folds in a run's folder; raises UsageError without any."""
    if not (folder / results.CONFIG_FILE).is_file():
        msg = (
            f"{folder} holds no run of a model selection; make one with `python -m training select --config FILE`, and"
            " name its folder"
        )
        raise UsageError(msg)
    folds = results.read(folder, "folds")
    done = folds.loc[folds["status"] == "done", ["architecture", "encoder", "input_size"]].drop_duplicates()
    if done.empty:
        msg = (
            f"{folder} has no finished fold yet ({len(folds)} failed); let `python -m training select` finish one first"
        )
        raise UsageError(msg)
    return list(done.itertuples(index=False, name=None))


def count_macs(network: torch.nn.Module, size: int) -> int:
    """Multiply-adds of one image (1, 3, size, size): those of convolutions and matrix products, as is usual."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, 3, size, size))
    return int(counter.get_total_flops()) // 2  # a multiply-add is two operations there


def prepare(architecture: str, encoder: str, size: int) -> Candidate:
    """Build and export a network, and count what can be counted; raises ModelError where file and network disagree."""
    network = build(architecture, encoder, pretrained=False).eval()
    row = {
        "architecture": architecture,
        "encoder": encoder,
        "input_size": size,
        "parameters": count_parameters(network),
        "macs": count_macs(network, size),
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        convert(network, size, path)
        model = onnx.load(str(path))
        remove_notes(model)
        row["onnx_mb"] = model.ByteSize() / 1e6
        session = open_session(path, Device.CPU, THREADS)
    image = np.random.default_rng(7).normal(size=(1, 3, size, size)).astype(np.float32)
    return Candidate(row, lambda: session.run(None, {"image": image}), lambda: network(torch.from_numpy(image)))


def time_rounds(runners: Sequence[Callable[[], object]], rounds: int) -> NDArray[np.float64]:
    """Milliseconds (rounds, len(runners)) of single calls, after WARM_UP rounds that are not counted.

    Each round calls all in turn: other load on the machine slows all of them alike, and each finds the processor's
    caches filled by another's work, as in use.
    """
    took = np.empty((WARM_UP + rounds, len(runners)))
    for one_round in took:
        for number, run in enumerate(runners):
            started = time.perf_counter()
            run()
            one_round[number] = 1000 * (time.perf_counter() - started)
    return took[WARM_UP:]


def measure(candidates: Sequence[Candidate], rounds: int) -> list[dict[str, Any]]:
    """Time all candidates together; returns their rows of `COST_SCHEMA`, the fastest first."""
    with _torch_threads(THREADS), torch.inference_mode():
        took = time_rounds([run for one in candidates for run in (one.run_onnx, one.run_torch)], rounds)
    measured = {
        "threads": THREADS,
        "machine": cpu_name(),
        "versions": json.dumps({**versions(), "onnxruntime": onnxruntime.__version__}),
        "measured": datetime.now(UTC).date().isoformat(),
    }
    rows = []
    for one, by_onnx, by_torch in zip(candidates, took[:, ::2].T, took[:, 1::2].T, strict=True):
        first, median, third = np.percentile(by_onnx, (25, 50, 75))
        times = {
            "milliseconds": median,
            "milliseconds_q1": first,
            "milliseconds_q3": third,
            "torch_milliseconds": np.median(by_torch),
        }
        rows.append({**one.row, **{name: float(value) for name, value in times.items()}, **measured})
    return sorted(rows, key=lambda row: float(row["milliseconds"]))


@contextmanager
def _torch_threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows for a reader."""
    frame = pd.DataFrame(rows)
    shown = {
        "architecture": frame["architecture"],
        "encoder": frame["encoder"],
        "px": frame["input_size"],
        "M parameters": (frame["parameters"] / 1e6).map("{:.2f}".format),
        "G MACs": (frame["macs"] / 1e9).map("{:.2f}".format),
        "ONNX MB": frame["onnx_mb"].map("{:.1f}".format),
        "ms": frame["milliseconds"].map("{:.1f}".format),
        "quartiles": [f"{row['milliseconds_q1']:.1f} to {row['milliseconds_q3']:.1f}" for row in rows],
        "PyTorch ms": frame["torch_milliseconds"].map("{:.1f}".format),
    }
    return str(pd.DataFrame(shown).to_string(index=False))


def _reason(error: Exception) -> str:
    """What went wrong, in a line; torch's exporter wraps it in advice on reporting it."""
    text = str(error if isinstance(error, CoreError) else error.__cause__ or error)
    return text.splitlines()[0] if text else type(error).__name__


def _run(folder: Path, rounds: int) -> int:
    candidates, failed = [], []
    wanted = architectures_of(folder)
    for number, (architecture, encoder, size) in enumerate(wanted, start=1):
        name = f"{architecture} on {encoder} at {size} px"
        print(f"{number}/{len(wanted)} exporting {name}", file=sys.stderr, flush=True)
        try:
            candidates.append(prepare(architecture, encoder, size))
        except (
            CoreError,
            RuntimeError,
        ) as error:  # RuntimeError is torch's, of a network that refuses the size or the exporter
            failed.append(f"{name}: {_reason(error)}")
    if candidates:
        print(f"timing {len(candidates)} networks, {WARM_UP} + {rounds} rounds", file=sys.stderr, flush=True)
        rows = measure(candidates, rounds)
        print(
            f"{_table(rows)}\none image at a time on {THREADS} thread of {rows[0]['machine']}, median of {rounds}"
            " rounds"
        )
        try:
            print(f"written to {results.write_costs(folder, rows)}")
        except OSError as error:
            failed.append(f"the costs could not be written: {error}")
    for reason in failed:
        print(f"failed: {reason}", file=sys.stderr)
    return 1 if failed else 0


def main(argv: list[str] | None = None) -> int:
    """Parse, run, and turn the errors a user can cause into a sentence; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m export.cost", description=__doc__)
    parser.add_argument(
        "folder", type=Path, metavar="RUN_FOLDER", help="folder of a model-selection run; it gets a costs.parquet"
    )
    parser.add_argument("--rounds", type=int, default=50, help="how often each network is timed (default: 50)")
    arguments = parser.parse_args(argv)
    if arguments.rounds < 1:
        parser.error(f"--rounds must be 1 or more, but is {arguments.rounds}")
    try:
        return _run(arguments.folder, arguments.rounds)
    except CoreError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())

"""`make bench`: speed against what a user would otherwise do, both measured in one run on the same real images.

And three yardsticks.

Writes benchmarks/<topic>.json; the ratios are what counts, milliseconds belong to the machine at hand. The page has no
peer: there the ratio is that of the target to what was measured. The yardsticks are the annotators' agreement with
themselves, the shape of what they drew, and by what the laboratories of the reference differ. `python -m benchmarks
batch` measures one topic only.
"""

import os
import platform
import re
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest.mock import patch

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from playwright.sync_api import sync_playwright

from core.domain.cell_types import CellType
from core.domain.options import Device, FeatureEngine
from core.domain.settings import load_settings
from core.domain.types import CellImage
from core.evaluation.datasets import data_set
from core.explorer.laboratory_effect import LaboratoryTables, tables
from core.features.catalogue import CATALOGUE
from core.features.extract import extract
from core.image.drawn_masks import read_mask
from core.image.imaging import load
from core.image.window import Window
from core.segmentation.localiser import GRID
from core.segmentation.model_registry import find_model
from core.segmentation.preprocessing import network_input
from core.segmentation.segmenter import OnnxSegmenter
from core.store.database import Cohort
from core.support import records
from export.cost import count_macs, prepare
from tools.serving import CHROMIUM_FLAGS, serve
from training.architectures import build
from training.evaluate import annotator_agreement
from training.localiser.config import LocaliserConfig
from training.localiser.network import LocaliserNetwork

REPETITIONS = 9
# The networks of the model that was shipped before: architecture, encoder and side of the input.
FORMER = (("unetplusplus", "tu-tf_efficientnet_lite0", 224), ("linknet", "tu-tf_efficientnet_lite0", 160))
FOUND_IN = ("set1", "set2", "acevedo", "deepapl", "hairy_cell_marrow")
THINKING_MS = 3000  # nobody chooses an image and clicks within the same second
OUT = Path(__file__).resolve().parent.parent / "benchmarks"


def paired(ours: Callable[[], object], peer: Callable[[], object]) -> tuple[float, float, float]:
    """Median milliseconds of both, taken in turn so that a drift hits both, and the median of the paired ratios."""
    times: list[tuple[float, float]] = []
    for _ in range(REPETITIONS + 1):
        row = []
        for run in (ours, peer):
            started = time.perf_counter()
            run()
            row.append(1000 * (time.perf_counter() - started))
        times.append((row[0], row[1]))
    counted = times[1:]  # the first warms caches
    return (
        *(statistics.median(column) for column in zip(*counted, strict=True)),
        statistics.median(b / a for a, b in counted),
    )


def features() -> list[dict[str, object]]:
    from benchmarks import features  # here, because Nyxus is not in every environment that runs tests

    return features.measured(paired, row)


def batch() -> list[dict[str, object]]:
    from benchmarks import batch  # here, because it only serves this topic

    return batch.measured(row)


def explorer() -> list[dict[str, object]]:
    from benchmarks import explorer  # here, because Polars is not in every environment that runs tests

    return explorer.measured(row)


def inference() -> list[dict[str, object]]:
    """The networks of a cell, beside those shipped before and in PyTorch; a whole outline; how to divide the cores."""
    entry = find_model()
    image = load(data_set("acevedo").samples()[0].image)
    sessions = {threads: OnnxSegmenter.from_entry(entry, Device.CPU, threads) for threads in (1, 2)}
    window = Window.whole(image.shape)
    shown = network_input(image.rgb, window, entry.card)
    eager_network = build(entry.card.architecture, entry.card.encoder, pretrained=False).eval()

    def eager() -> None:
        with torch.no_grad():
            eager_network(torch.from_numpy(shown))

    rows = _beside_former(sessions[1], image, shown)
    for threads, segmenter in sessions.items():
        torch.set_num_threads(threads)
        times = _beside("PyTorch eager", lambda s=segmenter: s.logits(shown), eager)
        rows.append(row(f"the pass that outlines, {threads} thread(s)", *times))
    outline = statistics.median(_milliseconds(lambda: sessions[1].segment(image)) for _ in range(REPETITIONS))
    rows.append(row("one cell found and outlined, 1 thread", outline, "target", 100, 100 / outline))
    rows.append(
        row(
            "one image, 2 threads",
            *_beside("1 thread", lambda: sessions[2].segment(image), lambda: sessions[1].segment(image)),
        )
    )
    with ThreadPoolExecutor(2) as pool:

        def many(segmenter: OnnxSegmenter, *, at_once: bool) -> None:
            list((pool.map if at_once else map)(segmenter.segment, [image] * 8))

        peer = "one after the other on 2 threads"
        times = _beside(peer, lambda: many(sessions[1], at_once=True), lambda: many(sessions[2], at_once=False))
        rows.append(row("8 images, two at once on 1 thread each", *times))
    return [*rows, _second_looks(sessions[1])]


def _beside_former(segmenter: OnnxSegmenter, image: CellImage, shown: NDArray[np.float32]) -> list[dict[str, object]]:
    """Time and multiply-adds of both networks, beside the two shipped before, whose cost needs no weights."""
    former = [prepare(*network) for network in FORMER]
    localiser = segmenter.localiser
    assert localiser is not None  # the shipped model has one

    def ours() -> None:
        localiser.find(image.rgb)
        segmenter.logits(shown)

    def before() -> None:
        for network in former:
            network.run_onnx()

    card, config = segmenter.card, LocaliserConfig()
    own = count_macs(build(card.architecture, card.encoder, pretrained=False).eval(), card.input_size) / 1e9
    own += count_macs(LocaliserNetwork(config.encoder, config.width, pretrained=False).eval(), GRID) / 1e9
    theirs = sum(network.row["macs"] / 1e9 for network in former)
    peer = "UNet++ of 224 px and LinkNet of 160 px, shipped before"
    return [
        row("networks of one cell, 1 thread", *_beside(peer, ours, before)),
        row("multiply-adds of one cell", own, peer, theirs, theirs / own, "G"),
    ]


def _second_looks(segmenter: OnnxSegmenter) -> dict[str, object]:
    """How often a cell is drawn again because it did not lie in its window as it should, in every tenth image."""
    samples = [sample for name in FOUND_IN for sample in data_set(name).samples()[::10]]
    again = 0
    for sample in samples:
        with patch.object(segmenter, "logits", wraps=segmenter.logits) as passes:
            segmenter.segment(load(sample.image))
        again += passes.call_count > 1
    share = 100 * again / len(samples)
    return row(f"of {len(samples):,} images drawn a second time", share, "all", 100, len(samples) / max(again, 1), "%")


def _beside(peer: str, ours: Callable[[], object], theirs: Callable[[], object]) -> tuple[float, str, float, float]:
    """What `row` wants to know of two ways to do the same."""
    mine, yours, ratio = paired(ours, theirs)
    return mine, peer, yours, ratio


def _milliseconds(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return 1000 * (time.perf_counter() - started)


def cell() -> list[dict[str, object]]:
    """One image to its mask and features, against the thesis's way.

    PyTorch eager, both passes, and RadiomicsFeatureExtractor.
    """
    entry = find_model()
    segmenter = OnnxSegmenter.from_entry(entry, Device.CPU, threads=2)
    network = build(entry.card.architecture, entry.card.encoder, pretrained=False).eval()
    torch.set_num_threads(2)
    image = load(data_set("acevedo").samples()[0].image)
    card, whole = entry.card, Window.whole(image.shape)
    labels = segmenter.segment(image).labels

    def peer() -> None:
        with torch.no_grad():
            for _ in range(2):  # the thesis's network finds the cell itself, too
                network(torch.from_numpy(network_input(image.rgb, whole, card)))
        extract(image.rgb, labels, FeatureEngine.REFERENCE)

    ours, theirs, ratio = paired(lambda: extract(image.rgb, segmenter.segment(image).labels), peer)
    return [
        row(
            "one 360x363 image to mask and every feature, 2 threads",
            ours,
            "PyTorch eager + RadiomicsFeatureExtractor",
            theirs,
            ratio,
        )
    ]


def page() -> list[dict[str, object]]:
    """The page in Chromium, as a person waits for it: the targets of the design instead of a peer."""
    images = [s.image for s in data_set("acevedo").samples()[::300][:6]]
    clicks: list[float] = []
    with (
        tempfile.TemporaryDirectory() as folder,
        serve({}, Path(folder) / "server.log") as (address, process),
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=CHROMIUM_FLAGS)
        view = browser.new_page(viewport={"width": 1280, "height": 900})
        for image in images:
            view.goto(f"{address}/Single_cell")
            view.locator("input[type=file]").set_input_files(image)
            view.get_by_text("The mask will stand here.").wait_for()
            view.wait_for_timeout(THINKING_MS)
            started = time.perf_counter()
            view.get_by_role("button", name="Calculate features").click()
            view.get_by_text(re.compile("Nearest in shape|Unlike every population|No nearest population")).wait_for()
            view.wait_for_function(
                "document.querySelectorAll('.stVegaLiteChart canvas, .stVegaLiteChart svg').length >= 2"
            )
            clicks.append(1000 * (time.perf_counter() - started))
        memory = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{process}/status").read_text(encoding="ascii"))
        browser.close()
    return [
        row(
            "later clicks to all plots drawn, median",
            (later := statistics.median(clicks[1:])),
            "target",
            1500,
            1500 / later,
        ),
        row(
            "server process with the model loaded",
            (mib := int(memory[1]) / 1024 if memory else float("nan")),
            "target",
            1024,
            1024 / mib,
            "MiB",
        ),
    ]


def first_click() -> list[dict[str, object]]:
    from benchmarks import first_click  # here, because it only serves this topic

    return first_click.measured(row)


def drawn_masks() -> dict[str, dict[str, dict[str, float]]]:
    """Median of every scale-free shape feature of the drawn masks, by data set and cell type.

    What the model learnt from.
    """
    medians: dict[str, dict[str, dict[str, float]]] = {}
    wanted = [name for name, spec in CATALOGUE.items() if spec.scale_free and not spec.intensity_dependent]
    for name in ("set1", "set2"):
        for cell_type in (CellType.MONOCYTE, CellType.LYMPHOCYTE):
            samples = [s for s in data_set(name).samples() if s.cell_type is cell_type]
            found = [extract(load(s.image).rgb, read_mask(s.mask).labels).values for s in samples if s.mask]
            values = {feature: [v for cell in found if (v := cell[feature]) is not None] for feature in wanted}
            medians.setdefault(name, {})[cell_type] = {
                feature: round(statistics.median(v), 4) for feature, v in values.items()
            }
    return medians


def laboratories() -> LaboratoryTables:
    """How much of a difference between the shipped populations' sources is the laboratory's."""
    with Cohort.open([load_settings().reference]) as cohort:
        return tables(cohort)


def write(name: str, content: object) -> None:
    (OUT / f"{name}.json").write_text(records.to_json(content, indent=1) + "\n", encoding="utf-8")


def row(what: str, ours: float, peer: str, theirs: float, ratio: float, unit: str = "ms") -> dict[str, object]:
    return {
        "what": what,
        "ours": round(ours, 2),
        "peer": peer,
        "peer_value": round(theirs, 2),
        "ratio": round(ratio, 2),
        "unit": unit,
    }


def correcting() -> list[dict[str, object]]:
    """An outline under a person's hand, beside what was asked for."""
    from benchmarks import correcting

    took = correcting.waited()
    return [
        row(what, took[name], "target", target, target / took[name])
        for what, name, target in (
            ("from the switch to the editor", "opened", correcting.OPENS),
            ("from the end of a stroke to new numbers, median of 50", "median", correcting.MEDIAN),
            ("the same, 95th percentile", "slowest", correcting.SLOWEST),
        )
    ]


TOPICS = {
    topic.__name__: topic for topic in (features, inference, cell, first_click, page, correcting, batch, explorer)
}


def main(chosen: Sequence[str]) -> None:
    OUT.mkdir(exist_ok=True)
    if not chosen:
        write("agreement", annotator_agreement(data_set("set1").samples()))
        write("drawn_masks", drawn_masks())
        write("laboratories", laboratories())
    machine = (
        f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, onnxruntime"
        f" {onnxruntime.__version__}, "
    )
    machine += f"torch {torch.__version__}, numpy {np.__version__}"
    for name in chosen or TOPICS:
        rows = TOPICS[name]()
        for line in rows:
            print(
                f"{line['what']}: {line['ours']} {line['unit']}, {line['peer']}: {line['peer_value']} {line['unit']},"
                f" ratio {line['ratio']}"
            )
        write(name, {"command": "make bench", "machine": machine, "rows": rows})


if __name__ == "__main__":
    main(sys.argv[1:])

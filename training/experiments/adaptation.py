"""How many drawn cells make a model a laboratory's own, measured on laboratories that were left out of its training.

For each laboratory two networks of one recipe are there: one that never saw it, and one that was trained with it, whose
split also says on which of its cells both are scored. From the others cells are drawn at random, and the first network
is taught them as `leukoscope adapt` would. What is left of the gap between the two is what matters.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch.utils.data import DataLoader

from core.evaluation.datasets import Sample
from core.evaluation.paired import REGIONS
from core.evaluation.training_runs import SCORES_FILE
from core.image.imaging import load
from core.image.masks import cell_mask, with_environment
from core.support import files, locks
from training.adaptation.cells import DrawnCells, read_cells
from training.adaptation.config import AdaptationConfig
from training.adaptation.drawing import in_window
from training.adaptation.network import Beginning, begin_with, between, taught
from training.augmentation import LabelledImage
from training.data import SegDataset, masked_samples
from training.experiments.pseudo import write_pseudo
from training.loop import SPLIT_FILE

# What is scored besides networks that were taught drawn cells.
LEFT_OUT: Final = "left out"
TRAINED_WITH: Final = "trained with"
# Without any drawing: the normalisations' statistics are those of the laboratory's images, or it learns what it draws
# alike in turned views.
STATISTICS: Final = "batch statistics"
VIEWS: Final = "consistent views"
# Images without drawing that either of these is given.
_UNDRAWN: Final = 50
# As `python -m training.experiments pseudo` has it.
_AGREEING: Final = 0.92


@dataclass(frozen=True, eq=False)
class Laboratory:
    """A laboratory that was left out: what may be taught (`pool`), what is scored, and what the network knows."""

    name: str
    beginning: Beginning
    together: Path
    split: Path
    pool: DrawnCells
    test: DrawnCells
    known: DrawnCells
    known_test: DrawnCells

    @classmethod
    def read(cls, name: str, without: Path, together: Path) -> "Laboratory":
        """Of the run that never saw it and the one that was trained with it; raises ModelError, DataSetError."""
        beginning = begin_with(str(without), [])
        split = json.loads((together / SPLIT_FILE).read_text(encoding="utf-8"))
        sets = sorted({sample_id.split("/")[0] for ids in split.values() for sample_id in ids})
        samples = {sample.sample_id: sample for sample in masked_samples(tuple(sets))}

        def of(ids: Sequence[str], *, own: bool) -> DrawnCells:
            chosen: list[Sample] = [samples[one] for one in sorted(ids) if (one.split("/")[0] == name) is own]
            return read_cells(chosen)

        return cls(
            name,
            beginning,
            together,
            without / SPLIT_FILE,
            of([*split["train"], *split["validation"]], own=True),
            of(split["test"], own=True),
            of(beginning.split["train"], own=False),
            of(beginning.split["test"], own=False),
        )


def drawn(laboratory: Laboratory, cells: int, draw: int) -> DrawnCells:
    """So many cells of the pool at random; those of a smaller number are among those of a larger one."""
    order = np.random.default_rng((draw, 11)).permutation(len(laboratory.pool))[:cells]
    return laboratory.pool.of([laboratory.pool.samples[number].sample_id for number in order])


def measure(
    laboratory: Laboratory,
    cells: Sequence[int],
    draws: Sequence[int],
    config: AdaptationConfig,
    out: Path,
    *,
    undrawn: bool = False,
) -> Iterator[dict[str, Any]]:
    """Score every variant that no other process works on and that is not done; yields what it kept in `out`."""
    torch.set_num_threads(config.threads)
    out.mkdir(parents=True, exist_ok=True)
    for name, networks in _variants(laboratory, cells, draws, config, out, undrawn=undrawn):
        path = out / f"{laboratory.name} {name}.json"
        lock = None if path.exists() else locks.try_lock(path.with_suffix(".lock"), keep_file=False)
        if lock is None:
            continue
        with lock:
            found = {
                "laboratory": laboratory.name,
                "variant": name,
                "shares": {
                    str(share): {
                        "test": in_window(network, laboratory.beginning, laboratory.test)[0],
                        "known": in_window(network, laboratory.beginning, laboratory.known_test)[0],
                    }
                    for share, network in networks().items()
                },
            }
            files.write_text(path, json.dumps(found))
        yield found


# A network for each share of the way to it that is scored.
_Networks = Callable[[], dict[float, torch.nn.Module]]


def _variants(
    laboratory: Laboratory,
    cells: Sequence[int],
    draws: Sequence[int],
    config: AdaptationConfig,
    out: Path,
    *,
    undrawn: bool,
) -> Iterator[tuple[str, _Networks]]:
    """Every variant by its name, the two that bound the gap first."""
    base = laboratory.beginning.network
    yield LEFT_OUT, lambda: {1.0: base}
    if (laboratory.together / SCORES_FILE).is_file():  # else that training goes on
        yield TRAINED_WITH, lambda: {1.0: begin_with(str(laboratory.together), []).network}

    def on_the_way(learnt: DrawnCells, seed: int) -> dict[float, torch.nn.Module]:
        if not len(learnt):
            return {1.0: base}
        adapted = taught(laboratory.beginning, learnt.pairs, laboratory.known.pairs, config, seed=seed)
        return {share: between(base, adapted, share) for share in config.shares}

    for count in cells:
        for draw in draws:
            yield (
                f"{count} cells, draw {draw}",
                partial(lambda n, d: on_the_way(drawn(laboratory, n, d), d), count, draw),
            )
    if undrawn:
        images = drawn(laboratory, _UNDRAWN, 0)
        yield STATISTICS, lambda: {1.0: _restated(laboratory, images)}
        yield VIEWS, lambda: on_the_way(_outlined(laboratory, images, out), 0)


def _restated(laboratory: Laboratory, images: DrawnCells) -> torch.nn.Module:
    """The network with the statistics of its normalisations taken from images, in the windows of what it drew there."""
    network = between(laboratory.beginning.network, laboratory.beginning.network, 0)
    seen = _as_drawn_by(laboratory, images)
    norms = [module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over all batches
    network.train()
    data = SegDataset(seen, laboratory.beginning.config, augment=False, scale=laboratory.beginning.scale)
    with torch.no_grad():
        for batch, _ in DataLoader(data, laboratory.beginning.config.batch_size):
            network(batch)
    return network.eval()


def _as_drawn_by(laboratory: Laboratory, images: DrawnCells) -> list[LabelledImage]:
    """The images with what the network drew there in place of what a person did."""
    segmenter = laboratory.beginning.segmenter(laboratory.beginning.network)
    seen = []
    for sample in images.samples:
        labels = segmenter.segment(load(sample.image)).labels
        if cell_mask(labels).any():
            seen.append(replace(images.items[sample.sample_id], labels=with_environment(labels)))
    return seen


def _outlined(laboratory: Laboratory, images: DrawnCells, out: Path) -> DrawnCells:
    """The images whose outlines by the network agree in turned views, with these outlines."""
    teacher = laboratory.beginning.segmenter(laboratory.beginning.network)
    folder = out / f"views-{laboratory.name}"
    kept, _ = write_pseudo(teacher, laboratory.split, images.samples, folder, least_agreement=_AGREEING)
    return read_cells(masked_samples((str(folder),)) if kept else [])


def table(out: Path) -> str:
    """What was measured so far as a table in Markdown: means over draws, with the lowest and the highest."""
    rows: dict[tuple[str, str, float], list[dict[str, float]]] = {}
    for path in sorted(out.glob("*.json")):
        found = json.loads(path.read_text(encoding="utf-8"))
        for share, scored in found["shares"].items():
            key = (found["laboratory"], found["variant"].split(", draw")[0], float(share))
            rows.setdefault(key, []).append({**_means(scored["test"]), "known": _means(scored["known"])["mean"]})
    lines = [
        "| laboratory | taught | of the way | nucleus | cytoplasm | cell | mean | of the gap | known laboratories |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for (laboratory, variant, share), found in sorted(rows.items(), key=_order):
        bounds = [rows.get((laboratory, name, 1.0)) for name in (LEFT_OUT, TRAINED_WITH)]
        closed = ""
        if variant not in (LEFT_OUT, TRAINED_WITH) and all(bounds):
            low, high = (bound[0]["mean"] for bound in bounds if bound)
            closed = _spread([100 * (one["mean"] - low) / (high - low) for one in found], "{:.0f} %")
        began = rows.get((laboratory, LEFT_OUT, 1.0))
        known = ""
        if began and variant != TRAINED_WITH:  # which was trained on another part of them
            known = f"{100 * (float(np.mean([one['known'] for one in found])) - began[0]['known']):+.2f}"
        values = [_spread([one[region] for one in found], "{:.4f}") for region in (*REGIONS, "mean")]
        lines.append(f"| {' | '.join([laboratory, variant, f'{share:g}', *values, closed, known])} |")
    return "\n".join(lines)


def _means(dice: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    means = {region: float(np.nanmean([one[region] for one in dice.values()])) for region in REGIONS}
    return {**means, "mean": (means["nucleus"] + means["cytoplasm"]) / 2}


def _spread(values: Sequence[float], form: str) -> str:
    mean = form.format(float(np.mean(values)))
    return mean if len(values) == 1 else f"{mean} ({form.format(min(values))} to {form.format(max(values))})"


def _order(row: tuple[tuple[str, str, float], object]) -> tuple[str, int, float]:
    laboratory, variant, share = row[0]
    first = [LEFT_OUT, STATISTICS, VIEWS]
    if variant in first:
        return laboratory, first.index(variant), -share
    return laboratory, len(first) + int(variant.split()[0]) if variant[0].isdigit() else 10**6, -share

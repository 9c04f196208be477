"""Fits what a model knows, and measures how well that tells leukocytes from everything else.

Nothing is fitted on the out-of-distribution negatives (`core.evaluation.ood_negatives`), so each kind of them is one
never seen. Known is every leukocyte with a nucleus, abnormal ones included, of laboratories whose terms allow fitting;
the others stand for a laboratory not seen before.
"""

import json
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from core.domain.cell_types import CELL_TYPES, CellType
from core.domain.errors import DataSetError, ModelError
from core.domain.flags import TOO_SMALL, UNLIKE_LEUKOCYTE
from core.domain.options import CellChoice, Device
from core.domain.types import CellImage
from core.evaluation.datasets import DATA_SETS, DataSet, Sample
from core.evaluation.ood_negatives import NegativeKind, evenly, ood_negatives
from core.image.imaging import load
from core.pipeline import analyse_cells
from core.quality.novelty import (
    GRANULOCYTE_COLOUR,
    GRANULOCYTE_NUCLEUS,
    NOVELTY_TRAITS,
    TRAITS,
    Coefficient,
    GranulocyteRule,
    Knowledge,
    LogisticScore,
    NoveltyDetector,
    Traits,
    save,
    traits,
)
from core.segmentation.model_registry import ModelEntry, keep_beside
from core.segmentation.segmenter import OnnxSegmenter, Segmenter
from core.support import parallel

Floats = NDArray[np.float64]

# Laboratories whose cells are known, and those never fitted: without terms for it, or of hairy cells, which are to show
# how the rare fare.
KNOWN_SOURCES: Final = ("set1", "set2", "bccd", "acevedo")
UNSEEN_SOURCES: Final = ("deepapl", "hairy_cell_marrow", "hairy_cell_smear")
LEUKOCYTES: Final = tuple(t for t in CellType if t not in (CellType.ERYTHROBLAST, CellType.PLATELET, CellType.OTHER))
GRANULOCYTES: Final = (CellType.NEUTROPHIL, CellType.EOSINOPHIL)
# Basophils, whose nucleus hides under granules, are neither: they cannot be recognised, and no mononuclear cell should
# be misjudged for it.
MONONUCLEAR: Final = tuple(t for t in LEUKOCYTES if CELL_TYPES[t].mononuclear)
_HEALTHY: Final = (CellType.LYMPHOCYTE, CellType.MONOCYTE)
LEUKOCYTE: Final = "leukocyte"
# Cells of a type and laboratory, evenly out of all.
_MOST_KNOWN: Final = 300
_MOST_UNSEEN: Final = 120

# The limit lets pass this share of all known cells, and of those of every type and laboratory with enough of them to
# tell; and this share of a laboratory's when nothing of it was known: a new stain is no reason to refuse.
KEPT: Final = 0.99
KEPT_OF_NEW: Final = 0.98
_ENOUGH: Final = 50
# Of two laboratories each alone says nothing of how laboratories differ.
_FEWEST_LABORATORIES: Final = 2
# Each correlation between traits is reduced by this share, so that a direction in which the known cells hardly
# spread counts no more than it should.
_SHRINKAGE: Final = 0.05
# The cell is a granulocyte to both scores when the odds are beyond e to this power.
GRANULOCYTE_LIMIT: Final = 1.0
# Penalty on the squares of a score's weights, where all cells together weigh so much.
_RIDGE: Final = 3.0
_RIDGE_WEIGHT: Final = 500.0
_FOLDS: Final = 5
_CONFIDENCE_LEVEL: Final = 0.95


# --- measuring --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Subject:
    """A picture to measure: leukocytes of a type, or a negative of a kind.

    `source` is its data set, if it has one; `known` says whether what a model knows is fitted to it.
    """

    kind: str
    source: str
    cell_type: str
    group: str
    image: Path | CellImage
    cells: CellChoice
    known: bool = False


def subjects(entry: ModelEntry, limit: int | None = None, own: Sequence[DataSet] = ()) -> list[Subject]:
    """Everything to measure: leukocytes the model was not trained on, and every negative; at most `limit` of each kind.

    A kind is a type of leukocyte or of negative in one source; `own` are further known sources, whose cells need no
    type.

    Raises
    ------
    ModelError
        If the model has no split beside it.
    DataSetError
        If images are missing.
    """
    if entry.split is None:
        msg = (
            f"model {entry.model_id} has no split beside it, so its training images are unknown; export it again with"
            " `python -m export`"
        )
        raise ModelError(msg)
    trained = set(json.loads(entry.split.read_text(encoding="utf-8"))["train"])
    chosen = []
    known = [DATA_SETS[name] for name in KNOWN_SOURCES] + list(own)
    for source in (*known, *(DATA_SETS[name] for name in UNSEEN_SOURCES)):
        most = min(limit or _MOST_KNOWN, _MOST_KNOWN if source in known else _MOST_UNSEEN)
        samples = [sample for sample in source.samples() if sample.sample_id not in trained]
        for cell_type in (*LEUKOCYTES, *([CellType.OTHER] if source in own else [])):
            of_type = [sample for sample in samples if sample.cell_type is cell_type]
            chosen += [_of_sample(sample, source.name, known=source in known) for sample in evenly(of_type, most)]
    strange: dict[tuple[NegativeKind, str], list[CellImage]] = {}
    for negative in ood_negatives():
        # Pictures that come from no data set count together.
        origin = negative.source if negative.source in DATA_SETS else ""
        strange.setdefault((negative.kind, origin), []).append(negative.image)
    for (kind, origin), pictures in strange.items():
        chosen += [
            Subject(kind.value, origin, "", image.name, image, CellChoice.ONE)
            for image in evenly(pictures, limit or len(pictures))
        ]
    return chosen


def _of_sample(sample: Sample, source: str, *, known: bool) -> Subject:
    cells = CellChoice.ALL if source == "hairy_cell_smear" else CellChoice.ONE
    return Subject(LEUKOCYTE, source, sample.cell_type.value, sample.group, sample.image, cells, known)


def measure(subject: Subject, segmenter: Segmenter) -> list[dict[str, Any]]:
    """A row per cell: the subject, the traits, whether it is `small`, and whether another flag `refused` it.

    The scale is left out: most pictures come without one.
    """
    image = subject.image if isinstance(subject.image, CellImage) else load(subject.image)
    rows = []
    for analysis in analyse_cells(image, segmenter, subject.cells):
        severe = {flag.code for flag in analysis.flags if flag.severe}
        rows.append(
            {
                **{name: getattr(subject, name) for name in ("kind", "source", "cell_type", "group", "known")},
                "small": TOO_SMALL in severe,
                "refused": bool(severe - {TOO_SMALL, UNLIKE_LEUKOCYTE}),
                **traits(analysis.features.values, analysis.segmentation.confidence),
            }
        )
    return rows


def measure_all(
    todo: Sequence[Subject], entry: ModelEntry, jobs: int, device: Device
) -> Iterator[list[dict[str, Any]]]:
    """`measure` of each subject in order, by `jobs` processes of one thread each; values do not depend on `jobs`."""
    opening = partial(OnnxSegmenter.from_entry, entry, device, threads=1)
    return parallel.each(measure, todo, opening, jobs=jobs)


# --- fitting ----------------------------------------------------------------------------------------------------------


def _weights(cells: pd.DataFrame) -> Floats:
    """Weights of cells, one over the root of the number of cells of the type and source."""
    alike: Floats = cells.groupby(["source", "cell_type"])["kind"].transform("size").to_numpy(np.float64)
    return 1 / np.sqrt(alike)


def fit_detector(cells: pd.DataFrame) -> NoveltyDetector:
    """Fit the novelty detector: mean, spread and correlation of the known cells' traits, and the limit.

    The limit is far enough out that cells of laboratories left out pass, too.
    """
    cells = cells.dropna(subset=list(NOVELTY_TRAITS))
    cloud = _cloud(cells)
    distances = _distances(cells, cloud)
    groups = [
        of_group for _, of_group in distances.groupby([cells["source"], cells["cell_type"]]) if len(of_group) >= _ENOUGH
    ]
    limits = [float(group.quantile(KEPT)) for group in (distances, *groups)]
    if cells["source"].nunique() > _FEWEST_LABORATORIES:
        for _, of_source in cells.groupby("source"):
            without = _cloud(cells.drop(of_source.index))
            limits.append(float(_distances(of_source, without).quantile(KEPT_OF_NEW)))
    return NoveltyDetector(cloud.mean, cloud.deviation, cloud.correlation, max(limits))


def _cloud(cells: pd.DataFrame) -> NoveltyDetector:
    """Mean, spread and correlation of cells' traits, without a limit.

    The spread is the mean spread within a laboratory plus that of a laboratory's mean: what one more laboratory would
    be expected to show.
    """
    values, weights = cells[list(NOVELTY_TRAITS)].to_numpy(np.float64), _weights(cells)
    means, spreads = [], []
    for source in cells["source"].unique():
        here = (cells["source"] == source).to_numpy()
        means.append(np.average(values[here], axis=0, weights=weights[here]))
        spreads.append(np.cov(values[here], rowvar=False, aweights=weights[here]))
    covariance = np.mean(spreads, axis=0)
    if len(means) > 1:
        covariance += (1 + 1 / len(means)) * np.cov(np.array(means), rowvar=False)
    deviation = np.sqrt(np.diag(covariance))
    correlation = (1 - _SHRINKAGE) * covariance / np.outer(deviation, deviation) + _SHRINKAGE * np.eye(
        len(NOVELTY_TRAITS)
    )
    return NoveltyDetector(np.mean(means, axis=0), deviation, correlation, limit=np.inf)


def _distances(cells: pd.DataFrame, cloud: NoveltyDetector) -> pd.Series:
    """Distance of every cell, infinite where there is no cell to judge."""
    distances = [cloud.distance(row) for row in _traits_of(cells)]
    return pd.Series([np.inf if distance is None else distance for distance in distances], index=cells.index)


def _traits_of(cells: pd.DataFrame) -> Iterator[Traits]:
    for values in cells[list(TRAITS)].to_numpy(np.float64):
        yield dict(zip(TRAITS, values.tolist(), strict=True))


def fit_granulocytes(cells: pd.DataFrame) -> GranulocyteRule:
    """The rule that tells neutrophils and eosinophils from mononuclear cells."""
    cells = cells[cells["cell_type"].isin([*GRANULOCYTES, *MONONUCLEAR])]
    return GranulocyteRule(
        _fit_logistic(cells, GRANULOCYTE_NUCLEUS), _fit_logistic(cells, GRANULOCYTE_COLOUR), GRANULOCYTE_LIMIT
    )


def _fit_logistic(cells: pd.DataFrame, chosen: Sequence[str]) -> LogisticScore:
    """Logistic regression with a ridge penalty by Newton's method; both sides weigh the same."""
    cells = cells.dropna(subset=list(chosen))
    positive = cells["cell_type"].isin(GRANULOCYTES).to_numpy()
    weights = _weights(cells)
    weights *= _RIDGE_WEIGHT / 2 / np.where(positive, weights[positive].sum(), weights[~positive].sum())
    values = cells[list(chosen)].to_numpy(np.float64)
    mean = np.average(values, axis=0, weights=weights)
    deviation = np.sqrt(np.average((values - mean) ** 2, axis=0, weights=weights))
    design = np.column_stack([np.ones(len(cells)), (values - mean) / deviation])
    penalty = _RIDGE * np.diag([0.0, *np.ones(len(chosen))])
    beta = np.zeros(design.shape[1])
    for _ in range(50):
        odds = 1 / (1 + np.exp(-design @ beta))
        slope = design.T @ (weights * (positive - odds)) - penalty @ beta
        step = np.linalg.solve((design * (weights * odds * (1 - odds))[:, None]).T @ design + penalty, slope)
        beta += step
        if np.abs(step).max() < 1e-9:
            break
    rows = zip(chosen, mean, deviation, beta[1:], strict=True)
    return LogisticScore(float(beta[0]), {name: Coefficient(float(m), float(s), float(w)) for name, m, s, w in rows})


# --- evaluating -------------------------------------------------------------------------------------------------------


def _unseen(
    cells: pd.DataFrame, known: pd.DataFrame, folds: pd.Series, score: Callable[[pd.DataFrame, pd.DataFrame], pd.Series]
) -> pd.Series:
    """`score(known, cells)` of every cell, fitted on the known cells of the other `folds`."""
    scores = pd.Series(np.nan, index=cells.index)
    for fold in folds.unique():
        part = cells[folds == fold]
        scores[part.index] = score(known[folds[known.index] != fold], part)
    return scores


def _strangeness(known: pd.DataFrame, cells: pd.DataFrame) -> pd.Series:
    """Distance over its limit: above 1 a cell is unlike the known ones."""
    cloud = fit_detector(known)
    return _distances(cells, cloud) / cloud.limit


def _granulocyte_excess(known: pd.DataFrame, cells: pd.DataFrame) -> pd.Series:
    """Score of the rule less its limit: above 0 a cell is called a granulocyte."""
    rule = fit_granulocytes(known)
    return pd.Series([rule.score(row) - rule.limit for row in _traits_of(cells)], index=cells.index)


def _auc(strange: pd.Series, ordinary: pd.Series) -> float:
    """Probability that one of the strange ranks above one of the ordinary, ties counting half."""
    from scipy import stats  # slow to import, and only measuring needs it

    ranks = stats.rankdata(np.concatenate([strange, ordinary]))
    n, m = len(strange), len(ordinary)
    return float((ranks[:n].sum() - n * (n + 1) / 2) / (n * m))


Row = dict[str, Any]


def _share(hits: pd.Series) -> list[float] | None:
    """Share of the true ones with its 95 % interval (Wilson 1927, J Am Stat Assoc 22:209); None without any."""
    from scipy import stats

    if hits.empty:
        return None
    interval = stats.binomtest(int(hits.sum()), len(hits)).proportion_ci(_CONFIDENCE_LEVEL, method="wilson")
    return [round(float(value), 4) for value in (hits.mean(), interval.low, interval.high)]


def evaluate(table: pd.DataFrame) -> dict[str, list[Row]]:
    """The tables of a measurement (`measure`'s rows): `kinds` of negatives, `cells` by type and source, `granulocytes`.

    A known cell is scored by what was fitted without the cell's fold, or without its laboratory (`left_out`).
    """
    cells = table[table["kind"] == LEUKOCYTE]
    fitted = cells["known"]
    # Cells that are never fitted make one more fold.
    folds = (
        cells["group"].map(lambda group: f"fold {zlib.crc32(group.encode()) % _FOLDS}").where(fitted, "never fitted")
    )
    laboratories = cells["source"].where(fitted, "never fitted")
    crossed, left_out = (
        pd.DataFrame(
            {
                "strangeness": _unseen(cells, cells[fitted], parts, _strangeness),
                "granulocyte": _unseen(cells, cells[fitted], parts, _granulocyte_excess) > 0,
            }
        )
        for parts in (folds, laboratories)
    )
    return {
        "kinds": _of_kinds(table[table["kind"] != LEUKOCYTE], cells, crossed["strangeness"]),
        "cells": _of_cells(cells, crossed, left_out),
        "granulocytes": [
            {"fitted": without, **_of_rule(cells[fitted], scores.loc[fitted, "granulocyte"])}
            for without, scores in (("without the cell's fold", crossed), ("without the cell's laboratory", left_out))
        ],
    }


def _is_unlike(strangeness: pd.Series) -> pd.Series:
    """Whether the flag is raised: it is not where there is no cell, which has a flag of its own."""
    return strangeness.between(1, np.inf, inclusive="neither")


def _of_kinds(others: pd.DataFrame, cells: pd.DataFrame, strangeness: pd.Series) -> list[Row]:
    """A row for each kind of negative and its data set."""
    # `auc_known` and `auc_unseen` are of the distance against lymphocytes and monocytes of known and of never fitted
    # laboratories; then the shares flagged as unlike a leukocyte, as too small for one, refused by any severe flag, and
    # refused without these two.
    fitted = cells["known"]
    healthy = cells["cell_type"].isin(_HEALTHY)
    distance = _strangeness(cells[fitted], others)
    rows = []
    for (kind, source), part in others.groupby(["kind", "source"], sort=False):
        of_kind = distance[part.index]
        unlike = _is_unlike(of_kind)
        rows.append(
            {
                "kind": kind,
                "source": source,
                "n": len(part),
                "auc_known": round(_auc(of_kind, strangeness[healthy & fitted]), 3),
                "auc_unseen": round(_auc(of_kind, strangeness[healthy & ~fitted]), 3),
                "unlike": _share(unlike),
                "small": _share(part["small"]),
                "refused": _share(unlike | part["small"] | part["refused"]),
                "refused_before": _share(part["refused"]),
            }
        )
    return rows


def _of_cells(cells: pd.DataFrame, crossed: pd.DataFrame, left_out: pd.DataFrame) -> list[Row]:
    """By type of leukocyte and source: shares flagged falsely, refused for that alone, and called a granulocyte."""
    rows = []
    for (cell_type, source), part in cells.groupby(["cell_type", "source"], sort=False):
        unlike = _is_unlike(crossed.loc[part.index, "strangeness"])
        rows.append(
            {
                "cell_type": cell_type,
                "source": source,
                "n": len(part),
                "unlike": _share(unlike),
                "unlike_left_out": _share(_is_unlike(left_out.loc[part.index, "strangeness"])),
                "small": _share(part["small"]),
                "newly_refused": _share((unlike | part["small"]) & ~part["refused"]),
                "granulocyte": _share(crossed.loc[part.index, "granulocyte"]),
                "granulocyte_left_out": _share(left_out.loc[part.index, "granulocyte"]),
            }
        )
    return rows


def _of_rule(cells: pd.DataFrame, told: pd.Series) -> Row:
    """Sensitivity for granulocytes, false positives, and precision, also if both kinds were equally many."""
    right, wrong = cells["cell_type"].isin(GRANULOCYTES), cells["cell_type"].isin(MONONUCLEAR)
    recall, false = told[right].mean(), told[wrong].mean()
    return {
        "recall": _share(told[right]),
        "false": _share(told[wrong]),
        "precision": _share(right[told & (right | wrong)]),
        "precision_if_equal": round(float(recall / (recall + false)), 4) if recall + false > 0 else None,
    }


# --- the command ------------------------------------------------------------------------------------------------------


def learn(
    entry: ModelEntry,
    *,
    jobs: int = 1,
    device: Device = Device.AUTO,
    limit: int | None = None,
    own: Sequence[DataSet] = (),
    progress: Callable[[int, int], None] | None = None,
) -> Knowledge:
    """Measure, fit and evaluate what a model knows.

    Parameters
    ----------
    entry
        The model; its split names the images that it was trained on, which are left out.
    jobs
        Processes, one thread each.
    limit
        At most so many pictures of each kind or type and source.
    own
        Further laboratories whose leukocytes are known, besides those of the data folder.
    progress
        Receives the pictures done and their number.

    Raises
    ------
    ModelError, DataSetError
        As `subjects` and `knowledge_of`; ProviderError as `OnnxSegmenter`.
    """
    todo = subjects(entry, limit, own)
    rows: list[dict[str, Any]] = []
    for done, measured in enumerate(measure_all(todo, entry, jobs, device), start=1):
        rows += measured
        if progress:
            progress(done, len(todo))
    command = f"python -m core novelty --model {entry.model_id}" + (f" --limit {limit}" if limit is not None else "")
    command += f" --data {' '.join(source.name for source in own)}" if own else ""
    return knowledge_of(entry, pd.DataFrame(rows), command)


def knowledge_of(entry: ModelEntry, table: pd.DataFrame, command: str) -> Knowledge:
    """Fit and evaluate on `measure`'s rows of all subjects.

    Raises
    ------
    DataSetError
        If a known laboratory has too few outlined cells.
    """
    known = table[table["known"]]
    outlined = known.dropna(subset=list(NOVELTY_TRAITS))["source"].value_counts()
    if few := [source for source in sorted(set(known["source"])) if outlined.get(source, 0) <= len(NOVELTY_TRAITS)]:
        msg = (
            f"of {', '.join(few)} {' and '.join(str(outlined.get(source, 0)) for source in few)} cells were outlined,"
            f" but there are {len(NOVELTY_TRAITS)} traits to fit, which need more; take more images that the model was"
            " not trained on, or see what it draws"
        )
        raise DataSetError(msg)
    return Knowledge(
        model_id=entry.model_id,
        model_sha256=entry.sha256,
        created=datetime.now(UTC).date().isoformat(),
        command=command,
        detector=fit_detector(known),
        granulocyte=fit_granulocytes(known),
        measured=evaluate(table),
    )


def store(knowledge: Knowledge, entry: ModelEntry) -> Path:
    """Put the result beside the model and its name and seal into the manifest; returns where it is."""
    path = entry.path.with_name(f"{entry.model_id}.novelty.json")
    save(knowledge, path)
    keep_beside(path.parent, entry.model_id, {"novelty": path.name})
    return path

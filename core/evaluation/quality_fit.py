"""Fits how well a cell is outlined to drawn cells of many laboratories, and measures how well that is told.

Outlines of networks that had not seen the laboratory are what counts: of a laboratory that the model was trained on,
the outlines come from a network trained without it (`python -m training outlines`).
"""

import json
import math
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from core.domain.errors import DataSetError
from core.domain.options import Device
from core.evaluation.true_cells import BOXED_SET, LABORATORIES, PLAIN, TruePicture, measure, true_pictures
from core.quality.novelty import Coefficient, LogisticScore
from core.quality.outline_quality import OutlineJudge, save
from core.quality.outline_signs import OUTLINE_SIGNS
from core.segmentation.model_registry import ModelEntry, keep_beside
from core.segmentation.segmenter import OnnxSegmenter
from core.support import parallel

Floats = NDArray[np.float64]
Row = dict[str, Any]

# Other data sets of those laboratories.
_ALIASES: Final = {"acevedo": "PBC"}
# Outlines below are wrong, from the other on they are right.
POOR: Final = 0.8
RIGHT: Final = 0.9
# Of the right ones at most this share is refused, of every laboratory.
MOST_REFUSED: Final = 0.05
_RIDGE: Final = 0.3
_WEIGHT: Final = 500.0
# Nobody draws the same outline twice: an overlap above cannot be told from this one.
_BEST: Final = 0.995
_FEWEST: Final = 20
_FEWEST_FOR_LIMITS: Final = 3
_BINS: Final = (0.0, 0.6, 0.7, 0.8, 0.85, 0.9, 0.925, 0.95, 1.0)


# --- fitting ----------------------------------------------------------------------------------------------------------


def fit_score(rows: pd.DataFrame) -> LogisticScore:
    """Logistic regression of the true Dice by the signs, with a ridge penalty, by Newton's method.

    A laboratory weighs as the root of its number of outlines.
    """
    weights = 1 / np.sqrt(rows.groupby("source")["dice"].transform("size").to_numpy(np.float64))
    weights *= _WEIGHT / weights.sum()
    values, truth = rows[list(OUTLINE_SIGNS)].to_numpy(np.float64), rows["dice"].to_numpy(np.float64).clip(0, _BEST)
    mean, deviation = values.mean(axis=0), values.std(axis=0).clip(1e-6)
    design = np.column_stack([np.ones(len(values)), (values - mean) / deviation])
    penalty = _RIDGE * np.diag([0.0, *np.ones(len(mean))])
    beta = np.zeros(design.shape[1])
    for _ in range(100):
        told = 1 / (1 + np.exp(-design @ beta))
        slope = design.T @ (weights * (truth - told)) - penalty @ beta
        curve = (design * (weights * told * (1 - told))[:, None]).T @ design + penalty
        step = np.clip(np.linalg.solve(curve, slope), -2, 2)
        beta += step
        if np.abs(step).max() < 1e-9:
            break
    terms = zip(OUTLINE_SIGNS, mean, deviation, beta[1:], strict=True)
    coefficients = {
        name: Coefficient(round(float(m), 5), round(float(s), 5), round(float(w), 5)) for name, m, s, w in terms
    }
    return LogisticScore(round(float(beta[0]), 5), coefficients)


def expected(rows: pd.DataFrame, score: LogisticScore) -> pd.Series:
    """The Dice expected of every outline."""
    odds = np.full(len(rows), score.intercept)
    for name, term in score.coefficients.items():
        odds += term.weight * (rows[name].to_numpy(np.float64) - term.mean) / term.deviation
    return pd.Series(1 / (1 + np.exp(-odds)), index=rows.index)


def left_out(rows: pd.DataFrame) -> pd.Series:
    """The Dice expected of every outline by what was fitted without its laboratory."""
    told = pd.Series(np.nan, index=rows.index)
    for source in rows["source"].unique():
        here = rows["source"] == source
        told[here] = expected(rows[here], fit_score(rows[~here]))
    return told


def limit_of(rows: pd.DataFrame, told: pd.Series) -> float:
    """The highest limit that refuses at most MOST_REFUSED of the right outlines of every laboratory."""
    right = _natural(rows) & (_scored(rows) >= RIGHT)
    quantiles = told[right].groupby(rows.loc[right, "source"]).quantile(MOST_REFUSED, interpolation="lower")
    return math.floor(1e4 * float(quantiles.min())) / 1e4


def limits_left_out(rows: pd.DataFrame) -> dict[str, float]:
    """For each laboratory the limit that is chosen without it; of two laboratories neither leaves enough for that."""
    sources = list(rows["source"].unique())
    if len(sources) < _FEWEST_FOR_LIMITS:
        return dict.fromkeys(sources, limit_of(rows, left_out(rows)))
    others = {source: rows[rows["source"] != source] for source in sources}
    return {source: limit_of(rest, left_out(rest)) for source, rest in others.items()}


def _scored(rows: pd.DataFrame) -> pd.Series:
    """What an outline is judged by: its Dice, or where only a box is drawn, the overlap of the boxes."""
    return rows["dice"].where(rows["drawn"], rows["box_iou"])


def _natural(rows: pd.DataFrame) -> pd.Series:
    """Outlines that the network drew, in whatever window: not those spoilt by hand."""
    return (rows["kind"] == PLAIN) | rows["kind"].str.startswith("window")


# --- evaluating -------------------------------------------------------------------------------------------------------


def evaluate(rows: pd.DataFrame, told: pd.Series, trained_on: Sequence[str]) -> dict[str, list[Row]]:
    """The tables of a measurement: a row for each laboratory, left out, and the calibration over all of them.

    `rank` is the rank correlation with what an outline is judged by, of natural outlines and of `all`; `flagged` the
    share of those under POOR that is doubtful, `refused` that of those from RIGHT on, both by the `limit` that was
    chosen without the laboratory.
    """
    from scipy import stats  # slow to import, and only measuring needs it

    natural, scored, limits = _natural(rows), _scored(rows), limits_left_out(rows)
    doubtful = told < rows["source"].map(limits)
    laboratories = []
    for source in rows["source"].unique():
        here = rows["source"] == source
        own, every = here & natural, here & scored.notna()
        poor, right = scored < POOR, scored >= RIGHT
        laboratories.append(
            {
                "source": source,
                "drawn": bool(rows.loc[here, "drawn"].all()),
                "seen in training": source in trained_on,
                "limit": limits[source],
                "outlines": int(own.sum()),
                "rank": _rounded(stats.spearmanr(told[own], scored[own]).statistic),
                "rank_all": _rounded(stats.spearmanr(told[every], scored[every]).statistic),
                "poor": int((own & poor).sum()),
                "flagged": _rounded(doubtful[own & poor].mean()),
                "poor_all": int((here & poor).sum()),
                "flagged_all": _rounded(doubtful[here & poor].mean()),
                "right": int((own & right).sum()),
                "refused": _rounded(doubtful[own & right].mean()),
            }
        )
    return {"laboratories": laboratories, "calibration": _calibration(rows, told)}


def _calibration(rows: pd.DataFrame, told: pd.Series) -> list[Row]:
    """What was expected and what was true, in steps of the former, over the outlines that are drawn."""
    drawn = rows["drawn"]
    steps = pd.cut(told[drawn], list(_BINS))
    return [
        {
            "expected": f"{step.left:g} to {step.right:g}",
            "outlines": len(part),
            "mean_expected": _rounded(part.mean()),
            "mean_true": _rounded(rows.loc[part.index, "dice"].mean()),
        }
        for step, part in told[drawn].groupby(steps, observed=True)
    ]


def _rounded(value: float) -> float | None:
    return None if math.isnan(value) else round(float(value), 3)


# --- the command ------------------------------------------------------------------------------------------------------


def measure_model(
    entry: ModelEntry,
    *,
    sources: tuple[str, ...] = LABORATORIES,
    jobs: int = 1,
    device: Device = Device.AUTO,
    limit: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> pd.DataFrame:
    """`core.evaluation.true_cells.measure`'s rows of a model, without the images that it was trained on."""
    trained = _training_images(entry)
    pictures = [one for one in true_pictures(limit, sources) if one.sample.sample_id not in trained]
    opening = partial(OnnxSegmenter.from_entry, entry, device, threads=1)
    return gathered(pictures, parallel.each(measure, pictures, opening, jobs=jobs), progress)


def gathered(
    pictures: Sequence[TruePicture], measured: Iterable[list[Row]], progress: Callable[[int, int], None] | None = None
) -> pd.DataFrame:
    """The rows of all pictures, as they are measured."""
    rows: list[Row] = []
    for done, some in enumerate(measured, start=1):
        rows += some
        if progress:
            progress(done, len(pictures))
    return pd.DataFrame(rows)


def _training_images(entry: ModelEntry) -> set[str]:
    return set(json.loads(entry.split.read_text(encoding="utf-8"))["train"]) if entry.split else set()


def trained_sources(entry: ModelEntry) -> tuple[str, ...]:
    """The laboratories of which a model was trained on images."""
    return tuple(sorted({_laboratory(image) for image in _training_images(entry)}))


def _laboratory(sample_id: str) -> str:
    """That of a sample, as `LABORATORIES` names it."""
    data_set, name, *_ = sample_id.split("/")
    return name if data_set == BOXED_SET else _ALIASES.get(data_set, data_set)


def judge_of(entry: ModelEntry, tables: Sequence[pd.DataFrame], command: str) -> OutlineJudge:
    """Fit and evaluate on measured rows; where several tables hold a laboratory, the first does.

    Raises
    ------
    DataSetError
        If there are outlines of fewer than two laboratories, or too few.
    """
    rows = _one_of_each(tables)
    if rows.empty or rows["source"].nunique() < 2 or len(rows) < _FEWEST:
        msg = (
            f"expected outlines of cells of two laboratories or more, but there are {len(rows)} of"
            f" {', '.join(rows['source'].unique()) or 'none'}"
        )
        raise DataSetError(msg)
    told = left_out(rows)
    # What other networks outlined, trained without the laboratory, is nobody's training.
    own = rows.loc[rows["model_id"] == entry.model_id, "source"]
    trained_on = tuple(source for source in trained_sources(entry) if source in set(own))
    limit = limit_of(rows, told)
    drawn = rows[rows["drawn"] & (rows["kind"] == PLAIN) & ~rows["source"].isin(trained_on)]
    score = fit_score(rows)
    return OutlineJudge(
        model_id=entry.model_id,
        model_sha256=entry.sha256,
        created=datetime.now(UTC).date().isoformat(),
        command=command,
        score=score,
        limit=limit,
        usual=round(float(expected(rows[rows["kind"] == PLAIN], score).median()), 3),
        trained_on=trained_on,
        checked={
            "cells": float(len(drawn)),
            "dice": round(float(drawn["dice"].mean()), 4),
            "poor": round(float((drawn["dice"] < POOR).mean()), 4),
        }
        if len(drawn)
        else {},
        measured=evaluate(rows, told, trained_on),
    )


def _one_of_each(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """The rows of all tables whose signs could be seen; of a laboratory those of the first that has it."""
    kept, seen = [], set[str]()
    for table in tables:
        fresh = table[~table["source"].isin(seen)]
        seen |= set(fresh["source"])
        kept.append(fresh)
    rows = pd.concat(kept, ignore_index=True) if kept else pd.DataFrame(columns=["source", *OUTLINE_SIGNS])
    return rows.dropna(subset=list(OUTLINE_SIGNS)).reset_index(drop=True)


def store(judge: OutlineJudge, entry: ModelEntry) -> Path:
    """Put the result beside the model and its name and seal into the manifest; returns where it is."""
    path = entry.path.with_name(f"{entry.model_id}.quality.json")
    save(judge, path)
    keep_beside(path.parent, entry.model_id, {"quality": path.name})
    return path

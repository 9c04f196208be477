"""Tables of cells and of features, as pages and reports show them and as files hold them."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Final

import pandas as pd

from core.charts.labels import unit
from core.charts.trust import Reliability, poor_last, trust, why
from core.domain.types import CellAnalysis
from core.features.catalogue import CATALOGUE
from core.populations.comparison import FeatureComparison
from core.populations.placement import Placed, models_beside
from core.store.schema import OUTLINE_COLUMNS, arrow_schema, cell_row

_PLACE_COLUMNS: Final = (
    "Feature", "This cell", "Unit", "Trust", "Percentile", "Robust z", "Place", "2 %", "50 %", "98 %", "Mean", "SD",
    "n", "Why", "Meaning",
)  # fmt: skip
_PLACE_NUMBERS: Final = ("This cell", "Percentile", "Robust z", "2 %", "50 %", "98 %", "Mean", "SD", "n")
_TRUST_COLUMNS: Final = (
    "Feature", "Trust", "About", "ICC", "95 % interval", "Mononuclear", "Bias", "Limits", "Annotators", "n",
    "Most moved by", "Calibrate for", "Why",
)  # fmt: skip
_TRUST_NUMBERS: Final = ("ICC", "Mononuclear", "Bias", "Annotators")
# Those of the cohort, whatever door a cell came by.
_CELL_COLUMNS: Final = tuple(name for name in arrow_schema().names if name not in OUTLINE_COLUMNS)


def comparison_table(placed: Placed, reliability: Reliability, features: Iterable[str] = CATALOGUE) -> pd.DataFrame:
    """One row per feature, as pages show it: this cell, its place, and the population's range, mean and spread.

    Poor features last. Numbers in the shown unit; what is absent is nan. Columns: Feature, This cell, Unit, Trust,
    Percentile, Robust z, Place, 2 %, 50 %, 98 %, Mean, SD, n, Why (the reason of the grade), Meaning.
    """
    rows = []
    for name in poor_last(features, reliability):
        comparison, spec = placed.of(name), CATALOGUE[name]
        summary = comparison.summary
        same = summary if summary is not None and summary.basis is comparison.basis else None
        percents = (same.p2, same.p50, same.p98, same.mean, same.std) if same else (None,) * 5
        p2, p50, p98, mean, std = (None if value is None else spec.shown(value) for value in percents)
        rows.append(
            {
                "Feature": spec.label,
                "This cell": None if comparison.value is None else spec.shown(comparison.value),
                "Unit": unit(spec, comparison.basis),
                "Trust": trust(name, reliability),
                "Percentile": comparison.percentile,
                "Robust z": comparison.robust_z,
                "Place": _place_word(comparison),
                "2 %": p2,
                "50 %": p50,
                "98 %": p98,
                "Mean": mean,
                "SD": std,
                "n": same.n if same else None,
                "Why": why(name, reliability),
                "Meaning": spec.description,
            }
        )
    return pd.DataFrame(rows, columns=_PLACE_COLUMNS).astype(dict.fromkeys(_PLACE_NUMBERS, "float64"))


def _place_word(comparison: FeatureComparison) -> str:
    if not comparison.comparable:
        return "not compared"
    if comparison.inside is None:
        return "no range"
    if comparison.inside:
        return "inside"
    return "above" if comparison.direction is not None and comparison.direction.value == "above" else "below"


def reliability_table(features: Iterable[str], reliability: Reliability) -> pd.DataFrame:
    """How far each of the features can be trusted, the poor ones last, without those that were not measured.

    Columns: Feature, Trust, About, ICC, 95 % interval, Mononuclear (their ICC alone), Bias, Limits, Annotators (these
    three in standard deviations between cells of a type), n, Most moved by, Calibrate for, Why.
    """
    rows = []
    for name in poor_last((feature for feature in features if feature in reliability), reliability):
        entry, spec = reliability[name], CATALOGUE[name]
        largest, calibrate = entry.largest, entry.calibrate
        rows.append(
            {
                "Feature": spec.label,
                "Trust": entry.grade.value,
                "About": spec.theme.value,
                "ICC": entry.icc,
                "95 % interval": _interval(entry.icc_low, entry.icc_high),
                "Mononuclear": entry.mononuclear.value if entry.mononuclear else None,
                "Bias": entry.bias,
                "Limits": _interval(entry.limit_low, entry.limit_high),
                "Annotators": entry.annotators,
                "n": entry.n,
                "Most moved by": f"{largest} ({entry.disturbances[largest].size:.2f})" if largest else "",
                "Calibrate for": f"{calibrate} ({entry.disturbances[calibrate].size:.2f})" if calibrate else "",
                "Why": why(name, reliability),
            }
        )
    return pd.DataFrame(rows, columns=_TRUST_COLUMNS).astype(dict.fromkeys(_TRUST_NUMBERS, "float64"))


def _interval(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"{low:.2f} to {high:.2f}"


def feature_table(analysis: CellAnalysis, placed: Sequence[Placed], reliability: Reliability) -> pd.DataFrame:
    """All features of one cell as a file: a row each, in pixels and, with a scale, in micrometres, with its grade.

    Per measured population two columns follow: `percentile <title>` and `robust z <title>`.
    """
    image, note = analysis.image, models_beside(analysis, [place.reference for place in placed])
    rows = []
    for name, value in analysis.features.values.items():
        spec = CATALOGUE[name]
        in_um = None if value is None or image.um_per_px is None else spec.in_um(value, image.um_per_px)
        row: dict[str, str | float | list[str] | None] = {
            "image_path": image.name,
            "image_sha256": image.sha256,
            "cell_index": analysis.cell_index,
            "cell_label": analysis.cell_index + 1,
            "model_id": analysis.segmentation.model_id,
            "outline_by": analysis.segmentation.drawn_by.value,
            **{f"outline_{name}": getattr(analysis.review, name, None) for name in ("status", "who", "when", "why")},
            "um_per_px": image.um_per_px,
            "um_per_px_error": image.um_per_px_error,
            "notes": list(image.notes),
            "quality_flags": [flag.code for flag in analysis.flags],
            "feature": name,
            "label": spec.label,
            "value": value,
            "unit": spec.unit.px,
            "value_um": in_um,
            "unit_um": spec.unit.um if image.um_per_px is not None else None,
            "absent": analysis.features.absent.get(name),
            "model_note": note,
            "trust": "" if analysis.base else trust(name, reliability),  # measured for the model's outlines
        }
        for place in placed:
            if place.reference.published:
                continue
            comparison = place.of(name)
            row[f"percentile {place.reference.title}"] = comparison.percentile
            row[f"robust z {place.reference.title}"] = comparison.robust_z
        rows.append(row)
    return pd.DataFrame(rows)


def analyses_table(analyses: Iterable[CellAnalysis]) -> pd.DataFrame:
    """Several cells as a table: one row per cell with the columns of the cohort (`core.store.schema`), in pixels.

    What is known of a population only is absent.
    """
    now = datetime.now(UTC)
    rows = [cell_row(analysis, None, outlines={}, created=now) for analysis in analyses]
    return pd.DataFrame(rows, columns=_CELL_COLUMNS)

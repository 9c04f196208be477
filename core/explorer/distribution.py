"""How a feature is distributed in groups: without the tails that would stretch an axis, and as a table of numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from core.charts.labels import unit
from core.explorer.selection import Range, Selection
from core.explorer.view import Summary
from core.features.catalogue import CATALOGUE
from core.populations.summaries import ReferencePopulation

# An axis may become this many times longer than it need be because of the outermost cells.
STRETCHED: Final = 1.6


def without_tails(selection: Selection, feature: str, quantiles: NDArray[np.float64]) -> Selection:
    """Leave out cells beyond every group's middle part, where they would compress the rest of the axis.

    Parameters
    ----------
    selection
        The cells.
    feature
        The feature on the axis.
    quantiles
        (G, P): its values in each group at ascending shares, the least and the greatest at the ends; the middle part
        lies between the second and the last but one.
    """
    values = quantiles[np.isfinite(quantiles).all(axis=1)]
    if not len(values):
        return selection
    low, high = float(values[:, 1].min()), float(values[:, -2].max())
    least, greatest = float(values.min()), float(values.max())
    if low >= high or greatest - least < STRETCHED * (high - low):
        return selection
    given = next((given for given in selection.ranges if given.feature == feature), None)
    others = tuple(each for each in selection.ranges if each is not given)
    if given is not None:
        low = low if given.low is None else max(low, given.low)
        high = high if given.high is None else min(high, given.high)
    return replace(selection, ranges=(*others, Range(feature, low, high)))


def summary_table(
    summaries: Sequence[Summary], titles: Mapping[str, str], sources: Mapping[str, Sequence[str]]
) -> pd.DataFrame:
    """Numbers of groups, one row a group and feature; `titles` and `sources` are those of the groups, by name."""
    several = len({summary.feature for summary in summaries}) > 1
    rows = []
    for summary in summaries:
        spec = CATALOGUE[summary.feature]
        numbers = {
            "2 %": summary.p2,
            "25 %": summary.p25,
            "50 %": summary.p50,
            "75 %": summary.p75,
            "98 %": summary.p98,
            "Mean": summary.mean,
            "SD": summary.std,
        }
        rows.append(
            ({"Feature": spec.label} if several else {})
            | {
                "Group": titles[summary.group],
                "n": summary.n,
                "Patients": "not all known" if summary.patients is None else str(summary.patients),
            }
            | {name: None if value is None else spec.shown(value) for name, value in numbers.items()}
            | {
                "Unit": unit(spec, summary.basis),
                "Without a value": summary.n_absent,
                "Source": "; ".join(sources[summary.group]),
            }
        )
    return pd.DataFrame(rows)


def published_table(published: Sequence[ReferencePopulation], feature: str) -> pd.DataFrame:
    """What published tables say of a feature, with the columns of `summary_table`."""
    spec = CATALOGUE[feature]
    rows = []
    for reference in published:
        summary = reference.summaries[feature]
        numbers = {"2 %": summary.p2, "50 %": summary.p50, "98 %": summary.p98, "Mean": summary.mean, "SD": summary.std}
        rows.append(
            {"Group": reference.title, "n": summary.n, "Patients": "generated images"}
            | {name: None if value is None else spec.shown(value) for name, value in numbers.items()}
            | {"Unit": unit(spec, summary.basis), "Source": reference.source}
        )
    return pd.DataFrame(rows)


def together(groups: pd.DataFrame, published: pd.DataFrame) -> pd.DataFrame:
    """Both tables, the published one below, without columns of units or of absent values that are empty."""
    # From rows, because pandas 2 warns of columns without a value that are put together.
    both = pd.DataFrame([*groups.to_dict("records"), *published.to_dict("records")], columns=groups.columns)
    nothing: dict[str, str | int] = {"Unit": "", "Without a value": 0}
    empty = [name for name, none in nothing.items() if name in both and not both[name].fillna(none).ne(none).any()]
    return both.drop(columns=empty)

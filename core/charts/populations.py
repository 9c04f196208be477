"""Published populations side by side: what is known of one feature in each."""

from collections.abc import Sequence

import altair as alt
import pandas as pd

from core.charts.labels import unit, who, with_unit
from core.charts.theme import AnyChart, Look, configured
from core.features.catalogue import CATALOGUE
from core.populations.summaries import ReferencePopulation, basis_of


def published_chart(references: Sequence[ReferencePopulation], feature: str, look: Look) -> AnyChart:
    """One feature in published populations: a row each, its 2-98 % range and a tick at its median.

    Populations without a range in the common unit are left out. The axis goes from 0 to 1, and further where they do.
    """
    spec = CATALOGUE[feature]
    basis = basis_of(spec)
    rows = [
        {
            "population": f"{reference.title} (n = {reference.n})",
            "low": spec.shown(summary.p2),
            "middle": spec.shown(summary.p50),
            "high": spec.shown(summary.p98),
            "2-98 %": f"{with_unit(spec, summary.p2, basis)} to {with_unit(spec, summary.p98, basis)}",
            "Median": with_unit(spec, summary.p50, basis),
            "Who": who(reference),
        }
        for reference in references
        if (summary := reference.summaries.get(feature)) is not None and summary.basis is basis
        if summary.p2 is not None and summary.p50 is not None and summary.p98 is not None
    ]
    frame = pd.DataFrame(rows, columns=["population", "low", "middle", "high", "2-98 %", "Median", "Who"])
    title = spec.label + (f" ({unit(spec, basis)})" if unit(spec, basis) else "")
    x = alt.X(
        "low:Q",
        axis=alt.Axis(title=title, gridOpacity=0.5, tickCount=8),
        scale=alt.Scale(domain=[min([0, *frame["low"]]), max([1, *frame["high"]])], nice=True),
    )
    y = alt.Y("population:N", sort=None, axis=alt.Axis(title=None, labelLimit=340))
    base = alt.Chart(frame).encode(y=y, tooltip=["population:N", "2-98 %:N", "Median:N", "Who:N"])
    ranges = base.mark_bar(height=18, fillOpacity=0, stroke=look.muted, strokeDash=[4, 3])
    medians = base.mark_tick(orient="vertical", size=14, thickness=2.5, color=look.ink)
    chart = alt.layer(ranges.encode(x=x, x2="high:Q"), medians.encode(x=alt.X("middle:Q")))
    return configured(chart, height=max(1, len(rows)) * 56)

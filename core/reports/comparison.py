"""A comparison of groups of cells for download: a report that opens without a network and without scripts."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

import numpy as np
import pandas as pd
from markupsafe import Markup

from core.charts.distributions import box_chart
from core.charts.groups import DrawnGroup, styled
from core.charts.labels import number, with_unit
from core.charts.separation import separation_chart
from core.charts.theme import LIGHT, to_svg
from core.charts.trust import Reliability, graded, is_poor, poor_last, trust
from core.domain.cell_types import CellType
from core.domain.versions import software_versions
from core.explorer import view
from core.explorer.panel import Panels
from core.explorer.ranking import FEW_PATIENTS, RESAMPLES, Separation, group_name, plain_sentence, sentence
from core.explorer.redundancy import ALIKE
from core.explorer.selection import CHOICES, Selection, sentences, to_json
from core.explorer.separation import Separated, Sides, SideSample, gather, rank_exactly, sample_size, separate
from core.explorer.view import NOT_RECORDED, By, Grouping, InView
from core.features.catalogue import CATALOGUE
from core.features.spec import Aspect
from core.populations.summaries import Statistics, basis_of
from core.reports.engine import ReportRow, ReportTable, drawing, render
from core.store.database import Cohort
from core.store.schema import Population

_LEADING: Final = 5  # features of each aspect drawn beside each other
_DRAWN: Final = 6  # of which the values are drawn too
_CHART_PX: Final = 520
_WIDE_PX: Final = 1040


@dataclass(frozen=True, eq=False)
class Comparison:
    """Groups of cells side by side, and what separates them.

    `selection` is narrowed to the cells that are compared, where it can say so, and `in_view` counts them. `names` are
    the sides in words; `cells` have the values that charts are drawn from, a sample where there are very many.
    `revision` is the state of the cohort.
    """

    selection: Selection
    in_view: InView
    names: tuple[str, ...]
    cells: SideSample
    separated: Separated
    populations: tuple[Population, ...]
    revision: str
    panels: Panels | None = None

    def leading(self, reliability: Reliability, most: int) -> list[Separation]:
        """Of each aspect the first features that represent themselves or others and are not known to be poor."""
        by_feature = self.separated.by_feature
        leading = []
        for groups in self.separated.aspects.values():
            first = (by_feature[group.representative] for group in groups)
            leading += [each for each in first if each.effect is not None and not is_poor(each.feature, reliability)][
                :most
            ]
        return leading

    @property
    def refused(self) -> dict[str, str]:
        """Why features are not compared, each with its reason."""
        reasons = {name: self.in_view.refusal(name) for name in CATALOGUE if name not in self.separated.by_feature}
        return {name: reason or "not asked for" for name, reason in reasons.items()}


def compare(
    cohort: Cohort,
    selection: Selection,
    by: Grouping,
    sides: Sides,
    names: Sequence[str],
    reliability: Reliability,
    progress: Callable[[int, int], None] | None = None,
) -> Comparison:
    """Rank the features that may be compared between sides.

    Where a side has more than `sample_size` cells, a sample ranks all features, and all cells rank the leading ones.

    Raises
    ------
    UsageError
        If there are fewer than two sides, or a side has too few cells.
    StoreError
        If the cohort cannot be read.
    """
    narrowed = _narrowed(selection, by, sides)
    in_view = view.counts(cohort, narrowed)
    cells = gather(cohort, narrowed, by, sides, in_view.offered, sample_size(len(sides)))
    separated = separate(cells, names, graded(reliability), progress)
    stored = tuple(
        info.population for info in cohort.populations() if info.population.population_id in in_view.populations
    )
    comparison = Comparison(narrowed, in_view, tuple(names), cells, separated, stored, cohort.revision)
    if not cells.sampled:
        return comparison
    leading = [each.feature for each in comparison.leading(reliability, _LEADING)]
    exact = rank_exactly(cohort, narrowed, by, sides, names, leading)
    return replace(comparison, separated=separated.with_exact(exact))


def _narrowed(selection: Selection, by: Grouping, sides: Sides) -> Selection:
    """The selection without the cells of other groups, so that these decide nothing."""
    wanted = [name for names in sides for name in names]
    key = next((key for key, (column, _) in CHOICES.items() if isinstance(by, By) and column == by.value), None)
    # A patient's group may bear the source in its name, and cells that name none cannot be chosen.
    if key is None or by is By.PATIENT or NOT_RECORDED in wanted:
        return selection
    chosen: dict[str, Any] = {key: tuple(CellType(name) for name in wanted) if by is By.CELL_TYPE else tuple(wanted)}
    return replace(selection, **chosen)


def html_report(comparison: Comparison, reliability: Reliability, created: datetime) -> str:
    """Build the report as one HTML text: which cells, what separates them, how it was found, where it comes from.

    Everything is inside the text, nothing is fetched and nothing runs. Names from outside are escaped.
    """
    leading = comparison.leading(reliability, _LEADING)
    words = [group_name(name) for name in comparison.names]
    said = [sentence(each, words) for each in leading]
    best = [comparison.separated.best(aspect, graded(reliability)) for aspect in comparison.separated.aspects]
    groups = _drawn_groups(comparison)
    title = " beside ".join(comparison.names)
    return render(
        "comparison",
        title=title[:1].upper() + title[1:],
        created=created,
        comparison=comparison,
        reliability=reliability,
        groups=_groups(comparison),
        conditions=[_sentence(condition.words) for condition in sentences(comparison.selection)],
        left_out=_left_out(comparison.in_view),
        most_leading=_LEADING,
        best=[plain_sentence(comparison.separated.by_feature[name], words) for name in best if name],
        leading=said,
        note=_sentence(comparison.separated.ranking.note),
        cautions=sorted({text for each in leading if (text := comparison.in_view.caution(each.feature))}),
        effects=drawing(to_svg(separation_chart(leading, said, groups, reliability, LIGHT), _WIDE_PX)),
        boxes=[_box(comparison, each.feature, groups) for each in leading[:_DRAWN]],
        table=_table(comparison, reliability),
        refused=_reasons(comparison.refused),
        calibrations=[each.sentence for each in comparison.in_view.calibrations],
        resamples=RESAMPLES,
        few_patients=FEW_PATIENTS,
        alike=ALIKE,
        provenance=_provenance(comparison, created),
        selection=to_json(comparison.selection),
    )


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _groups(comparison: Comparison) -> list[tuple[str, str]]:
    """The sides, and how many cells of how many patients each has."""
    ranking = comparison.separated.ranking
    people = ranking.patients or (None,) * len(ranking.names)
    return [
        (name, f"{n:,} cells, " + ("patients not all known" if patients is None else f"{patients} patients"))
        for name, n, patients in zip(comparison.names, ranking.n, people, strict=True)
    ]


def _reasons(refused: Mapping[str, str]) -> list[str]:
    """Reasons why features are not compared, each once with the number of its features."""
    return [
        f"{n} {'feature is' if n == 1 else 'features are'} not compared: {reason}."
        for reason, n in Counter(refused.values()).most_common()
    ]


def _left_out(seen: InView) -> list[str]:
    return [
        *(f"{out.cells:,} cells are left out because not: {out.sentence.words}." for out in seen.left_out if out.cells),
        *(
            f"Of those left out for quality, {n:,} are flagged as {code.replace('_', ' ')}."
            for code, n in seen.flagged.items()
        ),
    ]


def _drawn_groups(comparison: Comparison) -> tuple[DrawnGroup, ...]:
    ranking = comparison.separated.ranking
    kinds = [CellType(name) if name in list(CellType) else None for name in comparison.names]
    return styled(comparison.names, ranking.n, ranking.patients or [None] * len(ranking.n), kinds)


def _box(comparison: Comparison, feature: str, groups: Sequence[DrawnGroup]) -> Markup:
    cells = comparison.cells
    column = cells.matrix[:, cells.features.index(feature)]
    values = [column[(cells.sides == side) & ~np.isnan(column)] for side in range(len(groups))]
    summaries = [Statistics.of(of_side) for of_side in values]
    spec = CATALOGUE[feature]
    chart = box_chart(groups, feature, basis_of(spec), summaries, values, LIGHT, log=spec.log_axis)
    return drawing(to_svg(chart, _CHART_PX))


def _table(comparison: Comparison, reliability: Reliability) -> ReportTable:
    by_feature = comparison.separated.by_feature
    effect = "Cliff's delta" if len(comparison.names) == 2 else "Epsilon squared"
    medians = [f"Median, {name}" for name in comparison.names]
    head = ["Feature", effect, "95 % interval", *medians, "n", "Patients", "p", "q", "Trust"]
    rows = []
    for name in poor_last(_morphology_first(by_feature), reliability):
        ranked, spec = by_feature[name], CATALOGUE[name]
        cells = [
            spec.label,
            "" if ranked.effect is None else f"{ranked.effect:.3f}",
            "" if ranked.low is None or ranked.high is None else f"{ranked.low:.2f} to {ranked.high:.2f}",
            *(with_unit(spec, value, basis_of(spec)) for value in ranked.medians or (None,) * len(ranked.n)),
            " / ".join(f"{n:,}" for n in ranked.n) + (" (sample)" if ranked.sampled else ""),
            "not all known" if ranked.patients is None else " / ".join(map(str, ranked.patients)),
            _chance(ranked.p),
            _chance(ranked.q),
            trust(name, reliability),
        ]
        rows.append(ReportRow(cells, spec.description, poor=is_poor(name, reliability)))
    return ReportTable(head, rows)


def _morphology_first(features: Iterable[str]) -> list[str]:
    """Features aspect by aspect, in each in the order given."""
    return sorted(features, key=lambda name: list(Aspect).index(CATALOGUE[name].aspect))


def _chance(value: float | None) -> str:
    return "" if value is None else "< 0.0001" if value < 0.0001 else number(value)


def _provenance(comparison: Comparison, created: datetime) -> list[tuple[str, str]]:
    seen = comparison.in_view
    drawn_by = {**seen.models, **({"a person": seen.corrected} if seen.corrected else {})}
    scales = " to ".join(f"{scale:g}" for scale in sorted(set(seen.scales or ())))
    return [
        *(
            (f"Population {population.title}", " · ".join(filter(None, _described(population))))
            for population in comparison.populations
        ),
        ("Outlines drawn by", ", ".join(f"{name} ({n:,} cells)" for name, n in drawn_by.items())),
        ("Scales", f"{scales} µm per pixel" if scales else "unknown"),
        ("State of the cohort", comparison.revision),
        ("Date", created.isoformat(timespec="seconds")),
        *((f"Version of {name}", text) for name, text in sorted(software_versions().items())),
    ]


def _described(population: Population) -> tuple[str, ...]:
    return population.source, population.tissue, population.note, population.citation, population.terms


def to_frame(comparison: Comparison, reliability: Reliability) -> pd.DataFrame:
    """Return the ranking as a table: morphology first, in each aspect the largest effect first, poor ones after all.

    With the medians' unit and each feature's grade. What is not compared comes last, with the reason.
    """
    ranked = comparison.separated.ranking.to_frame().set_index("feature", drop=False)
    refused = comparison.refused
    order = [*poor_last(_morphology_first(ranked["feature"]), reliability), *refused]
    frame = ranked.reindex(order)
    counts = [name for name in frame.columns if name.startswith(("n ", "patients "))]
    frame[counts] = frame[counts].astype("Int64")  # what is not compared has none
    specs = [CATALOGUE[name] for name in order]
    frame["feature"], frame["label"] = order, [spec.label for spec in specs]
    frame.insert(2, "unit_of_medians", [spec.unit.um if spec.length_power else spec.unit.px for spec in specs])
    frame.insert(2, "aspect", [spec.aspect.value for spec in specs])
    frame["trust"] = [trust(spec.name, reliability) for spec in specs]
    frame["not_compared"] = [refused.get(name) for name in order]
    frame["calibrated_by"] = ", ".join(each.name for each in comparison.in_view.calibrations) or None
    frame["model_note"] = comparison.in_view.model_note
    return frame.reset_index(drop=True)

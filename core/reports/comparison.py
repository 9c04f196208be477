"""A comparison of groups of cells as one takes it away.

A report that opens without a network and without scripts, for years.
"""

import html
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

import numpy as np
import pandas as pd

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
from core.explorer.ranking import FEW_PATIENTS, RESAMPLES, Separation, group_name, sentence
from core.explorer.redundancy import ALIKE
from core.explorer.selection import CHOICES, Selection, sentences, to_json
from core.explorer.separation import Separated, Sides, SideSample, gather, rank_exactly, sample_size, separate
from core.explorer.view import NOT_RECORDED, By, Grouping, InView
from core.features.catalogue import CATALOGUE
from core.populations.summaries import Statistics, basis_of
from core.store.database import Cohort
from core.store.schema import Population

_NOTICE: Final = (
    "Research use, not for diagnosis. A description of the cells that were measured; the judgement is the"
    " morphologist's."
)
_LEADING: Final = 15  # features drawn beside each other
_DRAWN: Final = 6  # of which the values are drawn too
_CHART_PX: Final = 520
_WIDE_PX: Final = 1040


@dataclass(frozen=True, eq=False)
class Comparison:
    """Groups of cells set side by side, and what separates them.

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
        """The first features that stand for themselves or others and are not known to be poor."""
        first = (self.separated.by_feature[group.representative] for group in self.separated.redundancy.groups)
        return [found for found in first if found.effect is not None and not is_poor(found.feature, reliability)][:most]


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

    Where a side has more than `sample_size` cells, a sample ranks all features, and all cells those that lead.

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
        found.population for found in cohort.populations() if found.population.population_id in in_view.populations
    )
    found = Comparison(narrowed, in_view, tuple(names), cells, separated, stored, cohort.revision)
    if not cells.sampled:
        return found
    leading = [each.feature for each in found.leading(reliability, _LEADING)]
    exact = rank_exactly(cohort, narrowed, by, sides, names, leading)
    return replace(found, separated=separated.with_exact(exact))


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
    title = " beside ".join(comparison.names)
    title = title[:1].upper() + title[1:]
    sections = {
        "Which cells": _cells(comparison),
        "What separates them": _separating(comparison, reliability),
        "Few features together": _panels(comparison.panels),
        "All features": _table(comparison, reliability),
        "How it was found, and how far to trust it": _methods(comparison, reliability),
        "Where this comes from": _provenance(comparison, created),
    }
    body = "".join(f"<section><h2>{name}</h2>{text}</section>" for name, text in sections.items() if text)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport"'
        f' content="width=device-width"><title>{html.escape(title)}: Leukoscope'
        f" comparison</title><style>{_CSS}</style></head><body><main><header><h1>{html.escape(title)}</h1><p>Leukoscope"
        f' comparison, {created:%d %B %Y, %H:%M}</p><p class="notice">{_NOTICE}</p></header>{body}</main></body></html>'
    )


def _items(lines: Iterable[str]) -> str:
    items = "".join(f"<li>{html.escape(line)}</li>" for line in lines)
    return f"<ul>{items}</ul>" if items else ""


def _rows(lines: Iterable[tuple[str, str]]) -> str:
    rows = "".join(f"<tr><th>{html.escape(name)}</th><td>{html.escape(text)}</td></tr>" for name, text in lines)
    return f"<table class='facts'>{rows}</table>"


def _cells(comparison: Comparison) -> str:
    seen, ranking = comparison.in_view, comparison.separated.ranking
    people = ranking.patients or (None,) * len(ranking.names)
    groups = [
        (name, f"{n:,} cells, " + ("patients not all known" if patients is None else f"{patients} patients"))
        for name, n, patients in zip(comparison.names, ranking.n, people, strict=True)
    ]
    left_out = [
        f"{out.cells:,} cells are left out because not: {out.sentence.words}" for out in seen.left_out if out.cells
    ]
    flagged = [
        f"Of those left out for quality, {n:,} are flagged as {code.replace('_', ' ')}"
        for code, n in seen.flagged.items()
    ]
    parts = [
        _rows(groups),
        "<h3>Conditions</h3>",
        _items(f"{said.words[:1].upper()}{said.words[1:]}." for said in sentences(comparison.selection)),
        _items(f"{line}." for line in (*left_out, *flagged)),
    ]
    if seen.warnings:
        parts += ["<h3>Before comparing</h3>", f"<div class='warning'>{_items(seen.warnings)}</div>"]
    return "".join(parts)


def _separating(comparison: Comparison, reliability: Reliability) -> str:
    ranking, leading = comparison.separated.ranking, comparison.leading(reliability, _LEADING)
    groups = _drawn_groups(comparison)
    said = [sentence(found, [group_name(name) for name in comparison.names]) for found in leading]
    chart = to_svg(separation_chart(leading, said, groups, reliability, LIGHT), _WIDE_PX)
    cautions = {caution for found in leading if (caution := comparison.in_view.caution(found.feature))}
    boxes = "".join(_box(comparison, found.feature, groups) for found in leading[:_DRAWN])
    sample = (
        f" Drawn from {len(comparison.cells.sides):,} of {comparison.cells.of:,} cells."
        if comparison.cells.sampled
        else ""
    )
    return (
        f"<p>{html.escape(comparison.separated.redundancy.sentence)} The first of each, at most"
        f" {_LEADING}:</p>{_items(said)}<p"
        f" class='small'>{html.escape(_sentence(ranking.note))}</p>{_items(sorted(cautions))}<div"
        f" class='charts'>{chart}</div><h3>Their values</h3><p class='small'>Line: 2-98 %, box: 25-75 %, tick:"
        f" median.{sample}</p><div class='charts'>{boxes}</div>"
    )


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _drawn_groups(comparison: Comparison) -> tuple[DrawnGroup, ...]:
    ranking = comparison.separated.ranking
    kinds = [CellType(name) if name in list(CellType) else None for name in comparison.names]
    return styled(comparison.names, ranking.n, ranking.patients or [None] * len(ranking.n), kinds)


def _box(comparison: Comparison, feature: str, groups: Sequence[DrawnGroup]) -> str:
    cells = comparison.cells
    column = cells.matrix[:, cells.features.index(feature)]
    values = [column[(cells.sides == side) & ~np.isnan(column)] for side in range(len(groups))]
    found = [Statistics.of(mine) for mine in values]
    spec = CATALOGUE[feature]
    return to_svg(box_chart(groups, feature, basis_of(spec), found, values, LIGHT, log=spec.log_axis), _CHART_PX)


def _panels(found: Panels | None) -> str:
    if found is None:
        return ""
    parts = []
    for panel in found.panels:
        parts += [f"<p>{html.escape(panel.sentence)}</p>", _items(rule.sentence for rule in panel.rules)]
    return "".join(parts) + _items(found.notes)


def _table(comparison: Comparison, reliability: Reliability) -> str:
    by_feature = comparison.separated.by_feature
    effect = "Cliff's delta" if len(comparison.names) == 2 else "Epsilon squared"
    head = [
        "Feature",
        effect,
        "95 % interval",
        *(f"Median, {name}" for name in comparison.names),
        "n",
        "Patients",
        "p",
        "q",
        "Trust",
    ]
    rows = []
    for name in poor_last(by_feature, reliability):
        found, spec = by_feature[name], CATALOGUE[name]
        cells = [
            _decimal(found.effect),
            "" if found.low is None or found.high is None else f"{found.low:.2f} to {found.high:.2f}",
            *(with_unit(spec, value, basis_of(spec)) for value in found.medians or (None,) * len(found.n)),
            " / ".join(f"{n:,}" for n in found.n) + (" (sample)" if found.sampled else ""),
            "not all known" if found.patients is None else " / ".join(map(str, found.patients)),
            _chance(found.p),
            _chance(found.q),
            trust(name, reliability),
        ]
        poor = " class='poor'" if is_poor(name, reliability) else ""
        body = "".join(f"<td>{html.escape(text)}</td>" for text in cells)
        rows.append(
            f"<tr{poor}><td"
            f' title="{html.escape(spec.description, quote=True)}">{html.escape(spec.label)}</td>{body}</tr>'
        )
    titles = "".join(f"<th>{html.escape(text)}</th>" for text in head)
    table = f"<table class='features'><thead><tr>{titles}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    summary = f"{len(rows)} features, the largest effect first, poor ones last"
    return f"<details><summary>{summary}</summary><div class='wide'>{table}</div></details>"


def _decimal(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _chance(value: float | None) -> str:
    return "" if value is None else "< 0.0001" if value < 0.0001 else number(value)


def _methods(comparison: Comparison, reliability: Reliability) -> str:
    ranking = comparison.separated.ranking
    two = len(comparison.names) == 2
    effect = (
        f"Effect: Cliff's delta, the share of pairs in which the cell of {comparison.names[0]} has the larger value"
        " minus the share in which it has the smaller, -1 to 1; the AUC is (delta + 1) / 2."
        if two
        else (
            "Effect: epsilon squared of Kruskal and Wallis, the share of the variance of the ranks that lies between"
            " the groups, 0 to 1."
        )
    )
    test = "Mann and Whitney's U" if two else "Kruskal and Wallis' H"
    refused = len(CATALOGUE) - len(comparison.separated.by_feature)
    lines = [
        effect,
        (
            f"Interval: 95 %, {RESAMPLES} bootstrap resamplings of {ranking.drawn}; whole patients are drawn where all"
            f" are known and every group has {FEW_PATIENTS} of them."
        ),
        f"Test: {test}, two-sided, corrected for ties, "
        + (f"between {ranking.tested}" if ranking.tested else "not made between so few patients")
        + f". q is Benjamini and Hochberg's over {len(comparison.separated.by_feature)} features."
        f" {_sentence(ranking.note)}",
        "Features with a length in their unit are compared in micrometres over cells of known scale, others as they"
        " are."
        + (
            f" {refused} features are not compared, because the cells in view do not allow it (see Before comparing)."
            if refused
            else ""
        ),
        f"Features whose ranks within the groups correlate at {ALIKE} or more count as one, and one stands for them.",
        "The groups were not randomised: a difference may come from stain, camera, patients or how cells were chosen.",
    ]
    if ranking.sampling is not None:
        lines.append(f"{ranking.sampling} In the table these are marked as sample.")
    if not reliability:
        lines.append("How far each feature can be trusted is not measured for this model: none is marked.")
    else:
        lines.append(
            "Trust: how well each feature from the model's outlines agrees with the same from drawn ones; poor ones"
            " lead nothing."
        )
    return _items(lines)


def _provenance(comparison: Comparison, created: datetime) -> str:
    seen = comparison.in_view
    lines = [
        *(
            (f"Population {found.title}", " · ".join(filter(None, _described(found))))
            for found in comparison.populations
        ),
        ("Outlines drawn by", ", ".join(f"{name} ({n:,} cells)" for name, n in seen.models.items())),
        (
            "Scales",
            (
                f"{' to '.join(f'{scale:g}' for scale in sorted(set(seen.scales)))} µm per pixel"
                if seen.scales
                else "unknown"
            ),
        ),
        ("State of the cohort", comparison.revision),
        ("Date", created.isoformat(timespec="seconds")),
        *((f"Version of {name}", text) for name, text in sorted(software_versions().items())),
    ]
    return f"{_rows(lines)}<h3>Selection</h3><pre>{html.escape(to_json(comparison.selection))}</pre>"


def _described(population: Population) -> tuple[str, ...]:
    return population.source, population.tissue, population.note, population.citation, population.terms


def to_frame(comparison: Comparison, reliability: Reliability) -> pd.DataFrame:
    """Return the ranking as a table, the largest effect first, with the unit of the medians and how far each feature can be trusted."""
    frame = comparison.separated.ranking.to_frame()
    specs = [CATALOGUE[name] for name in frame["feature"]]
    frame.insert(2, "unit_of_medians", [spec.unit.um if spec.length_power else spec.unit.px for spec in specs])
    frame["trust"] = [trust(spec.name, reliability) for spec in specs]
    return frame


_CSS: Final = """
body{font:15px/1.45 system-ui,'Segoe UI',Helvetica,Arial,sans-serif;color:#16191d;background:#fff;margin:0}
main{max-width:1080px;margin:0 auto;padding:24px}
h1{font-size:1.6rem;margin:0;overflow-wrap:anywhere}
h2{font-size:1.2rem;margin:2rem 0 .5rem;border-bottom:1px solid #d5d9de;padding-bottom:.2rem}
h3{font-size:1rem;margin:1rem 0 .2rem}header p{margin:.2rem 0}.notice{font-weight:600}.small{font-size:.87rem;color:#4b5563}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
td,th{text-align:left;vertical-align:top;font-weight:400;padding:.2rem .6rem .2rem 0;border-bottom:1px solid #eceff2;overflow-wrap:anywhere}
th{font-weight:500}.facts th{width:34%}.features{font-size:.8rem}.features td,.features th{overflow-wrap:normal}
.wide{overflow-x:auto}.poor{color:#6b7280}.warning{background:#fdf3d8;border-radius:6px;padding:.1rem .6rem}
.charts{display:flex;flex-wrap:wrap;gap:12px}.charts svg{max-width:100%;height:auto}
pre{background:#f4f5f7;padding:.6rem;border-radius:6px;white-space:pre-wrap;overflow-wrap:anywhere}
details{margin:.6rem 0}summary{cursor:pointer}
@media print{.charts svg{break-inside:avoid}}
"""

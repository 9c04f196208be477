"""What sets two kinds of cells apart inside each laboratory: in sentences, as a table, and as a report of one file."""

from collections.abc import Sequence
from datetime import datetime

import pandas as pd

from core.charts.trust import Reliability, is_poor, poor_last, trust
from core.domain.versions import software_versions
from core.explorer.contrasts import CLEAR, STRONG, Contrasts, FamilyAgreement, SourceSides
from core.explorer.ranking import group_name
from core.explorer.selection import Selection, to_json
from core.explorer.selection import sentences as conditions
from core.features.catalogue import CATALOGUE
from core.features.phrases import PHRASES
from core.features.spec import Aspect
from core.populations.contrast import Contrast
from core.populations.dominance import Dominance
from core.reports.engine import ReportRow, ReportTable, render

_MOST_SAID = 5


def sentences(found: Contrasts) -> list[str]:
    """What to know before reading the table: who takes part, and how the sources agree."""
    return [
        *(f"{_of_source(each, found.names)}." for each in found.sources),
        *(f"{_of_source(each, found.names)}: too few." for each in found.too_few),
        *map(agreement, found.agreement() if len(found.sources) > 1 else ()),
    ]


def _of_source(sides: SourceSides, names: tuple[str, str]) -> str:
    known = "patients not all named"
    if sides.patients is not None:
        known = f"{sides.patients[0]} and {sides.patients[1]} patients"
    cells = " and ".join(f"{n:,} {group_name(name).plural}" for n, name in zip(sides.n, names, strict=True))
    return f"{sides.source}: {cells}, {known}"


def agreement(family: FamilyAgreement) -> str:
    """How the sources agree in a family, in words."""
    rank = "" if family.rank is None else f" (Spearman {family.rank:.2f})"
    if family.same_sign is None:
        return f"{family.family.capitalize()}: no source sees a large difference{rank}."
    return (
        f"{family.family.capitalize()}{rank}: {100 * family.same_sign:.0f} % of the {family.strong} features with a"
        f" difference above {STRONG} point the same way; {family.clear} of {family.features} differ by more than"
        f" {CLEAR} everywhere."
    )


def plain(each: Contrast, names: tuple[str, str]) -> str:
    """One feature in words: who has more, and by how much in each source."""
    first, second = map(group_name, names)
    label = CATALOGUE[each.feature].label
    told = ", ".join(f"{found.delta:+.2f} in {source}" for source, found in each.by_source.items())
    if not each.same_sign:
        return f"{label}: the sources differ in which has more ({told})"
    larger = next(iter(each.by_source.values())).delta > 0
    who = first.plural[:1].upper() + first.plural[1:]
    if each.feature in PHRASES:
        phrase = PHRASES[each.feature]
        said = f"{who} {phrase.larger if larger else phrase.smaller} than {second.plural}"
    else:
        said = f"{label}: {'higher' if larger else 'lower'} in {first.plural} than in {second.plural}"
    return f"{said} ({told})"


def best(found: Contrasts, aspect: Aspect, reliability: Reliability) -> Contrast | None:
    """The feature of an aspect that differs most in every source: of those that have words, else of any."""
    told = [
        each
        for each in found.everywhere
        if CATALOGUE[each.feature].aspect is aspect and not is_poor(each.feature, reliability) and each.smallest
    ]
    spoken = [each for each in told if each.feature in PHRASES] or told
    return spoken[0] if spoken else None


def ordered(found: Contrasts, reliability: Reliability) -> list[Contrast]:
    """Morphology first, in each aspect the largest difference that holds everywhere first; poor ones after all."""
    aspects = list(Aspect)
    by_aspect = sorted(found.contrasts, key=lambda each: aspects.index(CATALOGUE[each.feature].aspect))
    order = poor_last([each.feature for each in by_aspect], reliability)
    return [found.by_feature[name] for name in order]


def to_frame(found: Contrasts, reliability: Reliability) -> pd.DataFrame:
    """The table in this order, with each feature's aspect and grade."""
    frame = found.to_frame().set_index("feature", drop=False)
    frame = frame.loc[[each.feature for each in ordered(found, reliability)]].reset_index(drop=True)
    frame.insert(2, "aspect", [CATALOGUE[name].aspect.value for name in frame["feature"]])
    frame["trust"] = [trust(name, reliability) for name in frame["feature"]]
    frame["refused_in"] = [found.refused.get(name) for name in frame["feature"]]
    return frame


def html_report(
    found: Contrasts, selection: Selection, revision: str, reliability: Reliability, created: datetime
) -> str:
    """Build the report as one HTML text: who was compared, what holds everywhere, and how it was found."""
    first, second = map(group_name, found.names)
    said = [each for aspect in Aspect if (each := best(found, aspect, reliability))]
    return render(
        "contrasts",
        title=f"{first.plural[:1].upper()}{first.plural[1:]} beside {second.plural}, inside each source",
        created=created,
        found=found,
        reliability=reliability,
        sources=[f"{_of_source(each, found.names)}." for each in found.sources],
        too_few=[f"{_of_source(each, found.names)}: too few to take part." for each in found.too_few],
        best=[f"{plain(each, found.names)}." for each in said],
        agreement=[agreement(family) for family in found.agreement()] if len(found.sources) > 1 else [],
        conditions=[f"{each.words[:1].upper()}{each.words[1:]}." for each in conditions(selection)],
        table=_table(found, reliability),
        provenance=[
            ("State of the cohort", revision),
            ("Date", created.isoformat(timespec="seconds")),
            *((f"Version of {name}", text) for name, text in sorted(software_versions().items())),
        ],
        selection=to_json(selection),
    )


def _table(found: Contrasts, reliability: Reliability) -> ReportTable:
    head = ["Feature", "Holds everywhere", *(each.source for each in found.sources), "Pooled", "I squared", "Trust"]
    rows = []
    for each in ordered(found, reliability):
        spec = CATALOGUE[each.feature]
        pooled = "" if each.pooled is None else _with_interval(each.pooled, (each.low or 0.0, each.high or 0.0))
        cells = [
            spec.label,
            f"{each.smallest:.2f}" if each.same_sign else "differ in sign",
            *(_told(each.by_source.get(source.source)) for source in found.sources),
            pooled,
            "" if each.i2 is None else f"{100 * each.i2:.0f} %",
            trust(each.feature, reliability),
        ]
        rows.append(ReportRow(cells, spec.description, poor=is_poor(each.feature, reliability)))
    return ReportTable(head, rows)


def _told(found: Dominance | None) -> str:
    return "not compared" if found is None else _with_interval(found.delta, found.interval)


def _with_interval(value: float, ends: Sequence[float]) -> str:
    return f"{value:+.2f} ({ends[0]:+.2f} to {ends[1]:+.2f})"

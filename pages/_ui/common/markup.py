"""The pieces of HTML that several pages show; `Markup.format` escapes names from outside."""

from collections.abc import Iterable
from typing import Final

from markupsafe import Markup

from core.charts.trust import Reliability, is_poor, why
from core.features.catalogue import CATALOGUE
from core.support.text import shown

_SENTENCE: Final = Markup('<li class="{}">{}</li>')
_LEGEND_ENTRY: Final = Markup('<span><i style="{}"></i>{}</span>')
_MEASURE: Final = Markup(
    '<div><span class="name" title="{meaning}">{name}</span><span class="value">{figure} <small>{unit}</small></span>'
    "</div><div>{beside}</div>"
)


def sentences(items: Iterable[tuple[str, str]], *, wide: bool = False) -> Markup:
    """A list of sentences, each with the class that sets its mark: good, info, warn, above, below."""
    lines = Markup().join(_SENTENCE.format(kind, shown(text)) for kind, text in items)
    return Markup('<ul class="sentences{}">{}</ul>').format(" two-columns" if wide else "", lines)


def legend(entries: Iterable[tuple[str, str]]) -> Markup:
    """The key to a chart: the style of each mark, and what it stands for."""
    spans = Markup().join(_LEGEND_ENTRY.format(style, shown(text)) for style, text in entries)
    return Markup('<div class="legend">{}</div>').format(spans)


def faint(text: str) -> Markup:
    """Faint text in the place of a strip, or below it."""
    return Markup('<span class="none">{}</span>').format(shown(text))


def measures(rows: Iterable[tuple[str, str, Markup]], reliability: Reliability) -> Markup:
    """Features, each with its value as shown ("7.3 µm") and further cells; the meaning is the hover text."""
    lines = Markup().join(_measure(feature, value, beside, reliability) for feature, value, beside in rows)
    return Markup('<div class="measures">{}</div>').format(lines)


def _measure(feature: str, value: str, beside: Markup, reliability: Reliability) -> Markup:
    spec = CATALOGUE[feature]
    figure, _, unit = value.partition(" ")
    return _MEASURE.format(
        meaning=f"{spec.description} {why(feature, reliability)}".strip(),
        name=spec.label + (" (poor)" if is_poor(feature, reliability) else ""),
        figure=figure,
        unit=unit,
        beside=beside,
    )

"""Reports from templates: one HTML text with everything inside, which opens without a network and without scripts.

A template is given values and escapes them all, wherever they come from. Only `Markup` is inserted as it is: the
drawings of `core.charts`, by `drawing`. A policy in its head lets a browser load nothing, whatever a report holds.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from core.support.text import shown


def as_text(value: object) -> object:
    """A value as a template inserts it: text on its way from outside as it is shown everywhere."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return "\n".join(map(shown, value.split("\n")))
    return value


TEMPLATES: Final = Environment(
    loader=PackageLoader("core.reports"),
    autoescape=True,
    undefined=StrictUndefined,
    finalize=as_text,
    trim_blocks=True,
    lstrip_blocks=True,
)


class ReportRow(NamedTuple):
    """One feature in a report's table: its name, its cells, and its meaning as hover text."""

    cells: Sequence[str]
    meaning: str
    poor: bool = False


class ReportTable(NamedTuple):
    """A report's table of features, the first column their names."""

    head: Sequence[str]
    rows: Sequence[ReportRow]


def render(report: str, **values: object) -> str:
    """Fill the template of a report, e.g. "cell".

    Raises
    ------
    jinja2.UndefinedError
        If the template asks for a value that is not given.
    """
    return TEMPLATES.get_template(f"{report}.html.j2").render(values)


def drawing(svg: str) -> Markup:
    """Mark an SVG of `core.charts` as safe: its texts are escaped already."""
    return Markup(svg)

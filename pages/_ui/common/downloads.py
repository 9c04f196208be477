"""Downloads of all that is seen: charts as SVG, PNG and Vega-Lite, tables as CSV, made when asked for."""

from collections.abc import Callable
from datetime import date
from pathlib import PurePath
from typing import Final

import pandas as pd
import streamlit as st

from core.charts.theme import AnyChart, to_png, to_svg, to_vega_lite
from core.domain.options import Units
from core.store.export import to_csv
from core.support import text

_WIDTH: Final = 900


def file_name(name: str, suffix: str, what: str = "", day: date | None = None) -> str:
    """A file name for the download of something (an image, a run, a chart), of a day, if not of today.

    `leukoscope_<name>_<date>[_<what>].<suffix>`, of letters, digits, dots, dashes and underscores.
    """
    stem = text.file_name(PurePath(name).stem, "image")
    return f"leukoscope_{stem}_{(day or date.today()).isoformat()}{'_' + what if what else ''}.{suffix}"


def download_menu(
    key: str,
    what: str,
    chart: AnyChart | Callable[[], AnyChart] | None = None,
    table: pd.DataFrame | None = None,
    report: Callable[[], str] | None = None,
) -> None:
    """Show a small menu of downloads of a chart, a table and a report, as far as given.

    A chart that is not on the page is given as a function, which draws it when it is asked for.
    """

    def drawn() -> AnyChart:
        assert chart is not None
        return chart() if callable(chart) else chart

    makers: dict[str, tuple[Callable[[], bytes], str, str]] = {}
    if chart is not None:
        makers |= {
            "Chart as SVG": (lambda: to_svg(drawn(), _WIDTH).encode(), "svg", "image/svg+xml"),
            "Chart as PNG": (lambda: to_png(drawn(), _WIDTH), "png", "image/png"),
            "Chart as Vega-Lite": (lambda: to_vega_lite(drawn()).encode(), "json", "application/json"),
        }
    if table is not None:
        makers["Table as CSV"] = (lambda: to_csv(table), "csv", "text/csv")
    if report is not None:
        makers["Report (HTML)"] = (lambda: report().encode(), "html", "text/html")
    with st.popover("Download", icon=":material/download:", type="tertiary", key=f"take-{key}"):
        for label, (make, suffix, mime) in makers.items():
            st.download_button(
                label,
                make,
                file_name(what, suffix),
                mime,
                key=f"take-{key}-{suffix}",
                on_click="ignore",
                type="tertiary",
            )


def choose_units(key: str, lacking: str) -> Units:
    """Ask for the unit of sizes in a table; pixels without asking where `lacking` says that some have no scale."""
    if lacking:
        st.caption(f"Sizes in pixels: {lacking}.")
        return Units.PIXELS
    return Units(
        st.segmented_control(
            "Sizes in",
            [Units.MICROMETRES, Units.PIXELS],
            default=Units.MICROMETRES,
            required=True,
            format_func={Units.MICROMETRES: "µm", Units.PIXELS: "pixels"}.__getitem__,
            key=key,
        )
    )

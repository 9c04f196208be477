"""Cells for other programs: the same list of formats wherever cells can be taken away."""

from collections.abc import Callable
from functools import partial
from typing import Final, Literal

import streamlit as st

from core.domain.options import Units
from core.exchange.cells import Handover
from core.exchange.writing import FORMATS, packed
from pages._ui.common.downloads import file_name

# Cells. A file goes through the server's memory to the browser; `leukoscope exchange` has no such limit.
MOST: Final = 20_000


def offer_exchange(
    key: str,
    title: str,
    cells: int,
    make: Callable[[], Handover],
    *,
    scaled: bool,
    look: Literal["secondary", "tertiary"] = "secondary",
) -> None:
    """Show a small menu of formats for so many cells, in micrometres where all are `scaled`."""
    with (
        st.popover("To other tools", icon=":material/output:", type=look, key=f"exchange-{key}"),
        st.container(gap=None),  # nine of them fit on a telephone
    ):
        if cells > MOST:
            st.caption(f"Too many for a browser (up to {MOST:,}): `leukoscope exchange` writes them on this computer.")
            return
        st.caption(f"Outlines, places and values; sizes in tables in {'µm' if scaled else 'pixels'}.")
        units = Units.MICROMETRES if scaled else Units.PIXELS
        for name, known in FORMATS.items():
            st.download_button(
                known.label,
                partial(_made, make, name, units),
                file_name(title, known.suffix.removeprefix(".") or "zip", name.replace("-", "_")),
                "application/octet-stream" if known.suffix else "application/zip",
                key=f"exchange-{key}-{name}",
                on_click="ignore",
                type="tertiary",
                help=f"Opens in {known.opens_in}",
            )


def _made(make: Callable[[], Handover], name: str, units: Units) -> bytes:
    return packed(make(), name, units)

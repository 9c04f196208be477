"""How every chart looks: colours, sizes, and the way to a stand-alone SVG.

The only place that sets an Altair configuration.
"""

import json
from dataclasses import dataclass
from typing import Any, Final

import altair as alt

from core.domain.cell_types import CELL_TYPES, CellType

AnyChart = alt.Chart | alt.LayerChart | alt.FacetChart

ROW_HEIGHT_PX: Final = 20
_VEGA_LITE: Final = "6.1"
FONT: Final = "Source Sans, Source Sans 3, Segoe UI, Helvetica, Arial, sans-serif"

# A second and third source of one cell type keep its colour and differ in lightness: mixed this far with white or
# black.
_SOURCE_SHADES: Final = (0.0, 0.45, -0.35, 0.65, -0.55)


@dataclass(frozen=True)
class Look:
    """Colours of one brightness mode. `ink` draws the person's own cell, `paper` the ring around it."""

    ink: str
    paper: str
    muted: str
    grid: str


LIGHT: Final = Look(ink="#111418", paper="#FFFFFF", muted="#6B7280", grid="#E5E7EB")
DARK: Final = Look(ink="#FFFFFF", paper="#0F1216", muted="#9CA3AF", grid="#30363D")


def look(dark: bool) -> Look:
    """The colours for a dark or a light page."""
    return DARK if dark else LIGHT


def _mixed(colour: str, share: float) -> str:
    """A hex colour mixed with white (share > 0) or with black (share < 0)."""
    target = 255 if share > 0 else 0
    channels = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return "#" + "".join(f"{round(c + (target - c) * abs(share)):02X}" for c in channels)


def population_colour(cell_type: CellType, source_index: int = 0) -> str:
    """Colour of a population: that of its cell type, lighter or darker for its second and later sources."""
    return _mixed(CELL_TYPES[cell_type].colour, _SOURCE_SHADES[source_index % len(_SOURCE_SHADES)])


def edge_colour(colour: str) -> str:
    """Darker edge of a colour, also for lines of light colours: yellow alone is lost on white."""
    return _mixed(colour, -0.3)


def configured(chart: AnyChart, height: int | None = None) -> AnyChart:
    """The chart with the common settings that hold on light and dark pages alike.

    Colours of text are left to the page.
    """
    # Only the width adapts to the page: the height is that of the plot, so rows keep their height whatever the axes
    # need.
    properties: dict[str, Any] = {"autosize": alt.AutoSizeParams(type="fit-x", contains="padding")}
    if height is not None:
        properties["height"] = height
    properties["config"] = alt.Config(
        mark=alt.MarkConfig(aria=False),  # a screen reader is told what a chart shows, not point by point
        view=alt.ViewConfig(stroke=None),
        axis=alt.AxisConfig(labelFontSize=12, titleFontSize=12, titleFontWeight="normal", labelLimit=220),
        axisY=alt.AxisConfig(domain=False, ticks=False),
        legend=alt.LegendConfig(labelFontSize=12, titleFontSize=12, labelLimit=320, symbolStrokeWidth=2),
    )
    done: AnyChart = chart.properties(
        **properties
    )  # one copy of the chart, where each configure_ call would make another
    return done


def to_svg(chart: AnyChart, width: int) -> str:
    """The chart as a stand-alone SVG text on white; `width` in pixels includes the axes. No browser, no network."""
    import vl_convert  # 40 MB and only needed for reports

    svg: str = vl_convert.vegalite_to_svg(_stand_alone(chart, width), vl_version=_VEGA_LITE)
    return svg


def open_converter() -> None:
    """Load what makes SVG of charts, so that the first one takes no longer than the others."""
    import vl_convert

    vl_convert.vegalite_to_svg({"data": {"values": []}, "mark": "point"}, vl_version=_VEGA_LITE)


def to_png(chart: AnyChart, width: int) -> bytes:
    """The chart as a PNG on white, twice as many pixels across as `width`; as sharp on paper as on a screen."""
    import vl_convert

    png: bytes = vl_convert.vegalite_to_png(_stand_alone(chart, width), vl_version=_VEGA_LITE, scale=2)
    return png


def to_vega_lite(chart: AnyChart) -> str:
    """The chart with its data as Vega-Lite JSON, for an editor of charts."""
    return json.dumps(_stand_alone(chart, None))


def _stand_alone(chart: AnyChart, width: int | None) -> dict[str, Any]:
    spec: dict[str, Any] = chart.to_dict(validate=False)
    if width is not None:
        spec["width"] = width
    spec["background"] = LIGHT.paper
    spec.setdefault("config", {})["font"] = FONT
    return spec

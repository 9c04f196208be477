"""Scatter plot of five to a million cells, drawn in the browser: hover, click, box and lasso."""

import base64
import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from core.charts.scatter import NO_GROUP, Bins, Points, Scatter, colours
from core.charts.theme import Look
from core.support.text import shown
from pages._ui.common.state import widget_value
from pages._ui.components.assets import component

Polygon = tuple[tuple[float, float], ...]

MOST_VERTICES: Final = 100
_HTML: Final = """
<div class="scatter">
  <div class="tools" role="toolbar" aria-label="Choosing cells">
    <button class="lasso" type="button" aria-pressed="false">Lasso</button>
    <button class="box" type="button" aria-pressed="false">Box</button>
    <button class="clear" type="button">Clear</button>
    <span class="said" role="status"></span>
  </div>
  <div class="plot">
    <canvas class="marks" aria-hidden="true"></canvas>
    <canvas class="over" role="application" tabindex="0"></canvas>
    <div class="tip" hidden></div>
  </div>
  <div class="bar" hidden>
    <span class="bar-title"></span><span class="low"></span><span class="ramp"></span><span class="high"></span>
  </div>
  <div class="legend" role="group" aria-label="Groups; a click brings one out"></div>
</div>
"""
_SCATTER: Final = component(__file__, "leukoscope_scatter", _HTML)


def scatter(
    drawn: Scatter,
    look: Look,
    key: str,
    *,
    chosen: Polygon | None = None,
    on_select: Callable[[Polygon | None], None] | None = None,
    on_pick: Callable[[str], None] | None = None,
    height: int = 460,
) -> None:
    """Show cells in a plane.

    Parameters
    ----------
    drawn, look
        What is drawn, and the colours of the page.
    key
        Widget key; one picture is told from the next by its content.
    chosen
        The polygon that is drawn around cells, in the axes' own values; the page keeps it.
    on_select
        Called with the polygon when one was drawn (3 to 100 vertices; its edges are straight on the axes as drawn, so
        on a logarithmic axis between the logarithms), or with None when it was cleared. Without it there is no box and
        no lasso.
    on_pick
        Called with the id of a cell that was clicked; where cells are counted in squares there is none to click.
    height
        Of the plot with its axes, in px.
    """
    data = packed(drawn, look)
    ids = drawn.marks.ids if isinstance(drawn.marks, Points) else ()

    def take_polygon() -> None:
        if on_select is not None:
            selected = widget_value(key)["selected"]
            polygon = read_polygon(selected["polygon"])
            # A polygon on the picture before this one may be on other axes; one that is cleared is cleared on any.
            if selected["polygon"] is None or (polygon is not None and selected["of"] == data["id"]):
                on_select(polygon)

    def take_cell() -> None:
        picked = widget_value(key)["picked"]
        # A click on the picture before this one counts other cells.
        if on_pick is not None and picked["of"] == data["id"] and 0 <= int(picked["index"]) < len(ids):
            on_pick(ids[int(picked["index"])])

    own = {
        "chosen": chosen,
        "select": on_select is not None,
        "pick": on_pick is not None and bool(ids),
        "height": height,
    }
    _SCATTER(key=key, data=data | own, on_selected_change=take_polygon, on_picked_change=take_cell)


def packed(drawn: Scatter, look: Look) -> dict[str, Any]:
    """What is sent to the browser: numbers as base64 of little-endian arrays; below 2 MB for all that may be drawn."""
    marks = drawn.marks
    data = {
        "x": asdict(drawn.x),
        "y": asdict(drawn.y),
        "groups": [
            {"name": shown(g.name), "n": g.n, "colour": g.colour, "edge": g.line(look), "shape": g.shape}
            for g in drawn.groups
        ],
        "none": NO_GROUP,
        "look": asdict(look),
        "colour": None if drawn.colour is None else asdict(drawn.colour) | {"stops": colours(look)},
        "own": drawn.own,
        "highlighted": drawn.highlighted,
        "marks": _points(marks) if isinstance(marks, Points) else _bins(marks),
    }
    return data | {"id": hashlib.sha256(json.dumps(data).encode()).hexdigest()[:16]}


def _base64(values: NDArray[Any], kind: str) -> str:
    return base64.b64encode(np.ascontiguousarray(values, dtype=kind).tobytes()).decode("ascii")


def _points(marks: Points) -> dict[str, Any]:
    return {
        "kind": "points",
        "x": _base64(marks.x, "<f4"),
        "y": _base64(marks.y, "<f4"),
        "group": _base64(marks.group, "<i2"),
        "value": None if marks.value is None else _base64(marks.value, "<f4"),
        "words": list(map(shown, marks.words)),
        "of": marks.of,
    }


def _bins(marks: Bins) -> dict[str, Any]:
    """Only squares that hold cells, each with the counts of all groups in as few bytes as the largest count needs."""
    groups, across, up = marks.counts.shape
    flat = marks.counts.reshape(groups, across * up)
    places = np.flatnonzero(flat.any(axis=0))
    size = np.min_scalar_type(int(flat.max(initial=0))).itemsize
    return {
        "kind": "bins",
        "absent": marks.absent,
        "xEdges": marks.x_edges.tolist(),
        "yEdges": marks.y_edges.tolist(),
        "place": _base64(places, "<u4"),
        "counts": _base64(flat[:, places].T, f"<u{size}"),
        "bytes": size,
        "value": None if marks.value is None else _base64(marks.value.reshape(-1)[places], "<f4"),
    }


def read_polygon(sent: Any) -> Polygon | None:  # noqa: ANN401 - a browser may send anything
    """Vertices as the browser sent them; None where they are no polygon of finite numbers."""
    if not isinstance(sent, list) or not 3 <= len(sent) <= MOST_VERTICES:
        return None
    if not all(
        isinstance(pair, list) and len(pair) == 2 and all(type(v) in (int, float) and math.isfinite(v) for v in pair)
        for pair in sent
    ):
        return None
    return tuple((float(x), float(y)) for x, y in sent)

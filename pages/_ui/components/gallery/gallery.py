"""Cells in small, side by side; a click looks at one closely."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import streamlit as st

from pages._ui.common.state import widget_value

_HERE: Final = Path(__file__).parent
_GALLERY: Final = st.components.v2.component(
    "leukoscope_gallery",
    html='<div class="gallery"></div>',
    css=(_HERE / "gallery.css").read_text(encoding="utf-8"),
    js=(_HERE / "gallery.js").read_text(encoding="utf-8"),
)


@dataclass(frozen=True)
class Item:
    """One picture (SVG) with a line of words and a hint; `id` tells it from all others."""

    id: str
    picture: str
    words: str
    hint: str
    flagged: bool = False


def gallery(
    items: Sequence[Item],
    key: str,
    *,
    places: int = 0,
    chosen: str | None = None,
    on_pick: Callable[[str], None] | None = None,
) -> None:
    """Show cells in small in at least so many places; `on_pick` is called with the id of the one that is clicked."""

    def take() -> None:
        if on_pick is not None:
            on_pick(str(widget_value(key)["picked"]))

    data = {"items": [asdict(item) for item in items], "places": places, "chosen": chosen, "pick": on_pick is not None}
    _GALLERY(key=key, data=data, on_picked_change=take)

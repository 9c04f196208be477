"""Thumbnails of cells side by side; a click opens one."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Final

from core.support.text import shown
from pages._ui.common.state import widget_value
from pages._ui.components.assets import component

_GALLERY: Final = component(__file__, "leukoscope_gallery", '<div class="gallery"></div>')


@dataclass(frozen=True)
class Item:
    """One picture (SVG) with a line of words, a second one if there is `more`, and a hint; `id` tells it apart."""

    id: str
    picture: str
    words: str
    hint: str
    flagged: bool = False
    more: str = ""


def gallery(
    items: Sequence[Item],
    key: str,
    *,
    places: int = 0,
    chosen: str | None = None,
    on_pick: Callable[[str], None] | None = None,
    row: bool = False,
) -> None:
    """Show thumbnails in at least so many places; `on_pick` is called with the id of the one that is clicked.

    With `row` they stand in one row, which is scrolled where it is too long.
    """

    def take() -> None:
        if on_pick is not None:
            on_pick(str(widget_value(key)["picked"]))

    named = [asdict(item) | {name: shown(getattr(item, name)) for name in ("words", "more", "hint")} for item in items]
    data = {"items": named, "places": places, "chosen": chosen, "pick": on_pick is not None, "row": row}
    _GALLERY(key=key, data=data, on_picked_change=take)

"""What the editor is told after each run of the page: what was measured, what was saved, where in the list it is."""

from dataclasses import dataclass
from typing import Any, Final

from pages._ui.components.assets import component

_NEWS: Final = component(__file__, "leukoscope_editor_news", "<i></i>")
_KEY: Final = "editor_news"


@dataclass(frozen=True)
class Said:
    """The answer to an act, by the act's number: whether it was done, in words."""

    number: int
    ok: bool
    words: str


@dataclass(frozen=True)
class News:
    """What changes while a cell is corrected.

    Parameters
    ----------
    ident
        Of the canvas that it is about.
    measured
        The newest revision whose numbers are on the page; 0 for the outline as it was opened.
    who
        The person at the page, where known.
    said
        Answer to the last act.
    saved
        Revision of the last outline that was saved.
    status
        Of the cell: accepted, corrected, rejected, unsure or taken_back; None where nobody has looked.
    position
        Where in the list of cells this is, in words.
    has_next, has_previous
        Whether there is such a cell.
    read_only
        Whether nothing may be drawn.
    """

    ident: str
    measured: int = 0
    who: str = ""
    said: Said | None = None
    saved: int | None = None
    status: str | None = None
    position: str = ""
    has_next: bool = False
    has_previous: bool = False
    read_only: bool = False


def tell_editor(news: News) -> None:
    """Hand the news to the editor; it draws nothing. Called after the measurement, so that it says what is done."""
    _NEWS(key=_KEY, data=packed_news(news))


def packed_news(news: News) -> dict[str, Any]:
    """What is sent to the browser."""
    said = news.said
    return {
        "id": news.ident,
        "measured": news.measured,
        "who": news.who,
        "said": None if said is None else {"n": said.number, "ok": said.ok, "words": said.words},
        "saved": None if news.saved is None else {"rev": news.saved},
        "status": news.status,
        "position": news.position,
        "has_next": news.has_next,
        "has_previous": news.has_previous,
        "read_only": news.read_only,
    }

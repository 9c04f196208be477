"""Cells on paper: one page each, as PDF/A, set by Typst from a template of ours.

The same input gives the same bytes. Names in Latin, Greek, Cyrillic, Hebrew and Arabic letters are set in fonts that
come along; for others the machine's own are asked, and what none of them has becomes the sign that stands for such
characters everywhere (`core.support.text`).
"""

import json
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import is_dataclass
from datetime import datetime
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from core.domain.options import Paper
from core.reports.case import CaseFront
from core.reports.engine import as_text
from core.reports.first_page import FirstPage
from core.support.text import REPLACED

if TYPE_CHECKING:
    import typst

_STANDARD: Final = "a-2u"  # for keeping: fonts inside, and a character behind every glyph
_PAPERS: Final = {Paper.A4: "a4", Paper.LETTER: "us-letter"}
_NO_GLYPH: Final = re.compile(r'the text `"(.+?)"` could not be displayed')
_ESCAPED: Final = re.compile(r"\\u\{([0-9a-f]+)\}")


def pdf_pages(pages: Sequence[FirstPage], paper: Paper = Paper.A4, name: str | None = None) -> bytes:
    """One or several cells as a PDF file, each on a page of its own.

    `name` is the title of the whole, by default the first page's; the file's date is that of the first page.
    """
    return _made(name or pages[0].title, pages[0].created, None, pages, paper)


def pdf_case(front: CaseFront, pages: Sequence[FirstPage], paper: Paper = Paper.A4) -> bytes:
    """A case as a PDF file: what stands before its cells, then each cell on a page of its own."""
    return _made(front.title, front.created, front, pages, paper)


def _made(title: str, created: datetime, front: CaseFront | None, pages: Sequence[FirstPage], paper: Paper) -> bytes:
    whole = {"title": title, "paper": _PAPERS[paper], "front": front, "pages": pages}
    data = json.dumps(_plain(whole), ensure_ascii=False)
    with as_file(files("core.reports")) as folder:
        own, every = (_compiler(folder, ignore_system_fonts=ignored) for ignored in (True, False))
        with suppress(_NoGlyphError):
            return _compiled(own, data, created)
        try:
            return _compiled(every, data, created)
        except _NoGlyphError as error:
            for text in error.texts:
                data = data.replace(text, REPLACED)
        with suppress(_NoGlyphError):
            return _compiled(every, data, created)
        # Every font draws a box for what it lacks; only the standard forbids that.
        return _compiled(every, data, created, standards=[])


class _NoGlyphError(Exception):
    """No font has a glyph for some `texts`."""

    def __init__(self, texts: Sequence[str]) -> None:
        super().__init__(texts)
        self.texts = texts


def _compiler(folder: Path, *, ignore_system_fonts: bool) -> "typst.Compiler":
    import typst  # 80 MB

    return typst.Compiler(
        folder / "templates" / "pages.typ", font_paths=[folder / "fonts"], ignore_system_fonts=ignore_system_fonts
    )


def _compiled(
    compiler: "typst.Compiler", data: str, created: datetime, standards: "typst.PDFStandards" = _STANDARD
) -> bytes:
    import typst

    try:
        made = compiler.compile(
            format="pdf", sys_inputs={"data": data}, timestamp=int(created.timestamp()), pdf_standards=standards
        )
    except typst.TypstError as error:
        texts = [_ESCAPED.sub(lambda code: chr(int(code[1], 16)), text) for text in _NO_GLYPH.findall(error.diagnostic)]
        if not texts:
            raise
        raise _NoGlyphError(texts) from error
    assert isinstance(made, bytes)
    return made


def _plain(value: Any) -> Any:  # noqa: ANN401 (whatever a dataclass is made of)
    """What Typst reads: texts as they are shown everywhere, drawings as they are."""
    if isinstance(value, datetime):
        return value.strftime("%d %B %Y, %H:%M")
    if is_dataclass(value):
        value = vars(value)
    if hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, dict):
        return {str(as_text(key)): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return value if value is None or isinstance(value, bool) else str(as_text(value))

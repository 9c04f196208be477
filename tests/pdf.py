"""What a PDF file holds, as far as tests look: its pages with their sizes, and the letters that stand on them."""

import re
import zlib
from contextlib import suppress


def _unpacked(made: bytes) -> str:
    """The file with its streams unpacked, in which page dictionaries and tables of letters lie."""
    text = made
    for stream in re.findall(rb"stream\r?\n(.*?)\r?\nendstream", made, re.DOTALL):
        with suppress(zlib.error):  # pictures are packed in other ways
            text += zlib.decompress(stream)
    return text.decode("latin-1")


def page_sizes(made: bytes) -> list[tuple[int, int]]:
    """Width and height of each page in millimetres."""
    boxes = [
        re.search(r"/MediaBox ?\[ ?0 0 ([\d.]+) ([\d.]+)", page)
        for page in re.split(r"/Type ?/Page\b(?!s)", _unpacked(made))[1:]
    ]
    return [(round(float(box[1]) * 25.4 / 72), round(float(box[2]) * 25.4 / 72)) for box in boxes]


def letters(made: bytes) -> set[str]:
    """Every character that stands on the pages, by the tables with which a reader copies text."""
    found = set()
    for table in re.findall(r"beginbfchar(.*?)endbfchar", _unpacked(made), re.DOTALL):
        for code in re.findall(r"<[0-9A-Fa-f]+> ?<([0-9A-Fa-f]+)>", table):
            found |= set(bytes.fromhex(code).decode("utf-16-be"))
    return found

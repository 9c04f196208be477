"""The border for names from outside: file names, titles, notes and messages that hold them are text wherever they go.

`shown` takes away what would lie about a text or tear a line, for terminals, HTML and charts, which escape by
themselves; `markdown` is for whatever reads Markdown, as most of Streamlit does; `file_name` for files that are named.
What a spreadsheet would calculate is guarded by `core.store.schema.guarded`.
"""

import re
import unicodedata
from typing import Final

REPLACED: Final = "\N{REPLACEMENT CHARACTER}"
_JOINERS: Final = "\u200c\u200d"  # scripts and emoji need these two
# Control characters, marks of direction and of no width, halves of characters, separators of lines.
_MISLEADING: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_HALF: Final = re.compile("[\ud800-\udfff]")
_BLANKS: Final = re.compile(r"[ \t\r\n\v\f\x85]+")

_SPECIAL: Final = re.compile(r"([\\`*_{}\[\]()#+\-.!|~$:<>&])")
# Streamlit makes links, signs and pictures of these even where they are escaped, so something invisible parts them.
_PARTED: Final = re.compile(r":(?=[\w+/-])|(?<=www)(?=\.)|(?<=@)(?=\w)", re.IGNORECASE)
_WORD_JOINER: Final = "\N{WORD JOINER}"

_RESERVED: Final = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(?=\.|$)", re.IGNORECASE)  # by Windows
_LONGEST: Final = 120  # bytes; file systems take 255, and prefixes and suffixes are added


def shown(text: str) -> str:
    r"""Text on one line, with a sign in the place of each character that could mislead or tear it.

    Examples
    --------
    >>> shown("cell\n\u202egnp.exe")
    'cell �gnp.exe'
    """
    text = _BLANKS.sub(" ", text)
    if text.isprintable():
        return text
    return "".join(
        REPLACED if unicodedata.category(letter) in _MISLEADING and letter not in _JOINERS else letter
        for letter in text
    )


def encodable(text: str) -> str:
    """Text that every file can hold: in the place of half a character, as of a file name that is no UTF-8, a sign."""
    return text if text.isascii() else _HALF.sub(REPLACED, text)


def markdown(text: str) -> str:
    r"""Text for a place that reads Markdown: shown as it is, without links, pictures, signs or colours.

    Examples
    --------
    >>> markdown("![x](a) *b*")
    '\\!\\[x\\]\\(a\\) \\*b\\*'
    """
    parted = _PARTED.sub(lambda found: found[0] + _WORD_JOINER, shown(text).strip())
    return _SPECIAL.sub(r"\\\1", parted)


def file_name(text: str, otherwise: str) -> str:
    """A part of a file name that every system takes: letters, digits, dots, dashes and underscores.

    `otherwise` stands for a text without any of them.

    Examples
    --------
    >>> file_name("../CON: a*b ", "image")
    'CON_a_b'
    >>> file_name("nul.txt", "image")
    '_nul.txt'
    """
    name = re.sub(r"[^\w.-]+", "_", unicodedata.normalize("NFC", text)).strip("._-")
    name = name.encode("utf-8", "replace")[:_LONGEST].decode("utf-8", "ignore").rstrip("._-")
    return f"_{name}" if _RESERVED.match(name) else name or otherwise

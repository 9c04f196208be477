"""What the colours, grey levels or names of a drawn mask mean, as a person writes it in a file."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from core.domain.compartments import Compartment
from core.domain.errors import MaskError

# A whole cell is drawn as one thing; what of it no nucleus covers is cytoplasm.
CELL: Final = "cell"
_PARTS: Final[Mapping[str, Compartment]] = {c.label: c for c in Compartment} | {CELL: Compartment.CYTOPLASM}
_GREY: Final = re.compile(r"\d{1,5}")
_HEX: Final = re.compile(r"#([0-9a-f]{6})")
_RGB: Final = re.compile(r"\(?\[?\s*(\d{1,3})[\s,;]+(\d{1,3})[\s,;]+(\d{1,3})\s*\]?\)?")
# What the second column of a table may be called.
_HEADINGS: Final = frozenset({"compartment", "meaning", "label", "class", "region"})
_EXAMPLE: Final = '{"#000000": "background", "#ff0000": "cytoplasm", "#0000ff": "nucleus"}'


@dataclass(frozen=True)
class MaskCoding:
    """What each value (a grey level, or red, green and blue) or name means: background, nucleus and so on, or cell."""

    name: str
    greys: Mapping[tuple[int, ...], str]
    names: Mapping[str, str]

    def values(self, channels: int) -> dict[tuple[int, ...], Compartment]:
        """Values of a grey (1) or colour (3) mask with their compartments."""
        found = {}
        for value, part in self.greys.items():
            if len(value) == 1 and channels == 3 and value[0] <= 255:
                value *= 3
            elif channels == 1 and len(set(value)) == 1:
                value = value[:1]
            if len(value) == channels:
                found[value] = _PARTS[part]
        return found


def read_coding(path: Path) -> MaskCoding:
    """Read what a mask's values mean.

    A JSON object, or lines `colour = compartment` or `colour,compartment`. A colour is a grey level (128), #rrggbb or
    r,g,b; for shapes the name of their class. A compartment is background, environment, cytoplasm, nucleus, or cell.

    Raises
    ------
    MaskError
        If the file cannot be read or is none.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig").strip()
    except (OSError, UnicodeDecodeError) as error:
        msg = f"{path.name}: expected a readable text file with the coding of a mask, but {error}; check the path"
        raise MaskError(msg) from error
    greys: dict[tuple[int, ...], str] = {}
    names: dict[str, str] = {}
    for key, said in _entries(text, path.name):
        part = said.strip().lower()
        if part not in _PARTS:
            msg = f"{path.name}: {key!r} is said to be {said!r}; a mask shows {', '.join(_PARTS)}; write {_EXAMPLE}"
            raise MaskError(msg)
        value = _value(key)
        if value is None:
            names[key.strip().lower()] = part
        else:
            greys[value] = part
            names[key.strip()] = part
    if not greys and not names:
        msg = f"{path.name}: expected what the colours of a mask mean, but it says nothing; write {_EXAMPLE}"
        raise MaskError(msg)
    return MaskCoding(path.name, greys, names)


def _entries(text: str, name: str) -> Iterator[tuple[str, str]]:
    """Pairs of value and compartment, in whichever order they are written."""
    if text.startswith("{"):
        try:
            pairs = [(key, value) for key, value in json.loads(text).items()]
        except ValueError as error:
            msg = f"{name}: expected a JSON object, but it cannot be read ({error}); write {_EXAMPLE}"
            raise MaskError(msg) from error
    else:
        pairs = []
        for line in (line.strip() for line in text.splitlines()):
            found = re.fullmatch(r"(.+?)\s*[=,;:\t]\s*([^=,;:\t]+)", line)
            if found is None and line and not line.startswith(("//", "# ")):
                msg = f"{name}: expected lines such as #ff0000 = nucleus, but came {line!r}"
                raise MaskError(msg)
            if found is not None and found[2].strip("\"' ").lower() not in _HEADINGS:
                pairs.append((found[1].strip("\"' "), found[2].strip("\"' ")))
    for key, value in pairs:
        several = value if isinstance(value, list) and value and not isinstance(value[0], int) else [value]
        for one in several:
            written = ",".join(map(str, one)) if isinstance(one, list) else str(one)
            yield (written, key) if key.strip().lower() in _PARTS and written.lower() not in _PARTS else (key, written)


def _value(key: str) -> tuple[int, ...] | None:
    """A grey level or a colour; None for a name."""
    key = key.strip().lower()
    if _GREY.fullmatch(key):
        return (int(key),)
    if found := _HEX.fullmatch(key):
        return tuple(bytes.fromhex(found[1]))
    if found := _RGB.fullmatch(key):
        return tuple(int(channel) for channel in found.groups())
    return None

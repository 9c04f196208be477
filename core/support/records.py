"""Settings and records as JSON, there and back: one way for all that is kept in files.

A frozen dataclass is an object, a named tuple an array; enumerations are their values, times ISO 8601, paths text. The
type alone decides how JSON is read: nothing is coerced, but an integer may be given for a float and a list for a tuple.
"""

import dataclasses
import json
import re
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from reprlib import repr as shortened
from typing import Any, Final, TypeVar, get_origin

from core.domain.errors import CoreError, RecordError

_T = TypeVar("_T")

# Written as it is or as an escape; whole pairs, which are fine, begin so too.
_SURROGATE: Final = re.compile(r"[\ud800-\udfff]|\\u[dD][89a-fA-F]")

_WORDS: Final = {
    "array": "a list",
    "object": "an object",
    "str": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
}


def to_json(
    record: object,
    *,
    indent: int | None = None,
    sort_keys: bool = False,
    compact: bool = False,
    ascii_only: bool = False,
) -> str:
    """A record as text, its fields in the order of the class.

    Examples
    --------
    >>> from core.domain.cell_types import CellType
    >>> to_json({"cell_type": CellType.MONOCYTE, "image": Path("a/b.png")})
    '{"cell_type": "monocyte", "image": "a/b.png"}'
    """
    return json.dumps(
        record,
        default=_plain,
        indent=indent,
        sort_keys=sort_keys,
        separators=(",", ":") if compact else None,
        ensure_ascii=ascii_only,
    )


def from_json(kind: type[_T], text: str | bytes, *, others: bool = False) -> _T:
    """Read a record from its text; the rest as `from_plain`."""
    return from_plain(kind, parsed(text), others=others)


def parsed(text: str | bytes) -> Any:  # noqa: ANN401 (whatever the text holds)
    """The content of a JSON text, for a file that is laid out otherwise than its record.

    Raises
    ------
    RecordError
        If it is not JSON, nested too deeply, or holds half a character (a lone surrogate), which nothing can show.
    """
    try:
        if isinstance(text, bytes):
            text = text.decode(json.detect_encoding(text), "surrogatepass")  # as `json.loads` would
        content = json.loads(text)
        if _SURROGATE.search(text):
            json.dumps(content, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        msg = f"expected JSON, but it is not ({error})"
        raise RecordError(msg) from error
    return content


def from_plain(kind: type[_T], plain: object, *, others: bool = False) -> _T:
    """Read a record from JSON's types.

    Parameters
    ----------
    kind
        What to read: a dataclass, a named tuple, or any type made of them.
    plain
        What `json.loads` gives.
    others
        Ignore fields that the record does not have, as a later version may have written them.

    Raises
    ------
    RecordError
        If a field is missing, unknown, or does not fit its type, in words that name it.
    CoreError
        As the record's own check raises it.

    Examples
    --------
    >>> from_plain(tuple[int, ...], ["10"])
    Traceback (most recent call last):
    core.domain.errors.RecordError: [0] must be a whole number, but is '10'
    """
    import msgspec  # the command line and the parent of a batch start without it

    try:
        record = msgspec.convert(plain, kind, dec_hook=_from_text)
    except RecursionError as error:
        msg = "it is nested too deeply"
        raise RecordError(msg) from error
    except msgspec.ValidationError as error:
        if isinstance(error.__cause__, CoreError):
            raise error.__cause__ from None
        raise RecordError(_in_words(str(error), plain)) from error
    if not others:
        _refuse_unknown(plain, record)
    return record


def _plain(value: object) -> object:
    """What `json` cannot write by itself."""
    if dataclasses.is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Path):
        return str(value)
    msg = f"{type(value).__name__} has no place in a record"
    raise TypeError(msg)


def _from_text(kind: Any, text: object) -> object:  # noqa: ANN401 (a class that JSON has not)
    return (get_origin(kind) or kind)(text)


def _in_words(message: str, plain: Any) -> str:  # noqa: ANN401 (as parsed)
    """Msgspec's "Expected `int`, got `str` - at `$.epochs`" in words, with the value if its path tells it."""
    said, _, path = message.partition(" - at `$")
    path = path.strip(".`")
    if missing := re.fullmatch("Object missing required field `(.+)`", said):
        return f"{f'{path}.' if path else ''}{missing[1]} is missing"
    expected = re.fullmatch("Expected `(.+)`, got `(.+)`", said)
    if expected is None:
        return f"{path or 'it'}: {said}"
    if "..." in path:  # under a key of a mapping, which msgspec does not tell
        came = _WORDS.get(expected[2], expected[2])
    else:
        for name, index in re.findall(r"(\w+)|\[(\d+)\]", path):
            plain = plain[name] if name else plain[int(index)]
        came = shortened(plain)
    return (
        f"{path or 'it'} must be {' or '.join(_WORDS.get(one, one) for one in expected[1].split(' | '))}, but is {came}"
    )


def _refuse_unknown(plain: object, record: object) -> None:
    """Raise RecordError where something was said that did not become a part of the record."""
    if isinstance(plain, dict):
        known = _plain(record) if dataclasses.is_dataclass(record) else record
        assert isinstance(known, Mapping)
        if unknown := sorted(plain.keys() - known.keys()):
            msg = f"unknown fields {', '.join(unknown)}; known are {', '.join(sorted(known))}"
            raise RecordError(msg)
        for name, value in plain.items():
            _refuse_unknown(value, known[name])
    elif isinstance(plain, list) and isinstance(record, list | tuple):
        for value, kept in zip(plain, record, strict=True):
            _refuse_unknown(value, kept)

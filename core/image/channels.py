"""Which of three grey channels is red, green and blue: by their names, their colours, or else their order."""

import re
from collections.abc import Sequence
from typing import Final

_NO_NAME: Final = re.compile(r"(?:channel|chan|ch|c|image|slice|plane|page)?[\d\s:_/#.-]*", re.IGNORECASE)
_WORDS: Final = ({"r", "red", "rot", "rouge", "rojo"}, {"g", "green", "grün", "vert", "verde"},
                 {"b", "blue", "blau", "bleu", "azul"})  # fmt: skip
_PURE: Final = ((255, 0, 0), (0, 255, 0), (0, 0, 255))
Colour = tuple[int, int, int]
BY_NAME: Final = "by their names"


# Stains of fluorescence, as programs name channels after them.
_DYES: Final = re.compile(r"dapi|hoechst|fitc|tritc|cy[357]|gfp|rfp|yfp|alexa|texas|cherry", re.IGNORECASE)


class UnknownChannelsError(ValueError):
    """Three channels that are not red, green and blue; the message says what they are instead."""


def colour_order(names: Sequence[str], colours: Sequence[Colour | None]) -> tuple[tuple[int, int, int], str]:
    """The places of red, green and blue among three channels, and how they are known, in words.

    Parameters
    ----------
    names
        What the file calls the channels; may be fewer than three, or empty.
    colours
        Red, green and blue, 0 to 255, in which the file shows each; None where it does not say.

    Raises
    ------
    UnknownChannelsError
        If names or colours say that they are something else, such as fluorescences.
    """
    told = [name.strip() for name in names if not _NO_NAME.fullmatch(name.strip())]
    by_name = [_named(name) for name in told]
    if len(told) == 3 and sorted(by_name) == [0, 1, 2]:
        return _places(by_name), BY_NAME
    if told and (len(told) < 3 or -1 in by_name):
        msg = f"called {', '.join(told)}"
        raise UnknownChannelsError(msg)
    shown = [colour for colour in colours if colour is not None]
    if len(shown) == 3 and len(set(shown)) == 3:
        by_colour = [_PURE.index(colour) if colour in _PURE else -1 for colour in shown]
        if sorted(by_colour) != [0, 1, 2]:
            msg = "shown in other colours than red, green and blue"
            raise UnknownChannelsError(msg)
        return _places(by_colour), "by their colours"
    return (0, 1, 2), "in this order"


def telling(labels: Sequence[str]) -> list[str]:
    """Those of the labels of slices that name a colour or a stain; others are names of files, places and times."""
    return [label for label in labels if _named(label) >= 0 or _DYES.search(label)]


def _named(name: str) -> int:
    words = set(re.findall(r"[^\W\d_]+", name.lower()))
    found = [index for index, known in enumerate(_WORDS) if words & known]
    return found[0] if len(found) == 1 else -1


def _places(channels: Sequence[int]) -> tuple[int, int, int]:
    """Where red, green and blue are, from what each channel is."""
    return channels.index(0), channels.index(1), channels.index(2)

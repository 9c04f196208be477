"""Selections too long for an address, such as thousands of cells within a lasso: kept on the server under a short name.

The name is a hash of what is kept, so the same selection has one name, and no name can come to mean other cells.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from core.domain.errors import SelectionError, StoreError
from core.explorer.selection import Selection, from_link, to_json, to_link
from core.store.named_files import NamedFiles

_KEPT: Final = "kept."


@dataclass(frozen=True)
class KeptSelection:
    """A selection under the name that its content has."""

    name: str
    selection: Selection


_SELECTIONS: Final = NamedFiles("selections", "kept selection", KeptSelection)


def to_short_link(root: Path, selection: Selection) -> str:
    """Text of a selection for an address: the whole of it, or its name below `root`, where it is kept from now on.

    Raises
    ------
    StoreError
        If it has to be kept and the disk refuses.
    """
    try:
        return to_link(selection)
    except SelectionError:
        name = _name(selection)
        if not _SELECTIONS.has(root, name):
            _SELECTIONS.save(root, KeptSelection(name, selection))
        return f"{_KEPT}{name}"


def from_short_link(root: Path, link: str) -> Selection:
    """Read what `to_short_link` wrote; raises SelectionError, in words, for anything else."""
    if not link.startswith(_KEPT):
        return from_link(link)
    name = link.removeprefix(_KEPT)
    try:
        kept = _SELECTIONS.find(root, name).selection
    except StoreError as error:
        msg = (
            "the cells of this link are not kept here: it was made on another server, or they were removed; ask for"
            " them as a file"
        )
        raise SelectionError(msg) from error
    if _name(kept) != name:
        msg = "the cells of this link were changed where they are kept; ask for them as a file"
        raise SelectionError(msg)
    return kept


def _name(selection: Selection) -> str:
    return hashlib.sha256(to_json(selection).encode()).hexdigest()[:16]

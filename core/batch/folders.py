"""The folders that a person may choose from on a page: the configured roots and what is below them, nothing else."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from core.domain.errors import UsageError

MOST_ENTRIES: Final = 500  # of one folder, in a list to choose from


@dataclass(frozen=True)
class Listing:
    """Sub-folders and ZIP files of a folder by name; `more` tells that there are others than those listed."""

    folders: tuple[str, ...]
    archives: tuple[str, ...]
    more: bool


def resolve(root: Path, parts: Sequence[str]) -> Path:
    """The folder or ZIP file that the parts lead to from a root.

    Raises
    ------
    UsageError
        If it is not there, or would be reached through a link, a hidden folder, or any other way than down from the
        root.
    """
    path = root.resolve()
    for part in parts:
        if part in {"", ".", ".."} or part.startswith(".") or "/" in part or os.sep in part or "\0" in part:
            msg = f"expected the name of a folder, but got {part!r}; choose one from the list"
            raise UsageError(msg)
        path = path / part
        # Links are refused even where they stay inside: what they point to may change between this look and the
        # reading.
        if path.is_symlink():
            msg = f"{part} is a link to another place, and links are not followed; choose the folder itself"
            raise UsageError(msg)
    if not path.is_dir() and not (parts and path.is_file() and path.suffix.lower() == ".zip"):
        msg = f"{'/'.join(parts) or root.name} is not there any more; choose another folder"
        raise UsageError(msg)
    return path


def listing(folder: Path) -> Listing:
    """Sub-folders and ZIP files directly in a folder, but no links or hidden ones; raises UsageError if unreadable."""
    folders: list[str] = []
    archives: list[str] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.name)
                elif entry.name.lower().endswith(".zip") and entry.is_file(follow_symlinks=False):
                    archives.append(entry.name)
    except OSError as error:
        msg = f"{folder.name} cannot be read: {error.strerror or error}; choose another folder"
        raise UsageError(msg) from error
    more = len(folders) > MOST_ENTRIES or len(archives) > MOST_ENTRIES
    return Listing(tuple(sorted(folders)[:MOST_ENTRIES]), tuple(sorted(archives)[:MOST_ENTRIES]), more)

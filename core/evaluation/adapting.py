"""Adaptations that a page starts: `leukoscope adapt` in a process of its own, found again by the folder of its run."""

import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from core.domain.errors import StoreError, UsageError
from core.domain.settings import load_settings
from core.evaluation.adaptation import ACCOUNT_FILE, AdaptationAccount, AdaptationProgress, load
from core.support import detached

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,59}")
# Levels below a folder that may be chosen from in which folders of pairs are looked for.
_DEPTH: Final = 2


class Doing(StrEnum):
    """How it stands with an adaptation."""

    GOING_ON = "going on"
    STOPPED = "stopped"
    DONE = "done"


@dataclass(frozen=True)
class Adapting:
    """An adaptation by the folder of its run."""

    folder: Path

    @property
    def account(self) -> AdaptationAccount | None:
        """What it gained; None before it is done. Raises ModelError for a damaged file."""
        path = self.folder / ACCOUNT_FILE
        return load(path) if path.is_file() else None

    @property
    def progress(self) -> AdaptationProgress | None:
        """What it is doing, as far as it has said."""
        return AdaptationProgress.of(self.folder)

    def standing(self) -> tuple[Doing, str]:
        """How it stands, and the last line that it printed where it stopped."""
        process = detached.process_in(self.folder)
        if process is not None and process.alive:
            return Doing.GOING_ON, ""
        if self.account is not None:
            return Doing.DONE, ""
        return Doing.STOPPED, detached.last_words(self.folder)

    def stop(self) -> None:
        """Ask it to stop; the network that is learning begins again when it goes on, those before it are kept."""
        if (process := detached.process_in(self.folder)) is not None:
            process.stop()


def adaptations() -> list[Adapting]:
    """Those in the folder of runs, also those that a command line started, the latest first."""
    folders = [path.parent for path in load_settings().runs.glob(f"*/{detached.PROCESS_FILE}")]
    return [Adapting(folder) for folder in sorted(folders, key=lambda folder: -folder.stat().st_mtime)]


def folders_of_pairs() -> list[Path]:
    """Folders with images/ and masks/ that may be taught: what pages have copied, and in the folders to choose from."""
    settings = load_settings()
    found = [*_with_pairs(settings.runs / "training", 1)]
    for root in settings.roots:
        found += _with_pairs(root, _DEPTH)
    return list(dict.fromkeys(found))


def _with_pairs(folder: Path, depth: int) -> Iterable[Path]:
    if (folder / "images").is_dir() and (folder / "masks").is_dir():
        yield folder
    elif depth and folder.is_dir():
        for below in sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")):
            yield from _with_pairs(below, depth - 1)


def start(corrections: Path, name: str, model_id: str) -> Adapting:
    """Start an adaptation, or go on with a stopped one of the same name.

    Parameters
    ----------
    corrections
        Folder with images/ and masks/.
    name
        What the adapted model is to be called.
    model_id
        The model to begin with.

    Raises
    ------
    UsageError
        If the name is none that files may have, or one such is going on.
    StoreError
        If it cannot be started.
    """
    if not _NAME.fullmatch(name):
        msg = f"expected a name of at most 60 letters, digits, '.', '_' and '-', but got {name!r}; choose another"
        raise UsageError(msg)
    made = Adapting(load_settings().runs / name)
    if made.standing()[0] is Doing.GOING_ON:
        msg = f"{name} is going on already; wait for it, stop it, or choose another name"
        raise UsageError(msg)
    command = [sys.executable, "-m", "core", "adapt", str(corrections), "--out", str(made.folder), "--model", model_id]
    try:
        made.folder.mkdir(parents=True, exist_ok=True)
        detached.start(command, made.folder)
    except OSError as error:
        why = error.strerror or error
        msg = f"{name} cannot be started: {why}; check the free space and the permissions of {made.folder}"
        raise StoreError(msg) from error
    return made

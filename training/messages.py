"""What is logged while a run is worked on, kept in its folder: a terminal's lines are gone when it is closed."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from core.evaluation.training_runs import CONFIG_FILE, MESSAGES_FILE
from core.support.text import encodable, shown

_GOES_ON: Final = "INFO the run goes on; what was said before is not said again"


class _Keeper(logging.Handler):
    """Appends each message to a run's file, once; holds it back as long as the folder is no run."""

    def __init__(self, folder: Path) -> None:
        super().__init__(logging.INFO)
        self._folder = folder
        self._held: list[str] = []
        self._known: set[str] | None = None
        self._goes_on = False

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a message."""
        self._held.append(f"{record.levelname} {encodable(shown(record.getMessage()))}")
        self.flush()

    def flush(self) -> None:
        """Write what is held back, if the folder is a run by now."""
        if not self._held or not (self._folder / CONFIG_FILE).is_file():
            return
        # The run is worth more than its messages, and a full disk is told when weights are written.
        with suppress(OSError):
            self._write(self._folder / MESSAGES_FILE)

    def _write(self, path: Path) -> None:
        if self._known is None:
            before = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
            self._known, self._goes_on = {line.partition(" ")[2] for line in before}, bool(before)
        new = [message for message in dict.fromkeys(self._held) if message not in self._known]
        self._known.update(new)
        self._held.clear()
        if new and self._goes_on:
            new.insert(0, _GOES_ON)
            self._goes_on = False
        now = datetime.now(UTC).isoformat(timespec="seconds")
        # In one piece, so that lines of two processes do not mix.
        with path.open("a", encoding="utf-8") as file:
            file.write("".join(f"{now} {message}\n" for message in new))


@contextmanager
def kept_in(folder: Path) -> Iterator[None]:
    """Append what is logged meanwhile, from INFO on, to `messages.log` of a run's folder, as soon as it is a run.

    A run that goes on repeats what it says of its images: a message that is there already is not written again.
    """
    keeper = _Keeper(folder)
    logging.getLogger().addHandler(keeper)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(keeper)
        keeper.flush()

"""What opening an image did, gathered on the way: notes in words, and the flags of what changes numbers."""

from core.domain.flags import raised
from core.domain.types import QualityFlag


class Remarks:
    """Notes and flags in the order in which they came."""

    def __init__(self) -> None:
        self._notes: list[str] = []
        self._flags: dict[str, QualityFlag] = {}

    def add(self, note: str, flag: str | None = None) -> None:
        """Note in words what was done; with the code of a flag (`core.domain.flags`) where it changes numbers."""
        self._notes.append(note)
        if flag is not None and flag not in self._flags:
            self._flags[flag] = raised(flag, note=note)

    @property
    def notes(self) -> tuple[str, ...]:
        """What was done, in words."""
        return tuple(self._notes)

    @property
    def flags(self) -> tuple[QualityFlag, ...]:
        """A flag of each kind, worded for the first time it was given."""
        return tuple(self._flags.values())

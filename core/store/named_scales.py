"""Scales by name: those that come with the program, and the last one of each laboratory of a person's own."""

from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final

from core.domain.errors import CoreError, StoreError
from core.domain.types import GivenScale
from core.support import files, locks, records

_FILE: Final = "scales.json"
_DAMAGED: Final = "scales.damaged.json"


@dataclass(frozen=True)
class NamedScale:
    """A scale with the name of its laboratory or analyser, and when it was kept (ISO date; empty: comes along)."""

    name: str
    um_per_px: float
    error: float | None
    origin: str
    source: str = "given"
    kept: str = ""

    def __post_init__(self) -> None:
        """Check the numbers; raises UsageError."""
        assert self.given.um_per_px == self.um_per_px

    @property
    def given(self) -> GivenScale:
        """The scale for whoever takes it."""
        return GivenScale(self.um_per_px, self.error, self.source, f"that of {self.name}: {self.origin}")


# Each with its source; whoever has a better one gives it.
PRESETS: Final = (
    NamedScale(
        "MLL23 (288 px)",
        0.0868,
        None,
        "25 um on 288 pixels, as its authors say (Zenodo 14277609)",
    ),
    NamedScale(
        "CellaVision DM96 (360 px)",
        0.095,
        0.1,
        "red cells in the images of Acevedo et al. 2020 and Sidhom et al. 2021",
    ),
)


@dataclass(frozen=True)
class KnownScales:
    """Those that a person may choose from, own ones first; with a `problem`, in words, own ones could not be read."""

    scales: tuple[NamedScale, ...]
    problem: str | None = None

    def named(self, name: str) -> NamedScale | None:
        """The scale of that name; None without one."""
        return next((scale for scale in self.scales if scale.name == name), None)


def known_scales(root: Path) -> KnownScales:
    """The scales kept in the folder of a person's own populations, the latest first, and those that come along."""
    try:
        own = _own(root)
        named = {scale.name for scale in own}
        return KnownScales((*own, *(preset for preset in PRESETS if preset.name not in named)))
    except StoreError as error:
        return KnownScales(PRESETS, str(error))


def remember(root: Path, name: str, scale: GivenScale | None) -> None:
    """Keep the last scale of a laboratory by its name; without a name or a scale nothing is kept.

    A damaged file is set aside.

    Raises
    ------
    StoreError
        If the disk refuses.
    """
    name = name.strip()
    if not name or scale is None:
        return
    said = NamedScale(
        name, scale.um_per_px, scale.error, scale.origin or "given", scale.source, date.today().isoformat()
    )
    path = root / _FILE
    try:
        root.mkdir(parents=True, exist_ok=True)
        with locks.lock(root / f".{_FILE}.lock", keep_file=False):
            try:
                others = [one for one in _own(root) if one.name != name]
            except StoreError:
                others = []
                with suppress(OSError):
                    path.replace(root / _DAMAGED)
            files.write_text(path, records.to_json([said, *others], indent=1) + "\n")
    except OSError as error:
        msg = f"the scale of {name} could not be kept in {root} ({error.strerror}); make room there"
        raise StoreError(msg) from error


def _own(root: Path) -> tuple[NamedScale, ...]:
    path = root / _FILE
    try:
        return records.from_json(tuple[NamedScale, ...], files.read_text(path), others=True)
    except FileNotFoundError:
        return ()
    except (OSError, ValueError, CoreError) as error:
        msg = f"{path}: the scales of laboratories cannot be read ({error}); delete the file, or name them anew"
        raise StoreError(msg) from error

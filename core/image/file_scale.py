"""The scale that an image file states: what a microscope's program wrote, never what is meant for a printer."""

import math
import re
from collections.abc import Mapping
from typing import Final, Literal, TypeAlias

from core.domain.types import FileScale, GivenScale
from core.image.remarks import Remarks

# In place of micrometres per pixel: what each file states of itself.
OF_FILE: Final = "file"
# The same where red cells are to tell one scale for all images of a run or an import.
BY_RED_CELLS: Final = "red-cells"
Scale: TypeAlias = float | GivenScale | Literal["file"] | None
WantedScale: TypeAlias = Scale | Literal["red-cells"]

# Resolution tags are written by every program; those within a microscope's range only are a microscope's. 72 or 600
# dots per inch are 353 and 42 um.
_MICROSCOPE_UM: Final = (0.01, 2.0)
# What `CellImage` takes as a scale.
_POSSIBLE_UM: Final = (0.005, 10.0)
_INCH_UM: Final = 25400.0
_CENTIMETRE_UM: Final = 10000.0
# Further apart than rounding explains, in shares.
CONTRADICTS: Final = 0.02
_NOT_SQUARE: Final = 0.01

_UNITS_UM: Final[Mapping[str, float]] = {
    "um": 1.0, "micron": 1.0, "microns": 1.0, "micrometer": 1.0, "micrometre": 1.0, "micrometers": 1.0,
    "micrometres": 1.0, "nm": 1e-3, "nanometer": 1e-3, "pm": 1e-6, "a": 1e-4, "å": 1e-4, "mm": 1e3, "cm": 1e4,
    "m": 1e6, "in": _INCH_UM, "inch": _INCH_UM,
}  # fmt: skip


def unit_um(unit: str) -> float | None:
    """Micrometres of a unit of length, however it is spelt; None for pixels and whatever else is no length."""
    plain = unit.strip().lower().replace("\\u00b5", "u").replace("\u00b5", "u").replace("\u03bc", "u")
    return _UNITS_UM.get(plain)


def of_sides(x: float | None, y: float | None, source: str, remarks: Remarks) -> FileScale | None:
    """The scale of pixels of these sides in micrometres; pixels that are not square are told."""
    if x is None and y is None:
        return None
    x, y = (x if x is not None else y), (y if y is not None else x)
    assert x is not None
    assert y is not None
    low, high = _POSSIBLE_UM
    if not (low <= x <= high and low <= y <= high):
        return None
    if abs(x - y) > _NOT_SQUARE * max(x, y):
        remarks.add(f"pixels of {x:.4g} by {y:.4g} um, as the {source} says", "not_square")
        return FileScale(math.sqrt(x * y), source)
    return FileScale(x, source)


def of_lengths(x: float, x_unit: str, y: float | None, y_unit: str, source: str, remarks: Remarks) -> FileScale | None:
    """The scale of pixels whose sides are so many of a unit of length."""
    x_um, y_um = unit_um(x_unit), unit_um(y_unit)
    if x_um is None:
        return None
    return of_sides(x * x_um, None if y is None or y_um is None else y * y_um, source, remarks)


def of_resolution(x: float, y: float, unit_in_um: float, source: str, remarks: Remarks) -> FileScale | None:
    """The scale of so many pixels a unit; None for what is meant for a printer or a screen."""
    if not (math.isfinite(x) and math.isfinite(y) and x > 0 and y > 0):
        return None
    x_um, y_um = unit_in_um / x, unit_in_um / y
    low, high = _MICROSCOPE_UM
    return of_sides(x_um, y_um, source, remarks) if low <= x_um <= high and low <= y_um <= high else None


def of_dpi(dpi: object, remarks: Remarks) -> FileScale | None:
    """The scale of the dots per inch that Pillow reads from a file, as a pair."""
    if not isinstance(dpi, tuple) or len(dpi) != 2:
        return None
    return of_resolution(float(dpi[0]), float(dpi[1]), _INCH_UM, "resolution in the file", remarks)


def of_tags(x: float, y: float, unit: int, remarks: Remarks) -> FileScale | None:
    """The scale of a TIFF's XResolution, YResolution and ResolutionUnit (2: inch, 3: centimetre)."""
    in_um = {2: _INCH_UM, 3: _CENTIMETRE_UM}.get(unit)
    return None if in_um is None else of_resolution(x, y, in_um, "resolution tags", remarks)


def of_description(text: str, remarks: Remarks) -> FileScale | None:
    """The scale of Aperio's `MPP = 0.25` in a TIFF's description."""
    found = re.search(r"\bMPP\s*=\s*([\d.]+)", text)
    try:
        return None if found is None else of_sides(float(found[1]), None, "Aperio description", remarks)
    except ValueError:
        return None


def number(given: Scale) -> float | None:
    """Micrometres per pixel that were given; None where none were, or the files' own are asked for."""
    if isinstance(given, GivenScale):
        return given.um_per_px
    return None if given is None or isinstance(given, str) else given


def taken(given: Scale, stated: FileScale | None) -> float | None:
    """Micrometres per pixel that count: those given, or the file's own where these are asked for."""
    if given == OF_FILE:
        return None if stated is None else stated.um_per_px
    return number(given)


def judge(given: Scale, stated: FileScale | None, remarks: Remarks) -> None:
    """Say what the file states where it is not what counts, and that it states nothing where it should."""
    if stated is None:
        if given == OF_FILE:
            remarks.add("the file states no scale, so that sizes are in pixels")
    elif given == OF_FILE:
        remarks.add(f"the scale is the file's own, {stated.um_per_px:.4g} µm per pixel ({stated.source})")
    elif given is None:
        remarks.add(
            f"the file says {stated.um_per_px:.4g} µm per pixel ({stated.source}); give this as the scale to use it"
        )
    elif abs((um_per_px := number(given) or 0.0) - stated.um_per_px) > CONTRADICTS * stated.um_per_px:
        remarks.add(
            f"{um_per_px:.4g} µm per pixel given, {stated.um_per_px:.4g} in the file ({stated.source})",
            "scale_contradicted",
        )

"""Numbers and populations in words, the same on every chart, table and report."""

import math

from core.domain.types import GivenScale
from core.features.spec import FeatureSpec
from core.populations.comparison import FeatureComparison, describe
from core.populations.summaries import Basis, ReferencePopulation

_SIGNIFICANT = 3
_MANY = 10_000
_ABSENT = "\u2013"  # en dash
_MILLIONS = "\u00d710\u2076"  # times 10 to the 6th


def number(value: float | None) -> str:
    """A value with three significant digits, thousands separated; a dash where it is absent."""
    if value is None or not math.isfinite(value):
        return _ABSENT
    if abs(value) >= _MANY:
        return f"{value:,.0f}"
    if value == 0:
        return "0"
    decimals = max(0, _SIGNIFICANT - 1 - math.floor(math.log10(abs(value))))
    return f"{value:.{min(decimals, 6)}f}"


def unit(spec: FeatureSpec, basis: Basis) -> str:
    """Unit of a shown value, e.g. "µm²"; empty for a pure number."""
    text = spec.unit.um if basis is Basis.MICROMETRES else spec.unit.px
    return f"{_MILLIONS} {text}" if spec.display_factor != 1 else text


def with_unit(spec: FeatureSpec, value: float | None, basis: Basis) -> str:
    """A stored value as it is shown: scaled for display, three digits, with its unit."""
    if value is None:
        return _ABSENT
    return f"{number(spec.shown(value))} {unit(spec, basis)}".strip()


def of_cell(spec: FeatureSpec, value: float | None, um_per_px: float | None, error: float | None = None) -> str:
    """A stored value of one cell as it is shown: in micrometres where it is a length or area and the scale is known.

    Where the scale has an `error`, the range that follows from it comes after the value: "97.3 µm² (83.6 to 112)".
    """
    if um_per_px is None or value is None or not spec.length_power:
        return with_unit(spec, value, Basis.PIXELS)
    return with_unit(spec, spec.in_um(value, um_per_px), Basis.MICROMETRES) + um_range(spec, value, um_per_px, error)


def um_range(spec: FeatureSpec, value: float | None, um_per_px: float | None, error: float | None) -> str:
    """The range of a size in micrometres, in brackets after a blank; empty where the scale has no error."""
    if value is None or um_per_px is None or not error or not spec.length_power:
        return ""
    low, high = spec.um_range(value, um_per_px, error)
    return f" ({number(spec.shown(low))} to {number(spec.shown(high))})"


def scale_caution(um_per_px: float | None, error: float | None) -> str | None:
    """What the error of a scale means for sizes, as a sentence; None where it has none."""
    if um_per_px is None or not error:
        return None
    return (
        f"The scale, {um_per_px:.4g} µm per pixel, is known within {100 * error:.0f} %, so areas within about"
        f" {200 * error:.0f} %: the ranges of sizes stand in brackets."
    )


def given_scale(scale: GivenScale) -> str:
    """A scale with how it is known, e.g. "0.0868 µm per pixel; that of MLL23: 25 µm on 288 pixels"."""
    origin = scale.origin.replace(" um", " µm")
    if origin.startswith(f"{scale.um_per_px:.3g} µm per pixel"):  # the sentence of the red cells says it all
        return origin
    return scale_words(scale.um_per_px, scale.error) + (f"; {origin}" if origin else "")


def scale_words(um_per_px: float, error: float | None) -> str:
    """A scale with its error: "0.0934 µm per pixel, within 7 %"."""
    return f"{um_per_px:.4g} µm per pixel{f', within {100 * error:.0f} %' if error else ''}"


def who(reference: ReferencePopulation) -> str:
    """How many cells of how many patients, and from where: "n = 1000 cells, patients not recorded, Hospital Clinic"."""
    if reference.published:
        return f"n = {reference.n} images, {reference.source}"
    cells = "cell" if reference.n == 1 else "cells"
    patients = (
        "patients not recorded"
        if reference.patients is None
        else f"{reference.patients} patient{'s' * (reference.patients != 1)}"
    )
    return f"n = {reference.n} {cells}, {patients}, {reference.source}"


def place(comparison: FeatureComparison) -> str:
    """Where the cell stands, as a hover text: the sentence and what qualifies it."""
    return describe(comparison) + (f". {comparison.caution}" if comparison.caution else "")

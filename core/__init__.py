"""Leukoscope's engine: decode, segment, measure, compare. Knows no user interface and no training stack."""

__version__ = "0.2.0"

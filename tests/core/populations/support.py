"""Populations of cells whose values are known by hand."""

import numpy as np
import pandas as pd

from core.domain.cell_types import CellType
from core.domain.types import FeatureSet
from core.features.catalogue import CATALOGUE
from core.populations.summaries import reference_population

AREA = "nucleus_shape2D_PixelSurface"  # area, logarithmic
LENGTH = "nucleus_shape2D_Perimeter"
PER_LENGTH = "nucleus_shape2D_PerimeterSurfaceRatio"
SHARE = "combined_PixelSurface"  # scale-free, linear
RATIO = "combined_Perimeter"  # scale-free, logarithmic
TONE = "nucleus_firstorder_Mean"
ENERGY = "nucleus_firstorder_Energy"


def frame(n=100, *, um=0.1, patients=None, **columns):
    """Values frame of n cells; every feature is 1 to n unless given."""
    base = np.arange(1.0, n + 1)
    data = {
        "cell_id": [f"c{i}" for i in range(n)],
        "patient_id": patients if patients is not None else [None] * n,
        "um_per_px": um,
    }
    return pd.DataFrame({**data, **dict.fromkeys(CATALOGUE, base), **columns})


def population(values, **changes):
    fields = {"population": "mono", "cell_type": CellType.MONOCYTE, "title": "Monocytes of a test", "source": "test"}
    return reference_population(values, **{**fields, **changes})


def cell(value=50.0, **values):
    return FeatureSet({**dict.fromkeys(CATALOGUE, value), **values}, {})

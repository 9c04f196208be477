"""The tables and drawings behind page Models, each read once."""

from pathlib import Path

import pandas as pd

from core.charts.overlay import outlined_svg
from core.evaluation import model_selection
from core.evaluation.reliability import drawn_sample
from core.evaluation.training_runs import read_log
from pages._ui.common.caching import cached


@cached("data", max_entries=4, key=lambda path: (str(path), path.stat().st_mtime))
def training_log(path: Path) -> pd.DataFrame:
    """The training log beside a model, one row per epoch; raises StoreError."""
    return read_log(path)


@cached("data", max_entries=12, key=lambda folder, table: (str(folder), table, model_selection.signature(folder)))
def selection_table(folder: Path, table: str) -> pd.DataFrame:
    """One table of a model-selection run, read again when a fold ends; raises StoreError."""
    return model_selection.read(folder, table)


@cached("data", max_entries=32, key=lambda *of: of)
def drawn_cell(sample_id: str, data_sets: tuple[str, ...]) -> str | None:
    """SVG of a cell of a data set with its drawn outlines; None where its image is not on this computer."""
    sample = drawn_sample(sample_id, data_sets)
    return None if sample is None else outlined_svg(*sample)

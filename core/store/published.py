"""The thesis's printed tables of monocytes and lymphocytes: a published reference, never pooled with cells.

They are from GAN-made images.
"""

import re
from pathlib import Path

import pandas as pd

from core.domain.cell_types import CELL_TYPES, CellType
from core.domain.errors import StoreError
from core.features.catalogue import CATALOGUE
from core.populations.outlining import Outlining
from core.populations.summaries import PopulationSummary, ReferencePopulation, published_summary

PUBLISHED_FILE = "published_populations.csv"

_COLUMNS = ["population", "region", "feature", "p2", "p50", "p98", "mean", "std", "source"]


def published_references(folder: Path) -> tuple[ReferencePopulation, ...]:
    """Read the published populations from `published_populations.csv` in a folder; none if there is no such file.

    `n` is the number of images the source text states. Sizes are in pixels of an unknown size and never comparable.

    Raises
    ------
    StoreError
        If the table lacks a column or names a feature or cell type that is not known.
    """
    path = folder / PUBLISHED_FILE
    if not path.is_file():
        return ()
    table = pd.read_csv(path)
    if list(table.columns) != _COLUMNS:
        msg = f"{path}: must have the columns {', '.join(_COLUMNS)}, but has {', '.join(table.columns)}"
        raise StoreError(msg)
    return tuple(_reference(path, str(name), rows) for name, rows in table.groupby("population", sort=False))


def _reference(path: Path, name: str, rows: pd.DataFrame) -> ReferencePopulation:
    if name not in list(CellType):
        msg = f"{path}: {name!r} is no cell type; there are {', '.join(CellType)}"
        raise StoreError(msg)
    cell_type, source = CellType(name), str(rows["source"].iloc[0])
    count = re.search(r"\((\d+) ", source)
    if count is None:
        msg = (
            f"{path}: the source must state the number of images in brackets, as in '(566 GAN-generated images)', but"
            f" is {source!r}"
        )
        raise StoreError(msg)
    n, population = int(count[1]), f"published_{name}"
    nobody = pd.DataFrame(columns=["cell_id", "patient_id", "um_per_px"])
    summaries: dict[str, PopulationSummary] = {}
    for row in rows.to_dict("records"):
        feature = (
            f"combined_{row['feature']}" if row["region"] == "combined" else f"{row['region']}_shape2D_{row['feature']}"
        )
        if feature not in CATALOGUE:
            msg = f"{path}: the catalogue has no feature {feature!r}"
            raise StoreError(msg)
        summaries[feature] = published_summary(
            population, feature, n=n, p2=row["p2"], p50=row["p50"], p98=row["p98"], mean=row["mean"], std=row["std"]
        )
    return ReferencePopulation(
        population=population,
        cell_type=cell_type,
        title=f"{CELL_TYPES[cell_type].name}, published table",
        source=source,
        n=n,
        patients=None,
        summaries={feature: summaries[feature] for feature in CATALOGUE if feature in summaries},
        ordered={},
        members=nobody,
        sample=nobody,
        published=True,
        outlined=Outlining(unknown=n),
    )

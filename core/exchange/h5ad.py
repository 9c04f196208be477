"""AnnData: what scanpy and squidpy open, without an absent value in `X` and with the measured ones in a layer."""

import tempfile
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from core.domain.options import Units
from core.exchange.cells import COLUMNS, Handing
from core.features.catalogue import CATALOGUE

MEASURED: Final = "measured"
_FEATURES: Final = [name for name in COLUMNS if name in CATALOGUE]
_CELLS: Final = [name for name in COLUMNS if name not in CATALOGUE]


def write(handing: Handing, path: Path) -> None:
    """Write an observation a cell and a variable a feature that any cell has.

    `X` (n, F) float64 has the median of a feature where a cell lacks it, so that `scanpy.pp.pca` runs as it is;
    `layers["measured"]` has nan there, `var["absent"]` counts them, and `uns["leukoscope"]` says it in words.
    `obsm["spatial"]` (n, 2) is the centre x, y in pixels of the image that `obs["image_path"]` names. Values wait on
    the disk, so that memory holds only what is said of cells besides.
    """
    import anndata  # takes a second, and only this needs it

    with tempfile.TemporaryDirectory() as folder:
        spool, others = Path(folder) / "values", []
        with spool.open("wb") as file:
            for _, frame in handing.frames():
                file.write(frame[_FEATURES].to_numpy(dtype="float64", na_value=float("nan")).tobytes())
                others.append(frame[_CELLS])
        if not others:
            return
        cells = pd.concat(others, ignore_index=True)
        measured = np.memmap(spool, np.float64, "r", shape=(len(cells), len(_FEATURES)))
        absent = np.array([np.count_nonzero(np.isnan(column)) for column in measured.T])
        there = np.flatnonzero(absent < len(cells))
        filled, kept = (
            np.memmap(Path(folder) / name, np.float64, "w+", shape=(len(cells), len(there))) for name in ("X", "layer")
        )
        for at, column in enumerate(there):
            kept[:, at] = filled[:, at] = measured[:, column]
            filled[np.isnan(filled[:, at]), at] = np.nanmedian(kept[:, at])
        features = [_FEATURES[column] for column in there]
        table = anndata.AnnData(
            X=np.asarray(filled),
            obs=_observed(cells),
            # This version of AnnData writes no text of pandas 3, only that of Python.
            var=pd.DataFrame(
                [_described(name, handing.units) for name in features], index=_texts(features), dtype=object
            ).assign(absent=absent[there]),
            obsm={"spatial": _centres(cells)},
            layers={MEASURED: np.asarray(kept)},
            uns={"leukoscope": _said(handing, int(absent[there].sum()), absent == len(cells))},
        )
        # Texts that repeat would become categories of the kind that it cannot write.
        table.write_h5ad(path, convert_strings_to_categoricals=False)


def _said(handing: Handing, imputed: int, left_out: NDArray[np.bool_]) -> dict[str, str]:
    words = (
        f"{imputed:,} absent values of X are the median of their feature; layers['{MEASURED}'] has nan there, and"
        " var['absent'] counts them"
    )
    without = " ".join(name for name, gone in zip(_FEATURES, left_out, strict=True) if gone)
    return handing.provenance() | {"imputed": words, "features of no cell": without, "anndata": version("anndata")}


def _centres(cells: pd.DataFrame) -> NDArray[np.float64]:
    return cells[["centre_x", "centre_y"]].to_numpy(dtype="float64", na_value=float("nan"))


def _observed(cells: pd.DataFrame) -> pd.DataFrame:
    others = {name: _column(cells[name]) for name in _CELLS if name != "cell_id"}
    names = cells["cell_id"].astype(object)
    # An imported table may lack them, and a cell of two selections may come twice.
    unique = names.notna().all() and names.is_unique
    return pd.DataFrame(others, index=_texts(names.tolist() if unique else [str(row) for row in range(len(cells))]))


def _described(name: str, units: Units) -> dict[str, str]:
    spec = CATALOGUE[name]
    unit = spec.unit.um if units is Units.MICROMETRES else spec.unit.px
    depends_on = [
        what for what, does in (("magnification", not spec.scale_free), ("stain", spec.intensity_dependent)) if does
    ]
    row = {"label": spec.label, "region": str(spec.region), "theme": str(spec.theme), "unit": unit}
    return row | {"description": spec.description, "depends_on": ", ".join(depends_on)}


def _column(column: pd.Series) -> Any:  # noqa: ANN401 (an array that AnnData can write)
    """A column of `obs`: numbers and truth as they are, all else as categories of text."""
    if pd.api.types.is_bool_dtype(column):
        return column.to_numpy()
    if pd.api.types.is_numeric_dtype(column):
        return column.to_numpy(dtype="float64", na_value=float("nan")) if column.isna().any() else column.to_numpy()
    words = [_words(value) for value in column]
    there = sorted({word for word in words if word is not None})
    places = {word: place for place, word in enumerate(there)}
    return pd.Categorical.from_codes([-1 if word is None else places[word] for word in words], _texts(there))


def _texts(texts: Sequence[str]) -> Any:  # noqa: ANN401 (pandas' stubs differ by version)
    return pd.Index(texts, dtype=object)


def _words(value: Any) -> str | None:  # noqa: ANN401 (any value)
    if isinstance(value, str) or not isinstance(value, Iterable):
        return None if value is None or pd.isna(value) else str(value)
    return " ".join(map(str, value))

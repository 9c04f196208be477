"""Outline and measure white blood cells, and compare them with reference populations.

In three lines a notebook has a measured cell:

>>> import leukoscope
>>> cell = leukoscope.analyse(leukoscope.example())
>>> cell.table()["nucleus_shape2D_PixelSurface"].item() > 9000
True

`leukoscope.load` opens an image of yours, `cell.overlay()` is its picture with the outlines, and a notebook shows that
picture with the most telling numbers when `cell` is the last line of its own. Sizes are in pixels, areas in square
pixels; the table says which scale the image has.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal

try:
    from core import __version__
except ImportError as error:
    _HIDDEN = "the package `core` of leukoscope is hidden by another of that name; start Python in another folder"
    raise ImportError(_HIDDEN) from error

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from core.domain.types import CellAnalysis, CellImage, Segmentation
    from core.segmentation.segmenter import OnnxSegmenter as Segmenter
    from core.store.database import Cohort

__all__ = [
    "Analysis",
    "Cohort",
    "Segmenter",
    "__version__",
    "analyse",
    "batch",
    "catalogue",
    "example",
    "load",
    "main",
    "measure",
    "segment",
]

# Imported when they are asked for, so that `import leukoscope` costs nothing.
_ELSEWHERE: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {"Segmenter": ("core.segmentation.segmenter", "OnnxSegmenter"), "Cohort": ("core.store.database", "Cohort")}
)


def __getattr__(name: str) -> Any:  # noqa: ANN401 (whatever has that name)
    if name not in _ELSEWHERE:
        msg = f"module 'leukoscope' has no attribute {name!r}"
        raise AttributeError(msg)
    module, there = _ELSEWHERE[name]
    return getattr(import_module(module), there)


def __dir__() -> list[str]:
    return __all__


@dataclass(frozen=True, eq=False)
class Analysis:
    """The measured cells of one image, as `analyse` returns them.

    Attributes
    ----------
    image
        The whole image.
    cells
        One entry a cell: outline, features in pixels with reasons for those that are absent, quality flags.

    Examples
    --------
    >>> found = analyse(example())
    >>> len(found.cells), found.cells[0].segmentation.labels.shape
    (1, (360, 360))
    """

    image: "CellImage"
    cells: tuple["CellAnalysis", ...]

    def table(self) -> "pd.DataFrame":
        """Return a data frame of one row a cell: where it comes from, its quality flags, and every feature in pixels.

        Examples
        --------
        >>> analyse(example()).table()[["cell_index", "confidence", "nucleus_shape2D_PixelSurface"]].round(2).shape
        (1, 3)
        """
        from core.reports.tables import analyses_table

        return analyses_table(self.cells)

    def overlay(self, min_side_px: int = 1024) -> "NDArray[np.uint8]":
        """Return the image with its outlines, uint8 (H, W, 3): nucleus solid, cell dashed, surroundings dotted.

        Parameters
        ----------
        min_side_px
            The picture is enlarged by a whole factor until its longer side has so many pixels.

        Examples
        --------
        >>> analyse(example()).overlay().shape
        (1080, 1080, 3)
        """
        from core.image.imaging import decode

        return decode(self._png(min_side_px), self.image.name).rgb

    def _png(self, min_side_px: int) -> bytes:
        from core.charts.overlay import field_png, outlined_png

        if self.cells[0].place is None:
            return outlined_png(self.image, self.cells[0].segmentation.labels, min_side_px)
        placed = [(cell.place, cell.segmentation.labels) for cell in self.cells if cell.place is not None]
        return field_png(self.image, placed, min_side_px)

    def _repr_html_(self) -> str:
        """Return the picture with the outlines, and below it the main numbers of each cell, for a notebook."""
        import base64

        from core.features.catalogue import KEY_FEATURES

        picture = base64.b64encode(self._png(512)).decode("ascii")
        columns = ["confidence", "quality_ok", *KEY_FEATURES]
        table = self.table()[columns].rename(columns=_title).to_html(float_format="{:.4g}".format)
        return f'<img src="data:image/png;base64,{picture}" alt="Outlines" style="max-width:512px">{table}'


def _title(column: str) -> str:
    from core.features.catalogue import CATALOGUE

    spec = CATALOGUE.get(column)
    return column if spec is None else f"{spec.label} ({spec.unit.px})"


def example(kind: str = "monocyte", seed: int = 0) -> "CellImage":
    """Return the image of a cell that the program draws; no real cell, so it may be shown to anyone.

    Parameters
    ----------
    kind
        What is drawn: `lymphocyte`, `monocyte` or `hairy_cell`.
    seed
        Another number draws another cell.

    Examples
    --------
    >>> example("lymphocyte").rgb.shape
    (360, 360, 3)
    """
    from core.domain.errors import UsageError
    from core.image.synthetic import SYNTHETIC_CELLS, draw_cell

    if kind not in SYNTHETIC_CELLS:
        msg = f"a drawn cell is one of {', '.join(SYNTHETIC_CELLS)}, but {kind!r} was asked for"
        raise UsageError(msg)
    return draw_cell(seed, SYNTHETIC_CELLS[kind])[0]


def load(path: str | Path, um_per_px: 'float | Literal["file"] | None' = None) -> "CellImage":
    """Open an image of a stained smear: PNG, JPEG, TIFF, BMP, GIF or WebP.

    Parameters
    ----------
    path
        The file.
    um_per_px
        Micrometres per pixel, where they are known; sizes can then be compared with those of other images. `file`
        takes what the file states of itself.

    Raises
    ------
    core.domain.errors.ImageError
        The file cannot be read or is no image that can be measured; the message says what came instead.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from core.image.imaging import encode_png
    >>> with TemporaryDirectory() as folder:
    ...     file = Path(folder) / "cell.png"
    ...     _ = file.write_bytes(encode_png(example().rgb))
    ...     image = load(file, um_per_px=0.1)
    >>> image.name, image.shape, image.um_per_px
    ('cell.png', (360, 360), 0.1)
    """
    from core.image import imaging

    return imaging.load(Path(path), um_per_px)


def segment(image: "str | Path | CellImage", segmenter: "Segmenter | None" = None) -> "Segmentation":
    """Outline nucleus and cytoplasm of the cell in the middle of an image.

    Parameters
    ----------
    image
        What `load` returned, or a file.
    segmenter
        An opened model (`Segmenter.open`); the default one is opened without it, which takes about half a second.

    Returns
    -------
    Segmentation
        `labels`, uint8 (H, W): 0 background, 1 environment, 2 cytoplasm, 3 nucleus; and the `confidence` in them,
        0 to 1.

    Examples
    --------
    >>> outline = segment(example())
    >>> outline.labels.shape, outline.confidence > 0.9
    ((360, 360), True)
    """
    return (segmenter or __getattr__("Segmenter").open()).segment(_opened(image))


def analyse(
    image: "str | Path | CellImage",
    segmenter: "Segmenter | None" = None,
    *,
    cells: str = "auto",
    feature_engine: str = "fast",
) -> Analysis:
    """Outline, measure and check the cells of an image.

    Parameters
    ----------
    image
        What `load` returned, or a file.
    segmenter
        An opened model (`Segmenter.open`), to be shared by many images; the default one is opened without it.
    cells
        `one`: the cell in the middle; `all`: every leukocyte of the field; `auto`: what the image shows.
    feature_engine
        `fast`, or `reference` for pyradiomics itself (the extra `reference`).

    Raises
    ------
    core.domain.errors.ImageError
        The image cannot be read, or all cells were asked for and there is none.

    Examples
    --------
    >>> row = analyse(example("lymphocyte")).table().iloc[0]
    >>> bool(row["nucleus_shape2D_PixelSurface"] < row["cell_shape2D_PixelSurface"])
    True
    """
    from core import pipeline
    from core.domain.errors import ImageError
    from core.domain.options import CellChoice, FeatureEngine

    opened = _opened(image)
    model = segmenter or __getattr__("Segmenter").open()
    analyses = pipeline.analyse_cells(opened, model, CellChoice(cells), engine=FeatureEngine(feature_engine))
    if not analyses:
        msg = f"{opened.name}: no stained leukocyte was found in the field; cells='one' takes what is in the middle"
        raise ImageError(msg)
    return Analysis(opened, analyses)


def measure(
    image: "str | Path | CellImage", labels: "NDArray[np.uint8]", *, feature_engine: str = "fast"
) -> "pd.DataFrame":
    """Measure a cell whose outline is known; no model is needed.

    Parameters
    ----------
    image
        What `load` returned, or a file.
    labels
        uint8 (H, W) like the image: 0 background, 1 environment, 2 cytoplasm, 3 nucleus. Without an environment the
        usual ring around the cell is measured.
    feature_engine
        `fast`, or `reference` for pyradiomics itself (the extra `reference`).

    Returns
    -------
    DataFrame
        One row a feature, by name: `value` in `unit` (micrometres where the image has a scale, else pixels); where
        the value is absent, `absent` says why.

    Examples
    --------
    >>> image = example()
    >>> found = measure(image, segment(image).labels)
    >>> area = found.loc["cell_shape2D_PixelSurface"]
    >>> area["unit"], bool(100 < area["value"] < 400)
    ('µm²', True)
    """
    import pandas as pd

    from core.domain.compartments import Compartment
    from core.domain.options import FeatureEngine
    from core.domain.types import as_label_map
    from core.features.catalogue import CATALOGUE
    from core.features.extract import extract
    from core.image.masks import with_environment

    opened, known = _opened(image), as_label_map(labels)
    if not (known == Compartment.ENVIRONMENT).any():
        known = with_environment(known)
    features, scale = extract(opened.rgb, known, FeatureEngine(feature_engine)), opened.um_per_px
    rows = [
        (
            name,
            value if value is None or scale is None else CATALOGUE[name].in_um(value, scale),
            CATALOGUE[name].unit.px if scale is None else CATALOGUE[name].unit.um,
            features.absent.get(name, ""),
        )
        for name, value in features.values.items()
    ]
    return pd.DataFrame(rows, columns=["feature", "value", "unit", "absent"]).set_index("feature")


def catalogue() -> "pd.DataFrame":
    """Return every feature as a row, by name: what it says, its formula and unit, and what it depends on.

    Examples
    --------
    >>> catalogue().loc["nucleus_shape2D_PixelSurface", "label"]
    'Nucleus area'
    """
    import pandas as pd

    from core.features.catalogue import CATALOGUE

    return pd.DataFrame([spec.row() for spec in CATALOGUE.values()]).set_index("name")


def batch(
    source: str | Path, out: str | Path, *, jobs: int = 1, um_per_px: float | None = None, cells: str = "auto"
) -> "pd.DataFrame":
    """Measure a folder or a ZIP file of any size, and return its table of cells.

    Stopped, it goes on where it was when it is called again. `leukoscope batch` has more options.

    Parameters
    ----------
    source
        A folder with its subfolders, or a ZIP file.
    out
        Folder for the results: cells.csv, errors.csv, masks; made where it is not there.
    jobs
        Worker processes.
    um_per_px
        Micrometres per pixel of all images.
    cells
        As in `analyse`.

    Returns
    -------
    DataFrame
        cells.csv: a row a cell, by image. What could not be measured is in errors.csv with its reason.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from core.image.imaging import encode_png
    >>> with TemporaryDirectory() as folder:
    ...     (images := Path(folder) / "images").mkdir()
    ...     _ = (images / "cell.png").write_bytes(encode_png(example().rgb))
    ...     table = batch(images, Path(folder) / "results")
    >>> table["image_path"].tolist()
    ['cell.png']
    """
    import pandas as pd

    from core.batch.run import Batch, run_batch
    from core.batch.settings import BatchSettings
    from core.segmentation.model_registry import find_model

    settings = BatchSettings(str(source), um_per_px=um_per_px, cells=cells)
    run_batch(Batch(str(out), settings, find_model(), jobs))
    return pd.read_csv(Path(out) / "cells.csv")


def _opened(image: "str | Path | CellImage") -> "CellImage":
    return load(image) if isinstance(image, str | Path) else image


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command `leukoscope`; returns its exit code.

    Examples
    --------
    >>> main(["models", "verify", "--device", "cpu"])
    0
    """
    from core.cli.main import main as run
    from core.cli.main import program

    return program("leukoscope") if argv is None else run(argv, "leukoscope")


if __name__ == "__main__":
    sys.exit(main())

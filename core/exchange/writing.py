"""Every format by its name, and the one way in which any of them is written: whole, or not at all."""

import tempfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from core.domain.errors import UsageError
from core.domain.options import Units
from core.exchange import cellprofiler, coco, h5ad, label_tiff, qupath, ro_crate, tables, yolo
from core.exchange.cells import Handing, Handover
from core.support import files


@dataclass(frozen=True)
class ExchangeFormat:
    """A format: what it is called, what opens it, and what writes it; without a `suffix` it is a folder."""

    label: str
    opens_in: str
    write: Callable[[Handing, Path], None]
    suffix: str = ""


FORMATS: Final[Mapping[str, ExchangeFormat]] = MappingProxyType(
    {
        "qupath": ExchangeFormat("QuPath (GeoJSON)", "QuPath", qupath.write),
        "coco": ExchangeFormat("COCO", "pycocotools, Detectron2, CVAT", coco.write),
        "yolo": ExchangeFormat("YOLO segmentation", "Ultralytics and what reads its labels", yolo.write),
        "label-tiff": ExchangeFormat("Label images (OME-TIFF)", "napari, Fiji, CellProfiler", label_tiff.write),
        "cellprofiler": ExchangeFormat("CellProfiler Analyst", "CellProfiler Analyst, SQLite", cellprofiler.write),
        "anndata": ExchangeFormat("AnnData (h5ad)", "scanpy, squidpy", h5ad.write, ".h5ad"),
        "csv": ExchangeFormat("CSV with its description", "everything", tables.write_csv),
        "xlsx": ExchangeFormat("Excel (XLSX)", "Excel, LibreOffice", tables.write_xlsx, ".xlsx"),
        "ro-crate": ExchangeFormat("RO-Crate, for an archive", "archives, Zenodo, WorkflowHub", ro_crate.write),
    }
)


def export(handover: Handover, name: str, out: Path, units: Units = Units.PIXELS, *, force: bool = False) -> Handing:
    """Write cells in the format of a name; what is at `out` appears whole, and after an error is as it was.

    Parameters
    ----------
    handover
        The cells.
    name
        A key of FORMATS.
    out
        The file, or the folder, whose own folder is made if it is missing.
    units
        What lengths and areas in tables are counted in.
    force
        Replace what is there already.

    Returns
    -------
    Handing
        How many images and cells were written, and how many were left out and why.

    Raises
    ------
    UsageError
        If there is something already, or no cell that the format can hold.
    StoreError
        If micrometres are asked for and cells have no scale, or a source is damaged.
    """
    known = FORMATS[name]
    check_free(out, known, force=force)
    handing = Handing(handover, units)
    out.parent.mkdir(parents=True, exist_ok=True)
    with files.unfinished(out) as made:
        known.write(handing, made)
        if not handing.cells:
            reasons = "; ".join(f"{count:,} left out: {reason}" for reason, count in handing.left_out.items())
            msg = f"there is no cell to hand over as {name} in {handover.title}{f' ({reasons})' if reasons else ''}"
            raise UsageError(msg)
        if force and out.is_dir():
            files.remove_folder(out)
        made.replace(out)
    return handing


def check_free(out: Path, known: ExchangeFormat, *, force: bool) -> None:
    """Raise UsageError where `out` may not be written to."""
    if known.suffix and out.suffix.lower() != known.suffix:
        msg = f"--out must end in {known.suffix}, but is {out.name}"
        raise UsageError(msg)
    if out.exists() or out.is_symlink():
        if not force:
            msg = f"{out} is there already, and nothing was written; choose another --out, or replace it with --force"
            raise UsageError(msg)
        if out.is_dir() == bool(known.suffix):
            msg = f"{out} and {known.label} cannot replace each other: one is a file, one a folder; choose another"
            raise UsageError(msg)


def packed(handover: Handover, name: str, units: Units = Units.PIXELS) -> bytes:
    """The same as one file for a browser: what is a folder comes as a ZIP file. Raises as `export`."""
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / f"cells{FORMATS[name].suffix}"
        export(handover, name, made, units)
        if made.is_file():
            return made.read_bytes()
        archive = Path(folder) / "cells.zip"
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packing:
            for path in sorted(made.rglob("*")):
                if path.is_file():
                    packing.write(path, path.relative_to(made).as_posix())
        return archive.read_bytes()

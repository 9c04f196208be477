"""The data sets Leukoscope knows: where their images, masks, labels and patients are, and on what terms. One entry each."""

import csv
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Final

from core.cell_types import CellType
from core.errors import DataSetError
from core.settings import load_settings


@dataclass(frozen=True)
class Sample:
    """One image of a data set. `sample_id` is `<data set>/<relative name>`; samples of one `group` belong in one fold."""

    sample_id: str
    image: Path
    mask: Path | None
    cell_type: CellType
    group: str
    patient_id: str | None = None
    diagnosis: str | None = None


@dataclass(frozen=True)
class DataSet:
    """A data set and its provenance. `um_per_px` is None where no source states it and nothing in the image tells."""

    name: str
    title: str
    citation: str
    terms: str
    tissue: str
    um_per_px: float | None
    scale_origin: str
    folder: str
    read: Callable[[Path, str], Iterator[Sample]]

    def samples(self, data: Path | None = None) -> list[Sample]:
        """All samples, sorted by id; `data` defaults to the settings' data folder. Raises DataSetError where it is missing."""
        root = (data or load_settings().data) / self.folder
        if not root.is_dir():
            msg = (
                f"data set {self.name}: expected the folder {self.folder} in LEUKOSCOPE_DATA, but it is not there. Source: {self.citation}"
            )
            raise DataSetError(msg)
        return sorted(self.read(root, self.name), key=lambda sample: sample.sample_id)


def _table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def _read_masked(root: Path, name: str) -> Iterator[Sample]:
    """`images/<id>.png`, `masks/<id>.png` and `labels.csv`; image and mask must come in pairs."""
    images = {path.stem: path for path in (root / "images").iterdir()}
    masks = {path.stem: path for path in (root / "masks").iterdir()}
    if unpaired := sorted(images.keys() ^ masks.keys()):
        msg = f"data set {name}: every image needs a mask of the same name and the reverse, but these stand alone: {unpaired[:10]}"
        raise DataSetError(msg)
    rows = {row["image_id"]: row for row in _table(root / "labels.csv")}
    for stem, image in images.items():
        duplicate = rows[stem]["duplicate_group"]
        group = f"{name}/duplicate-{duplicate}" if duplicate else f"{name}/{stem}"
        yield Sample(f"{name}/{stem}", image, masks[stem], CellType(rows[stem]["cell_type"]), group)


def _read_acevedo(root: Path, name: str) -> Iterator[Sample]:
    for row in _table(root / "manifest.csv"):
        yield Sample(f"{name}/{row['path']}", root / row["path"], None, CellType(row["cell_type"]), f"{name}/{row['path']}")


def _read_deepapl(root: Path, name: str) -> Iterator[Sample]:
    for row in _table(root / "manifest.csv"):
        apl = row["diagnosis"] == "APL" and row["cell_class"] in ("promyelocyte", "blast")
        cell_type = CellType.APL if apl else CellType(row["cell_class"])
        patient = row["patient_id"]
        yield Sample(f"{name}/{row['path']}", root / row["path"], None, cell_type, f"{name}/{patient}", patient, row["diagnosis"])


def _read_hairy(root: Path, name: str) -> Iterator[Sample]:
    for path in root.iterdir():
        yield Sample(f"{name}/{path.name}", path, None, CellType.HCL, f"{name}/{path.name}")


def _read_one_patient(root: Path, name: str) -> Iterator[Sample]:
    return (replace(sample, patient_id="patient-1") for sample in _read_hairy(root, name))


_CELLAVISION_SCALE: Final = "estimated from the red cells beside the leukocytes (7.5 um assumed), within about 10 %"
_NO_SCALE: Final = "no source states a pixel size"

_ALL: Final = (
    DataSet(
        "set1",
        "Jiangxi Tecom rapid stain",
        "Zheng et al. 2018, Micron 107:55, data set 1",
        "repository segmentation_WBC, GPL-3.0",
        "peripheral blood",
        None,
        _NO_SCALE,
        "wbc_zheng/set1",
        _read_masked,
    ),
    DataSet(
        "set2",
        "CellaVision blog",
        "Zheng et al. 2018, Micron 107:55, data set 2",
        "repository segmentation_WBC, GPL-3.0",
        "peripheral blood",
        None,
        _NO_SCALE,
        "wbc_zheng/set2",
        _read_masked,
    ),
    DataSet(
        "acevedo",
        "Hospital Clinic Barcelona, healthy donors",
        "Acevedo et al. 2020, Data in Brief 30:105474",
        "CC BY 4.0",
        "peripheral blood",
        0.095,
        _CELLAVISION_SCALE,
        "acevedo",
        _read_acevedo,
    ),
    DataSet(
        "deepapl",
        "Johns Hopkins, patients with acute leukaemia",
        "Sidhom et al. 2021, npj Precision Oncology 5:38",
        "no open licence: values only, images never redistributed, never used for training",
        "peripheral blood",
        0.095,
        _CELLAVISION_SCALE,
        "deepapl",
        _read_deepapl,
    ),
    DataSet(
        "hairy_cell_marrow",
        "Munich, bone marrow",
        "Matek et al. 2021, Blood 138:1917",
        "collection Bone-Marrow-Cytomorphology, believed CC BY 4.0: values only",
        "bone marrow",
        None,
        "resampled crops: the scale is not that of the source",
        "hairy_cell_marrow",
        _read_hairy,
    ),
    DataSet(
        "hairy_cell_smear",
        "one field of one patient",
        "P. H. O. Mourao, Wikimedia Commons",
        "CC BY-SA 3.0",
        "peripheral blood",
        None,
        _NO_SCALE,
        "hairy_cell_smear",
        _read_one_patient,
    ),
)

DATA_SETS: Final[Mapping[str, DataSet]] = MappingProxyType({data_set.name: data_set for data_set in _ALL})


def data_set(name: str) -> DataSet:
    """The entry of that name; raises DataSetError listing the known ones."""
    try:
        return DATA_SETS[name]
    except KeyError:
        msg = f"unknown data set {name!r}; known are {', '.join(DATA_SETS)}"
        raise DataSetError(msg) from None

"""The data sets Leukoscope knows, one entry each: their images, masks, labels, patients and terms."""

import csv
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations
from pathlib import Path
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from core.domain.cell_types import CellType, folder_cell_type, named_cell_type
from core.domain.errors import DataSetError
from core.domain.settings import load_settings
from core.image.drawn_masks import SHAPE_SUFFIXES, read_mask, without_specks
from core.image.imaging import load
from core.image.listing import IMAGE_SUFFIXES
from core.image.mask_coding import read_coding
from core.image.mask_levels import DecodedMask

# Small grey pictures of one image, taken or saved twice, correlate more than this: 0.986 or more in pairs of set 1.
_SAME_IMAGE: Final = 0.98
# The table of a folder written by `python -m training augment`.
COPIES_MANIFEST: Final = "copies.csv"
# Beside the folder of masks: what their colours, levels or classes mean.
MASK_CODING: Final = "mask_coding.json"


@dataclass(frozen=True)
class Sample:
    """One image of a data set; `sample_id` is `<data set>/<relative name>`; samples of one `group` belong in one fold.

    `original` is the id of the image that an offline augmentation made this one of, `copy` its number there (0:
    unchanged).
    """

    sample_id: str
    image: Path
    mask: Path | None
    cell_type: CellType
    group: str
    patient_id: str | None = None
    diagnosis: str | None = None
    original: str | None = None
    copy: int = 0


@dataclass(frozen=True)
class DataSet:
    """A data set and its provenance; `um_per_px` is None where no source states it and the image does not tell.

    `scale_error` is the share by which the true scale may be larger or smaller.
    """

    name: str
    title: str
    citation: str
    terms: str
    tissue: str
    um_per_px: float | None
    scale_origin: str
    folder: str
    read: Callable[[Path, str], Iterator[Sample]]
    scale_error: float | None = None

    def samples(self, data: Path | None = None) -> list[Sample]:
        """All samples, sorted by id; `data` defaults to the settings' data folder. Raises DataSetError if missing."""
        root = (data or load_settings().data) / self.folder
        if not root.is_dir():
            msg = (
                f"data set {self.name}: expected the folder {self.folder} in LEUKOSCOPE_DATA, but it is not there."
                f" Source: {self.citation}"
            )
            raise DataSetError(msg)
        return sorted(self.read(root, self.name), key=lambda sample: sample.sample_id)


def _table(path: Path) -> list[dict[str, str]]:
    # Spreadsheet programs begin a UTF-8 file with a mark that would otherwise be part of the first column's name.
    with path.open(newline="", encoding="utf-8-sig") as handle:
        return list(csv.DictReader(handle))


def _by_stem(folder: Path, name: str, suffixes: Sequence[str] = IMAGE_SUFFIXES) -> dict[str, Path]:
    """The images (or masks) of a folder by file name without ending, which must be unique."""
    images: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in suffixes and not path.name.startswith("."):
            if path.stem in images:
                msg = (
                    f"data set {name}: {folder.name}/ holds both {images[path.stem].name} and {path.name}; a name may"
                    " occur once"
                )
                raise DataSetError(msg)
            images[path.stem] = path
    return images


def _pairs(root: Path, name: str, lone: list[Path] | None) -> list[tuple[str, Path, Path]]:
    """Stem, image and mask of `images/<stem>.*` and `masks/<stem>.*`.

    What has no partner goes into `lone`; where that is None, it is a DataSetError.
    """
    images = _by_stem(root / "images", name)
    masks = _by_stem(root / "masks", name, (*IMAGE_SUFFIXES, *SHAPE_SUFFIXES))
    if lone is not None:
        lone += [images.pop(stem) for stem in sorted(images.keys() - masks.keys())]
        lone += [masks.pop(stem) for stem in sorted(masks.keys() - images.keys())]
    alone = [
        f"{len(stems)} of {there}/ stand without one in {lacks}/: {', '.join(stems[:5])}{' ...' * (len(stems) > 5)}"
        for there, lacks, stems in (
            ("images", "masks", sorted(images.keys() - masks.keys())),
            ("masks", "images", sorted(masks.keys() - images.keys())),
        )
        if stems
    ]
    if alone:
        msg = (
            f"data set {name}: every image needs a mask of the same name (its ending may differ) and the reverse, but"
            f" {'; '.join(alone)}"
        )
        raise DataSetError(msg)
    if not (images or lone):
        msg = (
            f"data set {name}: {root} holds no image; expected {', '.join(IMAGE_SUFFIXES)} files in images/ and masks/"
        )
        raise DataSetError(msg)
    return [(stem, images[stem], masks[stem]) for stem in images]


def _rows_by_id(path: Path, stems: Iterable[str], name: str, columns: Sequence[str]) -> dict[str, dict[str, str]]:
    """The rows of `labels.csv` by `image_id`; raises DataSetError for a missing column or row, or an unknown type."""
    table = _table(path)
    if table and (lacking := [column for column in columns if column not in table[0]]):
        msg = (
            f"data set {name}: {path.name} needs the columns {','.join(columns)}, with commas between, but has no"
            f" {', '.join(lacking)}"
        )
        raise DataSetError(msg)
    rows = {row["image_id"]: row for row in table}
    if missing := sorted(set(stems) - rows.keys()):
        msg = f"data set {name}: {path.name} has no row for these images: {missing[:10]}"
        raise DataSetError(msg)
    if strange := sorted({rows[stem]["cell_type"] for stem in stems} - set(CellType)):
        msg = f"data set {name}: {path.name} names the cell types {strange[:10]}; known are {', '.join(CellType)}"
        raise DataSetError(msg)
    return rows


def _read_masked(root: Path, name: str, lone: list[Path] | None = None) -> Iterator[Sample]:
    """Pairs with `labels.csv`: cell types, and which images show the same cell."""
    pairs = _pairs(root, name, lone)
    rows = _rows_by_id(root / "labels.csv", [stem for stem, _, _ in pairs], name, ("image_id", "cell_type"))
    for stem, image, mask in pairs:
        duplicate = rows[stem].get("duplicate_group")
        group = f"{name}/duplicate-{duplicate}" if duplicate else f"{name}/{stem}"
        yield Sample(f"{name}/{stem}", image, mask, CellType(rows[stem]["cell_type"]), group)


def _read_copies(root: Path, name: str, lone: list[Path] | None = None) -> Iterator[Sample]:
    """Pairs written by `python -m training augment`, with originals and groups from its manifest."""
    pairs = _pairs(root, name, lone)
    columns = ("image_id", "cell_type", "group", "original", "copy")
    rows = _rows_by_id(root / COPIES_MANIFEST, [stem for stem, _, _ in pairs], name, columns)
    for stem, image, mask in pairs:
        row = rows[stem]
        cell_type, copy = CellType(row["cell_type"]), int(row["copy"])
        yield Sample(f"{name}/{stem}", image, mask, cell_type, row["group"], original=row["original"], copy=copy)


def _has_pairs(folder: Path, name: str) -> bool:
    """Whether a folder holds `images/` and `masks/`; raises DataSetError where it holds only one of them."""
    there = [part for part in ("images", "masks") if (folder / part).is_dir()]
    if len(there) == 1:
        msg = (
            f"data set {name}: {folder} holds {there[0]}/ alone; expected images/ and masks/ with files of equal names"
        )
        raise DataSetError(msg)
    return bool(there)


def _read_folder(root: Path, name: str, lone: list[Path] | None = None) -> Iterator[Sample]:
    """Masked images of anybody's own: pairs, copies, or a folder of pairs per cell type."""
    if _has_pairs(root, name):
        if (root / COPIES_MANIFEST).is_file():
            yield from _read_copies(root, name, lone)
        elif (root / "labels.csv").is_file():
            yield from _read_masked(root, name, lone)
        else:
            for stem, image, mask in _pairs(root, name, lone):
                yield Sample(f"{name}/{stem}", image, mask, CellType.OTHER, f"{name}/{stem}")
        return
    typed = [folder for folder in sorted(root.iterdir()) if folder.is_dir() and _has_pairs(folder, name)]
    if not typed:
        msg = (
            f"data set {name}: expected images/ and masks/ with files of equal names, or one folder per cell type that"
            f" holds them, but {root} has neither"
        )
        raise DataSetError(msg)
    for folder in typed:
        for stem, image, mask in _pairs(folder, f"{name}/{folder.name}", lone):
            sample_id = f"{name}/{folder.name}/{stem}"
            yield Sample(sample_id, image, mask, folder_cell_type(folder.name), sample_id)


# BCCD's fields were taken one after the other, and some cells twice: neighbours in the order stay together.
_BCCD_RANGE: Final = 25


def _read_bccd(root: Path, name: str) -> Iterator[Sample]:
    for row in _table(root / "manifest.csv"):
        stem = Path(row["file"]).stem
        first = int(stem.rsplit("_", 1)[1]) // _BCCD_RANGE * _BCCD_RANGE
        kinds = {named_cell_type(kind.strip()) for kind in row["cell_type"].split(",")}
        kind = kinds.pop() if len(kinds) == 1 else None
        yield Sample(
            f"{name}/{stem}",
            root / "images" / row["file"],
            root / "masks" / f"{stem}.png",
            kind or CellType.OTHER,
            f"{name}/from-{first:05d}",
        )


def _read_boxed(root: Path, name: str) -> Iterator[Sample]:
    """Images with drawn boxes; those of a slide are one group, as are those of a field that another set holds too."""
    for row in _table(root / "manifest.csv"):
        group = row["slide"] or row["original"]
        yield Sample(
            f"{name}/{row['source']}/{row['file']}",
            root / "images" / row["file"],
            None,
            CellType.OTHER,
            f"{name}/{row['source']}/{group}",
        )


def _read_acevedo(root: Path, name: str) -> Iterator[Sample]:
    for row in _table(root / "manifest.csv"):
        yield Sample(
            f"{name}/{row['path']}", root / row["path"], None, CellType(row["cell_type"]), f"{name}/{row['path']}"
        )


def _read_deepapl(root: Path, name: str) -> Iterator[Sample]:
    for row in _table(root / "manifest.csv"):
        apl = row["diagnosis"] == "APL" and row["cell_class"] in ("promyelocyte", "blast")
        cell_type = CellType.APL if apl else CellType(row["cell_class"])
        patient = row["patient_id"]
        yield Sample(
            f"{name}/{row['path']}", root / row["path"], None, cell_type, f"{name}/{patient}", patient, row["diagnosis"]
        )


def _read_hairy(root: Path, name: str) -> Iterator[Sample]:
    for path in root.iterdir():
        yield Sample(f"{name}/{path.name}", path, None, CellType.HCL, f"{name}/{path.name}")


def _read_one_patient(root: Path, name: str) -> Iterator[Sample]:
    return (replace(sample, patient_id="patient-1") for sample in _read_hairy(root, name))


_CELLAVISION_SCALE: Final = "estimated from the red cells beside the leukocytes (7.5 um assumed), within about 10 %"
_CELLAVISION_ERROR: Final = 0.1
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
        "bccd",
        "BCCD, hospital unknown",
        "BCCD_Dataset (Shenggan), masks by ParthaPratimBanik 2020",
        "MIT (images and masks)",
        "peripheral blood",
        None,
        _NO_SCALE,
        "bccd",
        _read_bccd,
    ),
    DataSet(
        "txl_pbc",
        "TXL-PBC: boxes in images of Raabin-WBC, BCDD, BCCD and Acevedo",
        "TXL-PBC_Dataset (nicoaira) over Raabin-WBC (Kouzehkanan et al. 2022, Sci Rep 12:1123), BCDD, BCCD and Acevedo"
        " et al. 2020",
        "MIT; Raabin-WBC free for research, Acevedo CC BY 4.0",
        "peripheral blood",
        None,
        _NO_SCALE,
        "txl_pbc",
        _read_boxed,
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
        _CELLAVISION_ERROR,
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
        _CELLAVISION_ERROR,
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


def data_set(name: str, lone: list[Path] | None = None) -> DataSet:
    """The entry of that name, or one for the folder at that path; raises DataSetError listing the known names.

    A folder holds `images/` and `masks/` with files of equal names (any that `core.image.drawn_masks` reads), or one
    such folder per cell type. `labels.csv` (`image_id,cell_type,duplicate_group`) and `mask_coding.json` (what colours
    mean) beside them are optional. Files without a partner go into `lone` when samples are listed; without it they are
    an error.
    """
    if name in DATA_SETS:
        known = DATA_SETS[name]
        may_lack = lone is not None and known.read is _read_masked
        return replace(known, read=partial(_read_masked, lone=lone)) if may_lack else known
    folder = Path(name).expanduser()
    if folder.is_dir():
        folder = folder.resolve()
        # The absolute path stands for itself, whatever the data folder is.
        path, whose = str(folder), "images and masks of the user's own"
        read = partial(_read_folder, lone=lone)
        return DataSet(folder.name, folder.name, whose, "as their owner says", "", None, _NO_SCALE, path, read)
    msg = (
        f"unknown data set {name!r}; known are {', '.join(DATA_SETS)}, or give the path of a folder with images/ and"
        " masks/"
    )
    raise DataSetError(msg)


def mask_coding_of(mask: Path) -> Path | None:
    """The file beside the folder of a mask that says what its values mean, if there is one."""
    said = mask.parent.parent / MASK_CODING
    return said if said.is_file() else None


def drawn_mask(sample: Sample, shape: tuple[int, int] | None = None) -> DecodedMask:
    """The drawn mask of a sample, read as every drawn mask is; `shape` is the image's height and width, if known.

    What colours, levels or classes mean may be said in `mask_coding.json` beside the folder of masks.

    Raises
    ------
    DataSetError
        If the sample has none.
    ImageError, MaskError
        As `core.image.drawn_masks.read_mask`.
    """
    if sample.mask is None:
        msg = f"{sample.sample_id} has no drawn mask"
        raise DataSetError(msg)
    if shape is None and sample.mask.suffix.lower() in SHAPE_SUFFIXES:
        shape = load(sample.image).shape
    said = mask_coding_of(sample.mask)
    coding = read_coding(said) if said else None
    return without_specks(
        read_mask(sample.mask, shape, name=sample.sample_id, image_name=sample.image.name, coding=coding)
    )


def drawn_twice(samples: Iterable[Sample]) -> list[tuple[Sample, Sample]]:
    """Pairs of (nearly) identical images of equal size: the same cell drawn twice.

    They are of one group, which may also hold what merely was taken together.
    """
    groups: dict[str, list[Sample]] = {}
    for sample in samples:
        groups.setdefault(sample.group, []).append(sample)
    pairs = []
    for members in groups.values():
        small = [_small(sample.image) for sample in members] if len(members) > 1 else []
        pairs += [
            (members[a], members[b])
            for a, b in combinations(range(len(small)), 2)
            if small[a][0] == small[b][0] and np.corrcoef(small[a][1], small[b][1])[0, 1] > _SAME_IMAGE
        ]
    return pairs


def _small(path: Path) -> tuple[tuple[int, int], NDArray[np.uint8]]:
    """Height and width of an image, and its pixels as a small grey picture, flat."""
    rgb = load(path).rgb
    return (rgb.shape[0], rgb.shape[1]), np.asarray(Image.fromarray(rgb).convert("L").resize((32, 32))).ravel()

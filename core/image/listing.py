"""What a file is by its name and its first bytes: an image, another file that is passed over and told, or hidden.

Formats of microscopes, slides, clinics and telephones are not read, but named, with the program that exports what is.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path, PurePosixPath
from typing import Final

from core.domain.errors import ImageError, UsageError

IMAGE_SUFFIXES: Final = (
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".tif", ".tiff", ".bmp", ".gif", ".webp"
)  # fmt: skip

# Files that systems leave in folders of pictures; nobody means them.
_OF_SYSTEMS: Final = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini"})
_NAMED: Final = 5  # of one ending, the others are counted
# Bytes from the start that tell every format here.
HEAD_BYTES: Final = 256


class FileKind(Enum):
    """What a file in a folder, an archive or a bucket is taken for."""

    IMAGE = "image"
    OTHER = "other"
    HIDDEN = "hidden"


def file_kind(path: str) -> FileKind:
    """What a file is by its path, relative to where the search began and with '/' between folders."""
    parts = [part for part in path.replace("\\", "/").split("/") if part not in {"", ".", ".."}]
    if not parts or any(part.startswith((".", "__MACOSX")) for part in parts) or parts[-1].lower() in _OF_SYSTEMS:
        return FileKind.HIDDEN
    return FileKind.IMAGE if parts[-1].lower().endswith(IMAGE_SUFFIXES) else FileKind.OTHER


@dataclass(frozen=True)
class Passed:
    """Files of one ending that were passed over: how many, the first by name, and what to do in words."""

    files: int
    first: tuple[str, ...]
    way: str = ""


class PassedOver:
    """Files that were passed over, mostly because they are no images: counted by ending, the first named."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._first: dict[str, list[str]] = {}

    def add(self, path: str, why: str | None = None) -> None:
        """Count one more, by its ending or by another reason why it is passed over."""
        ending = why or PurePosixPath(path).suffix.lower() or "no ending"
        first = self._first.setdefault(ending, [])
        if len(first) < _NAMED:
            first.append(path)
        self._counts[ending] = self._counts.get(ending, 0) + 1

    @property
    def by_ending(self) -> dict[str, Passed]:
        """What was passed over so far, by ending; another thread may be counting."""
        return {
            ending: Passed(count, tuple(self._first[ending]), _way(ending))
            for ending, count in sorted(self._counts.items())
        }


def told(passed: Mapping[str, Passed]) -> str:
    """What was passed over as one sentence without a full stop; empty where there was nothing."""
    if not passed:
        return ""
    total = sum(one.files for one in passed.values())
    parts = []
    for ending, one in passed.items():
        more = ", ..." if one.files > len(one.first) else ""
        parts.append(f"{one.files:,} {ending} ({', '.join(one.first)}{more})")
    ways = dict.fromkeys(one.way for one in passed.values() if one.way)
    files = "1 file" if total == 1 else f"{total:,} files"
    return "; ".join([f"passed over {files}: {', '.join(parts)}", *ways])


def find_images(inputs: Iterable[Path | str], passed_over: PassedOver | None = None) -> list[Path]:
    """Image files among files and folders (searched with their subfolders), sorted, each once, without hidden ones.

    A file named explicitly is taken whatever its suffix; in folders `IMAGE_SUFFIXES` decide, and other files are added
    to `passed_over`.

    Raises
    ------
    UsageError
        If an input does not exist, or there is no image at all.
    """
    entries = [Path(entry) for entry in inputs]
    passed_over = PassedOver() if passed_over is None else passed_over
    images: set[Path] = set()
    for entry in entries:
        if entry.is_dir():
            for path in sorted(entry.rglob("*")):
                relative = path.relative_to(entry).as_posix()
                kind = file_kind(relative)
                if kind is FileKind.HIDDEN or not path.is_file():
                    continue
                if kind is FileKind.IMAGE:
                    images.add(path)
                else:
                    passed_over.add(relative)
        elif entry.exists():
            images.add(entry)
        else:
            msg = f"expected an image file or a folder, but {entry} does not exist; check the path"
            raise UsageError(msg)
    if not images:
        others = told(passed_over.by_ending)
        msg = (
            f"expected images ({', '.join(IMAGE_SUFFIXES)}), but found none in"
            f" {', '.join(map(str, entries)) or 'an empty list'}{'; ' if others else ''}{others}"
        )
        raise UsageError(msg)
    return sorted(images)


# --- formats that are not read ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ForeignFormat:
    """Files that are not read: what they are, what exports an image of them, and how they are known.

    `starts` are pairs of an offset and the bytes there. `disguised` ones begin like a TIFF or a JPEG, so that their
    ending alone tells them.
    """

    words: str
    way: str
    suffixes: tuple[str, ...]
    starts: tuple[tuple[int, bytes], ...] = ()
    disguised: bool = False

    def begins(self, head: bytes) -> bool:
        """Whether the first bytes of a file are those of this format."""
        return any(head[at : at + len(start)] == start for at, start in self.starts)


_QUPATH: Final = "open it in QuPath and export the region as PNG or TIFF (File > Export images > Original pixels)"
_FIJI: Final = (
    "open it in Fiji (Bio-Formats) or the microscope's own program (ZEN, LAS X, NIS-Elements, cellSens) and save the"
    " picture as OME-TIFF or PNG"
)
_SAVE: Final = "save the picture itself as PNG or TIFF"

WHOLE_SLIDE: Final = ForeignFormat(
    "a whole-slide image",
    _QUPATH,
    (".svs", ".svslide", ".ndpi", ".scn", ".mrxs", ".bif", ".vms", ".vmu", ".isyntax", ".sdpc", ".kfb", ".mds"),
    disguised=True,
)
FOREIGN: Final = (
    WHOLE_SLIDE,
    ForeignFormat(
        "a DICOM file",
        "convert it to PNG or TIFF (dcm2img or dcmj2pnm of DCMTK, or open it in Fiji and save it as TIFF; a slide in"
        " DICOM: QuPath)",
        (".dcm", ".dicom"),
        ((128, b"DICM"),),
    ),
    ForeignFormat(
        "a file of a microscope's program",
        _FIJI,
        (".czi", ".lif", ".lof", ".nd2", ".oib", ".oir", ".zvi", ".ims", ".dv"),
        ((0, b"ZISRAWFILE"), (0, b"\x70\0\0\0"), (0, b"\xda\xce\xbe\x0a")),
    ),
    ForeignFormat("a file of a microscope's program", _FIJI, (".vsi", ".oif", ".ets"), disguised=True),
    ForeignFormat(
        "a HEIF picture (HEIC, AVIF)",
        "save it as JPEG or PNG (iPhone: Settings > Camera > Formats > Most Compatible)",
        (".heic", ".heif", ".hif", ".avif"),
        tuple((4, b"ftyp" + brand) for brand in (b"heic", b"heix", b"heim", b"hevc", b"mif1", b"msf1", b"avif")),
    ),
    ForeignFormat(
        "a camera's raw file",
        "develop it in the camera's program, darktable or RawTherapee and export it as TIFF or PNG",
        (".dng", ".cr2", ".nef", ".nrw", ".arw", ".pef", ".srw"),
        ((8, b"CR\x02"),),
        disguised=True,
    ),
    ForeignFormat(
        "a camera's raw file",
        "develop it in the camera's program, darktable or RawTherapee and export it as TIFF or PNG",
        (".cr3", ".orf", ".rw2", ".raf"),
        ((4, b"ftypcrx"), (0, b"IIRO"), (0, b"IIU\0"), (0, b"FUJIFILM")),
    ),
    ForeignFormat(
        "a JPEG 2000 or JPEG XL picture",
        f"{_SAVE} (Fiji, ImageMagick)",
        (".jp2", ".j2k", ".jpx", ".jpf", ".jxl"),
        ((4, b"jP  "), (0, b"\xff\x4f\xff\x51"), (0, b"\xff\x0a"), (4, b"JXL ")),
    ),
    ForeignFormat(
        "a document",
        f"{_SAVE}; pictures in documents are mostly scaled down",
        (".pdf", ".ppt", ".pptx", ".doc", ".docx", ".odp"),
        ((0, b"%PDF"), (0, b"\xd0\xcf\x11\xe0")),
    ),
    ForeignFormat("a file of a graphics program", _SAVE, (".psd", ".svg", ".eps", ".ai", ".xcf"), ((0, b"8BPS"),)),
    ForeignFormat(
        "a video",
        "save single frames of it as PNG (Fiji, VLC, ffmpeg)",
        (".avi", ".mp4", ".mov", ".mkv", ".wmv"),
        ((8, b"AVI "), (4, b"ftypisom"), (4, b"ftypmp4"), (4, b"ftypqt")),
    ),
    ForeignFormat(
        "an archive",
        "unpack it, or give a ZIP file to `leukoscope batch`",
        (".zip", ".7z", ".rar", ".tar", ".gz", ".tgz"),
        ((0, b"PK\3\4"), (0, b"7z\xbc\xaf"), (0, b"Rar!"), (0, b"\x1f\x8b")),
    ),
    ForeignFormat(
        "a file of numbers",
        "save each picture in it as PNG or TIFF",
        (".h5", ".hdf5", ".npy", ".npz", ".mat", ".nii"),
        ((0, b"\x89HDF"), (0, b"\x93NUMPY"), (0, b"MATLAB")),
    ),
)
# How the formats begin that are read, whatever a file is called.
_READ: Final = (b"\x89PNG", b"\xff\xd8\xff", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"BM", b"GIF8")


def check_known(name: str, head: bytes) -> None:
    """Raise ImageError for a file of a format that is not read, with the way to an image that is.

    Parameters
    ----------
    name
        Base name of the file.
    head
        Its first bytes, HEAD_BYTES or more.
    """
    found = next((kind for kind in FOREIGN if kind.begins(head)), None)
    if found is None:
        readable = head.startswith(_READ) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")
        named = _foreign(PurePosixPath(name).suffix.lower())
        found = named if named is not None and (named.disguised or not readable) else None
    if found is not None:
        raise unreadable(name, found)


def unreadable(name: str, kind: ForeignFormat) -> ImageError:
    """The error for a file of a format that is not read."""
    return ImageError(f"{name}: expected a PNG, JPEG, TIFF, BMP, GIF or WebP image, but it is {kind.words}; {kind.way}")


def _foreign(suffix: str) -> ForeignFormat | None:
    return next((kind for kind in FOREIGN if suffix in kind.suffixes), None)


def _way(ending: str) -> str:
    kind = _foreign(ending)
    return "" if kind is None else f"{ending} is {kind.words}: {kind.way}"

"""The doors through which a stranger's bytes come in, each with good files and the public function that reads them.

Whatever the bytes, a door either lets them in or raises a `CoreError`; nothing else may leave it.
"""

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import tifffile
from PIL import Image

from core.batch.labels import read_labels
from core.batch.settings import BatchSettings, Progress
from core.domain.cell_types import CellType
from core.domain.errors import CoreError
from core.domain.settings import load_settings
from core.explorer import selection
from core.image.archives import ImageArchive
from core.image.drawn_masks import read_mask
from core.image.imaging import decode
from core.image.masks import encode_grey
from core.image.synthetic import draw_cell
from core.segmentation.model_registry import MANIFEST, list_models
from core.store import edit_log, queries
from core.store.database import Cohort
from core.store.schema import Population
from core.store.shards import scan
from core.store.tables import Units, import_table, look, preview
from core.support import records
from tests.fuzz.mutations import BINARY, TEXT, Mutation


@dataclass(frozen=True)
class Door:
    """Good files, the damage that suits them, and how one is let in, with an empty folder for what it needs."""

    seeds: Callable[[], Sequence[bytes]]
    mutations: Sequence[Mutation]
    enter: Callable[[bytes, Path], object]


def _saved(image: Image.Image, kind: str, **how: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **how)
    return buffer.getvalue()


def _tiff(pixels: np.ndarray, **how: object) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, pixels, **how)
    return buffer.getvalue()


def _small() -> Image.Image:
    return Image.fromarray(draw_cell(3)[0].rgb).resize((96, 80))


@cache
def images() -> Sequence[bytes]:
    """The formats that are read, in the kinds that cameras and editors write."""
    rgb, deep = _small(), np.asarray(_small()).astype(np.uint16) * 257
    exif = Image.Exif()
    exif[0x0112] = 6
    grey, palette, clear = rgb.convert("L"), rgb.quantize(16), rgb.copy()
    clear.putalpha(128)
    frames = [rgb.rotate(angle) for angle in (10, 20)]
    return (
        *(_saved(one, "PNG") for one in (rgb, grey, palette, clear, grey.convert("1"), Image.fromarray(deep[..., 0]))),
        _saved(rgb, "PNG", save_all=True, append_images=frames),
        *(_saved(rgb, "JPEG", **how) for how in ({}, {"progressive": True}, {"exif": exif})),
        _saved(rgb, "JPEG", restart_marker_rows=1),
        *(_saved(one, "JPEG") for one in (grey, rgb.convert("CMYK"))),
        *(_saved(rgb, "TIFF", compression=how) for how in (None, "tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits")),
        _saved(rgb, "TIFF", save_all=True, append_images=frames),
        *(_tiff(deep, photometric="rgb", **how) for how in ({}, {"bigtiff": True}, {"tile": (32, 32)})),
        _tiff(deep, photometric="rgb", byteorder=">"),
        _tiff(np.moveaxis(deep, 2, 0), photometric="rgb", planarconfig="separate"),
        *(_saved(one, "BMP") for one in (rgb, palette, grey.convert("1"))),
        _saved(rgb, "GIF"), _saved(rgb, "GIF", save_all=True, append_images=frames),
        *(_saved(rgb, "WEBP", **how) for how in ({}, {"lossless": True}, {"save_all": True, "append_images": frames})),
    )  # fmt: skip


@cache
def masks() -> Sequence[bytes]:
    """Masks of a drawn cell in both codings and several files."""
    labels = draw_cell(3)[1][::3, ::3]
    four, three = encode_grey(labels), np.array([0, 0, 128, 255], np.uint8)[labels]
    return (*(_saved(Image.fromarray(mask), kind) for mask in (four, three) for kind in ("PNG", "TIFF", "BMP", "GIF")),)


@cache
def archives() -> Sequence[bytes]:
    """ZIP files of a few images."""
    found = []
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", method) as archive:
            for number, image in enumerate(images()[:3]):
                archive.writestr(f"a folder/{number}.png", image)
            archive.writestr("ä/remark.txt", "no image")
        found.append(buffer.getvalue())
    return found


def _table() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "cell_type": ["monocyte", "hcl", "lymphocyte"],
            "patient_id": ["p1", "p2", ""],
            "image_path": ["a/1.png", "2.png", "3.png"],
            "cell_index": [0, 1, 2],
            "um_per_px": [0.1, 0.2, 0.1],
            "combined_PixelSurface": [0.4, 0.5, 0.6],
            "nucleus_shape2D_PixelSurface": [1000.0, 2000.0, 3000.0],
            "quality_flags": ["border", "", ""],
            "quality_ok": [True, True, True],
        }
    )


@cache
def csv_tables() -> Sequence[bytes]:
    """Tables as spreadsheets and R write them."""
    text = _table().to_csv(index=False)
    return text.encode(), ("\ufeff" + text.replace("\n", "\r\n")).encode()


@cache
def parquet_tables() -> Sequence[bytes]:
    """The same as Parquet."""
    found = []
    for how in ("snappy", "zstd", "none"):
        buffer = io.BytesIO()
        _table().to_parquet(buffer, compression=None if how == "none" else how, index=False)
        found.append(buffer.getvalue())
    return found


_POPULATION = Population(
    "own", CellType.MONOCYTE, "Own", "here", "blood", "", "own", "a note", "2026-01-01", 0.1, "stated", 0.07, "ab12"
)


@cache
def _shard() -> bytes:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "table.csv").write_bytes(csv_tables()[0])
        import_table(root / "cohort", _POPULATION, root / "table.csv", units=Units.PIXELS)
        (path,) = (root / "cohort").rglob("*.parquet")
        return path.read_bytes()


def _edits() -> bytes:
    line = {"when": "2026-01-01T10:00:00+00:00", "who": "A. Reader", "field": "note", "value": "odd", "restores": False}
    edits = [
        line | {"old": {"own:0:0": None}},
        line | {"field": "cell_type", "value": "hcl", "old": {"own:0:0": "monocyte"}},
    ]
    return "".join(json.dumps(edit) + "\n" for edit in edits).encode()


def _cohort(folder: Path, *, description: bytes | None = None, shard: bytes | None = None, edits: bytes = b"") -> Path:
    own = folder / "cohort" / "own"
    own.mkdir(parents=True)
    (own / "population.json").write_bytes(_POPULATION.to_json().encode() if description is None else description)
    (own / "cells-ab12-0.parquet").write_bytes(_shard() if shard is None else shard)
    (folder / "cohort" / "edits.jsonl").write_bytes(edits)
    return folder / "cohort"


def _asked(root: Path) -> None:
    """What the pages ask of a cohort at once; a population that cannot be read is a problem, not an end."""
    scan([root])
    edit_log.overlay([root])
    with Cohort.open([root]) as cohort:
        for info in queries.populations(cohort):
            queries.cells(cohort, info.population.population_id)


def _mask(data: bytes, folder: Path) -> None:
    path = folder / "mask.png"
    path.write_bytes(data)
    read_mask(path)


def _archive(data: bytes, _: Path) -> None:
    archive = ImageArchive(io.BytesIO(data), "images.zip")
    for member in archive.members():
        if member.problem is None:
            with suppress(CoreError):  # the next may be whole
                archive.read(member.path, load_settings())


def _imported(suffix: str) -> Callable[[bytes, Path], None]:
    def enter(data: bytes, folder: Path) -> None:
        table = folder / f"table{suffix}"
        table.write_bytes(data)
        look(table)
        preview(table, 5)
        import_table(folder / "cohort", _POPULATION, table, units=Units.PIXELS)

    return enter


def _labels(data: bytes, folder: Path) -> None:
    (folder / "labels.csv").write_bytes(data)
    labels = read_labels(f"csv:{folder / 'labels.csv'}", None)
    labels.cell_type("a/1.png")


def _models(data: bytes, folder: Path) -> None:
    (folder / MANIFEST).write_bytes(data)
    list_models(folder)


def _text(read: Callable[[str], object]) -> Callable[[bytes, Path], None]:
    return lambda data, _: read(data.decode("utf-8", "replace")) and None


def _manifest() -> bytes:
    manifest = json.loads((load_settings().shipped_models / MANIFEST).read_text(encoding="utf-8"))
    for row in manifest["models"].values():
        row["card"]["appearance"] = row["card"]["validation"] = {}
    return json.dumps(manifest).encode()


_SETTINGS = BatchSettings("images", um_per_px=0.1, label_from="folder")
_SELECTION = selection.Selection(populations=("own",), cell_types=(CellType.HCL,))

DOORS: dict[str, Door] = {
    "image": Door(images, BINARY, lambda data, _: decode(data, "image.png")),
    "mask": Door(masks, BINARY, _mask),
    "archive": Door(archives, BINARY, _archive),
    "table (CSV)": Door(csv_tables, TEXT, _imported(".csv")),
    "table (Parquet)": Door(parquet_tables, BINARY, _imported(".parquet")),
    "population.json": Door(
        lambda: (_POPULATION.to_json().encode(),), TEXT, lambda data, folder: _asked(_cohort(folder, description=data))
    ),
    "shard": Door(lambda: (_shard(),), BINARY, lambda data, folder: _asked(_cohort(folder, shard=data))),
    "edit log": Door(lambda: (_edits(),), TEXT, lambda data, folder: _asked(_cohort(folder, edits=data))),
    "labels": Door(lambda: (b"image_path,cell_type\na/1.png,monocyte\nb/2.png,hcl\n",), TEXT, _labels),
    "manifest": Door(lambda: (_manifest(),), TEXT, _models),
    "selection": Door(lambda: (selection.to_json(_SELECTION).encode(),), TEXT, _text(selection.from_json)),
    "link": Door(lambda: (selection.to_link(_SELECTION).encode(),), TEXT, _text(selection.from_link)),
    "settings": Door(
        lambda: (records.to_json(_SETTINGS).encode(),), TEXT, _text(lambda text: records.from_json(BatchSettings, text))
    ),
    "progress": Door(
        lambda: (b'{"state":"running","total":5,"done":1,"cells":1,"flagged":0,"failed":0,"skipped":0,"rate":1.5,'
                 b'"seconds_left":null,"started":"a","updated":"b","pid":1,"message":"","last":[{"image_path":"a.png","cells":1,"confidence":0.5}]}',),
        TEXT, _text(Progress.from_json),
    ),
}  # fmt: skip


# --- files that ask for more work than their size says ----------------------------------------------------------------


def _png_chunk(kind: bytes, data: bytes = b"") -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png(width: int, height: int, *more: bytes, colour: int = 2) -> bytes:
    rows = zlib.compress(bytes((1 + width * (3 if colour == 2 else 1)) * height), 9)
    header = _png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(more) + _png_chunk(b"IDAT", rows) + _png_chunk(b"IEND")


def png_of_chunks(number: int) -> bytes:
    """A small PNG among very many empty chunks."""
    return _png(32, 32, _png_chunk(b"teSt") * number)


def png_with_profile(megabytes: int) -> bytes:
    """A small PNG whose colour profile unpacks to so much."""
    return _png(32, 32, _png_chunk(b"iCCP", b"p\0\0" + zlib.compress(bytes(megabytes * 2**20), 9)))


def png_with_text(megabytes: int) -> bytes:
    """A small PNG whose text unpacks to so much."""
    return _png(32, 32, _png_chunk(b"zTXt", b"t\0\0" + zlib.compress(b"a" * megabytes * 2**20, 9)))


def strip(width: int, height: int) -> bytes:
    """A black PNG of any shape."""
    return _png(width, height, colour=0)


def jpeg_of_scans(scans: int, side: int = 2000) -> bytes:
    """A progressive JPEG whose last scan comes again and again."""
    data = _saved(Image.new("RGB", (side, side), (90, 30, 120)), "JPEG", progressive=True)
    at = data.rindex(b"\xff\xda")
    table = data.rindex(b"\xff\xc4", 0, at)
    return data[:table] + data[table:-2] * scans + data[-2:]


def tiff_of_pages(pages: int, *, loop: bool = False) -> bytes:
    """A TIFF of so many directories over the same pixels; the last leads back to the first if it is a loop."""
    tags = ((256, 3, 1, 32), (257, 3, 1, 32), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 8),
            (277, 3, 1, 1), (278, 3, 1, 32), (279, 4, 1, 1024))  # fmt: skip
    size = 2 + 12 * len(tags) + 4
    first = 8 + 1024
    body = bytearray(b"II*\0" + struct.pack("<I", first) + bytes(range(256)) * 4)
    entries = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags)
    for page in range(1, pages + 1):
        after = first + page * size if page < pages else first if loop else 0
        body += entries + struct.pack("<I", after)
    return bytes(body)


def tiff_of_tags(tags: int, megabytes: int) -> bytes:
    """A TIFF whose many tags all hold the same megabytes."""
    data = tiff_of_pages(1)[: 8 + 1024]
    held = megabytes * 2**20
    own = ((256, 3, 1, 32), (257, 3, 1, 32), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 8),
           (277, 3, 1, 1), (278, 3, 1, 32), (279, 4, 1, 1024))  # fmt: skip
    at = len(data) + 2 + 12 * (len(own) + tags) + 4
    more = tuple((40_000 + number, 7, held, at) for number in range(tags))
    entries = struct.pack("<H", len(own) + tags) + b"".join(struct.pack("<HHII", *tag) for tag in own + more)
    return data + entries + bytes(4) + bytes(held)


def gif_of_frames(frames: int) -> bytes:
    """A GIF of so many frames of a pixel."""
    data = _saved(Image.new("P", (32, 32)), "GIF")
    frame = b"\x2c" + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\x00"
    return data[:-1] + frame * frames + b";"


def gif_of_blocks(blocks: int) -> bytes:
    """A GIF with a comment in blocks of a byte each."""
    data = _saved(Image.new("P", (32, 32)), "GIF")
    return data[:-1] + b"\x21\xfe" + b"\x01a" * blocks + b"\0;"


# What each is, and words of the refusal.
COSTLY: dict[str, tuple[Callable[[], bytes], str]] = {
    "PNG of 2 million chunks": (lambda: png_of_chunks(2_000_000), "chunks"),
    "PNG with a profile of 50 MB": (lambda: png_with_profile(50), "profile"),
    "PNG with a text of 50 MB": (lambda: png_with_text(50), "text"),
    "PNG of 16 x 1,500,000": (lambda: strip(16, 1_500_000), "times as long as wide"),
    "PNG of 1,500,000 x 16": (lambda: strip(1_500_000, 16), "times as long as wide"),
    "JPEG of 300 scans": (lambda: jpeg_of_scans(300), "scans"),
    "TIFF of 200,000 pages": (lambda: tiff_of_pages(200_000), "pages"),
    "TIFF of pages in a loop": (lambda: tiff_of_pages(3, loop=True), "pages"),
    "TIFF of 1,000 tags over 20 MB": (lambda: tiff_of_tags(1000, 20), "tags"),
    "GIF of 200,000 frames": (lambda: gif_of_frames(200_000), "frames"),
    "GIF of 20 million blocks": (lambda: gif_of_blocks(20_000_000), "blocks"),
}

"""What an image file says of its own structure, read without decoding: whether opening it costs more than its pixels.

A small file may ask for very much work: hundreds of scans over the same pixels, hundreds of thousands of pages, blocks
or chunks, tags that all point to the same bytes. Each is counted here, up to its limit, before a decoder sees the file.
"""

import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

from core.domain.errors import ImageError

# A progressive JPEG has about ten scans, and one made by hand a few dozen; each costs as much as the whole picture.
MAX_SCANS: Final = 100
# Stacks and animations have hundreds of pages; only one of them is used.
MAX_PAGES: Final = 2_000
# Parts of a file (chunks of PNG, blocks of GIF): cameras and editors write one for some kilobytes of picture.
MAX_PARTS: Final = 300_000
# What the tags of a TIFF hold, over the size of the file: more only if they point to the same bytes.
MAX_TAGGED: Final = 2
_TAGGED_FREE: Final = 2**20

# What text and colour profile of a PNG unpack to, one and all: as much as Pillow reads.
MAX_UNPACKED: Final = 2**20
MAX_ALL_UNPACKED: Final = 2**26
_PACKED: Final = (b"zTXt", b"iTXt", b"iCCP")

# The next marker of a JPEG that is neither stuffing, a restart within a scan, nor filling.
_MARKER: Final = re.compile(rb"\xff+([^\x00\xd0-\xd7\xff])", re.DOTALL)
_SOS: Final = 0xDA
_EOI: Final = 0xD9
# Bytes a value of each type of a TIFF's tag takes, by its number.
_TIFF_TYPES: Final = dict(enumerate((0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4, 0, 0, 8, 8, 8)))


def check_structure(data: bytes, name: str) -> None:
    """Raise ImageError, in words, for a file that opening costs out of proportion; a damaged one is not judged."""
    try:
        if data.startswith(b"\xff\xd8"):
            _check_jpeg(data, name)
        elif data.startswith(b"\x89PNG\r\n\x1a\n"):
            _check_parts(_png_chunks(data, name), name, "chunks")
        elif data.startswith((b"GIF87a", b"GIF89a")):
            _check_parts(_gif_blocks(data, name), name, "blocks")
        elif data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
            _check_tiff(data, name)
    except (struct.error, IndexError):  # cut short: the decoder says so, in its own words
        return


def _check_parts(parts: Iterator[None], name: str, called: str) -> None:
    for number, _ in enumerate(parts, start=1):
        if number > MAX_PARTS:
            msg = (
                f"{name}: expected at most {MAX_PARTS:,} {called} in the file, but it has more, each of a few bytes;"
                " save the image anew"
            )
            raise ImageError(msg)


def _too_many_pages(name: str) -> ImageError:
    return ImageError(
        f"{name}: expected one picture, or at most {MAX_PAGES:,} pages or frames, but the file has more; save the one"
        " that is meant as PNG"
    )


def _check_jpeg(data: bytes, name: str) -> None:
    # Within a scan 0xFF is followed by 0 or a restart, so what is found without parsing is a scan or lies in metadata.
    if data.count(b"\xff\xda") <= MAX_SCANS:
        return
    scans, at = 0, 2
    while (marker := _MARKER.search(data, at)) is not None and marker[1][0] != _EOI:
        scans += marker[1][0] == _SOS
        if scans > MAX_SCANS:
            msg = (
                f"{name}: expected a JPEG of at most {MAX_SCANS} scans, but it has more, each of which costs as much as"
                " the whole picture; save it as PNG"
            )
            raise ImageError(msg)
        at = marker.end() + struct.unpack_from(">H", data, marker.end())[0]


def _png_chunks(data: bytes, name: str) -> Iterator[None]:
    """Chunks; raises ImageError for text and profiles that unpack to too much."""
    at, unpacked = 8, 0
    while at < len(data):
        yield
        length, kind = struct.unpack_from(">I4s", data, at)
        if kind in _PACKED:
            unpacked += (size := _unpacked(kind, data[at + 8 : at + 8 + length]))
            if size > MAX_UNPACKED or unpacked > MAX_ALL_UNPACKED:
                msg = (
                    f"{name}: expected a picture, but a text or colour profile in the file unpacks to more than"
                    f" {MAX_UNPACKED / 2**20:.0f} MB; save it without metadata"
                )
                raise ImageError(msg)
        at += 12 + length


def _unpacked(kind: bytes, content: bytes) -> int:
    """Bytes that a chunk unpacks to, as far as the limit tells; 0 where it is not packed or damaged."""
    _, _, packed = content.partition(b"\0")
    if kind == b"iTXt":
        if packed[:1] != b"\1":
            return 0
        packed = packed[2:].partition(b"\0")[2].partition(b"\0")[2]
    else:
        packed = packed[1:]
    with suppress(zlib.error):
        return len(zlib.decompressobj().decompress(packed, MAX_UNPACKED + 1))
    return 0


def _gif_blocks(data: bytes, name: str) -> Iterator[None]:
    """Blocks and sub-blocks; raises ImageError for too many frames."""
    frames, at = 0, 13 + _gif_palette(data[10])
    while data[at] in b"\x21\x2c":
        yield
        if data[at] == 0x2C:
            frames += 1
            if frames > MAX_PAGES:
                raise _too_many_pages(name)
            at += 11 + _gif_palette(data[at + 9])
        else:
            at += 2
        while length := data[at]:
            yield
            at += 1 + length
        at += 1


def _gif_palette(packed: int) -> int:
    return 3 * 2 ** ((packed & 7) + 1) if packed & 0x80 else 0


def _check_tiff(data: bytes, name: str) -> None:
    order, big = "<" if data[:2] == b"II" else ">", data[2:4] in (b"+\0", b"\0+")
    word, count, entry = (f"{order}Q", f"{order}Q", 20) if big else (f"{order}I", f"{order}H", 12)
    at = struct.unpack_from(word, data, 8 if big else 4)[0]
    tagged, pages = 0, 0
    while at:
        pages += 1
        if pages > MAX_PAGES:  # also where the last page leads back to the first
            raise _too_many_pages(name)
        entries = struct.unpack_from(count, data, at)[0]
        first = at + struct.calcsize(count)
        at = struct.unpack_from(word, data, first + entry * entries)[0]
        for tag in range(entries):
            _, kind, values = struct.unpack_from(f"{order}HH{word[1]}", data, first + entry * tag)
            # What reaches beyond the end is not read by any decoder.
            tagged += min(_TIFF_TYPES.get(kind, 0) * values, len(data))
        if tagged > MAX_TAGGED * len(data) + _TAGGED_FREE:
            msg = (
                f"{name}: expected tags that describe a picture, but those of this TIFF hold {tagged / 2**20:,.0f} MB,"
                " more than the file itself; save it as PNG"
            )
            raise ImageError(msg)

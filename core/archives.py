"""Archives from strangers: a ZIP's images read within limits, and files packed to take away."""

import io
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Final

from core.errors import UsageError
from core.imaging import IMAGE_SUFFIXES, base_name
from core.settings import Settings

MAX_MEMBERS: Final = 10_000
# Photographs hardly shrink; a member that unpacks to a hundred times its size is no photograph.
MAX_RATIO: Final = 100
_CHUNK: Final = 2**20


def read_images(data: bytes, name: str, settings: Settings) -> Iterator[tuple[str, bytes]]:
    """Yield name and bytes of each image in a ZIP, one at a time; nothing is ever written to disk.

    Folders, hidden files and other kinds of files are passed over. Sizes are counted while unpacking, because the ones in the
    header may lie: a member larger than `settings.max_bytes` or packed more than a hundredfold ends the reading.

    Raises
    ------
    UsageError
        If it is no ZIP, holds too many files, none that is an image, or one beyond the limits.
    """
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except zipfile.BadZipFile as error:
        msg = f"{base_name(name)}: expected a ZIP archive, but it is not one or is damaged ({error}); pack the images again"
        raise UsageError(msg) from error
    with archive:
        members = [member for member in archive.infolist() if _is_image(member.filename)]
        if len(archive.infolist()) > MAX_MEMBERS:
            msg = f"{base_name(name)}: expected at most {MAX_MEMBERS:,} files, but it holds {len(archive.infolist()):,}; split the archive"
            raise UsageError(msg)
        if not members:
            msg = f"{base_name(name)}: expected images ({', '.join(IMAGE_SUFFIXES)}), but the archive holds none"
            raise UsageError(msg)
        for member in members:
            yield base_name(member.filename), _unpack(archive, member, base_name(name), settings)


def _is_image(path: str) -> bool:
    hidden = any(part.startswith((".", "__MACOSX")) for part in PurePosixPath(path).parts if part not in {".", ".."})
    return PurePosixPath(path).suffix.lower() in IMAGE_SUFFIXES and not hidden


def _unpack(archive: zipfile.ZipFile, member: zipfile.ZipInfo, name: str, settings: Settings) -> bytes:
    limit = min(settings.max_bytes, MAX_RATIO * max(member.compress_size, 1) + _CHUNK)
    content = bytearray()
    try:
        with archive.open(member) as file:
            while chunk := file.read(_CHUNK):
                content += chunk
                if len(content) > limit:
                    msg = f"{name}: {base_name(member.filename)} unpacks to more than {limit / 2**20:.0f} MB; pack photographs only"
                    raise UsageError(msg)
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError) as error:  # damaged, encrypted, or of an unknown method
        msg = f"{name}: {base_name(member.filename)} cannot be unpacked ({error}); pack the images again, without a password"
        raise UsageError(msg) from error
    return bytes(content)


def pack(files: Mapping[str, bytes]) -> bytes:
    """Pack files into a ZIP; the names are used as given."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:  # PNG files are packed already
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()

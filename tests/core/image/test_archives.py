import io
import zipfile
from dataclasses import replace

import pytest

from core.domain.errors import UsageError
from core.domain.settings import load_settings
from core.image.archives import ImageArchive, pack

SETTINGS = load_settings()


def _zip(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def _read(data: bytes, name: str) -> bytes:
    return ImageArchive(io.BytesIO(data), "cells.zip").read(name, SETTINGS)


def test_images_are_listed_by_their_paths_and_the_rest_is_passed_over():
    data = _zip(
        {
            "two.JPG": b"2",
            "a/one.png": b"1",
            "notes.txt": b"x",
            "__MACOSX/one.png": b"x",
            ".hidden.png": b"x",
            "folder/": b"",
        }
    )
    members = list(ImageArchive(io.BytesIO(data), "cells.zip").members())
    assert [member.path for member in members if not member.passed_over] == ["a/one.png", "two.JPG"]
    assert [member.path for member in members if member.passed_over] == ["notes.txt"]
    assert _read(data, "a/one.png") == b"1"


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("../../evil.png", "leads out"),
        ("/evil.png", "leads out"),
        ("C:\\evil.png", "leads out"),
        ("inner.zip", "archive inside"),
    ],
)
def test_bad_names_are_told_and_not_read(path, words):
    (member,) = ImageArchive(io.BytesIO(_zip({path: b"1"})), "cells.zip").members()
    assert words in (member.problem or "")


@pytest.mark.parametrize(
    ("data", "words"),
    [(b"no archive", "expected a ZIP"), (_zip({"bomb.png": b"0" * 500_000_000}), "unpack to 477 MB")],
    ids=["text", "bomb"],
)
def test_bad_archives_are_refused_as_a_whole(data, words):
    with pytest.raises(UsageError, match=words):
        ImageArchive(io.BytesIO(data), "cells.zip")


def test_too_many_members_are_refused(monkeypatch):
    monkeypatch.setattr("core.image.archives.MAX_MEMBERS", 2)
    with pytest.raises(UsageError, match="at most 2 files"):
        ImageArchive(io.BytesIO(_zip({f"{i}.png": b"1" for i in range(3)})), "cells.zip")


def test_a_member_beyond_the_limit_is_refused_whatever_its_header_says():
    archive = ImageArchive(io.BytesIO(_zip({"big.png": bytes(range(256)) * 100}, zipfile.ZIP_STORED)), "cells.zip")
    with pytest.raises(UsageError, match="unpacks to more than"):
        archive.read("big.png", replace(SETTINGS, max_bytes=1000))


def test_damaged_members_say_so():
    data = bytearray(_zip({"one.png": b"12345678" * 20}, zipfile.ZIP_STORED))
    data[60] ^= 0xFF
    with pytest.raises(UsageError, match="cannot be unpacked"):
        _read(bytes(data), "one.png")


def test_packed_files_come_back():
    with zipfile.ZipFile(io.BytesIO(pack({"a.png": b"1", "b.png": b"2"}))) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == {"a.png": b"1", "b.png": b"2"}

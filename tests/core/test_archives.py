import io
import zipfile
from dataclasses import replace

import pytest

from core.archives import pack, read_images
from core.errors import UsageError
from core.settings import load_settings

SETTINGS = load_settings()


def _zip(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def test_images_come_out_by_base_name_and_the_rest_is_passed_over():
    data = _zip({"a/one.png": b"1", "two.JPG": b"2", "notes.txt": b"x", "__MACOSX/one.png": b"x", ".hidden.png": b"x", "folder/": b""})
    assert list(read_images(data, "cells.zip", SETTINGS)) == [("one.png", b"1"), ("two.JPG", b"2")]


def test_paths_that_leave_the_folder_lose_their_way():
    assert next(read_images(_zip({"../../evil.png": b"1"}), "cells.zip", SETTINGS))[0] == "evil.png"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"no archive", "expected a ZIP"),
        (_zip({"notes.txt": b"x"}), "holds none"),
        (_zip({"bomb.png": b"0" * 5_000_000}), "unpacks to more than"),
    ],
)
def test_bad_archives_say_why(data, words):
    with pytest.raises(UsageError, match=words):
        list(read_images(data, "cells.zip", SETTINGS))


def test_a_member_beyond_the_limit_is_refused_whatever_its_header_says():
    with pytest.raises(UsageError, match="unpacks to more than"):
        list(read_images(_zip({"big.png": bytes(range(256)) * 100}, zipfile.ZIP_STORED), "z.zip", replace(SETTINGS, max_bytes=1000)))


def test_too_many_members_are_refused(monkeypatch):
    monkeypatch.setattr("core.archives.MAX_MEMBERS", 2)
    with pytest.raises(UsageError, match="at most 2 files"):
        list(read_images(_zip({f"{i}.png": b"1" for i in range(3)}), "z.zip", SETTINGS))


def test_encrypted_or_damaged_members_say_so():
    data = bytearray(_zip({"one.png": b"12345678" * 20}, zipfile.ZIP_STORED))
    data[60] ^= 0xFF
    with pytest.raises(UsageError, match="cannot be unpacked"):
        list(read_images(bytes(data), "z.zip", SETTINGS))


def test_packed_files_come_back():
    with zipfile.ZipFile(io.BytesIO(pack({"a.png": b"1", "b.png": b"2"}))) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == {"a.png": b"1", "b.png": b"2"}

import io
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from core.batch import uploads as module
from core.batch.uploads import Uploads
from core.domain.errors import StoreError, UsageError
from core.domain.settings import load_settings
from core.image.imaging import encode_png
from core.image.synthetic import draw_cell


class Upload(io.BytesIO):
    """What Streamlit hands over: bytes with a name and a size."""

    def __init__(self, name: str, data: bytes):
        super().__init__(data)
        self.name, self.size = name, len(data)


def _zip(members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def _files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


@pytest.fixture
def uploads(tmp_path):
    return Uploads(tmp_path / "uploads", load_settings())


@pytest.fixture(scope="module")
def png():
    return encode_png(draw_cell(1)[0].rgb)


def test_files_are_kept_by_their_paths_and_counted(uploads):
    assert uploads.waiting().files == 0
    assert (
        uploads.add(
            [
                Upload("a.png", b"1"),
                Upload("hcl/b.TIF", b"22"),
                Upload("hcl/.DS_Store", b"x"),
                Upload("./c.jpg", b"333"),
            ]
        )
        == 3
    )
    assert _files(uploads.folder) == {"a.png": b"1", "hcl/b.TIF": b"22", "c.jpg": b"333"}
    waiting = uploads.waiting()
    assert (waiting.files, waiting.size, waiting.archive) == (3, 6, None)
    uploads.clear()
    assert uploads.waiting().files == 0


def test_a_name_that_is_there_gets_a_number_unless_it_is_the_same_file(uploads):
    uploads.add([Upload("a.png", b"1"), Upload("a.png", b"2")])
    uploads.add([Upload("a.png", b"1"), Upload("a.png", b"3")])
    assert _files(uploads.folder) == {"a.png": b"1", "a (2).png": b"2", "a (3).png": b"3"}


def test_bytes_are_taken_from_the_beginning(uploads):
    upload = Upload("a.png", b"123")
    upload.read()
    uploads.add([upload])
    assert _files(uploads.folder) == {"a.png": b"123"}


@pytest.mark.parametrize(
    "name",
    ["../a.png", "..\\a.png", "/etc/a.png", "\\\\host\\share\\a.png", "C:\\a.png", "c:a.png", "a/../../b.png",
     "a//b.png", "", "a\0.png", "a\n.png", "a\u202egnp.png", "x" * 300 + ".png", "é" * 130 + ".png",
     "/".join("a" * 20) + ".png", "a/./b.png"],
)  # fmt: skip
def test_a_hostile_name_refuses_all_and_nothing_is_written(uploads, name):
    with pytest.raises(UsageError):
        uploads.add([Upload("good.png", b"1"), Upload(name, b"2")])
    assert not uploads.folder.exists()


def test_files_that_are_no_images_are_left_out_and_told(uploads):
    assert uploads.add([Upload("a.png", b"1"), Upload("smear/slide.svs", b"2"), Upload("notes.txt", b"3")]) == 1
    assert _files(uploads.folder) == {"a.png": b"1"}
    passed = uploads.passed_over.by_ending
    assert {ending: one.files for ending, one in passed.items()} == {".svs": 1, ".txt": 1}
    assert passed[".svs"].first == ("smear/slide.svs",)
    assert "QuPath" in passed[".svs"].way
    with pytest.raises(UsageError, match=r"passed over 1 file: 1 \.dcm \(a\.dcm\); \.dcm is a DICOM file: convert"):
        uploads.add([Upload("a.dcm", b"1")])


def test_a_zip_is_kept_as_it_is_and_alone(uploads, png):
    data = _zip({"hcl/a.png": png, "../b.png": png})
    uploads.add([Upload("cells.zip", data)])
    assert _files(uploads.folder) == {"cells.zip": data}
    assert uploads.waiting().archive == "cells.zip"
    assert uploads.waiting().title == "cells"
    with pytest.raises(UsageError, match="measured by itself"):
        uploads.add([Upload("a.png", png)])
    with pytest.raises(UsageError, match="measured by itself"):
        uploads.add([Upload("more.zip", data)])
    uploads.clear()
    with pytest.raises(UsageError, match="measured by itself"):
        uploads.add([Upload("cells.zip", data), Upload("a.png", png)])
    assert not uploads.folder.exists()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"no archive", "expected a ZIP"),
        (_zip({"readme.txt": b"x"}), "holds none"),
        (_zip({"slide.svs": b"x"}), "holds none that can be used; passed over 1 file: 1 .svs .*QuPath"),
        (_zip({"../a.png": b"x", "inner.zip": b"x"}), "holds none"),
        (_zip({"a.png": bytes(30 * 2**20)}, zipfile.ZIP_DEFLATED), "hardly shrink"),
    ],
)
def test_a_bad_zip_is_refused_before_it_is_written(uploads, data, words):
    with pytest.raises(UsageError, match=words):
        uploads.add([Upload("cells.zip", data)])
    assert not uploads.folder.exists()


def test_numbers_and_sizes_have_limits(tmp_path, monkeypatch):
    uploads = Uploads(tmp_path / "uploads", replace(load_settings(), max_bytes=10, max_upload_bytes=25))
    with pytest.raises(UsageError, match="an image"):
        uploads.add([Upload("a.png", bytes(11))])
    with pytest.raises(UsageError, match="altogether"):
        uploads.add([Upload("a.png", bytes(10)), Upload("b.png", bytes(10))], kept=6)
    uploads.add([Upload("a.png", bytes(10)), Upload("b.png", bytes(10))], kept=5)
    with pytest.raises(UsageError, match="altogether"):
        uploads.add([Upload("c.png", bytes(6))])
    monkeypatch.setattr(module, "MOST_FILES", 2)
    with pytest.raises(UsageError, match="at most 2 files"):
        uploads.add([Upload("c.png", b"1")])
    assert uploads.waiting().files == 2


def test_a_disk_without_room_is_named_before_anything_is_written(uploads, monkeypatch):
    monkeypatch.setattr(module, "_KEPT_FREE", 2**60)
    with pytest.raises(UsageError, match="no room"):
        uploads.add([Upload("a.png", b"1")])
    assert not uploads.folder.exists()


def test_when_the_disk_refuses_in_the_middle_nothing_of_these_files_stays(uploads):
    uploads.add([Upload("a.png", b"1")])
    with pytest.raises(StoreError, match="cannot be kept"):
        uploads.add([Upload("b.png", b"2"), Upload("a.png/c.png", b"3")])  # a file where a folder would have to be
    assert _files(uploads.folder) == {"a.png": b"1"}

"""What a file is by its name and its first bytes."""

import numpy as np
import pytest
from PIL import Image

from core.domain.errors import ImageError, UsageError
from core.image.imaging import decode, load
from core.image.listing import FOREIGN, IMAGE_SUFFIXES, FileKind, PassedOver, file_kind, find_images, told
from tests.core.image.pictures import RGB, encoded, tiff


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("a.png", FileKind.IMAGE),
        ("a/b.JPG", FileKind.IMAGE),
        ("a.jfif", FileKind.IMAGE),
        ("a.JPE", FileKind.IMAGE),
        ("a.ome.tif", FileKind.IMAGE),
        ("a\\b.tiff", FileKind.IMAGE),
        ("a.svs", FileKind.OTHER),
        ("a.xyz", FileKind.OTHER),
        ("README", FileKind.OTHER),
        ("a.png.txt", FileKind.OTHER),
        (".a.png", FileKind.HIDDEN),
        (".git/a.png", FileKind.HIDDEN),
        ("__MACOSX/a.png", FileKind.HIDDEN),
        ("a/Thumbs.db", FileKind.HIDDEN),
        ("desktop.ini", FileKind.HIDDEN),
    ],
)
def test_a_file_is_an_image_another_or_hidden_by_its_path(path, kind):
    assert file_kind(path) is kind


def test_every_suffix_belongs_to_an_allowed_format():
    assert {Image.registered_extensions()[suffix] for suffix in IMAGE_SUFFIXES} == {
        "PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP",
    }  # fmt: skip


def test_no_ending_means_two_things():
    endings = [*IMAGE_SUFFIXES, *(suffix for kind in FOREIGN for suffix in kind.suffixes)]
    assert len(set(endings)) == len(endings)


def test_images_are_found_and_the_others_are_counted_by_ending(tmp_path):
    names = ("b.PNG", "a.jpg", "sub/c.tiff", "sub/d.jfif", "notes.txt", "sub/x.svs", "y.SVS", "README", ".h.svs")
    for name in (*names, *(f"many/{n}.csv" for n in range(9))):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    passed_over = PassedOver()
    found = find_images([tmp_path, tmp_path / "notes.txt"], passed_over)
    assert [str(path.relative_to(tmp_path)) for path in found] == [
        "a.jpg",
        "b.PNG",
        "notes.txt",
        "sub/c.tiff",
        "sub/d.jfif",
    ]
    passed = passed_over.by_ending
    assert {ending: one.files for ending, one in passed.items()} == {".csv": 9, ".svs": 2, ".txt": 1, "no ending": 1}
    assert passed[".svs"].first == ("sub/x.svs", "y.SVS")
    sentence = told(passed)
    assert sentence.startswith("passed over 13 files: 9 .csv (many/0.csv, ")
    assert ", ...), 2 .svs (sub/x.svs, y.SVS), " in sentence
    assert sentence.endswith("(File > Export images > Original pixels)")
    assert told({}) == ""


def test_where_there_is_no_image_the_others_are_named(tmp_path):
    (tmp_path / "slide.ndpi").touch()
    with pytest.raises(UsageError, match=r"found none in .*; passed over 1 file: 1 \.ndpi \(slide\.ndpi\); .*QuPath"):
        find_images([tmp_path])


WAYS = {
    "slide.svs": "a whole-slide image; open it in QuPath",
    "slide.ndpi": "a whole-slide image",
    "scan.dcm": "a DICOM file; convert it to PNG or TIFF",
    "stack.czi": "a file of a microscope's program; open it in Fiji",
    "stack.nd2": "a file of a microscope's program",
    "photo.HEIC": "a HEIF picture",
    "photo.cr3": "a camera's raw file",
    "report.pdf": "a document",
    "cells.zip": "an archive",
}


@pytest.mark.parametrize(("name", "said"), WAYS.items())
def test_a_foreign_file_that_is_named_is_refused_with_the_way(tmp_path, name, said):
    path = tmp_path / name
    path.write_bytes(bytes(range(256)) * 4)
    with pytest.raises(ImageError, match=said):
        load(path)
    with pytest.raises(ImageError, match=said):
        decode(path.read_bytes(), name)


def test_slides_that_begin_as_other_files_do_are_told_by_their_ending():
    with pytest.raises(ImageError, match="whole-slide"):
        decode(tiff(RGB, photometric="rgb"), "slide.svs")
    with pytest.raises(ImageError, match="whole-slide"):
        decode(encoded(Image.fromarray(RGB), "JPEG"), "slide.mrxs")


@pytest.mark.parametrize(
    ("head", "said"),
    [
        (bytes(128) + b"DICM", "a DICOM file"),
        (b"ZISRAWFILE", "microscope's program"),
        (b"\0\0\0\x18ftypheic", "HEIF"),
        (b"\0\0\0\x18ftypavif", "HEIF"),
        (b"II*\0\x10\0\0\0CR\x02\0", "raw file"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
        (b"%PDF-1.7", "a document"),
        (b"8BPS", "graphics program"),
        (b"PK\3\4", "an archive"),
    ],
)
def test_a_foreign_file_with_a_wrong_ending_is_told_by_its_content(head, said):
    with pytest.raises(ImageError, match=said):
        decode(head + bytes(300), "cell.png")


@pytest.mark.parametrize("name", ["photo.heic", "scan.dcm", "stack.czi", "a.png", "a.unknown", "noending"])
def test_an_image_with_a_wrong_ending_is_read(name):
    np.testing.assert_array_equal(decode(encoded(Image.fromarray(RGB), "BMP"), name).rgb, RGB)


def test_a_slide_of_gigabytes_is_told_before_its_size(tmp_path, monkeypatch):
    monkeypatch.setenv("LEUKOSCOPE_MAX_BYTES", "1000")
    path = tmp_path / "slide.svs"
    path.write_bytes(bytes(2000))
    with pytest.raises(ImageError, match="whole-slide"):
        load(path)


def test_a_slide_called_a_tiff_is_told_where_it_is_too_large(monkeypatch):
    data = tiff(RGB, photometric="rgb", tile=(16, 16), description="Aperio Image Library v1|MPP = 0.25", metadata=None)
    np.testing.assert_array_equal(decode(data, "region.tif").rgb, RGB)
    monkeypatch.setenv("LEUKOSCOPE_MAX_PIXELS", "1000")
    with pytest.raises(ImageError, match="whole-slide image; open it in QuPath"):
        decode(data, "region.tif")

"""What is counted of a file before a decoder sees it, and that nothing ordinary is refused for it."""

import io
import time

import pytest
from PIL import Image, PngImagePlugin

from core.domain.errors import ImageError
from core.image import structure
from core.image.imaging import decode
from core.image.structure import check_structure
from tests.fuzz import doors


@pytest.mark.parametrize("seed", range(len(doors.images())))
def test_what_cameras_and_editors_write_is_let_through_whole_or_cut(seed):
    data = doors.images()[seed]
    for end in (len(data), len(data) // 2, 12, 1, 0):
        check_structure(data[:end], "a.png")


@pytest.mark.parametrize("name", doors.COSTLY)
def test_a_small_file_that_asks_for_very_much_work_is_refused_at_once_for_its_true_cause(name):
    made, words = doors.COSTLY[name]
    data = made()
    started = time.perf_counter()
    with pytest.raises(ImageError) as refused:
        decode(data, "costly")
    assert time.perf_counter() - started < 3
    assert words in str(refused.value)


def test_as_many_as_are_allowed_are_let_through():
    check_structure(doors.jpeg_of_scans(structure.MAX_SCANS - 20, side=64), "a.jpg")
    check_structure(doors.tiff_of_pages(structure.MAX_PAGES), "a.tif")
    check_structure(doors.gif_of_frames(structure.MAX_PAGES - 1), "a.gif")
    check_structure(doors.png_of_chunks(1000), "a.png")


def test_scans_in_a_jpegs_metadata_are_no_scans_of_it():
    """A camera's preview is a JPEG within the JPEG; noise in metadata looks like scans, too."""
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64)).save(buffer, "JPEG", progressive=True, comment=b"\xff\xda" * 1000)
    check_structure(buffer.getvalue(), "a.jpg")


def test_text_that_is_not_packed_and_small_text_that_is_are_let_through():
    info = PngImagePlugin.PngInfo()
    info.add_text("a", "b" * 2**21)
    info.add_text("c", "d" * 1000, zip=True)
    info.add_itxt("e", "f" * 1000, zip=True)
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64)).save(buffer, "PNG", pnginfo=info)
    check_structure(buffer.getvalue(), "a.png")

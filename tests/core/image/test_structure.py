"""What is counted of a file before a decoder sees it, and that nothing ordinary is refused for it."""

import io

import pytest
from PIL import Image

from core.domain.errors import ImageError
from core.image import structure
from core.image.structure import check_structure
from tests.fuzz import doors


def refusal(data):
    with pytest.raises(ImageError) as refused:
        check_structure(data, "a.png")
    return str(refused.value)


@pytest.mark.parametrize("seed", range(len(doors.images())))
def test_what_cameras_and_editors_write_is_let_through_whole_or_cut(seed):
    data = doors.images()[seed]
    for end in (len(data), len(data) // 2, 12, 1, 0):
        check_structure(data[:end], "a.png")


@pytest.mark.parametrize("name", doors.COSTLY)
def test_files_that_ask_for_too_much_work_are_named_with_the_cause(name):
    made, words = doors.COSTLY[name]
    if words == "times as long as wide":
        pytest.skip("told by the picture's size, not by its structure")
    assert words in refusal(made())


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


def test_text_that_is_not_packed_may_be_long():
    buffer = io.BytesIO()
    info = doors.png_of_chunks(1)
    Image.open(io.BytesIO(info)).save(buffer, "PNG")
    check_structure(buffer.getvalue(), "a.png")

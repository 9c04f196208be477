import pytest

from core.domain.types import FileScale
from core.image import file_scale
from core.image.file_scale import OF_FILE, judge, of_description, of_dpi, of_lengths, of_sides, of_tags, taken, unit_um
from core.image.remarks import Remarks


def codes(remarks: Remarks) -> list[str]:
    return [flag.code for flag in remarks.flags]


@pytest.mark.parametrize(
    ("unit", "um"),
    [("um", 1), ("µm", 1), ("\u03bcm", 1), ("\\u00B5m", 1), ("Micron", 1), ("nm", 1e-3), ("mm", 1e3), ("inch", 25400),
     ("pixel", None), ("", None), ("reference frame", None)],
)  # fmt: skip
def test_units_are_known_however_they_are_spelt(unit, um):
    assert unit_um(unit) == um


@pytest.mark.parametrize(
    ("x", "y", "unit", "um"),
    [(127_000, 127_000, 2, 0.2), (50_000, 50_000, 3, 0.2), (72, 72, 2, None), (600, 600, 2, None),
     (2_362, 2_362, 3, None),
     (1, 1, 1, None), (0, 0, 2, None), (float("nan"), 1, 2, None)],
)  # fmt: skip
def test_resolution_tags_count_within_a_microscopes_range_only(x, y, unit, um):
    found = of_tags(x, y, unit, Remarks())
    assert (found and found.um_per_px) == (um and pytest.approx(um))


def test_dots_per_inch_count_where_no_printer_has_them():
    found = of_dpi((127_000, 127_000), Remarks())
    assert found is not None
    assert found.um_per_px == pytest.approx(0.2)
    assert of_dpi((300, 300), Remarks()) is None
    assert of_dpi(None, Remarks()) is None


def test_lengths_are_converted_and_pixels_that_are_not_square_are_told():
    remarks = Remarks()
    assert of_lengths(200, "nm", 0.2, "um", "OME metadata", remarks) == FileScale(0.2, "OME metadata")
    assert remarks.notes == ()
    found = of_sides(0.2, 0.25, "OME metadata", remarks)
    assert found is not None
    assert found.um_per_px == pytest.approx(0.05**0.5)
    assert codes(remarks) == ["not_square"]
    assert of_lengths(1, "pixel", 1, "pixel", "OME metadata", remarks) is None
    assert of_sides(50, 50, "x", remarks) is None, "no microscope has that"


def test_aperio_says_its_scale_in_the_description():
    found = of_description("Aperio Image Library v12|AppMag = 40|MPP = 0.2522|", Remarks())
    assert found is not None
    assert found.um_per_px == 0.2522
    assert of_description("a smear", Remarks()) is None


STATED = FileScale(0.2, "OME metadata")


@pytest.mark.parametrize(
    ("given", "stated", "counts", "said", "flags"),
    [
        (None, None, None, "", []),
        (None, STATED, None, "the file says 0.2 µm per pixel (OME metadata)", []),
        (0.2, STATED, 0.2, "", []),
        (0.203, STATED, 0.203, "", []),
        (0.1, STATED, 0.1, "0.1 µm per pixel given, 0.2 in the file", ["scale_contradicted"]),
        (OF_FILE, STATED, 0.2, "the scale is the file's own, 0.2", []),
        (OF_FILE, None, None, "the file states no scale", []),
        (0.1, None, 0.1, "", []),
    ],
)
def test_what_counts_and_what_is_said_of_it(given, stated, counts, said, flags):
    remarks = Remarks()
    judge(given, stated, remarks)
    assert taken(given, stated) == counts
    assert said in " ".join(remarks.notes)
    assert bool(remarks.notes) == bool(said)
    assert codes(remarks) == flags


def test_a_scale_that_no_microscope_has_is_not_offered():
    low, high = file_scale._POSSIBLE_UM
    assert of_sides(low / 2, low / 2, "x", Remarks()) is None
    assert of_sides(high * 2, high * 2, "x", Remarks()) is None

import numpy as np
import pytest

from core.domain.errors import ImageError
from core.image.depth import NOT_ASKED, Depths, Stated, agree, settled, to_8_bits, used_bits

RNG = np.random.default_rng(3)


def of_bits(bits: int, share: float = 1.0) -> np.ndarray:
    """A picture whose brightest part uses so much of its depth."""
    return RNG.integers(0, round(share * (2**bits - 1)), (100, 100)).astype(np.uint16)


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_hot_pixels_decide_nothing(bits):
    values = of_bits(bits)
    assert used_bits(values) == bits
    values[0, :10] = 65_535
    assert used_bits(values) == bits
    values[1, :10] = 65_535
    assert used_bits(values) == 16


def test_what_the_file_states_counts_whatever_is_in_it():
    dark = of_bits(12, 0.1)
    assert settled(dark, "a", Stated(12, "MaxSampleValue"), NOT_ASKED, "n") == (
        12,
        "as the file says (MaxSampleValue)",
    )
    assert settled(of_bits(14), "a", Stated(16, "OME SignificantBits"), NOT_ASKED, "n")[0] == 16
    assert settled(of_bits(12), "a", Stated(16, "OME SignificantBits"), NOT_ASKED, "n")[0] == 12, "nearly black"
    bits, how = settled(of_bits(16), "a", Stated(12, "sBIT"), NOT_ASKED, "n")
    assert (bits, "although" in how) == (16, True)


def test_a_run_agrees_on_what_most_of_its_files_of_a_kind_use():
    depths = agree([("a", 12), ("a", 12), ("a", 10), ("b", 16), ("b", 14), ("c", 16)])
    assert depths == Depths(None, (("a", 12),))
    dark, bright = of_bits(10), of_bits(14)
    assert settled(dark, "a", None, depths, "n") == (12, "as most files of the run use")
    assert settled(dark, "b", None, depths, "n") == (10, "judged by this image alone")
    assert settled(bright, "a", None, depths, "n") == (14, "judged by this image alone"), "of another camera"
    assert settled(of_bits(8), "a", None, depths, "n")[0] == 8, "two steps away"


def test_what_a_person_gives_counts_for_all_and_is_refused_where_it_cannot_be():
    assert settled(of_bits(10), "a", Stated(10, "sBIT"), Depths(12), "n") == (12, "as given")
    with pytest.raises(ImageError, match="smear: expected values of at most 12 bits, as given, but they take 16"):
        settled(of_bits(16), "a", None, Depths(12), "smear")


def test_the_upper_bits_are_kept_and_values_beyond_are_white_and_counted():
    values = np.array([0, 15, 16, 4095, 5000], np.uint16)
    eight, beyond = to_8_bits(values, 12)
    assert eight.tolist() == [0, 0, 1, 255, 255]
    assert beyond == 1

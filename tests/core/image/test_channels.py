import time

import pytest

from core.image.channels import UnknownChannelsError, colour_order, telling

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


@pytest.mark.parametrize(
    ("names", "colours", "order"),
    [
        ([], [], (0, 1, 2)),
        (["", "", ""], [None, None, None], (0, 1, 2)),
        (["Channel:0:0", "Channel 1", "C2"], [(255, 255, 255)] * 3, (0, 1, 2)),
        (["Red", "Green", "Blue"], [], (0, 1, 2)),
        (["B", "G", "R"], [], (2, 1, 0)),
        (["blue channel", "red", "Green (TL)"], [RED, GREEN, BLUE], (1, 2, 0)),
        ([], [BLUE, GREEN, RED], (2, 1, 0)),
    ],
)
def test_names_come_before_colours_and_these_before_the_order(names, colours, order):
    assert colour_order(names, colours)[0] == order


@pytest.mark.parametrize(
    ("names", "colours", "said"),
    [
        (["DAPI", "FITC", "TRITC"], [], "called DAPI, FITC, TRITC"),
        (["Red", "Green", "DAPI"], [], "called Red, Green, DAPI"),
        (["", "", "Phase"], [], "called Phase"),
        ([], [(0, 255, 255), (255, 0, 255), (255, 255, 0)], "other colours"),
    ],
)
def test_three_channels_that_are_something_else_are_refused(names, colours, said):
    with pytest.raises(UnknownChannelsError, match=said):
        colour_order(names, colours)


def test_labels_of_slices_tell_only_where_they_name_colours_or_stains():
    assert telling(["img_001.tif", "z:1/3", "Red", "c:2/3 - DAPI"]) == ["Red", "c:2/3 - DAPI"]


def test_a_long_name_of_strangers_is_judged_at_once():
    started = time.monotonic()
    with pytest.raises(UnknownChannelsError):
        colour_order(["1" * 100_000 + "x"] * 3, [])
    assert time.monotonic() - started < 1

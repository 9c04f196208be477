"""Rows of a table find their images by the names that they have for them, and never by guessing."""

import pytest

from core.batch.joins import JoinTable, Row, as_path, why_none
from core.domain.errors import UsageError


def table(*images, said=None):
    return JoinTable("t.csv", [Row(n, name, said or f"p{n}") for n, name in enumerate(images, start=2)])


@pytest.mark.parametrize(
    "row",
    [
        "a/Zelle 1.png", "./a/Zelle 1.png", "a\\Zelle 1.png", " a/Zelle 1.png ", "/a/Zelle 1.png", "A/ZELLE 1.PNG",
        "Zelle 1.png", "Zelle 1", "zelle 1", "data/smears/a/Zelle 1.png", "D:\\data\\a\\Zelle 1.png", "Zelle 1.tif",
    ],
)  # fmt: skip
def test_a_row_fits_by_path_or_name_or_name_without_ending(row):
    joined = table(row).join(["a/Zelle 1.png", "a/Zelle 2.png"])
    assert joined.said == {"a/Zelle 1.png": "p2"}
    assert (joined.images, joined.unmatched_images, joined.unmatched_rows) == (2, 1, 0)
    assert joined.image_examples == ("a/Zelle 2.png",)


def test_composed_and_decomposed_letters_are_one():
    assert table("Mu\u0308ller.png").join(["M\u00fcller.png"]).said == {"M\u00fcller.png": "p2"}


def test_folders_tell_apart_what_has_one_name():
    joined = table("p1/1.png", "p2/1.png").join(["train/p1/1.png", "train/p2/1.png"])
    assert joined.said == {"train/p1/1.png": "p2", "train/p2/1.png": "p3"}


@pytest.mark.parametrize(
    ("rows", "images"),
    [
        (["1.png"], ["a/1.png", "b/1.png"]),
        (["1"], ["1.png", "1.tif"]),
        (["x/1.png", "y/1.png"], ["1.png"]),
        (["p1/1.png"], ["train/p1/1.png", "test/p1/1.png"]),
    ],
)
def test_what_fits_more_than_one_is_not_guessed(rows, images):
    joined = table(*rows).join(images)
    assert joined.said == {}
    assert (joined.unmatched_images, joined.unmatched_rows) == (len(images), len(rows))
    assert "fits only one" in why_none(joined)


def test_an_exact_path_comes_before_a_name():
    assert table("1.png", "b/1.png").join(["1.png", "b/1.png"]).said == {"1.png": "p2", "b/1.png": "p3"}


def test_one_image_with_two_labels_is_an_error_and_the_same_twice_is_not():
    with pytest.raises(UsageError, match=r"rows 2 and 3 both name \./1.png, but say 'p2' and 'p3'"):
        table("1.png", "./1.png")
    twice = table("1.png", "./1.png", said="p")
    assert twice.doubled == 1
    assert twice.join(["1.png"]).said == {"1.png": "p"}


@pytest.mark.parametrize(
    ("row", "image", "cause"),
    [
        ("7", "007.png", "Leading zeros"),
        ("cell_1_mask.png", "cell_1.png", "a part of the name"),
        ("patient", "1.png", "image_path"),
    ],
)
def test_the_likely_cause_of_nothing_is_told_with_names_of_both_sides(row, image, cause):
    words = why_none(table(row).join([image]))
    assert image in words
    assert row in words
    assert cause in words


def test_paths_are_written_in_one_way():
    assert as_path(".\\a\\b.png ") == "a/b.png"

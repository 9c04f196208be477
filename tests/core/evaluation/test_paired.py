"""Two models on the same cells: pairs, groups and words."""

import math

import pytest

from core.evaluation.paired import better, better_in_words, in_words, paired, paired_by_data_set, to_plain


def _dice(nucleus: float, cytoplasm: float) -> dict[str, float]:
    return {"nucleus": nucleus, "cytoplasm": cytoplasm, "cell": (nucleus + cytoplasm) / 2}


FIRST = {f"own/{i}": _dice(0.80, 0.70) for i in range(8)}
SECOND = {f"own/{i}": _dice(0.80 + 0.01 * i, 0.72) for i in range(8)}
APART = {f"own/{i}": str(i) for i in range(8)}


def test_the_difference_is_the_second_less_the_first_image_by_image() -> None:
    found = paired(FIRST, dict(reversed(SECOND.items())), APART)
    assert found["nucleus"].difference == pytest.approx(0.035)
    assert found["cytoplasm"].ci95 == (0.02, 0.02)
    assert found["mean"].difference == pytest.approx(0.0275)
    assert (found["mean"].images, found["mean"].groups) == (8, 8)


def test_images_taken_together_widen_the_interval() -> None:
    alone, together = (
        paired(FIRST, SECOND, APART)["nucleus"],
        paired(FIRST, SECOND, {name: str(int(group) // 4) for name, group in APART.items()})["nucleus"],
    )
    assert alone.ci95 is not None
    assert together.ci95 is not None
    assert together.ci95[1] - together.ci95[0] > alone.ci95[1] - alone.ci95[0]


def test_of_one_group_there_is_no_interval() -> None:
    found = paired(FIRST, SECOND, dict.fromkeys(APART, "one"))
    assert found["cell"].ci95 is None
    assert "no interval" in in_words(found, "a", "b")


def test_a_region_without_a_score_in_either_does_not_count() -> None:
    second = SECOND | {"own/7": _dice(0.9, math.nan)}
    found = paired(FIRST, second, APART)
    assert found["cytoplasm"].images == 7
    assert found["nucleus"].images == 8
    nobody = dict.fromkeys(FIRST, _dice(0.5, math.nan))
    assert "cytoplasm" not in paired(nobody, SECOND, APART)


def test_words_name_both_and_give_points() -> None:
    said = in_words(paired(FIRST, SECOND, APART), "shipped", "mine")
    assert "shipped 0.7000, mine 0.7200: +2.00 points" in said
    assert to_plain(paired(FIRST, SECOND, APART))["cell"]["images"] == 8


def test_each_data_set_is_compared_on_its_own_after_all_together() -> None:
    first, second = (
        scores | {f"own2/{i}": _dice(0.9, 0.9 - loss) for i in range(4)}
        for scores, loss in ((FIRST, 0.0), (SECOND, 0.1))
    )
    groups = {name: name for name in first}
    found = paired_by_data_set(first, second, groups)
    assert list(found) == ["all", "own", "own2"]
    assert [part["mean"].images for part in found.values()] == [12, 8, 4]
    assert found["own"] == paired(FIRST, SECOND, groups)
    assert found["own2"]["mean"].difference == pytest.approx(-0.05)


def test_the_better_one_is_named_only_where_the_interval_leaves_no_doubt() -> None:
    clear, doubtful = paired(FIRST, SECOND, APART), paired(FIRST, SECOND, dict.fromkeys(APART, "one"))
    turned = paired(SECOND, FIRST, APART)
    assert (better(clear), better(turned), better(doubtful), better({})) == (1, -1, 0, 0)
    assert better_in_words(clear, "shipped", "mine").startswith("mine is better than shipped, by 2.75 points")
    assert better_in_words(paired(SECOND, FIRST, APART), "mine", "shipped").startswith(
        "mine is better than shipped, by"
    )
    assert better_in_words(doubtful, "shipped", "mine") == "mine and shipped cannot be told apart on these images"

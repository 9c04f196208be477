"""Red cells as a ruler: what answers, what refuses and why, and how well the known sources are told."""

import csv
import re
from pathlib import Path

import numpy as np
import pytest

from core.domain.errors import UsageError
from core.domain.objects import RedCells
from core.domain.types import RED_CELLS
from core.image.listing import find_images
from core.pipeline import scale_of_red_cells, spread_over
from core.quality.ruler import NoRedCellScale, RedCellScale, pooled, single


def images(px, count=40, spread=0.05, discs=5, seed=3):
    rng = np.random.default_rng(seed)
    return [RedCells(discs, float(px * factor)) for factor in rng.lognormal(0, spread, count)]


def test_ten_images_of_three_discs_tell_the_scale_and_how_well_it_is_known():
    answer = pooled(images(75, 100))
    assert isinstance(answer, RedCellScale)
    assert answer.um_per_px == pytest.approx(0.1, rel=0.01)
    assert answer.images == 100
    assert answer.spread == pytest.approx(0.05, rel=0.3)
    assert answer.statistical == pytest.approx(1.96 * 1.2533 * answer.spread / 10)
    assert answer.error == pytest.approx(np.hypot(answer.statistical, 0.07))
    assert re.fullmatch(
        r"0\.\d+ µm per pixel, from red cells of 100 images, within 2 %, and 7 % if the patients' red cells are not 7.5"
        " um",
        answer.words,
    )
    given = answer.taken()
    assert (given.um_per_px, given.source, given.origin) == (answer.um_per_px, RED_CELLS, answer.words)
    assert given.error == pytest.approx(answer.error, abs=1e-4)


def test_the_error_says_how_far_pools_of_so_many_images_are_off():
    truth = 0.1
    pools = [pooled(images(75, 20, seed=seed)) for seed in range(200)]
    within = [abs(pool.um_per_px / truth - 1) <= pool.statistical + 0.002 for pool in pools]
    assert np.mean(within) > 0.85


def test_a_few_images_far_off_and_those_of_too_few_discs_do_not_matter():
    clean = images(75, 60)
    spoilt = [*clean, *images(22, 2), *images(300, 3, discs=2), RedCells(0, None), None]
    assert pooled(spoilt).um_per_px == pytest.approx(pooled(clean).um_per_px, rel=0.01)
    assert pooled(spoilt).images == 62


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (images(75, 9), "at least 10 images with 3 whole red cells are needed, but 9 of 9 images have as many"),
        (images(75, 1), "but 1 of 1 image has as many"),
        (images(75, 30, discs=2), "but none of 30 images has as many"),
        ([RedCells(0, None), None], "none of 2 images has as many, and no whole red cell was seen in any"),
        ([], "none of 0 images"),
        (images(75, 40, spread=0.3), "the images do not agree: their red cells measure about"),
        (
            images(50, 40) + images(100, 40),
            r"different magnification: red cells measure about (49|50|51) pixels in 40 images",
        ),
        (images(75, 40) + images(30, 8), r"different magnification: .* (29|30|31) pixels in 8 images and 7\d in 40"),
    ],
)
def test_a_refusal_names_its_true_cause(said, why):
    answer = pooled(said)
    assert isinstance(answer, NoRedCellScale)
    assert re.search(why, answer.words)
    with pytest.raises(UsageError, match="give the scale"):
        answer.taken()


def test_one_image_only_hints_at_a_scale():
    hint = single(RedCells(5, 81.0))
    assert (hint.um_per_px, hint.error, hint.source) == (0.093, 0.15, RED_CELLS)
    assert hint.origin == "from 5 red cells of one image"
    assert single(RedCells(2, 81.0)) is None
    assert single(RedCells(0, None)) is None
    assert single(None) is None


# --- real images ------------------------------------------------------------------------------------------------------


def by_type(data_dir, name, column):
    kinds: dict[str, list[str]] = {}
    with (data_dir / name / "manifest.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            kinds.setdefault(row[column], []).append(str(data_dir / name / row["path"]))
    return kinds


def measured(paths, model_entry, most=80):
    return scale_of_red_cells(spread_over(paths, most), lambda path: Path(path).read_bytes(), model_entry)


@pytest.mark.data
def test_two_laboratories_with_one_analyser_have_one_scale(data_dir, model_entry):
    """Known: about 0.095 within some 10 % by older red cell estimates of another method."""
    barcelona, hopkins = by_type(data_dir, "acevedo", "cell_type"), by_type(data_dir, "deepapl", "cell_class")
    pools = {
        name: [measured(kinds[kind], model_entry) for kind in ("monocyte", "lymphocyte", "promyelocyte")]
        for name, kinds in (("Barcelona", barcelona), ("Hopkins", hopkins))
    }
    for answers in pools.values():
        assert all(0.095 * 0.93 <= answer.um_per_px <= 0.101 * 1.07 for answer in answers)
        # Beside monocytes there is less room for large discs than beside lymphocytes.
        assert answers[0].um_per_px == pytest.approx(answers[1].um_per_px, rel=0.03)
    whole = [
        measured([path for kind in kinds.values() for path in kind], model_entry) for kinds in (barcelona, hopkins)
    ]
    assert whole[0].um_per_px == pytest.approx(whole[1].um_per_px, rel=0.03)


@pytest.mark.data
def test_tight_crops_tell_no_scale_and_sources_of_other_magnification_theirs(data_dir, model_entry):
    def answer(*parts):
        return measured([str(path) for path in find_images([data_dir.joinpath(*parts)])], model_entry)

    assert answer("hairy_cell_marrow").words.endswith("none of 12 images has as many")
    assert "images with 3 whole red cells are needed" in answer("wbc_zheng", "set1").words
    assert answer("bccd", "images").um_per_px == pytest.approx(0.071, rel=0.05)
    assert "different magnification" in answer("txl_pbc", "images").words

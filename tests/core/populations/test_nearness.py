from dataclasses import replace

import numpy as np
import pytest

from core.domain.cell_types import CellType
from core.domain.flags import FLAGS, GRANULOCYTE, Severity
from core.domain.types import FeatureSet
from core.populations import nearness as module
from core.populations.nearness import NearestPopulations, Unnamed, in_words
from tests.core.populations.support import AREA, LENGTH, RATIO, SHARE, frame, population

SHAPES, SIZES = [SHARE, RATIO], [AREA, LENGTH]


def members(n=60, *, share=0.5, area=100.0, um=0.1, seed=0):
    """Cells spread around a centre, their areas (um2) correlated with nothing."""
    rng = np.random.default_rng(seed)
    areas = area * np.exp(rng.normal(0, 0.1, n))
    columns = {
        SHARE: share + rng.normal(0, 0.05, n),
        RATIO: np.exp(rng.normal(0, 0.1, n)),
        AREA: areas / 0.1**2,
        LENGTH: 4 * np.sqrt(areas) / 0.1,
    }
    return frame(n, um=um, **columns)


def given(share=0.5, area=100.0, um=0.1):
    return FeatureSet({SHARE: share, RATIO: 1.0, AREA: area / um**2, LENGTH: 4 * np.sqrt(area) / um}, {})


def found(features, references, *, um=None, flags=(), severe=(), shapes=SHAPES, sizes=SIZES):
    return NearestPopulations(references, shapes, sizes).of(features, um, flags, severe)


def named(nearness):
    return [near.population for near in nearness.populations]


NEAR = population(members(), population="near", title="Near cells")
FAR = population(members(share=0.9, seed=1), population="far", title="Far cells", cell_type=CellType.LYMPHOCYTE)
LARGE = population(members(area=400.0, seed=2), population="large", title="Large cells")


def test_a_cell_at_the_centre_is_nearest_and_typical_there():
    nearness = found(given(), [FAR, NEAR])
    assert named(nearness) == ["near", "far"]
    first, second = nearness.populations
    assert first.distance < first.usual < second.distance
    assert first.typicality > 80
    assert second.typicality == 0
    assert (first.n, first.others, first.drawn_from, first.sized) == (60, False, None, False)
    assert (nearness.shapes, nearness.sizes, nearness.unnamed) == (2, 0, None)


def test_distance_and_per_cent_by_hand():
    # One feature: the spread of 0 to 100 is 1.4826 * 25, and the fifth nearest to 50.25 is 48 (50, 51, 49, 52, 48).
    (near,) = found(FeatureSet({SHARE: 50.25}, {}), [population(frame(101, **{SHARE: np.arange(101.0)}))]).populations
    assert near.distance == pytest.approx(2.25 / (1.4826 * 25))
    # The fifth nearest of a member is 3 away, and farther only of the three at either end: 5, 4, 3 and so on.
    assert near.usual == pytest.approx(3 / (1.4826 * 25))
    assert near.typicality == 100


def test_what_two_features_share_counts_once():
    rng = np.random.default_rng(3)
    both = rng.normal(0, 0.05, 200)
    values = frame(200, **{SHARE: 0.5 + both, RATIO: np.exp(both + rng.normal(0, 0.01, 200))})
    along, across = (
        found(FeatureSet({SHARE: 0.5 + a, RATIO: np.exp(b)}, {}), [population(values)])
        for a, b in ((0.06, 0.06), (0.06, -0.06))
    )
    assert along.unnamed is None
    assert across.unnamed is Unnamed.UNLIKE, "each feature is usual, but never both together"


def test_a_cell_far_from_all_is_unlike_every_population_and_the_least_far_is_not_named():
    nearness = found(given(share=3.0), [FAR, NEAR])
    assert (nearness.unnamed, nearness.populations) == (Unnamed.UNLIKE, ())
    assert in_words(nearness) == (
        "Unlike every population here in shape: it lies farther from the cells of each than 97 % of these lie from"
        " their neighbours."
    )


def test_few_of_a_population_are_unlike_it():
    values = members(400)
    all_of_it = NearestPopulations([population(values)], SHAPES, SIZES)
    unlike = [
        all_of_it.of(FeatureSet(dict(row[SHAPES]), {}), None, (), ()).unnamed is Unnamed.UNLIKE
        for _, row in values.iterrows()
    ]
    assert 0 < np.mean(unlike) <= 0.03


def test_sizes_count_only_where_cell_and_population_have_a_scale():
    cell = given(area=400.0)
    assert named(found(cell, [NEAR, LARGE], um=0.1))[0] == "large"
    in_shape = found(cell, [NEAR, LARGE])
    assert (in_shape.sizes, {near.sized for near in in_shape.populations}) == (0, {False})
    assert found(cell, [NEAR, LARGE], um=0.1).sizes == 2
    coarse = given(area=400.0, um=0.2)
    assert found(coarse, [NEAR, LARGE], um=0.2) == found(cell, [NEAR, LARGE], um=0.1), "the same in micrometres"
    none = [replace(LARGE, sample=LARGE.sample.assign(um_per_px=None))]
    assert [near.sized for near in found(cell, none, um=0.1).populations] == [False]


def test_a_population_without_a_scale_takes_the_place_it_has_in_shape():
    unscaled = population(members(um=None, seed=4), population="unscaled", title="Unscaled cells")
    near = found(given(), [NEAR, FAR, unscaled], um=0.1)
    in_shape = named(found(given(), [NEAR, FAR, unscaled]))
    assert named(near) == in_shape
    assert {p.population: p.sized for p in near.populations} == {"near": True, "far": True, "unscaled": False}
    second = next(p for p in near.populations if not p.sized)
    assert "in shape)" in in_words(replace(near, populations=(near.populations[0], second)))


def test_a_small_group_is_told_by_its_cells_and_never_by_a_per_cent():
    few = population(members(5, share=0.6, seed=5), population="few", title="Hairy cells of a test")
    at_one = {name: float(few.sample[name].iloc[2]) for name in SHAPES}
    at_one[SHARE] += 1e-3  # beside one of them, and not that one itself
    nearness = found(FeatureSet(at_one, {}), [FAR, NEAR, few])
    assert "few" not in named(nearness)
    (group,) = nearness.close_groups
    assert (group.n, group.typicality) == (5, None)
    assert group.distance < group.usual
    assert in_words(nearness).endswith(
        "Closer in shape to a cell of Hairy cells of a test than any two of these are to each other (n = 5, too few for"
        " a per cent)."
    )
    assert found(given(), [FAR, NEAR, few]).close_groups == ()
    alone = replace(few, sample=few.sample[2:3])
    assert found(FeatureSet(at_one, {}), [FAR, NEAR, alone]).close_groups == (), "one cell has no distance to another"


def test_of_small_groups_alone_none_is_named_nearest():
    few = population(members(5), population="few", title="Few")
    nearness = found(FeatureSet(dict(few.sample[SHAPES].median()), {}), [few])
    assert (nearness.unnamed, nearness.populations) == (Unnamed.NOTHING, ())
    assert "No nearest population is named" in in_words(nearness)
    assert found(given(), [population(members(1))]).unnamed is Unnamed.NOTHING


def test_a_cell_does_not_count_as_its_own_neighbour():
    values = members()
    row = FeatureSet(dict(values.loc[7, SHAPES]), {})
    (among,), (without,) = (found(row, [population(sample)]).populations for sample in (values, values.drop(index=7)))
    assert (among.n, among.others, without.n, without.others) == (59, True, 59, False)
    assert among.distance == pytest.approx(without.distance, rel=0.1)
    assert "59 other cells" in in_words(found(row, [population(values)]))


@pytest.mark.parametrize("code", [code for code, kind in FLAGS.items() if kind.severity is Severity.REFUSES])
def test_nothing_is_named_for_a_cell_that_a_flag_refuses(code):
    nearness = found(given(), [NEAR], flags=[code], severe=[code])
    assert (nearness.unnamed, nearness.flag, nearness.populations) == (Unnamed.FLAG, code, ())
    sentence = FLAGS[code].sentence
    assert in_words(nearness) == f"No nearest population is named: {sentence[0].lower()}{sentence[1:]}."


def test_an_unknown_flag_is_told_by_its_name():
    assert in_words(found(given(), [NEAR], severe=["new_flag"])) == (
        "No nearest population is named: the cell is flagged as new flag."
    )


@pytest.mark.parametrize("code", [code for code, kind in FLAGS.items() if kind.severity is not Severity.REFUSES])
def test_other_flags_do_not_hinder_but_a_granulocyte_is_set_beside_granulocytes_only(code):
    nearness = found(given(), [NEAR], flags=[code])
    assert nearness.unnamed is (Unnamed.GRANULOCYTE if code == GRANULOCYTE else None)
    neutrophils = replace(NEAR, cell_type=CellType.NEUTROPHIL)
    assert named(found(given(), [neutrophils], flags=[code])) == ["near"]


def test_published_tables_and_cells_without_values_have_nothing_to_compare():
    assert found(given(), [replace(NEAR, published=True)]).unnamed is Unnamed.NOTHING
    assert found(given(), []).unnamed is Unnamed.NOTHING
    assert found(FeatureSet({SHARE: None, RATIO: None}, {}), [NEAR]).unnamed is Unnamed.NOTHING
    assert found(given(), [NEAR], shapes=(), sizes=()).unnamed is Unnamed.NOTHING
    alike = population(frame(30, **dict.fromkeys(SHAPES, 1.0)))
    assert found(given(), [alike], sizes=()).unnamed is Unnamed.NOTHING, "features that do not vary tell nothing"


def test_a_feature_that_a_population_lacks_counts_for_none_and_who_lacks_most_is_left_out():
    without_ratio, without_any = (
        replace(FAR, sample=FAR.sample.assign(**dict.fromkeys(lacking, np.nan))) for lacking in ([RATIO], SHAPES)
    )
    cell = FeatureSet({SHARE: 0.5, RATIO: 1e6}, {})
    assert named(found(cell, [NEAR, without_ratio])) == ["near", "far"]
    assert named(found(given(), [NEAR, without_any])) == ["near"]


def test_a_population_with_sizes_alone_is_not_compared():
    sizes_alone = replace(FAR, sample=FAR.sample.assign(**dict.fromkeys(SHAPES, np.nan)))
    few = population(members(5, um=None), population="few")
    nearness = found(given(), [NEAR, sizes_alone, few], um=0.1)
    assert (named(nearness), nearness.sizes) == (["near"], 2)
    assert found(given(), [NEAR], um=0.1, shapes=()).unnamed is Unnamed.NOTHING


def test_cells_that_lack_other_features_get_the_same_answer_in_any_order(monkeypatch):
    monkeypatch.setattr(module, "_MOST_SPACES", 1)
    nearest = NearestPopulations([NEAR, FAR], SHAPES, SIZES)
    cells = [FeatureSet({**given().values, lacking: None}, {}) for lacking in (SHARE, RATIO, AREA)]
    first, again = ([nearest.of(cell, 0.1, (), ()) for cell in cells] for _ in range(2))
    assert first == again
    assert [(nearness.shapes, nearness.sizes) for nearness in first] == [(1, 2), (1, 2), (2, 1)]


def test_values_without_a_logarithm_lie_farthest_down():
    values = members()
    values.loc[:9, RATIO] = 0.0
    nearness = found(FeatureSet({SHARE: 0.5, RATIO: 0.0}, {}), [population(values)])
    assert named(nearness) == ["mono"]
    assert np.isfinite(nearness.populations[0].distance)


def test_of_very_many_members_a_sample_tells_and_the_sentence_says_so(monkeypatch):
    monkeypatch.setattr(module, "MOST_MEMBERS", 40)
    nearness = found(given(), [population(members(200))])
    (near,) = nearness.populations
    assert (near.n, near.drawn_from) == (40, 200)
    assert "of its 40 of 200 cells" in in_words(nearness)
    assert found(given(), [population(members(200))]) == nearness


def test_the_sentence_names_patients_the_runner_up_and_what_was_compared():
    patients = ["a", "b"] * 30
    near = population(members().assign(patient_id=patients), population="near", title="Near cells")
    nearness = found(given(), [near, FAR], um=0.1)
    percent = nearness.populations[0].typicality
    assert in_words(nearness) == (
        f"Nearest in shape and size: Near cells ({percent:.0f} % of its 60 cells of 2 patients lie as far from their"
        " neighbours or farther), then Far cells (none of 60 cells)."
    )
    first = replace(nearness.populations[0], typicality=0.4)
    assert "(fewer than 1 % of its" in in_words(replace(nearness, populations=(first,)))

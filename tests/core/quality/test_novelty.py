import json
import math

import numpy as np
import pytest
from PIL import Image

from core.domain.errors import ModelError
from core.domain.types import LabelMap
from core.features.catalogue import CATALOGUE
from core.features.extract import extract
from core.image.masks import with_environment
from core.image.synthetic import SYNTHETIC_CELLS, draw_cell
from core.quality.novelty import (
    GRANULOCYTE_COLOUR,
    GRANULOCYTE_NUCLEUS,
    NOVELTY_TRAITS,
    TRAITS,
    Coefficient,
    GranulocyteRule,
    Knowledge,
    LogisticScore,
    NoveltyDetector,
    load,
    save,
    traits,
)

COUNT = len(NOVELTY_TRAITS)
MIDDLE = dict.fromkeys(TRAITS, 0.0)


def cloud(limit=1.5, correlation=None):
    return NoveltyDetector(
        np.zeros(COUNT), np.ones(COUNT), np.eye(COUNT) if correlation is None else correlation, limit
    )


def score(intercept, **weights):
    return LogisticScore(intercept, {name: Coefficient(0.0, 1.0, weight) for name, weight in weights.items()})


@pytest.fixture
def knowledge():
    rule = GranulocyteRule(score(-1.0, lobulation=2.0, dent=0.5), score(0.5, dye=1.5), 1.0)
    measured = {"kinds": [{"kind": "noise", "source": "", "n": 3, "unlike": [1.0, 0.4, 1.0]}]}
    return Knowledge("m", "ab" * 32, "2026-11-23", "python -m core novelty", cloud(), rule, measured)


# --- traits ---


def test_every_trait_comes_from_features_of_the_catalogue():
    for name, trait in TRAITS.items():
        assert set(trait.features) - {"confidence"} <= set(CATALOGUE), name
        assert trait.words[0].islower()
        assert not trait.words.endswith(".")
    assert {*NOVELTY_TRAITS, *GRANULOCYTE_NUCLEUS, *GRANULOCYTE_COLOUR} == set(TRAITS)


def test_a_cell_has_every_trait_and_hardly_another_at_half_the_magnification():
    image, labels = draw_cell(2)
    half = tuple(side // 2 for side in image.shape)
    small = np.asarray(Image.fromarray(image.rgb).resize(half, Image.Resampling.BOX))
    few = with_environment(LabelMap(np.asarray(Image.fromarray(labels).resize(half, Image.Resampling.NEAREST))))
    whole, halved = (traits(extract(*pair).values, 0.95) for pair in ((image.rgb, labels), (small, few)))
    assert list(whole) == list(TRAITS)
    for name in TRAITS:
        assert math.isfinite(whole[name])
        assert whole[name] == pytest.approx(halved[name], abs=0.35), name


def test_traits_of_an_absent_region_are_not_numbers():
    image, labels = draw_cell(2)
    bare = np.where(labels == 2, 0, labels).astype(np.uint8)
    found = traits(extract(image.rgb, LabelMap(bare)).values, 0.9)
    assert math.isnan(found["nucleus_share"])
    assert math.isnan(found["dye"])
    assert math.isfinite(found["cell_solidity"])


def test_extreme_values_stay_finite():
    ends = {
        "nucleus_contour_Solidity": 1.0,
        "cell_contour_FormFactor": 1.2,
        "combined_PixelSurface": 1.0,
        "nucleus_od_Median": 0.0,
    }
    image, labels = draw_cell(1)
    found = traits(extract(image.rgb, labels).values | ends, 1.0)
    assert all(map(math.isfinite, found.values()))


def test_the_nucleus_of_a_monocyte_is_more_dented_and_smaller_in_its_cell():
    lymphocyte, monocyte = (
        traits(extract(image.rgb, labels).values, 0.95)
        for image, labels in (draw_cell(0, SYNTHETIC_CELLS[name]) for name in ("lymphocyte", "monocyte"))
    )
    assert monocyte["nucleus_share"] < lymphocyte["nucleus_share"]
    assert monocyte["nucleus_solidity"] > lymphocyte["nucleus_solidity"]
    assert monocyte["dent"] > lymphocyte["dent"]


def test_the_contrast_of_the_nucleus_counts_in_natural_absorbance():
    """As when the shipped clouds were fitted; densities of the features are decadic."""
    image, labels = draw_cell(1)
    densities = {"nucleus_od_Median": 0.5, "environment_od_10Percentile": 0.1}
    found = traits(extract(image.rgb, labels).values | densities, 0.95)
    assert found["contrast"] == pytest.approx(math.log(0.4 * math.log(10)))


# --- distance ---


def test_the_distance_is_that_of_mahalanobis_over_the_root_of_the_traits():
    assert cloud().distance(MIDDLE) == 0
    assert cloud().distance({**MIDDLE, "certainty": 3.0}) == pytest.approx(3 / math.sqrt(COUNT))
    # Two traits that go together are less strange than two that do not.
    together = np.eye(COUNT)
    together[0, 1] = together[1, 0] = 0.8
    first, second = NOVELTY_TRAITS[:2]
    with_it, against = (
        cloud(correlation=together).distance({**MIDDLE, first: 2.0, second: sign * 2.0}) for sign in (1, -1)
    )
    assert with_it < cloud().distance({**MIDDLE, first: 2.0, second: 2.0}) < against


def test_a_missing_trait_is_left_out_and_without_any_there_is_no_distance():
    missing = {**MIDDLE, "certainty": 3.0, "step": math.nan}
    assert cloud().distance(missing) == pytest.approx(3 / math.sqrt(COUNT - 1))
    assert cloud().distance(dict.fromkeys(TRAITS, math.nan)) is None


def test_the_strangest_traits_are_named():
    found = {**MIDDLE, "contrast": -4.0, "cell_roundness": 5.0, "step": math.nan, "certainty": 1.0}
    assert cloud().strangest(found) == [TRAITS["cell_roundness"].words, TRAITS["contrast"].words]


# --- granulocytes ---


def test_a_score_is_the_sum_of_its_terms():
    one = LogisticScore(0.25, {"lobulation": Coefficient(1.0, 2.0, 3.0), "dye": Coefficient(0.5, 0.5, -1.0)})
    assert one.score({**MIDDLE, "lobulation": 5.0, "dye": 1.0}) == pytest.approx(0.25 + 3 * 2 - 1)


def test_both_scores_must_agree(knowledge):
    rule = knowledge.granulocyte
    assert rule.score({**MIDDLE, "lobulation": 2.0, "dye": 3.0}) == pytest.approx(3.0)
    assert rule.score({**MIDDLE, "lobulation": 0.0, "dye": 3.0}) == pytest.approx(-1.0)
    assert rule.score({**MIDDLE, "lobulation": 2.0, "dye": -3.0}) == pytest.approx(-4.0)
    assert math.isnan(rule.score({**MIDDLE, "lobulation": 2.0, "dye": math.nan}))


# --- the file ---


def test_what_is_saved_is_read_again(knowledge, tmp_path):
    path = tmp_path / "m.novelty.json"
    save(knowledge, path)
    found = load(path, knowledge.model_sha256)
    cell = {**MIDDLE, "certainty": -2.0, "lobulation": 1.0, "dye": 0.7}
    assert found.detector.distance(cell) == pytest.approx(knowledge.detector.distance(cell))
    assert found.granulocyte == knowledge.granulocyte
    assert (found.measured, found.created, found.detector.limit) == (knowledge.measured, knowledge.created, 1.5)
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_knowledge_of_another_model_or_of_other_traits_is_not_used(knowledge, tmp_path):
    path = tmp_path / "m.novelty.json"
    save(knowledge, path)
    with pytest.raises(
        ModelError,
        match=r"made with another file of the model, or an earlier version; run `python -m core novelty` again",
    ):
        load(path, "cd" * 32)
    raw = json.loads(path.read_text())
    raw["detector"]["traits"][0] = "shade"
    path.write_text(json.dumps(raw))
    with pytest.raises(ModelError, match="earlier version"):
        load(path, knowledge.model_sha256)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"detector": {}, "granulocyte": {}, "model_sha256": ""}'])
def test_a_damaged_file_says_what_to_do(tmp_path, text):
    path = tmp_path / "m.novelty.json"
    path.write_text(text)
    with pytest.raises(
        ModelError, match=r"m\.novelty\.json in the models folder is missing or damaged .*python -m core novelty"
    ):
        load(path, "")
    with pytest.raises(ModelError, match="missing or damaged"):
        load(tmp_path / "none.json", "")


def test_leukocytes_that_are_refused_are_weighted_by_how_many_were_shown():
    rows = [{"n": 100, "newly_refused": [0.02, 0.0, 0.1]}, {"n": 300, "newly_refused": [0.06, 0.0, 0.1]}]
    knowledge = Knowledge("m", "", "", "", None, None, {"cells": rows})
    assert knowledge.falsely_refused() == (400, pytest.approx(0.05))

from core.evaluation.agreement import Grade
from core.features.catalogue import CATALOGUE
from core.populations.placement import place_cell
from core.populations.typicality import Nearness
from core.reports.conclusions import most_different, nearest_in_words, nearest_populations
from tests.populations import ELONGATION, RATIO, analysed, grades


def test_shape_and_tone_are_ranked_apart_and_only_what_can_be_trusted(references):
    (place,) = place_cell(analysed("hairy_cell", 3), references[:1])
    shapes, tones = most_different(place, {})
    assert shapes, "a hairy cell is no typical monocyte"
    assert all(not CATALOGUE[c.feature].intensity_dependent for c in shapes)
    assert all(CATALOGUE[c.feature].intensity_dependent for c in tones)
    far = [abs(c.robust_z) for c in shapes]
    assert far == sorted(far, reverse=True)
    first, second = shapes[0].feature, shapes[1].feature
    trusted, _ = most_different(place, grades({first: Grade.POOR, second: Grade.MODERATE}, among=CATALOGUE))
    assert first not in [c.feature for c in trusted]
    assert second in [c.feature for c in trusted]


def test_nearest_asks_the_good_features_only(cell, references):
    everything = nearest_populations(cell.features, references, {})
    good = nearest_populations(
        cell.features, references, grades({RATIO: Grade.MODERATE, ELONGATION: Grade.POOR}, among=CATALOGUE)
    )
    assert good[0].features == everything[0].features - 2
    assert (
        nearest_populations(cell.features, references, grades(dict.fromkeys(CATALOGUE, Grade.POOR), among=CATALOGUE))
        == ()
    )


def test_nearest_is_a_description():
    def near(title, distance, typicality):
        return Nearness("p", title, "cells", 100, None, 10, distance, typicality)

    words = nearest_in_words([near("Monocytes", 0.9, 62.4), near("Lymphocytes", 2.0, 0.4)])
    assert (
        words
        == "Nearest in shape: Monocytes (62 % of its 100 cells lie as far out or farther), then Lymphocytes (fewer than"
        " 1 % of 100)."
    )
    assert "Unlike every population" in nearest_in_words([near("Monocytes", 5.0, 0)])
    assert nearest_in_words([]) == ""

from core.evaluation.agreement import Grade
from core.features.catalogue import CATALOGUE
from core.populations.placement import place_cell
from core.reports.conclusions import most_different
from tests.populations import analysed, grades


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

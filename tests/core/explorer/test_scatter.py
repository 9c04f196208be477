import numpy as np
import pytest

from core.domain.errors import UsageError
from core.explorer import view
from core.explorer.scatter import (
    FeatureScope,
    coloured,
    comparable_value,
    embedded,
    embedding_features,
    two_features,
    with_gate,
    within,
)
from core.explorer.selection import Gate, Selection
from core.explorer.view import By, counts, values
from core.features.catalogue import CATALOGUE
from core.features.spec import Region
from tests.core.explorer.conftest import UNSCALED
from tests.core.store.conftest import AREA, RATIO
from tests.populations import analysed

SHAPE = embedding_features(tuple(CATALOGUE), CATALOGUE, FeatureScope.SHAPE)


def test_two_features_come_by_group_or_with_the_values_of_a_third(small):
    by_group = two_features(small, Selection(), AREA, RATIO, By.SOURCE, log=(False, False))
    assert by_group.points.group_names == ("A", "B")
    valued = two_features(small, Selection(), AREA, RATIO, AREA, log=(False, False))
    assert valued.points.matrix.shape == (valued.cells, 3)
    np.testing.assert_array_equal(valued.points.matrix[:, 0], valued.points.matrix[:, 2])
    assert valued.absent == by_group.absent > 0


def test_very_many_cells_coloured_by_a_value_are_a_sample(small, monkeypatch):
    monkeypatch.setattr(view, "MOST_POINTS", 10)
    found = two_features(small, Selection(), AREA, RATIO, AREA, log=(False, False))
    assert len(found.points) == 10
    assert found.cells == counts(small, Selection()).cells
    assert two_features(small, Selection(), AREA, RATIO, By.SOURCE, log=(False, False)).bins is not None


def test_an_embedding_looks_at_reliable_features_of_the_cell_itself():
    everything = embedding_features(tuple(CATALOGUE), CATALOGUE, FeatureScope.ALL)
    assert set(SHAPE) < set(everything)
    assert not any(CATALOGUE[name].intensity_dependent for name in SHAPE)
    assert not any(CATALOGUE[name].region is Region.ENVIRONMENT for name in everything)
    assert embedding_features(tuple(CATALOGUE), {RATIO}, FeatureScope.ALL) == (RATIO,)
    assert embedding_features((AREA,), CATALOGUE, FeatureScope.SHAPE) == (AREA,)


def test_embedded_cells_are_in_the_order_of_their_names_and_named_by_their_values(shipped):
    selection = Selection(populations=("monocyte_acevedo",))
    found = embedded(shipped, selection, SHAPE)
    assert found.values.cell_id.tolist() == sorted(found.values.cell_id)
    assert len(found.prepared.z) == len(found.values)
    assert found.values.matrix.shape == (len(found.values), 0)
    assert found.digest == embedded(shipped, selection, SHAPE).digest
    assert found.digest != embedded(shipped, selection, SHAPE[1:]).digest


def test_too_few_cells_are_refused(small):
    with pytest.raises(UsageError, match="at least 20 cells"):
        embedded(small, Selection(populations=(UNSCALED,)), (AREA, RATIO))


def test_a_further_cell_is_scaled_as_the_embedded_ones(shipped):
    found = embedded(shipped, Selection(populations=("monocyte_acevedo",)), SHAPE)
    scaled = found.scaled(analysed("monocyte", 5))
    assert scaled.shape == (1, len(found.prepared.features))
    assert np.isfinite(scaled).all()


def test_a_size_is_comparable_in_micrometres_and_without_a_scale_not_at_all():
    known = analysed("monocyte", 5)
    assert comparable_value(known, AREA) == pytest.approx(known.features.values[AREA] * known.image.um_per_px**2)
    assert comparable_value(known, RATIO) == known.features.values[RATIO]


@pytest.mark.parametrize("colour", [By.POPULATION, RATIO])
def test_cells_are_coloured_in_their_own_order(small, colour):
    found = values(small, Selection(), (AREA,))
    shuffled = found.rows(np.random.default_rng(0).permutation(len(found))).without_features()
    seen = coloured(small, shuffled, colour)
    assert seen.cell_id.tolist() == shuffled.cell_id.tolist()
    if isinstance(colour, By):
        assert [seen.group_names[group] for group in seen.groups] == shuffled.population.tolist()
    else:
        of = dict(
            zip(*(lambda all_: (all_.cell_id, all_.matrix[:, 0]))(values(small, Selection(), (RATIO,))), strict=True)
        )
        assert seen.matrix[:, 0].tolist() == [of[cell] for cell in seen.cell_id]


def test_an_outline_chooses_the_cells_within_it(small):
    found = values(small, Selection(), (AREA,))
    xy = np.column_stack([np.arange(len(found)), np.zeros(len(found))])
    chosen = within(Selection(), found, xy, [(-0.5, -1), (2.5, -1), (2.5, 1), (-0.5, 1)])
    assert chosen.cells == tuple(sorted(found.cell_id[:3]))
    assert within(Selection(), found, xy, [(-9, -9), (-8, -9), (-8, -8)]) is None


def test_a_gate_takes_the_place_of_one_of_its_name():
    square = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0))
    gates = [Gate(name, AREA, RATIO, square, (False, False)) for name in ("a", "b")]
    both = with_gate(with_gate(Selection(), gates[0]), gates[1])
    assert both.gates == tuple(gates)
    moved = Gate("a", RATIO, AREA, square, (False, False))
    assert with_gate(both, moved).gates == (gates[1], moved)

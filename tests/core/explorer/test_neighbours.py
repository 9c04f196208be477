import numpy as np
import pytest

from core.domain.errors import UsageError
from core.domain.types import FeatureSet
from core.explorer import neighbours
from core.explorer.cells import features_of
from core.explorer.neighbours import NeighbourSpace
from core.features.catalogue import CATALOGUE
from core.populations.neighbours import comparable_features

FEATURES = comparable_features(CATALOGUE)


@pytest.fixture(scope="module")
def space(shipped):
    return NeighbourSpace.fit(shipped, FEATURES)


def test_the_nearest_are_those_of_least_distance_without_the_cell_itself(shipped, space):
    cell = str(space.values.cell_id[10])
    found = space.nearest(cell, features_of(shipped, cell), 0.095, 5)
    assert cell not in found.distances
    distances = list(found.distances.values())
    assert distances == sorted(distances)
    # Of all others, by hand.
    with np.errstate(invalid="ignore"):
        expected = np.sqrt(np.nanmean(np.square(space.z - space.z[10]), axis=1))
    expected[10] = np.inf
    assert distances == pytest.approx(np.sort(expected)[:5], rel=1e-4)
    assert found.sentence.startswith("Of the 5 nearest among")
    assert "drawn by chance" not in found.sentence


def test_of_very_many_cells_a_sample_is_looked_among_and_said_so(shipped, monkeypatch):
    monkeypatch.setattr(neighbours, "MOST_CELLS", 200)
    space = NeighbourSpace.fit(shipped, FEATURES)
    assert len(space.values) == len(space.z) == 200
    cell = str(space.values.cell_id[0])
    found = space.nearest(cell, features_of(shipped, cell), 0.095, 3)
    assert f"Of {space.values.cells:,} good cells these were drawn by chance." in found.sentence


def test_a_cell_without_any_of_the_features_is_refused(space):
    with pytest.raises(UsageError, match="has none of the"):
        space.nearest("", FeatureSet(dict.fromkeys(CATALOGUE), dict.fromkeys(CATALOGUE, "none")), None)

import numpy as np
import pytest

from core.explorer.gallery import GalleryOrder, order_cells, typicalities
from core.explorer.selection import Selection
from core.explorer.typicality import CohortCentres
from core.explorer.view import values
from core.features.catalogue import CATALOGUE
from core.populations.neighbours import comparable_features

FEATURES = comparable_features(CATALOGUE)
MONOCYTES = Selection(populations=("monocyte_acevedo",))


@pytest.fixture(scope="module")
def centres(shipped):
    return CohortCentres.fit(shipped, FEATURES)


def test_cells_go_from_typical_outward_and_from_far_out_inward(shipped, centres):
    found = order_cells(shipped, MONOCYTES, centres, FEATURES)
    percent = typicalities(shipped, found.outward, centres, FEATURES)
    outward = [percent[cell] for cell in found.ordered(GalleryOrder.TYPICAL) if cell in percent]
    inward = [percent[cell] for cell in found.ordered(GalleryOrder.OUTLYING) if cell in percent]
    assert outward == sorted(outward, reverse=True)
    assert inward == sorted(inward)
    assert sorted(found.outward) == sorted(found.inward) == sorted(values(shipped, MONOCYTES, ()).cell_id)


def test_by_chance_is_the_same_chance_every_time(shipped, centres):
    found = order_cells(shipped, MONOCYTES, centres, FEATURES)
    drawn = found.ordered(GalleryOrder.CHANCE)
    assert sorted(drawn) == sorted(found.outward)
    assert drawn != found.outward
    assert drawn == order_cells(shipped, MONOCYTES, centres, FEATURES).ordered(GalleryOrder.CHANCE)


def test_of_a_small_population_nothing_is_said(shipped, centres):
    few = values(shipped, Selection(populations=("hcl_smear",)), ())
    assert typicalities(shipped, few.cell_id, centres, FEATURES) == {}
    order = order_cells(shipped, Selection(populations=("hcl_smear",)), centres, FEATURES)
    assert np.unique(order.outward).tolist() == sorted(few.cell_id)

import numpy as np
import pytest

from core.explorer.gallery import GalleryOrder, order_cells, typicalities
from core.explorer.selection import Selection
from core.explorer.typicality import Middles
from core.explorer.view import values
from core.features.catalogue import CATALOGUE
from core.populations.neighbours import comparable_features

MONOCYTES = Selection(populations=("monocyte_acevedo",))


@pytest.fixture(scope="module")
def middles(shipped):
    return Middles.fit(shipped, comparable_features(CATALOGUE))


def test_cells_go_from_typical_outward_and_from_far_out_inward(shipped, middles):
    found = order_cells(shipped, MONOCYTES, middles)
    percent = typicalities(shipped, found.outward, middles)
    outward = [percent[cell] for cell in found.ordered(GalleryOrder.TYPICAL) if cell in percent]
    inward = [percent[cell] for cell in found.ordered(GalleryOrder.OUTLYING) if cell in percent]
    assert outward == sorted(outward, reverse=True)
    assert inward == sorted(inward)
    assert sorted(found.outward) == sorted(found.inward) == sorted(values(shipped, MONOCYTES, ()).cell_id)


def test_by_chance_is_the_same_chance_every_time(shipped, middles):
    found = order_cells(shipped, MONOCYTES, middles)
    drawn = found.ordered(GalleryOrder.CHANCE)
    assert sorted(drawn) == sorted(found.outward)
    assert drawn != found.outward
    assert drawn == order_cells(shipped, MONOCYTES, middles).ordered(GalleryOrder.CHANCE)


def test_of_a_small_population_nothing_is_said(shipped, middles):
    few = values(shipped, Selection(populations=("hcl_smear",)), ())
    assert typicalities(shipped, few.cell_id, middles) == {}
    order = order_cells(shipped, Selection(populations=("hcl_smear",)), middles)
    assert np.unique(order.outward).tolist() == sorted(few.cell_id)

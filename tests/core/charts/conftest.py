import pytest

from core.domain.types import CellAnalysis
from core.reports.cell import Placed, place_cell
from core.store.published import published_references
from tests.populations import analysed, drawn_references


@pytest.fixture(scope="session")
def cell() -> CellAnalysis:
    return analysed("lymphocyte", 5)


@pytest.fixture(scope="session")
def placed(cell, drawn_root) -> dict[str, Placed]:
    references = (*drawn_references(drawn_root), *published_references(drawn_root))
    return {p.reference.population: p for p in place_cell(cell, references)}

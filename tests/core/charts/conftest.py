import pytest

from core.populations.placement import Placed, place_cell


@pytest.fixture(scope="session")
def placed(cell, references) -> dict[str, Placed]:
    return {p.reference.population: p for p in place_cell(cell, references)}

from dataclasses import replace

from core.domain.cell_types import CellType
from core.populations.placement import by_cell_type, distances, main_sources, obstacles, place_cell, scale_source
from tests.populations import AREA, RATIO


def test_populations_are_grouped_by_type_with_tables_last(cell, references):
    grouped = by_cell_type(place_cell(cell, references))
    assert list(grouped) == [CellType.MONOCYTE, CellType.LYMPHOCYTE, CellType.HCL]
    assert [p.reference.population for p in grouped[CellType.MONOCYTE]] == [
        "monocyte_drawn",
        "monocyte_other",
        "published_monocyte",
    ]
    assert [p.reference.population for p in main_sources(place_cell(cell, references))] == [
        "monocyte_drawn",
        "lymphocyte_drawn",
        "hcl_drawn",
    ]


def test_a_small_group_borrows_the_lymphocytes_scale(cell, references):
    placed = place_cell(cell, references)
    named = {p.reference.population: p for p in placed}
    assert scale_source(named["hcl_drawn"], placed) is named["lymphocyte_drawn"]
    assert scale_source(named["monocyte_other"], placed) is named["monocyte_other"]
    assert scale_source(named["hcl_drawn"], [named["hcl_drawn"]]) is None


def test_distance_is_that_to_the_farthest_population(cell, references):
    placed = place_cell(cell, references[:3])
    found = distances(placed)
    assert found[RATIO] == max(abs(p.of(RATIO).robust_z) for p in placed)
    bare = place_cell(replace(cell, image=replace(cell.image, um_per_px=None)), references[:3])
    assert AREA not in distances(bare)


def test_missing_scale_is_said_once_per_reason(cell, references):
    bare = replace(cell, image=replace(cell.image, um_per_px=None))
    (place,) = place_cell(bare, references[:1])
    sentences = obstacles(place)
    assert len(sentences) == len(set(sentences))
    assert sum(int(s.split()[0]) for s in sentences) == sum(not c.comparable for c in place.comparisons)
    assert any("scale unknown" in s for s in sentences)
    assert obstacles(place, [RATIO]) == []
    assert obstacles(place, [RATIO, AREA])[0].startswith("1 feature is not compared: scale unknown")

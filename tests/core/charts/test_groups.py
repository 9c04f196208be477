from core.charts.groups import DASHES, PALETTE, SHAPES, styled
from core.charts.theme import population_colour
from core.domain.cell_types import CellType


def test_eight_groups_are_told_apart_without_colour():
    groups = styled([f"patient {i}" for i in range(8)], [1] * 8, [1] * 8)
    assert len({g.dash for g in groups}) == len({g.shape for g in groups}) == len(DASHES) == len(SHAPES) == 8
    assert len({g.colour for g in groups}) == len(PALETTE)


def test_no_two_of_sixty_four_groups_look_alike():
    groups = styled([str(i) for i in range(64)], [1] * 64, [None] * 64)
    assert len({(g.colour, g.dash) for g in groups}) == len({(g.colour, g.shape) for g in groups}) == 64


def test_cell_types_keep_their_colours_and_others_take_what_is_left():
    kinds = [CellType.MONOCYTE, CellType.MONOCYTE, None, CellType.HCL, None]
    first, second, mine, hcl, other = styled(list("abcde"), [1] * 5, [None] * 5, kinds)
    assert (first.colour, hcl.colour) == (population_colour(CellType.MONOCYTE), population_colour(CellType.HCL))
    assert second.colour == population_colour(CellType.MONOCYTE, 1)
    assert len({g.colour for g in (first, second, mine, hcl, other)}) == 5


def test_a_cell_type_keeps_its_dash_and_shape_whoever_else_is_there():
    kinds = [CellType.MONOCYTE, CellType.LYMPHOCYTE, CellType.HCL, CellType.APL, CellType.PROMYELOCYTE]
    among_all = styled(list("abcde"), [1] * 5, [None] * 5, kinds)
    of_two = styled(["d", "e"], [1, 1], [None, None], kinds[3:])
    assert [(g.dash, g.shape) for g in of_two] == [(g.dash, g.shape) for g in among_all[3:]]
    every = styled([kind.value for kind in CellType], [1] * len(CellType), [None] * len(CellType), list(CellType))
    assert len({(g.colour, g.shape) for g in every}) == len(CellType)
    assert len({g.shape for g in every[:8]}) == 8


def test_a_group_says_its_n_and_its_patients():
    one, many = styled(["HCL", "Mono"], [1, 12_000], [None, 30])
    assert (one.title, many.title) == ("HCL (n = 1)", "Mono (n = 12,000)")
    assert one.who == "n = 1 cell, patients not all known"
    assert many.who == "n = 12,000 cells, 30 patients"

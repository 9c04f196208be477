"""What the localiser tells of an image: the objects in it, their kind and place, and the ruler that red cells are."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from statistics import median
from typing import Final

# Diameter of a normal red cell in a smear, in micrometres.
RED_CELL_UM: Final = 7.5
# Fewer whole red cells give no scale.
MIN_RED_CELLS: Final = 3


class ObjectKind(StrEnum):
    """What an object of a smear is."""

    LEUKOCYTE = "leukocyte"
    PLATELET = "platelet"
    RED_CELL = "red_cell"
    SMUDGE = "smudge_cell"


@dataclass(frozen=True)
class RedCells:
    """The whole red cells of one image: how many, and their median diameter in pixels, None without any."""

    discs: int
    diameter_px: float | None

    @property
    def tell(self) -> bool:
        """Whether they are enough to tell a scale."""
        return self.discs >= MIN_RED_CELLS


@dataclass(frozen=True)
class FoundObject:
    """An object of an image: its kind, its box in pixels of the image, and how sure the localiser is of it, 0 to 1.

    The box of an object that the image's edge cuts may reach beyond it; `cut` says that it is cut.
    """

    kind: ObjectKind
    left: float
    top: float
    right: float
    bottom: float
    score: float
    cut: bool = False

    @property
    def width(self) -> float:
        """Of the box, in pixels."""
        return self.right - self.left

    @property
    def height(self) -> float:
        """Of the box, in pixels."""
        return self.bottom - self.top

    @property
    def centre(self) -> tuple[float, float]:
        """Row and column of the middle of the box."""
        return (self.top + self.bottom) / 2, (self.left + self.right) / 2

    @property
    def diameter(self) -> float:
        """That of a disc whose box has this area, in pixels."""
        return float((self.width * self.height) ** 0.5)

    def moved(self, right: float, down: float) -> "FoundObject":
        """The same object in an image whose corner lies so much further to the left and higher."""
        return replace(
            self, left=self.left + right, right=self.right + right, top=self.top + down, bottom=self.bottom + down
        )


def red_cells_of(objects: Iterable[FoundObject]) -> RedCells:
    """What the whole red cells among the objects of an image say of its scale."""
    whole = [found.diameter for found in objects if found.kind is ObjectKind.RED_CELL and not found.cut]
    return RedCells(len(whole), median(whole) if whole else None)


def red_cell_diameter(objects: Iterable[FoundObject]) -> float | None:
    """Median diameter in pixels of the whole red cells: the ruler in nearly every smear; None of too few."""
    red_cells = red_cells_of(objects)
    return red_cells.diameter_px if red_cells.tell else None

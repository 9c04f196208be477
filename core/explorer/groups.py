"""Which groups are shown and compared: the largest of very many, and the selection that holds no others."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from core.domain.cell_types import CellType
from core.explorer.selection import Selection
from core.explorer.view import NOT_RECORDED, By, Group, InView

# The filter of a selection that says the same as a property's groups.
_FILTERS: Final = {
    By.CELL_TYPE: "cell_types",
    By.SOURCE: "sources",
    By.POPULATION: "populations",
    By.DIAGNOSIS: "diagnoses",
}


def shown_groups(groups: Sequence[Group], wanted: Sequence[str], most: int) -> list[str]:
    """Names of at most so many groups: the wanted ones, else all, or the largest of very many."""
    names = [group.name for group in groups]
    chosen = [name for name in names if name in wanted]
    if chosen:
        return chosen[:most]
    # Cells without the property are not worth a place among many groups.
    ordered = sorted(groups, key=lambda group: (len(groups) > most and group.name == NOT_RECORDED, -group.cells))
    largest = {group.name for group in ordered[:most]}
    return [name for name in names if name in largest]


def smaller_merged(sizes: NDArray[np.integer], most: int) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
    """Merge the smaller groups into one where there are more than `most`.

    Returns
    -------
    kept
        (k,), ascending: indices of the groups that stay.
    place
        (G,): index of each group among these, k for the merged ones.
    """
    count = len(sizes)
    kept = np.arange(count) if count <= most else np.sort(np.argsort(-sizes, kind="stable")[: most - 1])
    place = np.full(count, len(kept), dtype=np.int64)
    place[kept] = np.arange(len(kept))
    return kept, place


def narrowed(selection: Selection, by: By | None, names: Sequence[str]) -> Selection:
    """The selection of the named groups alone, where filters can say it, so that gaps in others do not matter."""
    if NOT_RECORDED in names:
        return selection
    if by is By.PATIENT:  # where a pseudonym stands in two sources the group's name has its source behind a comma
        pseudonyms = dict.fromkeys(part for name in names for part in (name, name.rpartition(", ")[0]) if part)
        return replace(selection, patients=tuple(pseudonyms))
    if by not in _FILTERS:
        return selection
    values = tuple(map(CellType, names)) if by is By.CELL_TYPE else tuple(names)
    return replace(selection, **{_FILTERS[by]: values})  # type: ignore[arg-type]


def together(views: Sequence[InView]) -> InView:
    """What is known of the cells of several selections; a cell in two counts twice."""
    known = [view.scales for view in views if view.scales is not None]

    def of(field: str) -> dict[str, int]:
        names = dict.fromkeys(name for view in views for name in getattr(view, field))
        return {name: sum(getattr(view, field).get(name, 0) for view in views) for name in names}

    return InView(
        cells=sum(view.cells for view in views),
        total=max(view.total for view in views),
        patients=sum(view.patients for view in views),
        unknown_patient=sum(view.unknown_patient for view in views),
        cell_types=of("cell_types"),
        sources=of("sources"),
        populations=of("populations"),
        models=of("models"),
        scales=(min(low for low, _ in known), max(high for _, high in known)) if known else None,
        without_scale=sum(view.without_scale for view in views),
        left_out=(),
        flagged={},
        corrected=sum(view.corrected for view in views),
        scale_errors={source: error for view in views for source, error in view.scale_errors.items()},
        calibrations=views[0].calibrations if views else (),
        stains=of("stains"),
    )

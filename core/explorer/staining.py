"""Finding the stain factors of a source of the cohort from its pictures, and what they do to its features."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from typing import Final

import numpy as np
from numpy.typing import NDArray

from core.domain.cell_types import CELL_TYPES, CellType
from core.domain.compartments import Compartment
from core.domain.errors import UsageError
from core.domain.types import CellImage, StainFactors
from core.domain.versions import software_versions
from core.explorer.cells import StoredCell, cells
from core.explorer.selection import Selection, columns_read, where
from core.features.catalogue import CATALOGUE
from core.features.extract import extract
from core.features.spec import STAINED, Family, Region
from core.image.stain import median_density, restained
from core.populations.dominance import dominance
from core.populations.staining import FEWEST_NUCLEI, LaboratoryStain, factors_of
from core.store.database import Cohort

FindPicture = Callable[[StoredCell], CellImage | None]
Counted = Callable[[int, int], None]

KINDS: Final = (CellType.MONOCYTE, CellType.LYMPHOCYTE)

_AT_ONCE: Final = 100


@dataclass(frozen=True)
class StainEffect:
    """The median size of Cliff's delta between two sources' cells of one kind over a family's features.

    Those of the environment are left out, which is not the cell's. `raw` is of the pictures as they came, `restained`
    with the factors laid over the laboratory's. `cells` are those of the reference and of the laboratory; `unseen` says
    that the factors were not found in these cells.
    """

    family: Family
    cell_type: CellType
    features: int
    cells: tuple[int, int]
    raw: float
    restained: float
    unseen: bool


def stain_factors(
    cohort: Cohort,
    name: str,
    source: str,
    reference: str,
    find_picture: FindPicture,
    kind: CellType = CellType.LYMPHOCYTE,
    most: int = 100,
) -> LaboratoryStain:
    """Find the factors that set the stain of a source to that of another.

    Parameters
    ----------
    cohort
        With both sources.
    name
        What to call them.
    source, reference
        The laboratory, and the one to whose stain it is set.
    find_picture
        Gives a cell's picture as it came, where it is at hand.
    kind
        In whose nuclei they are found.
    most
        At most so many cells of each source, spread over its patients.

    Raises
    ------
    UsageError
        If both sources are one, the reference was measured with factors itself, a source has fewer than `FEWEST_NUCLEI`
        cells with a picture, or a factor is beyond reason.
    """
    if source == reference:
        msg = f"stain factors set one source to another, but both are {source}; name two"
        raise UsageError(msg)
    _check_as_it_came(cohort, reference)
    nuclei = []
    for own in (reference, source):
        found = [
            median_density(image.rgb, nucleus)
            for cell, image in islice(_pictured(cohort, own, kind, find_picture), most)
            if (nucleus := cell.labels() == Compartment.NUCLEUS).any()
        ]
        if len(found) < FEWEST_NUCLEI:
            called, there = CELL_TYPES[kind].plural, len(_spread_over_patients(cohort, own, kind))
            msg = (
                f"at least {FEWEST_NUCLEI} {called} of each source with their pictures are needed, but {own} has"
                f" {len(found)} (of {there} good {called} in the cohort); give the folders of its images (--images), or"
                f" bring more {called}"
            )
            raise UsageError(msg)
        nuclei.append(found)
    factors, densities = factors_of(name, *nuclei)
    return LaboratoryStain(
        factors,
        source,
        reference,
        kind,
        (len(nuclei[0]), len(nuclei[1])),
        densities,
        datetime.now(UTC).isoformat(timespec="seconds"),
        software_versions(),
    )


def stain_effect(
    cohort: Cohort,
    stain: LaboratoryStain,
    find_picture: FindPicture,
    most: int = 100,
    kinds: Sequence[CellType] = KINDS,
    progress: Counted | None = None,
) -> tuple[StainEffect, ...]:
    """Measure cells of both sources anew, with and without the factors, on their stored outlines.

    Of the kind that the factors were found in other cells are taken, where there are `FEWEST_NUCLEI` of them.

    Raises
    ------
    UsageError
        If a source has fewer than `FEWEST_NUCLEI` cells of a kind with a picture, or fewer are asked for.
    """
    check_enough(most)
    features = [
        name for name, spec in CATALOGUE.items() if spec.family in STAINED and spec.region is not Region.ENVIRONMENT
    ]
    effects: list[StainEffect] = []
    for number, kind in enumerate(kinds):
        chosen, unseen = [], True
        for own, used in zip((stain.reference, stain.source), stain.cells, strict=True):
            skipped = used if kind is stain.cell_type else 0
            found = list(islice(_pictured(cohort, own, kind, find_picture), most + skipped))
            if len(found) < FEWEST_NUCLEI:
                msg = (
                    f"the effect is told by at least {FEWEST_NUCLEI} {CELL_TYPES[kind].plural} of each source, but"
                    f" {own} has {len(found)} with a picture; give the folders of its images (--images)"
                )
                raise UsageError(msg)
            fresh = found[skipped:]
            unseen = unseen and len(fresh) >= FEWEST_NUCLEI
            chosen.append(fresh if len(fresh) >= FEWEST_NUCLEI else found[:most])
        there, here = chosen
        measure = partial(_matrix, features=features)
        matrices = measure(there), measure(here), measure(here, stain=stain.factors)
        sizes = [_deltas(matrices[0], measured) for measured in matrices[1:]]
        for family in STAINED:
            columns = [at for at, name in enumerate(features) if CATALOGUE[name].family is family]
            raw, after = (float(np.nanmedian(size[columns])) for size in sizes)
            effects.append(StainEffect(family, kind, len(columns), (len(there), len(here)), raw, after, unseen))
        if progress:
            progress(number + 1, len(kinds))
    return tuple(effects)


def check_enough(most: int) -> None:
    """Raise UsageError where so few cells of a kind would tell nothing."""
    if most < FEWEST_NUCLEI:
        msg = f"the effect is told by at least {FEWEST_NUCLEI} cells of a kind, but {most} were asked for; take more"
        raise UsageError(msg)


def _check_as_it_came(cohort: Cohort, reference: str) -> None:
    """Raise UsageError where features of the reference are not those of its pictures, in which its stain is read."""
    sql = "SELECT any_value(stain) AS stain FROM cells WHERE source = $source AND stain IS NOT NULL"
    stain = cohort.query(sql, {"source": reference}, columns=["source", "stain"])["stain"].item()
    if isinstance(stain, str):
        msg = (
            f"the reference must be measured as its images came, but {reference} has cells measured with stain factors"
            f" ({stain}); set {reference} and the source to a third one, or import its images without `--stain`"
        )
        raise UsageError(msg)


def _spread_over_patients(cohort: Cohort, source: str, kind: CellType) -> list[str]:
    """The good cells of a kind, first one of each patient, then a second; the order is always the same."""
    selection = Selection(sources=(source,), cell_types=(kind,))
    condition, parameters = where(selection)
    sql = (
        "SELECT cell_id, row_number() OVER (PARTITION BY coalesce(patient_id, cell_id) ORDER BY md5(cell_id)) AS turn"
        f" FROM cells WHERE {condition} ORDER BY turn, md5(cell_id)"
    )
    frame = cohort.query(sql, parameters, columns={"cell_id", "patient_id", *columns_read(selection)})
    return [str(cell_id) for cell_id in frame["cell_id"]]


def _pictured(
    cohort: Cohort, source: str, kind: CellType, find_picture: FindPicture
) -> Iterator[tuple[StoredCell, CellImage]]:
    """The good cells of a kind whose outlines and pictures are at hand, spread over patients."""
    ids = _spread_over_patients(cohort, source, kind)
    for start in range(0, len(ids), _AT_ONCE):
        for cell in cells(cohort, ids[start : start + _AT_ONCE]):
            image = find_picture(cell) if cell.has_outline else None
            if image is not None and image.shape == cell.canvas:
                yield cell, image


def _matrix(
    found: Sequence[tuple[StoredCell, CellImage]], features: Sequence[str], stain: StainFactors | None = None
) -> NDArray[np.float64]:
    """Features (n, F) of cells measured anew."""
    return np.stack(
        [
            extract(restained(image.rgb, stain) if stain else image.rgb, cell.labels()).vector(features)
            for cell, image in found
        ]
    )


def _deltas(there: NDArray[np.float64], here: NDArray[np.float64]) -> NDArray[np.float64]:
    """Size of Cliff's delta of each feature (F,), nan where too few cells have it."""
    sizes = np.full(there.shape[1], np.nan)
    for at in range(len(sizes)):
        found = dominance(here[:, at], there[:, at])
        if found is not None:
            sizes[at] = abs(found.delta)
    return sizes

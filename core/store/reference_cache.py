"""Populations as cells are compared with them, in files of a cache: whoever starts the program need not sum them up.

A file is named by all that decides what it holds: the state of the population (`Cohort.states`), the features, and the
text of this program. It can be made again at any time. One that is damaged counts as none; where the folder takes no
files populations are summed up in each process, which only costs time.
"""

import hashlib
import io
import json
import logging
import math
import os
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from core import __version__
from core.domain.cell_types import CellType
from core.features.catalogue import CATALOGUE
from core.populations.outlining import OutlineModel, Outlining
from core.populations.summaries import PopulationSummary, ReferencePopulation, basis_of
from core.support import files

logger = logging.getLogger(__name__)

_BUDGET: Final = 2**30  # bytes of all files; 90,000 cells with every feature
_MOST: Final = _BUDGET // 2  # of one
_DIGEST: Final = hashlib.sha256().digest_size
# What decides a summary beside the cells: another text of the program may sum up otherwise.
_ROOMS: Final = ("domain", "features", "populations", "store")
_TEXTS: Final = ("cell_id", "patient_id")
_STATISTICS: Final = ("n", "p2", "p25", "p50", "p75", "p98", "mean", "std", "n_absent", "patients", "location", "scale")
_COUNTS: Final = frozenset({"n", "n_absent", "patients"})


class ReferenceCache:
    """Files of populations in a folder; safe to share between threads and processes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._refused = False

    def read(self, state: str, features: Sequence[str]) -> ReferencePopulation | None:
        """A population in some state, with some features; None where it is not there whole."""
        path = self._path(state, features)
        try:
            stored = files.read_bytes(path)
        except OSError:
            return None
        content = memoryview(stored)[_DIGEST:]
        if hashlib.sha256(content).digest() != stored[:_DIGEST]:
            return None
        with suppress(OSError):
            os.utime(path)
        return _unpacked(io.BytesIO(content), features)

    def write(self, state: str, features: Sequence[str], reference: ReferencePopulation) -> None:
        """Keep a population, unless it is very large or the disk takes no file."""
        if self._refused or 16 * len(features) * reference.n > _MOST:
            return
        content = _packed(reference, features)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            files.write_bytes(self._path(state, features), hashlib.sha256(content).digest() + content)
            self._remove_oldest()
        except OSError as error:
            self._refused = True
            logger.warning(
                "%s cannot take what populations are like (%s), which is summed up at every start without; free space"
                " there or set LEUKOSCOPE_CACHE",
                self._folder,
                error,
            )

    def _path(self, state: str, features: Sequence[str]) -> Path:
        told = json.dumps([state, list(features), _program()])
        return self._folder / f"reference-{hashlib.sha256(told.encode()).hexdigest()[:32]}.bin"

    def _remove_oldest(self) -> None:
        """Remove what was not read for longest, unfinished ones too, until the others are within the budget."""
        found = []
        for path in (*self._folder.glob("reference-*.bin"), *self._folder.glob(".reference-*")):
            with suppress(OSError):  # another process removes them, too
                stat = path.stat()
                found.append((stat.st_mtime_ns, stat.st_size, path))
        total = 0
        for _, size, path in sorted(found, reverse=True):
            total += size
            if total > _BUDGET:
                with suppress(OSError):
                    path.unlink()


@cache
def _program() -> str:
    digest = hashlib.sha256(__version__.encode())
    core = Path(__file__).parents[1]
    for room in _ROOMS:
        for path in sorted((core / room).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _packed(reference: ReferencePopulation, features: Sequence[str]) -> bytes:
    """A population as facts in JSON and three blocks of numbers, one after the other as numpy writes them."""
    members, sample = reference.members, reference.sample
    facts = {
        "population": reference.population,
        "cell_type": reference.cell_type,
        "title": reference.title,
        "source": reference.source,
        "scale_note": reference.scale_note,
        "patients": reference.patients,
        "models": [[model.model_id, model.file, n] for model, n in reference.outlined.models.items()],
        "by_person": reference.outlined.by_person,
        "unknown": reference.outlined.unknown,
        "measured": list(reference.summaries),
        "sample": None if sample is members else members.index.get_indexer(sample.index).tolist(),
        **{name: [None if pd.isna(text) else text for text in members[name]] for name in _TEXTS},
    }
    ordered = np.full((len(reference.summaries), len(members)), np.nan)
    for row, values in zip(ordered, reference.ordered.values(), strict=True):
        row[: len(values)] = values
    statistics = [
        [np.nan if (value := getattr(summary, name)) is None else value for name in _STATISTICS]
        for summary in reference.summaries.values()
    ]
    buffer = io.BytesIO()
    for block in (
        np.frombuffer(json.dumps(facts).encode(), np.uint8),
        members[["um_per_px", *features]].to_numpy(np.float64, na_value=np.nan).T,
        ordered,
        np.array(statistics, np.float64).reshape(-1, len(_STATISTICS)),
    ):
        np.save(buffer, np.ascontiguousarray(block), allow_pickle=False)
    return buffer.getvalue()


def _unpacked(content: io.BytesIO, features: Sequence[str]) -> ReferencePopulation:
    told, numbers, ordered, statistics = (np.load(content, allow_pickle=False) for _ in range(4))
    facts: dict[str, Any] = json.loads(told.tobytes())
    population, measured, sample = facts["population"], facts["measured"], facts["sample"]
    members = pd.DataFrame(numbers.T, columns=["um_per_px", *features], copy=False)
    for place, name in enumerate(_TEXTS):
        members.insert(place, name, pd.Series(facts[name], dtype=object))
    summaries = {name: _summary(population, name, row) for name, row in zip(measured, statistics, strict=True)}
    return ReferencePopulation(
        population=population,
        cell_type=CellType(facts["cell_type"]),
        title=facts["title"],
        source=facts["source"],
        n=len(members),
        patients=facts["patients"],
        summaries=summaries,
        ordered={name: row[: summaries[name].n] for name, row in zip(measured, ordered, strict=True)},
        members=members,
        sample=members if sample is None else members.iloc[sample],
        scale_note=facts["scale_note"],
        outlined=Outlining(
            {OutlineModel(model_id, file): n for model_id, file, n in facts["models"]},
            facts["by_person"],
            facts["unknown"],
        ),
    )


def _summary(population: str, feature: str, row: NDArray[np.float64]) -> PopulationSummary:
    spec = CATALOGUE[feature]
    known: dict[str, Any] = {
        name: None if math.isnan(value) else int(value) if name in _COUNTS else value
        for name, value in zip(_STATISTICS, row.tolist(), strict=True)
    }
    return PopulationSummary(**known, population=population, feature=feature, basis=basis_of(spec), log=spec.log_axis)

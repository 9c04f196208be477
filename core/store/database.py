"""The cohort as an in-memory database that can read its roots, and nothing else on the machine."""

import copy
import hashlib
import threading
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from core.domain.cell_types import CellType
from core.domain.errors import StoreError
from core.domain.settings import load_settings
from core.populations.calibration import Calibration
from core.store import calibrations, edit_log, outline_log, overlay, shard_check, shards
from core.store.answers import Answers
from core.store.column_cache import ColumnCache
from core.store.reference_cache import ReferenceCache
from core.store.row_cache import RowCache
from core.store.schema import (
    FORMER_NAMES,
    CellRow,
    Population,
    cohort_schema,
    every_column_schema,
    present_names,
    renamed_sql,
    shards_sql,
)

Answer = TypeVar("Answer")

_CHANGED: Final = "the cohort changed too often while it was read; try again"
_MOST_BLOCKS: Final = 100
_ROWS_AT_ONCE: Final = 8192  # of every feature 50 MB
_ATTEMPTS: Final = 5  # a population may be replaced between listing its shards and reading them


class Cohort:
    """All populations under some roots, as they are on disk at the moment of each call, with what people changed.

    Safe to share between threads: every query has its own cursor and its own list of shards, and there is no lock file,
    so a running batch may add shards meanwhile. SQL text comes from code only; values are parameters, and identifiers
    are checked by `check_columns`.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, roots: tuple[Path, ...], rows: Path | None) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self._kept = ColumnCache()
        self._rows = None if rows is None else RowCache(rows)
        self._answers = Answers()
        self.references = None if rows is None else ReferenceCache(rows)
        self._corrections = self._edits = True
        self.calibrations: tuple[Calibration, ...] = ()
        self._shifts: pa.Table | None = None
        self.roots = roots
        self.columns: Final = tuple(cohort_schema().names)

    @classmethod
    def open(cls, roots: Sequence[Path] | None = None, rows: Path | None = None) -> Self:
        """Open the cohort for reading; roots that are missing or empty hold no populations.

        Without `roots` it is the cohort of the settings, the shipped populations and your own. `rows` is a folder of
        caches (`core.store.row_cache`): with it, every feature of a few cells of very many is read at once.
        """
        if roots is None:
            settings = load_settings()
            roots, rows = (settings.reference, settings.cohort), rows or settings.cache
        folders = tuple(root.resolve() for root in roots)
        connection = duckdb.connect(":memory:")
        # Shards of older catalogues lack columns, and all lack what readers add; the empty table gives them to every
        # query, as nulls.
        empty = every_column_schema().empty_table()
        connection.register("empty", empty)
        connection.execute("CREATE TABLE every_column AS SELECT * FROM empty")
        connection.unregister("empty")
        _restrict(connection, folders)
        return cls(connection, folders, rows)

    def as_drawn(self, *, edits: bool = True) -> "Cohort":
        """The same cohort without what people decided of outlines, by default with their other edits."""
        twin = copy.copy(self)
        twin._corrections, twin._edits = False, edits
        return twin

    def calibrated(self, chosen: Sequence[Calibration]) -> "Cohort":
        """The same cohort with calibrations of laboratories laid over its values, and no others.

        Raises
        ------
        UsageError
            If they cannot be applied together.
        """
        calibrations.check_together(chosen)
        twin = copy.copy(self)
        twin.calibrations = tuple(chosen)
        twin._shifts = calibrations.shift_table(chosen) if chosen else None
        return twin

    def close(self) -> None:
        """Release the database; the files stay as they are."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def revision(self) -> str:
        """Text that changes whenever a file of the cohort does, what people changed too: a key for caches."""
        decided = outline_log.revision(self.roots) if self._corrections else " as drawn"
        edited = edit_log.revision(self.roots) if self._edits else " as filed"
        calibrated = "".join(f" calibrated by {each.name} of {each.created}" for each in self.calibrations)
        return shards.scan(self.roots).revision + edited + decided + calibrated

    def states(self) -> dict[str, str]:
        """For each population a text that changes whenever its files do, or what people changed in its cells."""

        def states() -> dict[str, str]:
            changes, found = self.changes(), shards.scan(self.roots).populations
            self._answers.forget(lambda question: isinstance(question, tuple) and question[0] not in found)
            return {
                name: hashlib.sha256(stored.fingerprint + changes.digest_of(name).encode()).hexdigest()
                for name, stored in found.items()
            }

        return self.answer_of_all("states", states)

    def answer(self, population_id: str, question: Hashable, ask: Callable[[], Answer]) -> Answer:
        """What `ask` says of a population, asked anew only when the population has changed."""
        return self._answers.of((population_id, question), lambda: self.states().get(population_id), ask)

    def answer_of_all(self, question: str, ask: Callable[[], Answer]) -> Answer:
        """What `ask` says of all populations, asked anew only when one has changed."""
        return self._answers.of(question, lambda: self.revision, ask)

    def populations(self) -> tuple[shards.StoredPopulation, ...]:
        """Every readable population and where it is: root by root, then in the order of the cell types, then by id."""
        return self._ordered(shards.scan(self.roots))

    @property
    def problems(self) -> tuple[StoreError, ...]:
        """Why folders, shards and lines of the logs of people's changes were set aside, one error each."""
        logs = [read(root).problems for root in self.roots for read in (edit_log.read, outline_log.read)]
        lost = [problem for root in self.roots for problem in overlay.lost_rows(root)]
        in_logs = (problem for problems in logs for problem in problems)
        return (*shards.scan(self.roots).problems.values(), *in_logs, *lost)

    def changes(self) -> overlay.Overlay:
        """What people changed, to be laid over the shards."""
        return overlay.overlay(self.roots, corrections=self._corrections, edits=self._edits, shifts=self._shifts)

    def population(self, population_id: str) -> Population:
        """Return one population; raises StoreError naming those there are."""
        return self._stored([population_id])[0].population

    def check_columns(self, names: Sequence[str]) -> tuple[str, ...]:
        """Return the names if all are columns of the cohort, else raise StoreError: the only way of a name into SQL."""
        unknown = [name for name in names if name not in self.columns]
        if unknown:
            msg = (
                f"the cohort has no columns {', '.join(map(repr, unknown))}; columns are features of the catalogue or"
                " identity columns"
            )
            raise StoreError(msg)
        return tuple(names)

    def query(
        self,
        sql: str,
        parameters: Mapping[str, Any] | None = None,
        populations: Sequence[str] | None = None,
        *,
        columns: Collection[str] = (),
    ) -> pd.DataFrame:
        """Run a SELECT over the relation `cells`: all cells of some populations, as readers have changed them.

        Nulls stay nulls, and lists become arrays.

        Parameters
        ----------
        sql
            DuckDB SQL written in code, with `$name` for every value.
        parameters
            The values; the name `shards` is taken.
        populations
            Identifiers of the populations to read; all if None.
        columns
            All columns that the SQL uses. They are kept in memory for the next question; without `columns` the files
            are read each time.

        Raises
        ------
        StoreError
            If a population is unknown, or nothing is left of it because all its shards were set aside.
        """
        table = self._answer(sql, parameters, populations, columns)
        # A wide frame is made of one block, because pandas warns whoever adds a column to one of more than a hundred.
        frame: pd.DataFrame = table.to_pandas(split_blocks=table.num_columns <= _MOST_BLOCKS)
        return frame

    def cell_rows(
        self, where: str, parameters: Mapping[str, Any], populations: Sequence[str] | None = None
    ) -> list[CellRow]:
        """The cells that meet a condition (SQL written in code) as rows, with all columns; raises as `query`."""
        rows: list[CellRow] = self._answer(
            f"SELECT * FROM cells WHERE {where}", parameters, populations, ()
        ).to_pylist()
        return rows

    def _answer(
        self,
        sql: str,
        parameters: Mapping[str, Any] | None,
        populations: Sequence[str] | None,
        columns: Collection[str],
    ) -> pa.Table:
        for _ in range(_ATTEMPTS):
            files = [shard for stored in self._stored(populations) for shard in stored.shards]
            try:
                return self._run(sql, parameters or {}, files, columns)
            except (duckdb.Error, pa.ArrowException, OSError, UnicodeDecodeError) as error:
                _set_aside(files, error)
        raise StoreError(_CHANGED)

    @property
    def keeps_rows(self) -> bool:
        """Whether `features_of` can be asked."""
        return self._rows is not None

    def features_of(self, cell_ids: Sequence[str], features: Sequence[str]) -> NDArray[np.float64]:
        """Values of some cells (n, F) as stored, nan where absent: many features of few cells, without reading all.

        Raises
        ------
        StoreError
            If a cell is not in the cohort, or its shard was set aside.
        """
        wanted = pa.array(cell_ids, pa.string())
        for _ in range(_ATTEMPTS):
            files = [shard for stored in self._stored(None) for shard in stored.shards]
            try:
                return self._read_rows(files, wanted, features)
            except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
                _set_aside(files, error)
        raise StoreError(_CHANGED)

    def _read_rows(self, files: Sequence[Path], wanted: pa.Array, features: Sequence[str]) -> NDArray[np.float64]:
        if self._rows is None:
            msg = "the cohort was opened without a cache of rows; open it with a folder for one"
            raise StoreError(msg)
        values = np.empty((len(wanted), len(features)))
        if not len(wanted):
            return values
        kept = self._kept.table(files, ["cell_id"])
        places = (
            pc.fill_null(pc.index_in(kept["cell_id"], value_set=wanted), -1).to_numpy()
            if kept is not None
            else np.empty(0)
        )
        rows = np.flatnonzero(places >= 0)
        if len(rows) != len(wanted):
            raise self._gone()
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            some = rows[start : start + _ROWS_AT_ONCE]
            values[places[some]] = self._rows.read(files, some, features)
        self._put_corrected(values, wanted, features)
        self._put_calibrated(values, wanted, features)
        return values

    def _put_corrected(self, values: NDArray[np.float64], wanted: pa.Array, features: Sequence[str]) -> None:
        """Replace the values of the cells that a person corrected."""
        corrected = self.changes().relations.get(overlay.CORRECTED)
        if corrected is not None:
            at = pc.fill_null(pc.index_in(corrected["cell_id"], value_set=wanted), -1).to_numpy()
            for column, name in enumerate(features):
                values[at[at >= 0], column] = corrected[name].to_numpy()[at >= 0]

    def _put_calibrated(self, values: NDArray[np.float64], wanted: pa.Array, features: Sequence[str]) -> None:
        """Shift the values of the cells of calibrated sources."""
        if not self.calibrations:
            return
        kept = self._answer("SELECT cell_id, source FROM cells", None, None, ("cell_id", "source"))
        sources = kept["source"].take(pc.index_in(wanted, value_set=kept["cell_id"]))
        for calibration in self.calibrations:
            rows = np.flatnonzero(pc.equal(sources, calibration.source).to_numpy(zero_copy_only=False))
            for column, name in enumerate(features):
                if name in calibration.shifts:
                    values[rows, column] = calibration.applied(name, values[rows, column])

    def _gone(self) -> StoreError:
        """Why cells are not there: with their shard they may have been set aside."""
        set_aside = shards.scan(self.roots).problems
        more = "".join(f"; {problem}" for problem in list(set_aside.values())[:1])
        return StoreError(f"some of the cells are not in the cohort any more, it was changed meanwhile{more}")

    def _run(
        self, sql: str, parameters: Mapping[str, Any], files: Sequence[Path], columns: Collection[str]
    ) -> pa.Table:
        source, values = f"SELECT * EXCLUDE ({', '.join(FORMER_NAMES.values())}) FROM every_column", dict(parameters)
        changes = self.changes()
        named = sorted({*columns, *changes.columns})
        kept = self._kept.table(files, named) if columns else None
        if kept is not None:
            source = "SELECT * FROM _kept"
        elif files:
            source = shards_sql("$shards")
            values["shards"] = [shards.literal(file) for file in files]
        source = changes.sql(source, named if kept is not None else None)
        with self._lock:
            cursor = self._connection.cursor()
        try:
            for name, registered in {**changes.relations, "_kept": kept}.items():
                if registered is not None:
                    cursor.register(name, registered)
            return cursor.sql(f"WITH cells AS NOT MATERIALIZED ({source}) {sql}", params=values).to_arrow_table()
        finally:
            cursor.close()

    def _stored(self, names: Sequence[str] | None) -> tuple[shards.StoredPopulation, ...]:
        scan = shards.scan(self.roots)
        if names is None:
            return self._ordered(scan)
        for name in names:
            if name in scan.populations:
                found = scan.populations[name]
                if found.set_aside and not found.shards:
                    raise found.set_aside[0]
                continue
            for folder, problem in scan.problems.items():
                if folder.name == name:
                    raise problem
            there = ", ".join(scan.populations) or "none"
            msg = f"there is no population {name!r}; there are: {there}"
            raise StoreError(msg)
        return tuple(scan.populations[name] for name in names)

    def _ordered(self, scan: shards.Scan) -> tuple[shards.StoredPopulation, ...]:
        types = list(CellType)

        def place(stored: shards.StoredPopulation) -> tuple[int, int, str]:
            return (
                self.roots.index(stored.root),
                types.index(stored.population.cell_type),
                stored.population.population_id,
            )

        return tuple(sorted(scan.populations.values(), key=place))


def _set_aside(files: Sequence[Path], error: Exception) -> None:
    """Find the damaged ones, which are left out when the files are listed again; raise the error where none is."""
    if all(file.exists() for file in files) and not shard_check.read_through(files, _refused):
        raise error


def _refused(file: Path) -> str | None:
    """What DuckDB, which is stricter than pyarrow, says of a file that it cannot read."""
    try:
        duckdb.connect().execute("SELECT count(COLUMNS(*)) FROM read_parquet(?)", [shards.literal(file)])
    except duckdb.Error as error:
        return str(error).partition("\n")[0]
    return None


def query_shards(
    files: Sequence[Path],
    sql: str,
    parameters: Mapping[str, Any] | None = None,
    superseded: pa.Table = None,
    changes: overlay.Overlay | None = None,
) -> pd.DataFrame:
    """Run a SELECT over the relation `cells`: the rows of some Parquet files, the only ones that can be read.

    Parameters
    ----------
    files
        Parquet files, at least one; all of the same columns, among them `image_path`.
    sql
        DuckDB SQL written in code, with `$name` for every value; it may sort only what it limits, as nothing is kept on
        disk.
    parameters
        The values; the name `shards` is taken.
    superseded
        Table of `filename` and `image_path`: images whose rows in that file are left out.
    changes
        What people decided of the cells.

    Raises
    ------
    StoreError
        If a file is damaged; the message names it.
    """
    names = pq.read_schema(files[0]).names
    source = f"SELECT *{renamed_sql(names)} FROM read_parquet($shards, filename = true)"
    if superseded is not None:
        source = f"SELECT * FROM ({source}) ANTI JOIN superseded USING (filename, image_path)"
    if changes:
        names = present_names(names)
        missing = [name for name in changes.columns if name not in names]
        listed = [*(f'"{name}"' for name in names), *(f"NULL AS {name}" for name in missing)]
        source = changes.sql(f"SELECT {', '.join(listed)} FROM ({source})", [*names, *missing])
    values = {**(parameters or {}), "shards": [shards.literal(file) for file in files]}
    with duckdb.connect(":memory:") as connection:
        relations = changes.relations if changes is not None else {}
        for name, relation in {**relations, "superseded": superseded}.items():
            if relation is not None:
                connection.register(name, relation)
        _restrict(connection, sorted({file.resolve().parent for file in files}))
        try:
            table: Any = connection.sql(
                f"WITH cells AS NOT MATERIALIZED ({source}) {sql}", params=values
            ).to_arrow_table()
        except duckdb.Error as error:
            bad = shard_check.read_through(files, _refused)
            if not bad:
                raise
            raise shard_check.damaged(bad[0]) from error
    frame: pd.DataFrame = table.to_pandas()
    return frame


def _restrict(connection: duckdb.DuckDBPyConnection, folders: Sequence[Path]) -> None:
    """Make a sandbox of a database: it can open files of some folders and nothing else."""
    # `read_only` is none: it still reads and writes files elsewhere. These settings are one, in this order.
    connection.execute("SET temp_directory = ''")
    allowed = [spelt for folder in folders for spelt in (str(folder), shards.literal(folder))]
    connection.execute("SET allowed_directories = ?", [allowed])
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")

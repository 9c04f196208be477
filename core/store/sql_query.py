"""Free-form SQL over the cohort for the expert: one read-only question at a time, limited and cancellable.

Time, rows and memory are limited. Every question is answered by a process of its own (`core.store.sql_sandbox`), which
is killed when it takes too long: the database looks for an interruption only between blocks of rows, and counts only a
part of its memory.
"""

import io
import json
import logging
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import pandas as pd
import pyarrow as pa

from core.domain.errors import QueryError
from core.features.catalogue import CATALOGUE
from core.store import shard_check, shards, sql_sandbox
from core.store.database import Cohort
from core.store.schema import FORMER_NAMES, cohort_schema, every_column_schema, shards_sql

logger = logging.getLogger(__name__)

_GRACE_S: Final = 10.0  # what starting, reading the shards' footers and handing over the answer may take besides
_AT_ONCE: Final = threading.BoundedSemaphore(2)  # each may take a gigabyte and two cores; others wait
_LONGEST: Final = 100_000  # characters of a question
# What a missing or damaged shard may cause.
_CATCHABLE: Final = ("Error", "IOException", "InvalidInputException", "SerializationException")


@dataclass(frozen=True)
class Limits:
    """The most that one question may take: rows and bytes of its answer, seconds of computing."""

    rows: int = 10_000
    bytes: int = 128 * 2**20
    seconds: float = 30.0


@dataclass(frozen=True, eq=False)
class Answer:
    """The rows of an answer in its order; `more` tells that there were more than the limits allow."""

    table: pd.DataFrame
    more: bool
    seconds: float

    @property
    def rows_in_words(self) -> str:
        """How many rows there are: "first 10,000 rows of more"."""
        n = len(self.table)
        return f"first {n:,} rows of more" if self.more else "1 row" if n == 1 else f"{n:,} rows"


@dataclass(frozen=True)
class Column:
    """A column that can be asked for."""

    relation: str
    name: str
    kind: str
    description: str
    unit: str


def schema() -> tuple[Column, ...]:
    """Every column of both relations with its type, meaning and unit, to be shown beside the question."""
    described = []
    for relation, columns in (("cells", cohort_schema()), ("populations", _POPULATIONS)):
        for column in columns:
            metadata = {key.decode(): text.decode() for key, text in (column.metadata or {}).items()}
            meaning = CATALOGUE[column.name].label if column.name in CATALOGUE else metadata["description"]
            described.append(Column(relation, column.name, str(column.type), meaning, metadata.get("unit", "")))
    return tuple(described)


def columns_about(words: str) -> tuple[Column, ...]:
    """The columns that hold every word in their name, meaning or relation."""
    wanted = words.lower().split()
    return tuple(
        column
        for column in schema()
        if all(word in f"{column.name} {column.description} {column.relation}".lower() for word in wanted)
    )


class Running:
    """A question that is being answered; made by `start`."""

    def __init__(self, request: bytes, files: tuple[Path, ...], limits: Limits) -> None:
        self._request, self._files, self._limits = request, files, limits
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._cancelled = False
        self._answer: Future[Answer] = Future()
        threading.Thread(target=self._work, daemon=True, name="expert").start()

    @property
    def done(self) -> bool:
        """Whether there is an answer, or a reason why not."""
        return self._answer.done()

    def cancel(self) -> None:
        """Stop it; `result` then says so. Too late for one that is done."""
        with self._lock:
            self._cancelled = True
            if self._process is not None:
                self._process.kill()

    def result(self, timeout: float | None = None) -> Answer:
        """Wait for the answer.

        Raises
        ------
        QueryError
            If there is none, in words.
        TimeoutError
            If it is not there after so many seconds.
        """
        return self._answer.result(timeout)

    def _work(self) -> None:
        try:
            with _AT_ONCE:
                self._answer.set_result(self._asked())
        except Exception as error:  # noqa: BLE001 (raised again where the answer is waited for)
            self._answer.set_exception(error)

    def _asked(self) -> Answer:
        started = time.monotonic()
        with self._lock:
            self._check_cancelled()
            # Isolated, and without the environment of the server: nothing of either can be asked for. Only Windows has
            # SYSTEMROOT, and starts no Python without it.
            self._process = subprocess.Popen(
                [sys.executable, "-I", str(sql_sandbox.__file__)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={name: os.environ[name] for name in ("SYSTEMROOT",) if name in os.environ},
                cwd="/",
            )
        try:
            told, _ = self._process.communicate(self._request, timeout=self._limits.seconds + _GRACE_S)
        except subprocess.TimeoutExpired as error:
            self._process.kill()
            self._process.communicate()
            raise self._too_slow() from error
        self._check_cancelled()
        return self._read(told, started)

    def _read(self, told: bytes, started: float) -> Answer:
        line, _, body = told.partition(b"\n")
        if not line:  # it ended without saying why
            raise _too_large()
        head = json.loads(line)
        if not head["limited"]:
            _say_unlimited()
        if "error" in head:
            raise self._problem(head["kind"], head["error"])
        try:
            table = pa.ipc.open_stream(io.BytesIO(body)).read_all()
            return Answer(table.to_pandas(), head["more"], time.monotonic() - started)
        except (pa.ArrowException, ValueError, TypeError) as error:
            msg = f"the answer holds values that no table can show ({error}); cast them to text or numbers"
            raise QueryError(msg) from error

    def _problem(self, kind: str, text: str) -> Exception:
        if kind == "InterruptException":
            return self._too_slow()
        if kind in ("OutOfMemoryException", "MemoryError", "OSError", "ArrowMemoryError"):
            return _too_large()
        if kind in _CATCHABLE:
            if not all(file.exists() for file in self._files):
                return QueryError("the cohort changed while the question was answered; ask again")
            bad = shard_check.read_through(self._files)
            if bad:
                return shard_check.damaged(bad[0])
        if kind == "PermissionException":
            return QueryError("no file can be read or written here; there are the relations cells and populations")
        return QueryError(text)

    def _too_slow(self) -> QueryError:
        return QueryError(
            f"stopped after {self._limits.seconds:g} seconds; ask for fewer cells, columns or combinations of rows"
        )

    def _check_cancelled(self) -> None:
        if self._cancelled:
            msg = "cancelled"
            raise QueryError(msg)


def start(cohort: Cohort, question: str, limits: Limits | None = None) -> Running:
    """Begin to answer a question over `cells` (as readers have changed them) and `populations`; see `schema`.

    Raises
    ------
    QueryError
        If the text is too long or no text; everything else is reported by `Running.result`.
    """
    limits = limits or Limits()
    if len(question) > _LONGEST or any("\ud800" <= character <= "\udfff" for character in question):
        msg = (
            f"a question is at most {_LONGEST:,} characters of text, but this has {len(question):,} or holds some that"
            " are none"
        )
        raise QueryError(msg)
    stored = cohort.populations()
    files = tuple(shard for population in stored for shard in population.shards)
    view = f"SELECT * EXCLUDE ({', '.join(FORMER_NAMES.values())}) FROM every_column"
    if files:
        listed = ", ".join(_quoted(shards.literal(file)) for file in files)
        view = shards_sql(f"[{listed}]")
    changes = cohort.changes()
    view = changes.sql(view)
    allowed = [spelt for file in files for spelt in (str(file), shards.literal(file))]
    tables = {
        "every_column": every_column_schema().empty_table(),
        "populations": pa.Table.from_pylist([_population_row(one) for one in stored], schema=_POPULATIONS),
        **changes.relations,
    }
    head = {"question": question, "view": view, "tables": list(tables), "shards": allowed, **asdict(limits)}
    request = io.BytesIO()
    request.write(json.dumps(head).encode() + b"\n")
    for table in tables.values():
        with pa.ipc.new_stream(request, table.schema) as stream:
            stream.write_table(table)
    return Running(request.getvalue(), files, limits)


def run(cohort: Cohort, question: str, limits: Limits | None = None) -> Answer:
    """Answer a question and wait for it; raises QueryError in words, StoreError if a shard is damaged."""
    return start(cohort, question, limits).result()


@cache
def _say_unlimited() -> None:
    logger.warning("this system cannot limit the memory of a process; a question of SQL may take more than it should")


def _too_large() -> QueryError:
    return QueryError(
        "stopped: it needs more memory than a question may take; ask for fewer cells, columns or combinations of rows"
    )


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


_POPULATIONS: Final = pa.schema(
    [
        pa.field(name, kind, metadata={"description": text})
        for name, kind, text in (
            ("population", pa.string(), "identifier of the population, as in cells"),
            ("cell_type", pa.string(), "type its source files the cells under"),
            ("title", pa.string(), "what it is called"),
            ("source", pa.string(), "laboratory or data set"),
            ("tissue", pa.string(), "blood or marrow, as the source says"),
            ("citation", pa.string(), "what to cite"),
            ("terms", pa.string(), "terms of use"),
            ("note", pa.string(), "what to know before drawing conclusions"),
            ("created", pa.string(), "ISO date"),
            ("um_per_px", pa.float64(), "micrometres per pixel where all images share one; null otherwise"),
            ("um_per_px_origin", pa.string(), "how the scale is known, or why not"),
            ("um_per_px_error", pa.float64(), "share by which the true scale may be larger or smaller (95 %)"),
            ("shipped", pa.bool_(), "whether it comes with the program"),
        )
    ]
)


def _population_row(stored: shards.StoredPopulation) -> dict[str, Any]:
    described = {**asdict(stored.population), "cell_type": stored.population.cell_type.value}
    return described | {"population": stored.population.population_id, "shipped": shards.is_shipped(stored.root)}

"""The sandbox for SQL that a person writes: a process that answers one question and can read only the cells.

Started as a script with an empty environment (`core.store.sql_query` is its only caller), so that hanging, crashing and
using up memory end with it. Four limits: the text must be a single question over `cells` and `populations`, judged by
DuckDB's own parser; the database may open the shards and no other file, and its configuration is locked; the system
lets the process write no file; and what it allocates and computes is limited. Windows has no such limits of a process:
there only the database's own apply, and the answer says so.

Reads from standard input a line of JSON (`question`, `view`, `tables`, `shards`, `rows`, `bytes`, `seconds`) and an
Arrow stream for each of the tables named: one with every column, the populations, the changes of readers. Writes a
line of JSON (`more`, or `error` with `kind`; and `limited`, whether the system limits the process) and the answer as an
Arrow stream.
"""

import json
import sys
from collections.abc import Iterator
from typing import Any, BinaryIO, Final

import duckdb
import pyarrow as pa

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

RELATIONS: Final = ("cells", "populations")
REFUSED: Final = "refused"  # kind of error of a question that the database is not asked

_TABLE_FUNCTIONS: Final = ("range", "generate_series", "unnest")
# Functions that tell of the server instead of the cells, or do something besides returning a value.
_CLOSED_FUNCTIONS: Final = (
    "current_setting",
    "getvariable",
    "sleep_ms",
    "write_log",
    "nextval",
    "currval",
    "setval",
    "setseed",
)
_CLOSED_PREFIX: Final = "pg_"
_QUERY_NODES: Final = ("SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE")

_DATABASE_MEMORY: Final = "1GB"
# Address space: the database's memory, the answer's, libraries, and what the database does not count.
_PROCESS_MEMORY: Final = 4 * 2**30
_FLUSH_ROWS: Final = 500


class RefusedError(Exception):
    """The text is not a single question over the two relations; the message says why."""


def check(connection: duckdb.DuckDBPyConnection, question: str) -> None:
    """Raise RefusedError unless the text is one SELECT, VALUES, SUMMARIZE or DESCRIBE over the two relations."""
    try:
        statements = connection.extract_statements(question)
    except duckdb.Error as error:
        raise RefusedError(str(error)) from error
    if len(statements) != 1:
        msg = f"expected one question, but there are {len(statements)} statements; ask one at a time"
        raise RefusedError(msg)
    if statements[0].type is not duckdb.StatementType.SELECT:
        kind = statements[0].type.name.replace(
            "MULTI", "several in one (to pivot, write FROM (PIVOT ... ON ... IN (...) USING ...))"
        )
        msg = f"only questions can be asked (SELECT, WITH, VALUES, SUMMARIZE, DESCRIBE), but this is {kind}"
        raise RefusedError(msg)
    ((text,),) = connection.execute("SELECT json_serialize_sql(?)", [question]).fetchall()
    tree = json.loads(text)
    if tree["error"]:
        raise RefusedError(tree["error_message"])
    nodes = list(_nodes(tree))
    named = {entry["key"].lower() for node in nodes for entry in (node.get("cte_map") or {}).get("map") or ()}
    # A name of the catalogue would mean one thing inside the clause that defines it and another outside.
    own = {
        name.lower() for (name,) in connection.execute("SELECT view_name FROM duckdb_views() WHERE internal").fetchall()
    }
    if taken := sorted(named & own):
        msg = f"{taken[0]!r} is a name of the database's own; call the subquery something else"
        raise RefusedError(msg)
    for node in nodes:
        _check_node(node, {*RELATIONS, *named})


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:  # noqa: ANN401 (JSON of any shape)
    if isinstance(tree, dict):
        yield tree
    for child in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ():
        yield from _nodes(child)


def _check_node(node: dict[str, Any], relations: set[str]) -> None:
    kind = node.get("type")
    there = f"there are {' and '.join(RELATIONS)}"
    if isinstance(kind, str) and kind.endswith("_NODE") and kind not in _QUERY_NODES:
        msg = f"only questions can be asked, but this holds {kind.removesuffix('_NODE').replace('_', ' ')}"
        raise RefusedError(msg)
    if kind == "BASE_TABLE":
        path = node["qualified_name"]["path"]
        if len(path) != 1 or path[0].lower() not in relations:
            msg = f"there is no relation {'.'.join(path)!r} here; {there}"
            raise RefusedError(msg)
    if kind == "SHOW_REF" and node["show_type"] not in ("DESCRIBE", "SUMMARY"):
        msg = f"only relations can be described; {there}"
        raise RefusedError(msg)
    if kind == "TABLE_FUNCTION" and (name := _function(node["function"])) not in _TABLE_FUNCTIONS:
        msg = (
            f"{name} reads something else than the cells; {there}, and the table functions"
            f" {', '.join(_TABLE_FUNCTIONS)}"
        )
        raise RefusedError(msg)
    if node.get("class") in ("FUNCTION", "WINDOW"):
        name = _function(node)
        if name in _CLOSED_FUNCTIONS or name.startswith(_CLOSED_PREFIX):
            msg = f"the function {name} is closed here: it tells of the server or acts on it, not of the cells"
            raise RefusedError(msg)


def _function(node: dict[str, Any]) -> str:
    return str(node.get("function_name", "")).lower()


def _opened(request: dict[str, Any], source: BinaryIO) -> duckdb.DuckDBPyConnection:
    """A database with the two relations, closed to everything else."""
    connection = duckdb.connect(
        ":memory:",
        config={
            "memory_limit": _DATABASE_MEMORY,
            "threads": 2,
            # A relation of no such name would be looked for among the variables of this file.
            "python_enable_replacements": False,
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
        },
    )
    for name in request["tables"]:
        connection.register("incoming", pa.ipc.open_stream(source).read_all())
        connection.execute(f"CREATE TABLE {name} AS SELECT * FROM incoming")
        connection.unregister("incoming")
    connection.execute("SET temp_directory = ''")
    connection.execute("SET allowed_paths = ?", [request["shards"]])
    connection.execute("SET max_execution_time = ?", [round(request["seconds"] * 1000)])
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
    connection.execute(f"CREATE VIEW cells AS {request['view']}")
    return connection


def _answer(connection: duckdb.DuckDBPyConnection, request: dict[str, Any]) -> tuple[bool, pa.Table]:
    """The first rows, as many as may be, and whether there are more."""
    check(connection, request["question"])
    reader: Any = connection.sql(request["question"]).limit(request["rows"] + 1).to_arrow_reader(_FLUSH_ROWS)
    batches, rows, size, more = [], 0, 0, False
    for batch in reader:
        kept = batch.slice(0, request["rows"] - rows)
        size += kept.nbytes
        if more := kept.num_rows < batch.num_rows or size > request["bytes"]:
            if size <= request["bytes"]:
                batches.append(kept)
            break
        rows += kept.num_rows
        batches.append(kept)
    return more, pa.Table.from_batches(batches, reader.schema)


def limit_process() -> None:
    """Let this process write no file and take no more memory than a question may, where the system can limit it."""
    if resource is None:
        return
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (_PROCESS_MEMORY, _PROCESS_MEMORY))


def main() -> None:
    """Answer the question on standard input."""
    limit_process()
    request = json.loads(sys.stdin.buffer.readline())
    table = None
    try:
        more, table = _answer(_opened(request, sys.stdin.buffer), request)
        told: dict[str, Any] = {"more": more}
    except RefusedError as error:
        told = {"error": str(error), "kind": REFUSED}
    except (duckdb.Error, pa.ArrowException, OSError, MemoryError) as error:
        told = {"error": str(error), "kind": type(error).__name__}
    told["limited"] = resource is not None
    sys.stdout.buffer.write(json.dumps(told).encode() + b"\n")
    if table is not None:
        with pa.ipc.new_stream(sys.stdout.buffer, table.schema) as stream:
            stream.write_table(table)


if __name__ == "__main__":
    main()

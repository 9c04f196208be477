import io
import subprocess
import sys
import textwrap

import duckdb
import pyarrow as pa
import pytest

from core.domain.settings import ROOT
from core.store import sql_sandbox
from core.store.schema import cohort_schema
from core.store.shards import scan, write_population
from tests.core.store.conftest import make_population, make_rows


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("cohort")


@pytest.fixture(scope="module")
def opened(root):
    """The database of the sandbox over one population, as the process opens it.

    Beside the shard lie files it must not read.
    """
    population = make_population()
    write_population(root, population, [make_rows(population, [1, 2, 3])])
    (shard,) = scan([root]).populations["mono"].shards
    (root / "mono" / "cells-removed.parquet").write_bytes(shard.read_bytes())
    (root / "edits.jsonl").write_text("{}\n", encoding="utf-8")
    view = f"SELECT * FROM every_column UNION ALL BY NAME SELECT * FROM read_parquet(['{shard}'], union_by_name = true)"
    source = io.BytesIO()
    for table in (cohort_schema().empty_table(), pa.table({"population": ["mono"]})):
        with pa.ipc.new_stream(source, table.schema) as stream:
            stream.write_table(table)
    source.seek(0)
    connection = sql_sandbox._opened(
        {"view": view, "tables": ["every_column", "populations"], "shards": [str(shard)], "seconds": 20}, source
    )
    yield connection
    connection.close()


@pytest.mark.parametrize(
    "question",
    [
        "SELECT cell_type, count(*) FROM cells GROUP BY ALL",
        "FROM Cells JOIN populations USING (population)",
        "WITH big AS (SELECT * FROM cells), other AS (FROM big) SELECT count(*) FROM other -- a remark",
        "WITH RECURSIVE r(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM r WHERE i < 3) FROM r",
        "VALUES (1), (2)",
        "SUMMARIZE SELECT confidence FROM cells",
        "DESCRIBE cells",
        "SELECT * FROM range(3), unnest([1, 2])",
        "SELECT * FROM (PIVOT cells ON cell_type IN ('monocyte') USING count(*) GROUP BY source)",
        "SELECT quantile_cont(confidence, [0.02, 0.5, 0.98]) OVER (PARTITION BY source) FROM cells;",
        "SELECT list_transform([1], lambda x: x + 1), random(), regexp_matches('a', 'b')",
    ],
)
def test_questions_over_the_cells_are_answered(opened, question):
    sql_sandbox.check(opened, question)
    opened.sql(question).limit(5).to_arrow_table()


FILES = [
    "SELECT * FROM read_csv('{secret}')",
    "SELECT * FROM read_text('{secret}')",
    "SELECT * FROM read_blob('{secret}')",
    "SELECT * FROM read_json('{secret}')",
    "SELECT * FROM read_parquet('{folder}/cells-removed.parquet')",
    "SELECT * FROM parquet_metadata('{folder}/cells-removed.parquet')",
    "SELECT * FROM '{folder}/cells-removed.parquet'",
    'FROM "{folder}/cells-removed.parquet"',
    "SELECT * FROM read_text('{folder}/population.json')",
    "SELECT * FROM read_text('{folder}/../edits.jsonl')",
    "SELECT * FROM glob('{folder}/*')",
    "SELECT * FROM glob('/*')",
    "SELECT * FROM sniff_csv('{secret}')",
    "SELECT (SELECT content FROM read_text('{secret}')) FROM cells",
    "WITH t AS (FROM read_text('{secret}')) FROM t",
    "SELECT * FROM cells WHERE cell_id IN (SELECT content FROM read_text('{secret}'))",
    "FROM query('FROM read_text(''{secret}'')')",
    "FROM query_table('{secret}')",
    "FROM json_execute_serialized_sql(json_serialize_sql('FROM read_text(''{secret}'')'))",
    "SELECT * FROM read_csv('http://127.0.0.1:1/x.csv')",
    "COPY (SELECT 1) TO '{folder}/out.csv'",
    "COPY cells TO '{folder}/out.parquet'",
    "COPY cells FROM '{secret}'",
    "EXPORT DATABASE '{folder}/out'",
    "IMPORT DATABASE '{folder}/out'",
    "ATTACH '{folder}/other.db'",
    "INSTALL httpfs",
    "LOAD httpfs",
    "FORCE INSTALL httpfs FROM 'http://127.0.0.1:1'",
    "SET enable_external_access = true",
    "SET allowed_directories = ['/']",
    "SET allowed_paths = ['{secret}']",
    "SET memory_limit = '1TB'",
    "SET max_execution_time = 0",
    "SET log_query_path = '{folder}/log'",
    "SET temp_directory = '{folder}'",
    "RESET lock_configuration",
    "PRAGMA enable_profiling",
    "PRAGMA log_query_path='{folder}/log'",
    "CREATE SECRET s (TYPE http)",
]

STATEMENTS = [
    "",
    "-- nothing",
    "SELECT 1; SELECT 2",
    "SELECT 1; COPY cells TO '{folder}/out.csv'",
    "DROP VIEW cells",
    "CREATE TABLE t AS SELECT 1",
    "CREATE OR REPLACE VIEW cells AS SELECT 1",
    "CREATE MACRO f() AS 1",
    "INSERT INTO every_column SELECT * FROM every_column",
    "DELETE FROM edits",
    "UPDATE edits SET cell_id = ''",
    "WITH x AS (DELETE FROM edits RETURNING *) FROM x",
    "WITH x AS (INSERT INTO edits VALUES ('a') RETURNING *) FROM x",
    "CALL duckdb_settings()",
    "PREPARE p AS SELECT 1",
    "EXECUTE p",
    "EXPLAIN SELECT * FROM cells",
    "BEGIN",
    "PIVOT cells ON cell_type USING count(*)",
    "SELECT " + 5000 * "(" + "1" + 5000 * ")",
    "CHECKPOINT",
    "USE memory",
    "SET VARIABLE x = 1",
]

INSIGHTS = [
    "FROM duckdb_settings()",
    "FROM duckdb_secrets()",
    "FROM duckdb_views()",
    "FROM duckdb_views",
    "SELECT sql FROM duckdb_views",
    "FROM information_schema.tables",
    "FROM pg_catalog.pg_views",
    "FROM sqlite_master",
    "FROM memory.main.cells",
    "FROM every_column",
    "FROM edits",
    "FROM duckdb_external_file_cache()",
    "FROM duckdb_logs_parsed('QueryLog')",
    "FROM which_secret('x', 'http')",
    "FROM pragma_storage_info('cells')",
    "SHOW TABLES",
    "SHOW ALL TABLES",
    "SHOW DATABASES",
    "SHOW VARIABLES",
    "DESCRIBE",
    "DESCRIBE duckdb_views",
    "SELECT current_setting('allowed_paths')",
    "SELECT 'allowed_paths'.current_setting()",
    "SELECT system.main.CURRENT_SETTING('allowed_paths')",
    "SELECT getvariable('x')",
    "SELECT pg_get_viewdef(0)",
    "SELECT pg_sleep(1)",
    "SELECT sleep_ms(1)",
    "SELECT write_log('x')",
    "SELECT count(*) FILTER (WHERE current_setting('threads') IS NOT NULL) FROM cells",
    "SELECT list_transform([1], lambda x: current_setting('allowed_paths'))",
    "SELECT 1 ORDER BY current_setting('allowed_paths')",
    "WITH duckdb_views AS (FROM duckdb_views) FROM duckdb_views",
    "WITH a AS (FROM DUCKDB_VIEWS), Duckdb_Views AS (SELECT 1) FROM a",
    "SELECT getenv('HOME')",
    "FROM (SHOW TABLES)",
    "SUMMARIZE FROM duckdb_settings",
    "DESCRIBE TABLE '{secret}'",
    "SELECT EXISTS(FROM duckdb_settings)",
    "SELECT (TABLE duckdb_settings)",
    "SELECT array(FROM duckdb_settings())",
    "SELECT 1 UNION ALL SELECT 2 FROM duckdb_settings()",
    "FROM cells ASOF JOIN duckdb_tables AS t ON true",
    "FROM cells, LATERAL (FROM read_text(cell_id))",
    "FROM read_text((SELECT cell_id FROM cells LIMIT 1))",
    "FROM (UNPIVOT (FROM duckdb_settings()) ON value)",
    "FROM cells LIMIT (SELECT count(*) FROM glob('/*'))",
    "WITH t AS MATERIALIZED (FROM glob('/*')) FROM cells",
    "SELECT * FROM cells QUALIFY row_number() OVER (ORDER BY current_setting('threads')) = 1",
    "SELECT * REPLACE (current_setting('allowed_paths') AS cell_id) FROM cells",
    "SELECT COLUMNS(c -> c = current_setting('threads')) FROM cells",
    "SELECT max(cell_id ORDER BY current_setting('allowed_paths')) FROM cells",
    "SELECT {{'a': TRY(current_setting('allowed_paths'))}}",
    "FROM VALUES (current_setting('allowed_paths')) AS t(x)",
    "SELECT pg_catalog.pg_get_viewdef(1)",
]


def filled(statement: str, root, tmp_path) -> str:
    (tmp_path / "secret.csv").write_text("name\nanna\n", encoding="utf-8")
    return statement.format(secret=tmp_path / "secret.csv", folder=root / "mono")


@pytest.mark.parametrize("statement", [*FILES, *STATEMENTS, *INSIGHTS])
def test_everything_else_is_refused_before_it_reaches_the_database(opened, root, tmp_path, statement):
    text = filled(statement, root, tmp_path)
    if "getenv" in statement:  # known to DuckDB's shell only
        with pytest.raises(duckdb.CatalogException, match="getenv"):
            opened.sql(text)
        return
    with pytest.raises(sql_sandbox.RefusedError) as refused:
        sql_sandbox.check(opened, text)
    assert len(str(refused.value)) > 20


@pytest.mark.parametrize("statement", FILES)
def test_the_database_itself_opens_nothing_but_the_shards(opened, root, tmp_path, statement):
    """The second wall: what would happen if the first let something pass."""
    text = filled(statement, root, tmp_path)
    before = sorted([*root.rglob("*"), *tmp_path.rglob("*")])
    with pytest.raises(duckdb.Error):
        opened.execute(text).fetchall()
    assert sorted([*root.rglob("*"), *tmp_path.rglob("*")]) == before


def test_every_function_that_is_more_than_a_value_is_closed_or_known_to_be_harmless(opened):
    """An update of DuckDB that brings another one fails here."""
    volatile = "function_type = 'scalar' AND (has_side_effects OR stability = 'VOLATILE')"
    sql = f"SELECT DISTINCT function_name FROM duckdb_functions() WHERE {volatile}"
    harmless = {"random", "uuid", "uuidv4", "uuidv7", "gen_random_uuid", "error", "stats", "vector_type"}
    own = {
        "current_connection_id",
        "current_query",
        "current_query_id",
        "current_transaction_id",
    }  # of the sandbox's own process
    found = {name for (name,) in opened.execute(sql).fetchall()}
    assert found - harmless - own <= set(sql_sandbox._CLOSED_FUNCTIONS)


def test_the_process_writes_no_file(tmp_path):
    script = textwrap.dedent("""
        import signal, sys
        from core.store import sql_sandbox

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        sql_sandbox.limit_process()
        with open(sys.argv[1], "wb") as file:
            file.write(b"x")
        """)
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "out")], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert "File too large" in done.stderr
    assert (tmp_path / "out").read_bytes() == b""

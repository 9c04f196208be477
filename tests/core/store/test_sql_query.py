import time

import pytest

from core.domain.errors import QueryError, StoreError
from core.store import sql_query
from core.store.database import Cohort
from core.store.edit_log import Field
from core.store.edits import exclude, relabel
from core.store.shards import scan, write_population
from core.store.sql_query import Limits, columns_about, run, schema, start
from tests.core.store.conftest import AREA, make_population, make_rows, overwrite


@pytest.fixture
def cohort(root):
    population = make_population()
    write_population(root, population, [make_rows(population, [1, 2, 3])])
    with Cohort.open([root]) as opened:
        yield opened


def test_a_question_sees_the_cells_as_readers_have_changed_them_and_the_populations(cohort):
    first, second, _ = cohort.query("SELECT cell_id FROM cells ORDER BY cell_id")["cell_id"]
    relabel(cohort, [first], Field.CELL_TYPE, "apl", who="Reader")
    exclude(cohort, [second], "torn", who="Reader")
    answer = run(
        cohort,
        f'SELECT c.cell_type, quality_ok, excluded_reason, "{AREA}" AS area, title, shipped '
        "FROM cells AS c JOIN populations AS p USING (population) ORDER BY cell_id",
    )
    assert answer.rows_in_words == "3 rows"
    assert answer.table["cell_type"].tolist() == ["apl", "monocyte", "monocyte"]
    assert answer.table["quality_ok"].tolist() == [True, False, True]
    assert answer.table["excluded_reason"].tolist()[1] == "torn"
    assert sorted(answer.table["area"]) == [1, 2, 3]
    assert answer.table["title"].unique().tolist() == ["Monocytes of a test"]
    assert answer.table["shipped"].tolist() == [False] * 3


def test_a_folder_whose_name_looks_like_a_pattern_is_asked_alone(tmp_path):
    population = make_population()
    for name, areas in (("lab[1]", [1, 2, 3]), ("lab1", [4])):
        write_population(tmp_path / name, population, [make_rows(population, areas)])
    with Cohort.open([tmp_path / "lab[1]"]) as opened:
        assert sorted(run(opened, f'SELECT "{AREA}" AS area FROM cells').table["area"]) == [1, 2, 3]


def test_rows_beyond_the_limit_are_told(cohort):
    answer = run(cohort, "SELECT a.range AS i FROM range(1000000) AS a ORDER BY i DESC", Limits(rows=1000))
    assert answer.rows_in_words == "first 1,000 rows of more"
    assert answer.table["i"].tolist() == list(range(999_999, 998_999, -1))


def test_an_answer_of_too_many_bytes_is_cut(cohort):
    answer = run(cohort, "SELECT repeat('x', 1000) AS x FROM range(5000)", Limits(bytes=2_000_000))
    assert answer.more
    assert 0 < len(answer.table) <= 2000


@pytest.mark.parametrize(
    ("question", "words"),
    [
        ("SELEC 1", "syntax error"),
        ("SELECT nonsense FROM cells", 'Referenced column "nonsense" not found'),
        ("FROM read_text('/etc/hostname')", "read_text reads something else than the cells"),
        ("SELECT 'a'::INTEGER", "Could not convert string"),
        ("SELECT repeat('x', 100000000) AS x FROM range(100)", "needs more memory"),
        ("SELECT list(a.range) FROM range(1000000000) AS a", "needs more memory"),
    ],
)
def test_what_cannot_be_answered_is_told_in_words(cohort, question, words):
    with pytest.raises(QueryError, match=words):
        run(cohort, question)


def test_a_question_that_the_database_can_stop_ends_in_time(cohort):
    with pytest.raises(QueryError, match="stopped after 1 seconds"):
        run(cohort, "SELECT sum(a.range * b.range) FROM range(100000000) AS a, range(100000) AS b", Limits(seconds=1))


def test_a_question_that_the_database_cannot_stop_is_killed(cohort, monkeypatch):
    monkeypatch.setattr(sql_query, "_GRACE_S", 1.0)
    started = time.monotonic()
    with pytest.raises(QueryError, match="stopped after 3 seconds"):
        run(cohort, "SELECT levenshtein(repeat('a', 3000000), repeat('b', 3000000))", Limits(seconds=3))
    assert time.monotonic() - started < 60


def test_a_question_can_be_cancelled(cohort):
    running = start(
        cohort, "SELECT sum(a.range * b.range) FROM range(100000000) AS a, range(100000) AS b", Limits(seconds=120)
    )
    assert not running.done
    running.cancel()
    with pytest.raises(QueryError, match="cancelled"):
        running.result(timeout=60)
    assert running.done


def test_a_damaged_shard_is_named(cohort, root):
    (shard,) = scan([root]).populations["mono"].shards
    overwrite(shard, AREA)  # what is damaged for all to see is set aside before anybody asks
    with pytest.raises(StoreError, match=shard.name):
        run(cohort, f'SELECT sum("{AREA}") FROM cells')
    assert run(cohort, f'SELECT sum("{AREA}") AS area FROM cells').table["area"].isna().all()


def test_the_schema_is_what_can_be_asked_for(cohort):
    columns = schema()
    assert all(column.description for column in columns)
    assert {column.name: column.unit for column in columns}[AREA] == "px²"
    for relation in ("cells", "populations"):
        answer = run(cohort, f"DESCRIBE {relation}")
        assert answer.table["column_name"].tolist() == [
            column.name for column in columns if column.relation == relation
        ]


@pytest.mark.parametrize("question", ["SELECT '\ud800'", "SELECT 1 -- " + "x" * 100_000])
def test_what_no_person_types_is_not_even_asked(cohort, question):
    with pytest.raises(QueryError, match="at most 100,000 characters"):
        start(cohort, question)


def test_columns_are_found_by_name_meaning_and_relation():
    assert columns_about("") == schema()
    assert "nucleus_shape2D_Elongation" in {column.name for column in columns_about("Nucleus ELONGATION")}
    assert {column.relation for column in columns_about("populations title")} == {"populations"}
    assert columns_about("no such thing") == ()

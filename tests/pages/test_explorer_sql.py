"""Questions in SQL, asked on the page and answered by the sandbox."""

import time

import pytest
from streamlit.testing.v1 import AppTest

from tests.pages.conftest import read, table, texts

PATIENCE_S = 120


def _script() -> None:
    from pages._ui.explorer.sql import show_sql
    from pages._ui.explorer.state import show_problem

    show_sql()
    show_problem()


@pytest.fixture
def ask(open_page):
    """Ask a question and wait for the answer."""

    def run(question: str) -> AppTest:
        app = AppTest.from_function(_script, default_timeout=120).run()
        app.text_area(key="sql_text").set_value(question)
        app.button(key="sql_run").click().run()
        deadline = time.monotonic() + PATIENCE_S
        while not app.button(key="sql_cancel").disabled:
            assert time.monotonic() < deadline
            time.sleep(0.2)
            app.run()
        return app

    return run


def test_an_answer_stands_as_a_table_with_its_number_of_rows(ask):
    app = ask("SELECT cell_type, count(*) AS n FROM cells GROUP BY ALL ORDER BY n DESC")
    assert not app.exception
    assert "3 rows" in texts(app)
    assert table(app, "n")["n"].tolist() == [45, 22, 5]


def test_what_is_refused_is_told_in_words(ask):
    for question, told in {
        "SELECT * FROM read_csv('/etc/passwd')": "reads something else than the cells",
        "COPY cells TO 'x.csv'": "only questions can be asked",
        "SELECT nothing FROM cells": "nothing",
        "": "question",
    }.items():
        app = ask(question)
        assert not app.exception
        assert told in read(app.error[0].value)


def test_a_long_question_is_cancelled(open_page):
    app = AppTest.from_function(_script, default_timeout=120).run()
    app.text_area(key="sql_text").set_value(
        "SELECT count(*) FROM range(100000000) a, range(100000) b WHERE a.range % 7 = b.range % 11"
    )
    app.button(key="sql_run").click().run()
    assert not app.button(key="sql_cancel").disabled
    app.button(key="sql_cancel").click().run()
    deadline = time.monotonic() + PATIENCE_S
    while not app.error:
        assert time.monotonic() < deadline
        time.sleep(0.2)
        app.run()
    assert read(app.error[0].value) == "cancelled"


def test_columns_are_found_by_what_they_mean(open_page):
    app = AppTest.from_function(_script, default_timeout=120).run()
    assert len(table(app, "Meaning")) > 700
    app.text_input(key="sql_search").set_value("nucleus elongation").run()
    assert "nucleus_shape2D_Elongation" in table(app, "Meaning")["Column"].tolist()
    app.text_input(key="sql_search").set_value("no such thing").run()
    assert "No column holds all these words" in texts(app)

"""The one cache of the app: what computes again, and what does not."""

from collections import Counter
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from core.store.shards import write_population
from pages._ui.common.caching import Cached, cached
from tests.core.store.conftest import make_population, make_rows

computed: Counter[object] = Counter()


@cached("data", max_entries=8)
def doubled(values: list[int], *, plus: int = 0) -> list[int]:
    """Something of the cohort."""
    computed[tuple(values), plus] += 1
    return [2 * value + plus for value in values]


@cached("resource", max_entries=8)
def kept_as_it_is(name: str) -> list[str]:
    return [name]


@cached("data", max_entries=8, key=lambda path: (str(path), path.stat().st_mtime_ns))
def words(path: Path) -> str:
    computed[path] += 1
    return path.read_text()


@cached("data", max_entries=1)
def only_the_last(value: int) -> int:
    computed[value] += 1
    return value


@cached("data", max_entries=8, ttl=0)
def forgotten_at_once(value: int) -> int:
    computed[value] += 1
    return value


@pytest.fixture(autouse=True)
def cohort(monkeypatch, tmp_path):
    """An empty cohort, and nothing kept of another test."""
    for name in ("REFERENCE", "COHORT", "CACHE"):
        monkeypatch.setenv(f"LEUKOSCOPE_{name}", str(tmp_path / name))
    computed.clear()
    for each in (doubled, kept_as_it_is, words, only_the_last, forgotten_at_once):
        each.clear()
    return tmp_path / "COHORT"


def test_the_same_question_is_computed_once_while_the_cohort_is_the_same():
    assert doubled([1, 2]) == doubled([1, 2]) == [2, 4]
    assert computed == {((1, 2), 0): 1}


def test_a_changed_cohort_is_asked_again(cohort):
    doubled([1])
    population = make_population("mono")
    write_population(cohort, population, [make_rows(population, [1.0])])
    assert doubled([1]) == [2]
    assert computed == {((1,), 0): 2}


def test_every_argument_tells_answers_apart():
    assert [doubled([1]), doubled([2]), doubled([1], plus=1)] == [[2], [4], [3]]
    assert set(computed.values()) == {1}


def test_a_key_of_its_own_tells_when_to_compute_again(tmp_path):
    path = tmp_path / "words"
    path.write_text("first")
    assert words(path) == words(path) == "first"
    path.write_text("second")
    assert words(path) == "second"
    assert computed[path] == 2


def test_data_are_copies_and_a_resource_is_one_object():
    doubled([1]).append(3)
    assert doubled([1]) == [2]
    assert kept_as_it_is("a") is kept_as_it_is("a")


def test_the_oldest_answer_makes_room_and_old_ones_are_forgotten():
    for value in (1, 2, 1):
        only_the_last(value)
    assert computed == {1: 2, 2: 1}
    computed.clear()
    for _ in range(2):
        forgotten_at_once(1)
    assert computed == {1: 2}


def test_functions_of_one_form_do_not_share_answers():
    def wrapped(name: str) -> Cached[[], str]:
        def answer() -> str:
            return name

        answer.__qualname__ = name
        return cached("data", max_entries=2)(answer)

    assert [wrapped(name)() for name in ("first", "second")] == ["first", "second"]
    assert doubled.__name__ == "doubled"
    assert doubled.__doc__ == "Something of the cohort."


def _page() -> None:
    import streamlit as st

    from tests.pages.test_caching import doubled

    st.text(str(doubled([21])))


def test_two_sessions_share_one_answer():
    for _ in range(2):
        app = AppTest.from_function(_page).run()
        assert not app.exception
        assert app.text[0].value == "[42]"
    assert computed == {((21,), 0): 1}

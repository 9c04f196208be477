import threading

import pytest

from core.store import answers as module
from core.store.answers import Answers


class Asked:
    """A question that counts how often it was asked."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> int:
        self.times += 1
        return self.times


def test_an_answer_holds_while_the_state_does():
    answers, asked, state = Answers(), Asked(), ["a"]
    assert [answers.of("q", lambda: state[0], asked) for _ in range(3)] == [1, 1, 1]
    state[0] = "b"
    assert [answers.of("q", lambda: state[0], asked) for _ in range(2)] == [2, 2]
    assert answers.of("another", lambda: state[0], asked) == 3


def test_what_changed_while_it_was_read_is_not_kept():
    """An edit that is taken back brings the former state again, but not the answer that was read between."""
    answers, state = Answers(), ["before"]

    def ask() -> str:
        state[0] = "changed"
        return "half of both"

    assert answers.of("q", lambda: state[0], ask) == "half of both"
    state[0] = "before"
    assert answers.of("q", lambda: state[0], lambda: "whole") == "whole"


def test_what_has_no_state_and_what_failed_is_asked_again():
    answers, asked = Answers(), Asked()
    assert [answers.of("q", lambda: None, asked) for _ in range(2)] == [1, 2]

    def fails() -> int:
        msg = "unreadable"
        raise ValueError(msg)

    for _ in range(2):
        with pytest.raises(ValueError, match="unreadable"):
            answers.of("failing", lambda: "a", fails)
    assert answers.of("failing", lambda: "a", asked) == 3


def test_whoever_asks_meanwhile_waits_and_others_do_not():
    answers, asked, asking, go_on = Answers(), Asked(), threading.Event(), threading.Event()

    def slow() -> int:
        asking.set()
        assert go_on.wait(30)
        return asked()

    got: list[int] = []
    threads = [threading.Thread(target=lambda: got.append(answers.of("q", lambda: "a", slow))) for _ in range(3)]
    for thread in threads:
        thread.start()
    assert asking.wait(30)
    assert answers.of("another", lambda: "a", lambda: 7) == 7
    assert got == []
    go_on.set()
    for thread in threads:
        thread.join(30)
    assert got == [1, 1, 1]


def test_old_and_forgotten_questions_are_let_go(monkeypatch):
    monkeypatch.setattr(module, "_MOST_KEPT", 2)
    answers, asked = Answers(), Asked()
    for question in ("a", "b", "a", "c"):
        answers.of(question, lambda: "s", asked)
    assert answers.of("a", lambda: "s", asked) == 1
    assert answers.of("b", lambda: "s", asked) == 4
    answers.forget(lambda question: question == "b")
    assert answers.of("b", lambda: "s", asked) == 5

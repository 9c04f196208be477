"""Answers kept in memory for as long as what they are about stays as it is; safe to share between threads."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

Answer = TypeVar("Answer")

_MOST_KEPT: Final = 1000  # questions; a few of each population


@dataclass
class _Kept:
    """The answer to one question in one state; whoever asks meanwhile waits for it."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    state: object = None
    answer: Any = None


class Answers:
    """The answers to the questions last asked, each with the state that it holds for."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[Hashable, _Kept] = OrderedDict()

    def of(self, question: Hashable, state: Callable[[], object], ask: Callable[[], Answer]) -> Answer:
        """The answer to a question: the kept one while `state` says the same, which is never None; else `ask`'s."""
        with self._lock:
            kept = self._kept.setdefault(question, _Kept())
            self._kept.move_to_end(question)
            if len(self._kept) > _MOST_KEPT:
                self._kept.popitem(last=False)
        with kept.lock:
            before = state()
            if before is not None and kept.state == before:
                answer: Answer = kept.answer
                return answer
            answer = ask()
            # What changed while it was read is half of the one state and half of the other.
            kept.state, kept.answer = (before, answer) if state() == before else (None, None)
            return answer

    def forget(self, gone: Callable[[Hashable], bool]) -> None:
        """Let go of the answers to the questions of which `gone` is true."""
        with self._lock:
            for question in list(filter(gone, self._kept)):
                del self._kept[question]

"""A way through the program in a few steps, each beside what it speaks of; whoever ends it is not shown it again."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Final

from pages._ui.components.assets import component

_HTML: Final = """
<section class="tour" role="region" aria-label="A tour of Leukoscope" hidden>
  <p class="count" aria-hidden="true"></p>
  <div aria-live="polite"><p class="title"></p><p class="text"></p></div>
  <div class="ways">
    <button type="button" class="end">No tour</button>
    <button type="button" class="back">Back</button>
    <button type="button" class="next">Next</button>
  </div>
</section>"""
_TOUR: Final = component(__file__, "leukoscope_tour", _HTML)


@dataclass(frozen=True)
class TourStep:
    """A step: `at` is the key of the container that it speaks of."""

    at: str
    title: str
    text: str


def show_tour(steps: Sequence[TourStep], asked: int) -> None:
    """Show the tour where this browser has not ended it yet, or anew with each rise of `asked`."""
    _TOUR(key="tour", data={"steps": [asdict(step) for step in steps], "asked": asked})

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest

from core.domain.cell_types import CellType
from core.domain.errors import ModelError, RecordError, UsageError
from core.domain.settings import ROOT
from core.evaluation import agreement
from core.quality import novelty
from core.segmentation.model_card import ModelCard
from core.segmentation.model_registry import find_model, load_manifest
from core.store.schema import Population
from core.support.records import from_json, from_plain, parsed, to_json

SHIPPED = sorted((ROOT / "assets" / "reference").glob("*/population.json"))


class Span(NamedTuple):
    low: float
    high: float | None


@dataclass(frozen=True)
class Stain:
    name: str
    strength: float = 1.0


@dataclass(frozen=True)
class Slide:
    path: Path
    made: datetime
    cell_types: tuple[CellType, ...]
    stain: Stain
    spans: Mapping[str, Span] = field(default_factory=dict)
    note: str | None = None
    scores: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.cell_types:
            msg = "a slide needs a cell type"
            raise UsageError(msg)
        if self.stain.strength < 0:
            msg = "not with a stain that takes away"
            raise ModelError(msg)


SLIDE = Slide(
    Path("a/b.png"),
    datetime(2026, 11, 23, 5, 30, tzinfo=UTC),
    (CellType.MONOCYTE, CellType.LYMPHOCYTE),
    Stain("Größe", 0.1),
    MappingProxyType({"area": Span(1e-07, None)}),
    scores={"test": {"dice": [0.5, None]}},
)
PLAIN = {
    "path": "a/b.png",
    "made": "2026-11-23T05:30:00+00:00",
    "cell_types": ["monocyte", "lymphocyte"],
    "stain": {"name": "Größe", "strength": 0.1},
    "spans": {"area": [1e-07, None]},
    "note": None,
    "scores": {"test": {"dice": [0.5, None]}},
}


def test_a_record_is_written_as_json_has_it_and_read_back_as_it_was() -> None:
    assert to_json(SLIDE) == json.dumps(PLAIN, ensure_ascii=False)
    again = from_json(Slide, to_json(SLIDE, indent=1))
    assert again == SLIDE
    assert isinstance(again.spans["area"], Span)


def test_a_text_can_be_compact_sorted_and_of_ascii_alone() -> None:
    written = to_json(SLIDE, compact=True, sort_keys=True, ascii_only=True)
    assert written == json.dumps(PLAIN, sort_keys=True, separators=(",", ":"))
    assert written.isascii()


def test_fields_left_out_take_their_defaults_and_a_whole_number_stands_for_a_fraction() -> None:
    assert from_plain(Stain, {"name": "x"}) == Stain("x")
    strength = from_plain(Stain, {"name": "x", "strength": 2}).strength
    assert (strength, type(strength)) == (2.0, float)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"note": 3}, r"^note must be text or null, but is 3$"),
        ({"stain": {"name": "x", "strength": "1"}}, r"^stain\.strength must be a number, but is '1'$"),
        ({"stain": {"name": "x", "strength": True}}, r"^stain\.strength must be a number, but is True$"),
        ({"stain": []}, r"^stain must be an object, but is \[\]$"),
        ({"stain": {}}, r"^stain\.name is missing$"),
        ({"spans": {"area": [1, "x"]}}, r"^spans\[\.\.\.\]\[1\] must be a number or null, but is text$"),
        ({"spans": {"area": [1]}}, r"^spans.*length 2"),
        ({"cell_types": ["martian"]}, r"^cell_types\[0\]: Invalid enum value 'martian'$"),
        ({"cell_types": "monocyte"}, r"^cell_types must be a list, but is 'monocyte'$"),
        ({"made": "yesterday"}, r"^made: Invalid RFC3339"),
        ({"stain": None, "note": 3}, r"^stain must be an object, but is None$"),
        ({"path": 3}, r"^path: .*not int$"),
        (
            {"note": "x", "notes": "y"},
            r"^unknown fields notes; known are cell_types, made, note, path, scores, spans, stain$",
        ),
        ({"stain": {"name": "x", "colour": 1, "age": 2}}, r"^unknown fields age, colour; known are name, strength$"),
    ],
)
def test_what_is_wrong_is_named_with_what_came_and_what_was_expected(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(RecordError, match=words):
        from_plain(Slide, PLAIN | changes)


def test_a_value_in_an_error_is_cut_short() -> None:
    with pytest.raises(RecordError) as caught:
        from_plain(Slide, PLAIN | {"made": ["x" * 10_000] * 100})
    assert len(str(caught.value)) < 300


def test_fields_of_a_later_version_are_passed_over_where_that_is_asked_for() -> None:
    assert from_plain(Slide, PLAIN | {"notes": "y"}, others=True) == SLIDE


def test_a_records_own_check_speaks_for_itself() -> None:
    with pytest.raises(UsageError, match=r"^a slide needs a cell type$"):
        from_plain(Slide, PLAIN | {"cell_types": []})
    with pytest.raises(ModelError, match=r"^not with a stain that takes away$"):
        from_plain(Slide, PLAIN | {"stain": {"name": "x", "strength": -1}})


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, b"\xff", "{} {}"])
def test_text_that_is_no_json_is_refused_in_words(text: str | bytes) -> None:
    with pytest.raises(RecordError, match=r"^expected JSON, but it is not"):
        parsed(text)


def test_numbers_that_only_python_writes_are_read() -> None:
    assert math.isnan(from_json(Stain, '{"name": "x", "strength": NaN}').strength)


def test_what_has_no_place_in_a_record_is_no_text() -> None:
    with pytest.raises(TypeError, match="set has no place in a record"):
        to_json({"a": {1}})


# --- what is shipped, read and written again, is the same to the byte ---


@pytest.mark.parametrize("path", SHIPPED, ids=[path.parent.name for path in SHIPPED])
def test_a_shipped_populations_description_keeps_its_bytes(path: Path) -> None:
    assert Population.from_json(path.read_text(encoding="utf-8"), path.name).to_json().encode() == path.read_bytes()


def test_what_lies_beside_the_shipped_model_keeps_its_bytes() -> None:
    entry = find_model(folder=ROOT / "assets" / "models")
    assert entry.reliability is not None
    assert entry.novelty is not None
    assert agreement.to_json(agreement.load_report(entry.reliability)).encode() == entry.reliability.read_bytes()
    assert novelty.to_json(novelty.load(entry.novelty, entry.sha256)).encode() == entry.novelty.read_bytes()


def test_the_shipped_models_card_keeps_its_bytes() -> None:
    for row in load_manifest(ROOT / "assets" / "models")["models"].values():
        card = json.loads(ModelCard.from_plain(row["card"], "").to_json())
        retired = ("finder", "coarse_size")
        assert {name: value for name, value in row["card"].items() if name not in retired}.items() <= card.items()


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, '{"a": ' * 100_000, '"\\ud83d"', '{"\\uDC00": 1}', b'"\xed\xa0\x80"', '["\ud83d"]'],
    ids=["brackets", "objects", "half a pair", "its other half", "as bytes", "as it is"],
)
def test_what_nothing_can_hold_or_show_is_no_json(text):
    with pytest.raises(RecordError, match="expected JSON"):
        parsed(text)


def test_a_whole_pair_and_a_backslash_before_a_u_are_text():
    assert parsed('"\\ud83d\\ude00"') == "\N{GRINNING FACE}"
    assert parsed('"C:\\\\ud800"') == "C:\\ud800"


def test_what_is_nested_too_deeply_for_a_record_is_told():
    deep: Any = 1
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(RecordError):
        from_plain(Stain, {"name": deep})

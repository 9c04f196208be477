import json
from datetime import UTC, datetime

import numpy as np
import pytest

from core.domain.errors import StoreError
from core.domain.types import BoundingBox, LabelMap
from core.image.synthetic import draw_cell
from core.store import outline_log
from core.store.outline_log import (
    CellKey,
    ModelOutline,
    OutlineStatus,
    OutlineVerdict,
    forget,
    keep_mask,
    kept_mask,
    mask_sha256,
    standing,
    without_ring,
)

WHEN = datetime(2026, 11, 29, 15, 20, tzinfo=UTC)
CELL = CellKey("a" * 64, 2, (40, 50), BoundingBox(1, 2, 50, 40))


def verdict(number: str = "1", status: OutlineStatus = OutlineStatus.ACCEPTED, **more: object) -> OutlineVerdict:
    fields = {
        "who": "Ä. Reader",
        "cell": CELL,
        "base": ModelOutline("m", "b" * 64),
        "on": None,
        "mask_sha256": "b" * 64,
    }
    return OutlineVerdict(id=number, when=WHEN, status=status, **(fields | more))  # type: ignore[arg-type]


def add(root, *verdicts: OutlineVerdict, rows: bool = False) -> None:
    with outline_log.deciding(root) as decisions:
        for one in verdicts:
            decisions.add(one, {"cell_id": one.cell.name} if rows else None)


def test_a_verdict_is_one_line_and_comes_back(tmp_path):
    sent = verdict(why="line\nand", reasons=("pale",), dice={"cell": 0.94}, tools={"push": 4}, seconds=38.0, blind=True)
    add(tmp_path, sent)
    (line,) = (tmp_path / "corrections" / "outlines.jsonl").read_bytes().splitlines()
    assert json.loads(line)["v"] == 1
    (found,) = outline_log.read(tmp_path).records
    assert vars(found) == vars(sent)
    assert found.reason == "pale; line\nand"


def test_a_later_version_may_say_more(tmp_path):
    add(tmp_path, verdict())
    path = tmp_path / "corrections" / "outlines.jsonl"
    path.write_text(path.read_text().replace('"v": 1', '"v": 1, "mood": "calm"'))
    assert len(outline_log.read(tmp_path).records) == 1


@pytest.mark.parametrize("torn", [b'{"id": "2"', b"\xff", b"[1]", b'{"id": 7}'])
def test_r22_a_torn_last_line_is_told_and_the_next_verdict_stands_on_its_own(tmp_path, torn):
    add(tmp_path, verdict("1"))
    with (tmp_path / "corrections" / "outlines.jsonl").open("ab") as file:
        file.write(torn)
    add(tmp_path, verdict("3"))
    content = outline_log.read(tmp_path)
    assert [one.id for one in content.records] == ["1", "3"]
    assert "line 2 is damaged and was left out; correct that cell again" in str(content.problems[0])


def test_cells_are_told_apart_by_image_number_place_or_their_id_in_the_cohort():
    names = {
        CELL.name,
        CellKey("a" * 64, 1, (40, 50), CELL.place).name,
        CellKey("a" * 64, 2, (40, 50), BoundingBox(1, 3, 50, 40)).name,
        CellKey("a" * 64, 2, (40, 50)).name,
        CellKey("a" * 64, 2, (40, 50), CELL.place, "mono:aaa:2").name,
    }
    assert len(names) == 5


def test_the_last_verdict_holds_until_it_is_taken_back():
    history = [verdict("1"), verdict("2", OutlineStatus.CORRECTED)]
    assert standing(history).id == "2"
    assert standing([*history, verdict("3", OutlineStatus.TAKEN_BACK)]) is None
    assert standing([]) is None


def test_a_time_without_a_zone_is_none():
    with pytest.raises(StoreError, match="time zone"):
        OutlineVerdict(
            "1",
            datetime(2026, 1, 1),
            "A",
            CELL,
            ModelOutline("m", "b"),
            None,
            OutlineStatus.ACCEPTED,
            "b",
        )


def test_identifiers_sort_by_time_and_never_come_twice():
    made = [outline_log.new_id() for _ in range(500)]
    assert len(set(made)) == 500
    assert [number[:12] for number in made] == sorted(number[:12] for number in made)


@pytest.mark.parametrize("shape", [(1, 1), (50, 51), (333, 200)])
@pytest.mark.parametrize("value", [0, 2, 3, None])
def test_r7_a_mask_comes_back_to_the_pixel_whatever_it_holds(tmp_path, shape, value):
    rng = np.random.default_rng(0)
    labels = np.full(shape, value, np.uint8) if value is not None else rng.choice(np.array([0, 2, 3], np.uint8), shape)
    name = keep_mask(tmp_path, LabelMap(labels))
    assert (kept_mask(tmp_path, name) == labels).all()


def test_a_mask_has_the_name_of_its_content_and_is_kept_once(tmp_path):
    labels = draw_cell()[1]
    assert mask_sha256(labels) == mask_sha256(without_ring(labels)) == keep_mask(tmp_path, labels)
    other = LabelMap(np.ascontiguousarray(without_ring(labels).T))
    assert mask_sha256(other) != mask_sha256(labels)
    keep_mask(tmp_path, labels)
    assert len(list((tmp_path / "corrections" / "masks").iterdir())) == 1


def test_a_mask_that_is_gone_or_exchanged_is_told(tmp_path):
    name = keep_mask(tmp_path, draw_cell(1)[1])
    other = keep_mask(tmp_path, draw_cell(2)[1])
    folder = tmp_path / "corrections" / "masks"
    (folder / f"{name}.png").write_bytes((folder / f"{other}.png").read_bytes())
    with pytest.raises(StoreError, match="not the outline that was kept"):
        kept_mask(tmp_path, name)
    (folder / f"{other}.png").unlink()
    with pytest.raises(StoreError, match="cannot be read"):
        kept_mask(tmp_path, other)


def test_r32_nothing_but_masks_is_a_picture(tmp_path):
    """A search for the first bytes of PNG, JPEG, TIFF, GIF and WebP files."""
    keep_mask(tmp_path, draw_cell()[1])
    add(tmp_path, verdict(), rows=True)
    pictures = [
        path.relative_to(tmp_path).as_posix()
        for path in tmp_path.rglob("*")
        if path.is_file()
        and any(
            start in path.read_bytes() for start in (b"\x89PNG", b"\xff\xd8\xff", b"II*\0", b"MM\0*", b"GIF8", b"RIFF")
        )
    ]
    assert len(pictures) == 1
    assert pictures[0].startswith("corrections/masks/")


def test_what_is_forgotten_leaves_no_name_no_row_and_no_mask(tmp_path):
    gone, kept = (keep_mask(tmp_path, draw_cell(seed)[1]) for seed in (1, 2))
    add(tmp_path, verdict("1", who="Gone", mask_sha256=gone), rows=True)
    add(tmp_path, verdict("2", who="Stays", mask_sha256=kept, on="1"), rows=True)
    assert [one.id for one in forget(tmp_path, lambda one: one.who == "Gone")] == ["1"]
    (left,) = outline_log.read(tmp_path).records
    assert (left.id, left.on) == ("2", None)
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or b"Gone" not in path.read_bytes()
    assert [path.stem for path in (tmp_path / "corrections" / "masks").iterdir()] == [kept]
    assert '"decisions": 1' in (tmp_path / "corrections" / "forgotten.jsonl").read_text()
    assert forget(tmp_path / "nowhere", lambda _: True) == []


def test_an_outline_that_somebody_else_accepted_outlives_who_drew_it(tmp_path):
    mask = keep_mask(tmp_path, draw_cell(1)[1])
    add(tmp_path, verdict("1", OutlineStatus.CORRECTED, who="Gone", mask_sha256=mask, drawn_in="1"), rows=True)
    add(tmp_path, verdict("2", who="Stays", mask_sha256=mask, drawn_in="1", on="1"))
    forget(tmp_path, lambda one: one.who == "Gone")
    rows = outline_log.rows_of(tmp_path).read_text().splitlines()
    assert [json.loads(line)["id"] for line in rows] == ["1"]
    assert kept_mask(tmp_path, mask).any()

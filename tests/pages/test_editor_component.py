"""What the editor sends to the browser, and that nothing is taken from it that does not fit.

That it is drawn in is shown by the browser's tests.
"""

import base64
import io
import json
import time
import tracemalloc
from datetime import UTC, datetime

import numpy as np
import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from core.domain.types import CellImage, as_label_map
from core.image.runs import decode_runs, encode_runs
from pages._ui.components.editor.editor import (
    MOST_REASONS,
    MOST_WHO,
    MOST_WHY,
    ActKind,
    Canvas,
    packed,
    read_act,
    read_edit,
)
from pages._ui.components.editor.markup import HTML
from pages._ui.components.editor_news.editor_news import News, Said, packed_news

MOST_STROKE_BYTES, MOST_LARGE_BYTES = 8_000, 32_000
REFUSED_WITHIN_S = 0.05
REV = 1_796_070_128_336


def disc(side, share=0.35):
    y, x = np.ogrid[:side, :side]
    far = np.hypot(x - side / 2, y - side / 2) / side
    return as_label_map(np.where(far < share / 2, 3, np.where(far < share, 2, 0)).astype(np.uint8))


def canvas_of(side=64, **more):
    image = CellImage(np.zeros((side, side, 3), np.uint8), "cell.png", "0" * 64, 0.1)
    return Canvas("this", image, disc(side), disc(side), **more)


CANVAS = canvas_of()
EDIT = {"id": "this", "rev": REV, "runs": encode_runs(disc(64)), "again": 0}
ACT = EDIT | {
    "n": REV + 1,
    "kind": "reject",
    "who": " A. Reader ",
    "why": "smudge\nover it",
    "reasons": ["smudge"],
    "pieces": 1,
    "tools": {"push": 4, "drop": 1},
    "seconds": 38.5,
    "blind": False,
}


def varint(*codes):
    sent = bytearray()
    for code in codes:
        while code > 127:
            sent.append(code & 127 | 128)
            code >>= 7
        sent.append(code)
    return base64.b64encode(bytes(sent)).decode()


def test_the_browser_is_sent_the_image_and_the_outlines_as_they_are(synthetic_cell):
    image, labels = synthetic_cell
    others = np.zeros(image.shape, bool)
    others[:9, :30] = True
    when = datetime(2026, 11, 29, 14, 32, tzinfo=UTC)
    sent = packed(Canvas("a", image, labels, disc(360), others, blind=True, draft=(disc(360, 0.2), when)))
    json.dumps(sent)
    assert (sent["id"], sent["width"], sent["height"], sent["blind"]) == ("a", 360, 360, True)
    head, data = sent["image"].split(",")
    assert head == "data:image/png;base64"
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))), image.rgb)
    assert np.array_equal(decode_runs(sent["model"], (360, 360)), np.where(labels == 1, 0, labels))
    assert np.array_equal(decode_runs(sent["start"], (360, 360)), disc(360))
    assert np.array_equal(decode_runs(sent["keep_out"], (360, 360)) == 2, others)
    assert np.array_equal(decode_runs(sent["draft"]["runs"], (360, 360)), disc(360, 0.2))
    assert sent["draft"]["when"] == when.timestamp() * 1000


def test_a_stroke_takes_a_kilobyte_or_two(synthetic_cell):
    _, labels = synthetic_cell
    large = labels.repeat(6, axis=0).repeat(6, axis=1)[:2000, :2000]
    # With each stroke goes the last act, as both are the state of one component.
    for one, most in ((labels, MOST_STROKE_BYTES), (large, MOST_LARGE_BYTES)):
        runs = encode_runs(one)
        assert len(json.dumps({"edit": EDIT | {"runs": runs}, "act": ACT | {"runs": runs}})) < most


def test_an_edit_is_taken_as_it_was_drawn():
    edit = read_edit(EDIT, CANVAS)
    assert edit is not None
    assert (edit.ident, edit.rev) == ("this", REV)
    assert np.array_equal(edit.labels, disc(64))


def test_an_act_is_taken_with_all_that_was_said():
    act = read_act(ACT, CANVAS)
    assert act is not None
    assert (act.kind, act.number, act.rev) == (ActKind.REJECT, REV + 1, REV)
    assert (act.who, act.why, act.reasons) == ("A. Reader", "smudge\nover it", ("smudge",))
    assert (act.pieces, act.tools, act.seconds, act.blind) == (1, {"push": 4, "drop": 1}, 38.5, False)
    assert np.array_equal(act.labels, disc(64))


@pytest.mark.parametrize("kind", list(ActKind))
def test_every_act_of_the_page_is_known(kind):
    act = read_act(ACT | {"kind": kind.value}, CANVAS)
    assert act is not None
    assert act.kind is kind
    assert f'data-act="{kind.value}"' in HTML


def test_only_of_a_cell_that_was_offered_blind_can_it_be_said():
    blind = canvas_of(blind=True)
    assert [read_act(ACT | {"blind": sent}, blind).blind for sent in (True, False, 1)] == [True, False, False]
    assert not read_act(ACT | {"blind": True}, CANVAS).blind


NO_EDITS = {
    "nothing": None,
    "a list": [EDIT],
    "words": "edit",
    "another cell": EDIT | {"id": "that"},
    "no cell": {key: value for key, value in EDIT.items() if key != "id"},
    "revision in words": EDIT | {"rev": "1"},
    "revision below 0": EDIT | {"rev": -1},
    "revision no number": EDIT | {"rev": True},
    "revision no whole number": EDIT | {"rev": 1.5},
    "revision too large": EDIT | {"rev": 2**70},
    "no runs": EDIT | {"runs": None},
    "empty runs": EDIT | {"runs": ""},
    "bytes": EDIT | {"runs": b"AAAA"},
    "no base64": EDIT | {"runs": "\u00e4" * 40},
    "another size": EDIT | {"runs": encode_runs(disc(63))},
    "a run too long": EDIT | {"runs": varint(64 * 64 * 4 + 4)},
    "a run too short": EDIT | {"runs": varint(64 * 64 * 4 - 4)},
    "a run of nothing": EDIT | {"runs": varint(64 * 64 * 4, 2)},
    "environment": EDIT | {"runs": varint(64 * 64 * 4 + 1)},
    "a run that goes round": EDIT | {"runs": varint(2**34, 64 * 64 * 4)},
    "a run of many bytes": EDIT | {"runs": varint(2**90)},
    "a run cut off": EDIT | {"runs": base64.b64encode(b"\xff\xff").decode()},
}


@pytest.mark.parametrize("sent", NO_EDITS.values(), ids=NO_EDITS)
def test_what_is_no_edit_of_this_cell_is_refused(sent):
    assert read_edit(sent, CANVAS) is None
    if isinstance(sent, dict):
        assert read_act(ACT | sent if "id" in sent else sent, CANVAS) is None


NO_ACTS = {
    "no number": {"n": None},
    "number below 0": {"n": -1},
    "number infinite": {"n": float("inf")},
    "unknown kind": {"kind": "delete"},
    "kind no word": {"kind": ["save"]},
    "nobody": {"who": None},
    "name too long": {"who": "x" * (MOST_WHO + 1)},
    "half a character": {"who": "\ud800"},
    "words too long": {"why": "x" * (MOST_WHY + 1)},
    "reasons no list": {"reasons": "smudge"},
    "too many reasons": {"reasons": ["x"] * (MOST_REASONS + 1)},
    "reason too long": {"reasons": ["x" * 61]},
    "reason no word": {"reasons": [5]},
    "pieces below 0": {"pieces": -1},
    "too many pieces": {"pieces": 10**9},
    "tools no list": {"tools": ["push"]},
    "unknown tool": {"tools": {"axe": 1}},
    "tool used in part": {"tools": {"push": 0.5}},
    "time below 0": {"seconds": -0.1},
    "no time": {"seconds": float("nan")},
    "time in words": {"seconds": "5"},
    "time too long": {"seconds": 10**400},
}


@pytest.mark.parametrize("wrong", NO_ACTS.values(), ids=NO_ACTS)
def test_an_act_of_which_any_part_does_not_fit_is_refused(wrong):
    assert read_act(ACT | wrong, CANVAS) is None


@pytest.mark.parametrize(
    "runs",
    ["A" * 30_000_000, varint(*[4 * 4, 4 * 4 + 2] * 500_000), varint(*[4] * 4_000_000), "/" * 5_000_000],
    ids=["30 MB", "a million runs that fit", "four million runs that fit", "one run without an end"],
)
def test_the_largest_messages_are_refused_at_once_and_take_no_memory(runs):
    large = canvas_of(2000)
    sent = EDIT | {"runs": runs}
    before = time.perf_counter()
    assert read_edit(sent, large) is None
    assert time.perf_counter() - before < REFUSED_WITHIN_S
    tracemalloc.start()
    read_edit(sent, large)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 2 * large.image.rgb.nbytes


def test_an_outline_of_the_most_runs_takes_no_more_than_twice_the_image():
    large = canvas_of(2000)
    runs = varint(*[4 * 16, 4 * 16 + 2] * 125_000)
    assert read_edit(EDIT | {"runs": runs}, large) is not None
    tracemalloc.start()
    read_edit(EDIT | {"runs": runs}, large)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 2 * large.image.rgb.nbytes


def test_the_ragged_outline_of_a_small_cell_is_taken():
    rng = np.random.default_rng(0)
    labels = np.where(rng.random((50, 50)) < 0.5, 2, 0).astype(np.uint8)
    assert np.array_equal(decode_runs(encode_runs(labels), (50, 50)), labels)


def test_the_news_are_those_that_the_editor_reads():
    said = packed_news(News("a", 5, "A. R.", Said(7, ok=True, words="saved"), 5, "corrected", "1 of 2", has_next=True))
    assert said == {
        "id": "a",
        "measured": 5,
        "who": "A. R.",
        "said": {"n": 7, "ok": True, "words": "saved"},
        "saved": {"rev": 5},
        "status": "corrected",
        "position": "1 of 2",
        "has_next": True,
        "has_previous": False,
        "read_only": False,
    }
    assert packed_news(News("a"))["said"] is packed_news(News("a"))["saved"] is None


def page():
    import numpy as np
    import streamlit as st

    from core.domain.types import CellImage, as_label_map
    from pages._ui.components.editor.editor import Canvas, editor
    from pages._ui.components.editor_news.editor_news import News, tell_editor

    ident = st.text_input("cell", "first")
    labels = as_label_map(np.zeros((20, 20), np.uint8))
    image = CellImage(np.zeros((20, 20, 3), np.uint8), "cell.png", "0" * 64)
    editor(Canvas(ident, image, labels, labels), on_edit=lambda _: None, on_act=lambda _: None)
    tell_editor(News(ident))


def test_the_message_stays_the_same_while_the_cell_does():
    app = AppTest.from_function(page).run()
    assert not app.exception
    first = app.session_state["leukoscope_editor_packed"]
    assert app.run().session_state["leukoscope_editor_packed"] is first
    app.text_input[0].set_value("second").run()
    assert app.session_state["leukoscope_editor_packed"]["id"] == "second"

"""Correcting on the pages, without a browser: what is shown, and what follows from decisions."""

import gc
import json
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from core.corrections import drafts
from core.corrections.deciding import Decision, decide, history
from core.corrections.opening import open_analysed
from core.domain.types import LabelMap
from core.image.imaging import decode, encode_png
from core.image.runs import decode_runs, encode_runs
from core.image.synthetic import SYNTHETIC_CELLS, draw_cell
from core.pipeline import analyse, remeasured
from core.segmentation.model_registry import find_model
from core.segmentation.segmenter import OnnxSegmenter
from core.store.outline_log import OutlineStatus, without_ring
from pages._ui.components.editor.editor import Act, ActKind, DrawnOutline
from pages._ui.correcting import hand as hands
from pages._ui.correcting.hand import Hand, Walk
from pages._ui.correcting.reviewing import progress
from tests.pages.conftest import texts

PAGE = "pages/1_Single_cell.py"


@pytest.fixture(scope="module")
def png() -> bytes:
    return encode_png(draw_cell(3, SYNTHETIC_CELLS["lymphocyte"])[0].rgb)


@pytest.fixture(scope="module")
def segmenter():
    return OnnxSegmenter.from_entry(find_model())


@pytest.fixture(scope="module")
def cell(png, segmenter):
    return open_analysed(analyse(decode(png, "cell.png"), segmenter), model_sha256=find_model().sha256)


def narrowed(cell) -> LabelMap:
    labels = without_ring(cell.analysis.segmentation.labels).copy()
    labels[: np.flatnonzero(labels.any(axis=1))[0] + 15] = 0
    return LabelMap(labels)


def measured(open_page, png):
    app = open_page(PAGE)
    app.file_uploader[0].set_value(("cell.png", png, "image/png")).run()
    app.button(key="calculate").click().run()
    assert not app.exception
    return app


def component(app, key: str) -> dict | None:
    found = [element.proto for element in app.get("bidi_component") if element.proto.id.endswith(f"-{key}")]
    return json.loads(found[0].json) if found else None


def test_the_editor_is_there_when_it_is_asked_for_with_the_models_outline(open_page, png, cell):
    app = measured(open_page, png)
    assert component(app, "editor") is None
    app.toggle(key="correct_outline").set_value(True).run()
    assert not app.exception
    data, news = component(app, "editor"), component(app, "editor_news")
    shape = (data["height"], data["width"])
    assert shape == cell.analysis.image.shape
    model = without_ring(cell.analysis.segmentation.labels)
    assert (decode_runs(data["model"], shape) == model).all()
    assert data["start"] == data["model"]
    assert (news["id"], news["measured"], news["status"], news["who"]) == (data["id"], 0, None, "")
    assert component(app, "viewer") is None


def test_a_correction_is_used_when_the_same_file_is_opened_again_and_can_be_left_out(
    open_page, png, cell, segmenter, tmp_path
):
    corrected = remeasured(cell.analysis, narrowed(cell), segmenter)
    decide(tmp_path / "cohort", cell, Decision(OutlineStatus.CORRECTED, "A. *Reader*", None, corrected))
    app = measured(open_page, png)
    said = texts(app)
    assert "A person corrected the outline" in said
    assert "Trust: measured for the model's outlines, and not known for one that a person corrected" in said
    assert "**A. *Reader*** corrected, Dice to the model's 0.9" in said
    assert {"Model's mask (PNG)", "Mask (PNG)"} <= {button.label for button in app.get("download_button")}
    app.toggle(key="as_drawn").set_value(True).run()
    assert "A person corrected the outline" not in texts(app)
    app.toggle(key="correct_outline").set_value(True).run()
    data = component(app, "editor")
    assert decode_runs(data["start"], (data["height"], data["width"])).sum() == narrowed(cell).sum()
    assert data["start"] != data["model"]
    assert component(app, "editor_news")["status"] == "corrected"


def test_r20_a_draft_is_told_and_offered(open_page, png, cell, tmp_path):
    root = tmp_path / "cohort"
    drafts.keep_draft(root, "ab" * 16, cell.key, narrowed(cell), "cell *1*.png")
    app = open_page()
    app.session_state["leukoscope_browser"] = "ab" * 16
    app.switch_page(PAGE).run()
    assert "Not saved yet: cell *1*.png" in texts(app)
    app.file_uploader[0].set_value(("cell.png", png, "image/png")).run()
    app.button(key="calculate").click().run()
    app.toggle(key="correct_outline").set_value(True).run()
    offered = component(app, "editor")["draft"]
    assert offered["runs"] == encode_runs(narrowed(cell))


# --- what comes from the browser --------------------------------------------------------------------------------------


@pytest.fixture
def session(monkeypatch, tmp_path):
    """A session outside of a page: what it keeps is a dictionary."""
    kept: dict[str, object] = {}
    monkeypatch.setattr("streamlit.session_state", kept)
    monkeypatch.setenv("LEUKOSCOPE_COHORT", str(tmp_path / "cohort"))
    return kept


def act(kind: ActKind, labels: LabelMap, **more: object) -> Act:
    fields = {
        "ident": "x", "number": 7, "rev": 3, "who": "A", "why": "", "reasons": (), "pieces": 1, "tools": {},
        "seconds": 2.0,
    }  # fmt: skip
    return Act(kind=kind, labels=labels, **(fields | more))  # type: ignore[arg-type]


def test_a_stroke_is_kept_as_a_draft_before_it_is_measured(session, cell, tmp_path):
    hand = Hand("x", cell.analysis, None)
    hands._take(cell, hand, DrawnOutline("x", 3, narrowed(cell)))
    assert (drafts.kept_draft(tmp_path / "cohort", "this session", cell.key).labels == narrowed(cell)).all()
    assert hand.measured == 0
    hands._measure(cell, hand)
    assert hand.measured == 3
    assert hand.analysis.base is cell.analysis.segmentation


def test_r23_a_draft_that_the_disk_refuses_is_told_and_the_stroke_is_measured_all_the_same(session, cell, tmp_path):
    (tmp_path / "cohort").write_bytes(b"")
    hand = Hand("x", cell.analysis, None)
    hands._take(cell, hand, DrawnOutline("x", 3, narrowed(cell)))
    assert "cannot write" in hand.problem
    assert "this browser keeps its own" in hand.problem
    hands._hear(cell, hand, act(ActKind.ACCEPT, narrowed(cell)), Walk())
    assert not hand.said.ok
    assert "annot write" in hand.said.words


def test_r27_accept_goes_on_to_the_next_cell_and_save_stays(session, cell, tmp_path):
    gone: list[str] = []
    walk = Walk("1 of 2", lambda: gone.append("next"), lambda: gone.append("previous"), lambda: gone.append("close"))
    hand = Hand("x", cell.analysis, None)
    hands._hear(cell, hand, act(ActKind.ACCEPT, without_ring(cell.analysis.segmentation.labels)), walk)
    assert (hand.said.ok, gone) == (True, ["next"])
    hands._take(cell, hand, DrawnOutline("x", 4, narrowed(cell)))
    hands._measure(cell, hand)
    hands._hear(cell, hand, act(ActKind.SAVE, narrowed(cell), rev=4), walk)
    assert (hand.said.words[:5], hand.saved, gone) == ("Saved", 4, ["next"])
    for kind, way in ((ActKind.PREVIOUS, "previous"), (ActKind.CLOSE, "close")):
        hands._hear(cell, hand, act(kind, narrowed(cell)), walk)
        assert gone[-1] == way
    assert [one.status for one in history(tmp_path / "cohort", cell)] == ["accepted", "corrected"]
    assert drafts.kept_draft(tmp_path / "cohort", "this session", cell.key) is None


def test_r28_without_a_name_nothing_is_kept_and_nothing_is_lost(session, cell, tmp_path):
    hand = Hand("x", cell.analysis, None)
    hands._hear(cell, hand, act(ActKind.ACCEPT, narrowed(cell), who=""), Walk())
    assert (hand.said.ok, hand.tip) == (False, None)
    assert "name of who decides" in hand.said.words
    hands._hear(cell, hand, act(ActKind.ACCEPT, narrowed(cell), who="Ann"), Walk())
    hands._hear(cell, hand, act(ActKind.UNSURE, narrowed(cell), who="", why="pale"), Walk())
    assert [one.who for one in history(tmp_path / "cohort", cell)] == ["Ann", "Ann"], "asked once in a session"


def test_r21_after_a_conflict_the_second_save_passes(session, cell, tmp_path):
    hand = Hand("x", cell.analysis, None)
    decide(tmp_path / "cohort", cell, Decision(OutlineStatus.ACCEPTED, "First"))
    hands._hear(cell, hand, act(ActKind.REJECT, narrowed(cell), reasons=("smudge",)), Walk())
    assert not hand.said.ok
    assert "First has decided" in hand.said.words
    hands._hear(cell, hand, act(ActKind.REJECT, narrowed(cell), reasons=("smudge",)), Walk())
    assert hand.said.ok
    assert [one.who for one in history(tmp_path / "cohort", cell)] == ["First", "A"]


def test_an_outline_saved_as_the_model_drew_it_is_accepted(session, cell, tmp_path):
    hand = Hand("x", cell.analysis, None)
    hands._take(cell, hand, DrawnOutline("x", 4, without_ring(cell.analysis.segmentation.labels)))
    hands._measure(cell, hand)
    hands._hear(cell, hand, act(ActKind.SAVE, without_ring(cell.analysis.segmentation.labels), rev=4), Walk())
    assert [one.status for one in history(tmp_path / "cohort", cell)] == ["accepted"]


def test_a_discarded_draft_is_gone(session, cell, tmp_path):
    hand = Hand("x", cell.analysis, None)
    hands._take(cell, hand, DrawnOutline("x", 4, narrowed(cell)))
    hands._hear(cell, hand, act(ActKind.DISCARD, narrowed(cell)), Walk())
    assert drafts.kept_draft(tmp_path / "cohort", "this session", cell.key) is None


def test_r27_progress_in_words():
    names = [f"cell {number}" for number in range(200)]
    statuses = [OutlineStatus.ACCEPTED] * 30 + [OutlineStatus.CORRECTED] * 5 + [OutlineStatus.REJECTED] * 2
    decided = dict(zip(names, statuses, strict=False)) | {"of another list": OutlineStatus.UNSURE}
    assert progress(names, decided) == "37 of 200 seen: 30 accepted, 5 corrected, 2 rejected"
    assert progress(names[:3], {}) == "0 of 3 seen"


def test_r10_what_the_page_shows_is_what_the_command_line_measures(session, cell, segmenter):
    hand = Hand("x", replace(cell.analysis), None)
    hands._take(cell, hand, DrawnOutline("x", 4, narrowed(cell)))
    hands._measure(cell, hand)
    assert hand.analysis.features.values == remeasured(cell.analysis, narrowed(cell), segmenter).features.values


def test_r5_fifty_strokes_leave_hardly_anything_in_the_session(session, cell):
    hand = Hand("x", cell.analysis, None)

    def strokes(number: int) -> None:
        for count in range(number):
            labels = narrowed(cell)
            labels[:, : 100 + count % 5] = 0
            hands._take(cell, hand, DrawnOutline("x", count + 1, labels))
            hands._measure(cell, hand)

    strokes(5)
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    strokes(50)
    gc.collect()
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert grown < 5 * 2**20

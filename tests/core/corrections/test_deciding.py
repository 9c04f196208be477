import hashlib
import multiprocessing
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from core.corrections.deciding import agreement, decide, history, judged
from core.corrections.opening import open_analysed
from core.domain.errors import ConflictError, StoreError, UsageError
from core.domain.flags import OUTLINE_CORRECTED, OUTLINE_REJECTED, OUTLINE_UNSURE, raised
from core.domain.settings import ROOT, load_settings
from core.domain.types import LabelMap
from core.features.catalogue import CATALOGUE
from core.features.extract import extract
from core.image.masks import with_environment
from core.pipeline import remeasured
from core.store import outline_log
from core.store.outline_log import OutlineStatus, kept_mask
from core.store.overlay import corrected_rows
from tests.core.corrections.conftest import saying
from tests.populations import analysed

ACCEPTED, CORRECTED, REJECTED, UNSURE, TAKEN_BACK = OutlineStatus


def test_r10_the_same_labels_give_the_same_values_as_the_command_line(opened, drawn, corrected):
    values = extract(opened.analysis.image.rgb, with_environment(drawn)).values
    assert len(values) == len(CATALOGUE)
    assert corrected.features.values == values


def test_r13_a_corrected_cell_has_no_doubt_of_the_model(opened, drawn, segmenter):
    doubted = replace(
        opened.analysis,
        segmentation=replace(opened.analysis.segmentation, confidence=0.3),
        flags=(raised("doubtful_outline", quality=0.3, usual=0.95),),
    )
    codes = {flag.code for flag in remeasured(doubted, drawn, segmenter).flags}
    assert OUTLINE_CORRECTED in codes
    assert not codes & {"doubtful_outline", "takes_in_neighbour", "cuts_off"}
    found = remeasured(doubted, drawn, segmenter)
    assert (found.segmentation.confidence, found.outline_quality, found.certainty) == (None, None, None)
    assert found.base is doubted.segmentation


@pytest.mark.parametrize(("drawing", "code"), [(0, "no_cell"), (2, "no_nucleus")])
def test_r13_what_is_missing_is_told(opened, drawn, segmenter, drawing, code):
    labels = LabelMap(np.minimum(drawn, np.uint8(drawing)))
    assert code in {flag.code for flag in remeasured(opened.analysis, labels, segmenter).flags}


def test_a_correction_is_kept_beside_the_model_and_comes_back_to_the_pixel(root, opened, drawn, corrected):
    verdict = decide(root, opened, saying(CORRECTED, corrected=corrected, why="touching red cell", tools={"push": 2}))
    assert (kept_mask(root, verdict.mask_sha256) == drawn).all()
    base = outline_log.without_ring(opened.analysis.segmentation.labels)
    assert (kept_mask(root, verdict.base.mask_sha256) == base).all()
    assert verdict.dice == agreement(base, drawn)
    assert 0.8 < verdict.dice["cell"] < 1
    (again,) = history(root, opened)
    assert (again.who, again.why, again.tools, again.on) == ("A. Reader", "touching red cell", {"push": 2}, None)
    row = corrected_rows(root, {verdict.id})[verdict.id]
    assert {name: row[name] for name in CATALOGUE} == corrected.features.values
    assert (row["outline_by"], row["confidence"], row["model_confidence"]) == ("person", None, 0.97)
    assert OUTLINE_CORRECTED in row["quality_flags"]


def test_r28_who_decides_must_be_said_and_nothing_is_kept_without(root, opened):
    with pytest.raises(UsageError, match="name of who decides"):
        decide(root, opened, saying(ACCEPTED, who="  "))
    assert history(root, opened) == ()


@pytest.mark.parametrize("status", [REJECTED, UNSURE])
def test_a_reason_is_asked_for_whoever_rejects_or_doubts(root, opened, status):
    with pytest.raises(UsageError, match="a reason why the outline is"):
        decide(root, opened, saying(status))
    assert decide(root, opened, saying(status, reasons=("out of focus",))).reason == "out of focus"


def test_r11_a_cell_with_an_unasked_island_is_not_kept_and_an_asked_one_counts_nowhere(root, opened, drawn, segmenter):
    stray = drawn.copy()
    stray[0, 0] = 2
    corrected = remeasured(opened.analysis, LabelMap(stray), segmenter)
    assert not corrected.quality_ok
    assert "several_drawn" in {flag.code for flag in corrected.flags}
    with pytest.raises(UsageError, match="lies in 2 pieces"):
        decide(root, opened, saying(CORRECTED, corrected=corrected))
    assert history(root, opened) == ()
    verdict = decide(root, opened, saying(CORRECTED, corrected=corrected, in_pieces=True))
    assert not corrected_rows(root, {verdict.id})[verdict.id]["quality_ok"]


def test_nothing_drawn_is_no_outline(root, opened, drawn, segmenter):
    empty = remeasured(opened.analysis, LabelMap(np.zeros_like(drawn)), segmenter)
    with pytest.raises(UsageError, match="nothing is drawn"):
        decide(root, opened, saying(CORRECTED, corrected=empty))


def test_r21_a_second_person_is_told_of_the_first_and_both_are_kept(root, opened, corrected):
    first = decide(root, opened, saying(ACCEPTED, who="First"))
    with pytest.raises(ConflictError, match="First has decided on this cell meanwhile"):
        decide(root, opened, saying(CORRECTED, who="Second", corrected=corrected))
    assert [verdict.who for verdict in history(root, opened)] == ["First"]
    second = decide(root, opened, saying(CORRECTED, who="Second", corrected=corrected, on=first.id))
    assert (second.on, [verdict.who for verdict in history(root, opened)]) == (first.id, ["First", "Second"])


def test_take_back_restores_the_models_outline_and_later_decisions_build_on_it(root, opened, corrected):
    saved = decide(root, opened, saying(CORRECTED, corrected=corrected))
    back = decide(root, opened, saying(TAKEN_BACK, on=saved.id))
    assert back.mask_sha256 == saved.base.mask_sha256
    assert outline_log.standing(history(root, opened)) is None
    accepted = decide(root, opened, saying(ACCEPTED, on=back.id))
    assert accepted.mask_sha256 == saved.base.mask_sha256


def test_whoever_accepts_a_correction_accepts_its_outline(root, opened, corrected):
    saved = decide(root, opened, saying(CORRECTED, corrected=corrected))
    assert decide(root, opened, saying(ACCEPTED, who="B", on=saved.id)).mask_sha256 == saved.mask_sha256


@pytest.mark.parametrize(
    ("status", "gone", "new", "good"),
    [
        (ACCEPTED, {"doubtful_outline"}, set(), True),
        (REJECTED, set(), {OUTLINE_REJECTED}, False),
        (UNSURE, set(), {OUTLINE_UNSURE}, False),
    ],
)
def test_a_decision_changes_what_is_said_of_the_cell(root, opened, status, gone, new, good):
    doubtful = replace(opened.analysis, flags=(raised("doubtful_outline", quality=0.5, usual=0.95),))
    verdict = decide(root, opened, saying(status, reasons=("pale",)))
    found = judged(doubtful, verdict)
    assert {flag.code for flag in found.flags} == {"doubtful_outline"} - gone | new
    assert found.quality_ok is good
    assert judged(doubtful, None) is doubtful


def test_r34_the_shipped_folder_takes_no_correction(opened):
    with pytest.raises(StoreError, match="reference populations are shipped"):
        decide(load_settings().reference, opened, saying(ACCEPTED))


def test_r23_a_full_disk_is_told_and_leaves_the_log_as_it_was(root, opened, corrected):
    """A disk that takes no more than 300 bytes at a time, in a process of its own."""
    decide(root, opened, saying(ACCEPTED, why="x" * 400))
    before = {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in root.rglob("*") if path.is_file()}
    script = (
        "import resource, sys; from pathlib import Path; from core.domain.errors import StoreError;"
        " from core.corrections.deciding import Decision, decide, history;"
        " from core.corrections.opening import open_analysed;"
        " from core.store.outline_log import OutlineStatus; from tests.populations import analysed;\n"
        "opened = open_analysed(analysed('lymphocyte', 5)); root = Path(sys.argv[1])\n"
        "last = history(root, opened)[-1].id\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (300, resource.RLIM_INFINITY))\n"
        "try:\n    decide(root, opened, Decision(OutlineStatus.REJECTED, 'B', last, why='y'))\n"
        "except StoreError as error:\n    print(error)\n"
    )
    said = subprocess.run(
        [sys.executable, "-c", script, str(root)], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert said.startswith("cannot write ")
    assert "check the free space" in said
    after = {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in root.rglob("*") if path.is_file()}
    assert after == before


def _save_many(root, name: str, number: int) -> None:
    cell = open_analysed(analysed("lymphocyte", 5))
    for index in range(number):
        key = replace(cell.key, image_sha256=f"{name}{index:063d}")
        decide(root, replace(cell, key=key), saying(ACCEPTED, who=name))


def test_r22_a_thousand_saves_from_four_processes_are_all_whole(root):
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_save_many, args=(root, name, 250)) for name in "abcd"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    content = outline_log.read(root)
    assert content.problems == ()
    for name in "abcd":
        assert sum(verdict.who == name for verdict in content.records) == 250
    assert len({verdict.id for verdict in content.records}) == 1000

"""The registry of flags: every flag that a cell can get is in it, with words for a person."""

import ast

import pytest

from core.domain import flags
from core.domain.flags import (
    FLAGS,
    Severity,
    flag_sentence,
    flag_words,
    flags_told,
    quality_counts,
    quality_word,
    raised,
)
from core.domain.settings import ROOT


def test_what_stands_against_a_cell_agrees_with_the_counts():
    """A cell with only mild flags is counted as good, and is called so where it is shown."""
    assert quality_counts(cells=3, good=2, remarked=1) == "2 good (1 with a remark), 1 left out"
    assert quality_counts(cells=1, good=1, remarked=0) == "1 good, 0 left out"
    assert flags_told([], good=True) == quality_word(good=True) == "good"
    for code, kind in FLAGS.items():
        severe = kind.severity is Severity.REFUSES
        told = flags_told([code], good=not severe)
        assert told == (f"left out: {kind.words}" if severe else f"good; remark: {kind.words}")
    assert flags_told(["from_the_future"], good=False) == "left out; remark: from the future"


KINDS = pytest.mark.parametrize("code", FLAGS)


def calls(*path: str) -> list[ast.Call]:
    tree = ast.parse(ROOT.joinpath("core", *path).read_text(encoding="utf-8"))
    return [node for node in ast.walk(tree) if isinstance(node, ast.Call)]


def codes_given() -> set[str]:
    """The codes with which assessments and the opening of images raise flags, read from their programs."""
    programs = [call for name in ("assessment", "drawn") for call in calls("quality", f"{name}.py")]
    first = [call.args[0] for call in programs if getattr(call.func, "id", "") == "raised"]
    codes = {arg.value if isinstance(arg, ast.Constant) else getattr(flags, arg.id) for arg in first}
    for path in sorted((ROOT / "core" / "image").glob("*.py")):
        remarks = [call for call in calls("image", path.name) if getattr(call.func, "attr", "") == "add"]
        codes |= {call.args[1].value for call in remarks if len(call.args) == 2}
    return codes


def test_a_cell_gets_no_flag_that_the_registry_lacks_and_no_entry_is_dead():
    of_people = {flags.EXCLUDED, flags.OUTLINE_CORRECTED, flags.OUTLINE_REJECTED, flags.OUTLINE_UNSURE}
    assert codes_given() == set(FLAGS) - of_people - {flags.NOT_OK_IN_TABLE}


@KINDS
def test_each_says_what_it_means_for_the_numbers(code):
    told = flag_sentence(code)
    assert told == FLAGS[code].told
    assert told[0].isupper()
    assert told.endswith(".")
    assert FLAGS[code].consequence in told
    assert flag_words(code) == FLAGS[code].words


@KINDS
def test_only_what_refuses_is_severe(code):
    seen = {
        "across": 100.0 if code == "scale_absurd" else "1 um",
        "mend": "or look",
        "area": 3,
        "objects": "one",
        "quality": 0.5,
        "usual": 0.95,
        "what": "a red cell",
        "where": "on the right",
        "why": "the nucleus lies around",
        "place": "upside down",
        "share": 0.5,
        "pieces": "one",
        "note": "page 1 of 2 used",
        "scale": 0.5,
    }
    flag = raised(code, **seen)
    assert (flag.code, flag.severe) == (code, FLAGS[code].severity is Severity.REFUSES)
    assert "{" not in flag.message


def test_a_code_of_another_making_is_told_in_words():
    assert flag_sentence("out_of_gamut") == "Flagged as out of gamut."

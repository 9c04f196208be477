from datetime import UTC, datetime

from core.evaluation.pair_check import CheckedPair, PairRemark, PairUse, conclude, list_pairs, look_at
from core.reports.pairs import picture, sheet
from tests.core.reports.support import Seen, assert_fetches_and_runs_nothing
from tests.pairs import cell_and_mask, save_pair

WHEN = datetime(2026, 12, 1, 9, 30, tzinfo=UTC)
EVIL = "<script>alert(1)</script>\" onload='x'"


def seen(folder, others=()):
    samples, lone = list_pairs(str(folder))
    looked_at = [look_at(sample) for sample in samples]
    pairs = [*(each.pair for each in looked_at), *lone, *others]
    pictures = {each.pair.pair: picture(each) for each in looked_at}
    return sheet(conclude("mine", samples, pairs, 5), pictures, WHEN)


def test_every_pair_is_shown_with_its_words_the_worst_first(tmp_path):
    folder = tmp_path / "mine"
    save_pair(folder, "a", *cell_and_mask())
    save_pair(folder, "b", *cell_and_mask(1, (0, 0, 255, 128)))
    save_pair(folder, "c", b"text", cell_and_mask()[1])
    report = seen(folder)
    assert_fetches_and_runs_nothing(report)
    words = Seen(report).words
    assert words.index("mine/c") < words.index("mine/b") < words.index("mine/a")
    for part in (
        "This file holds copies of the pictures",
        "3 pairs: 2 used as they are, 1 refused",
        "no picture to show",
        "refused: the image c.png: expected a PNG",
        "The regions of the drawn mask are swapped",
        "good: used as it is",
        "360 x 360 pixels, grey levels 0, 128 and 255",
    ):
        assert part in words
    assert report.count("<image href") == 2


def test_both_outlines_are_drawn_and_of_a_mask_that_cannot_be_used_none(tmp_path):
    folder = tmp_path / "mine"
    save_pair(folder, "a", *cell_and_mask())
    save_pair(folder, "b", cell_and_mask(1)[0], cell_and_mask(1)[1][:200])
    good, refused = (picture(look_at(sample)) for sample in list_pairs(str(folder))[0])
    assert good.count('d="M') == 4, "of nucleus and cell, each with its casing"
    assert 'd="M' not in refused
    assert "<image" in refused


def test_names_and_reasons_from_outside_are_text(tmp_path):
    save_pair(tmp_path / "mine", "a", *cell_and_mask())
    evil = CheckedPair(EVIL, PairUse.REFUSED, EVIL, (1, 1), EVIL, remarks=(PairRemark(EVIL, EVIL, doubtful=True),))
    report = seen(tmp_path / "mine", [evil])
    assert_fetches_and_runs_nothing(report)
    assert "<script" not in report
    assert report.count("&lt;script&gt;") == 4

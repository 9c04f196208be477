from core.corrections.deciding import agreement, decide, history
from core.corrections.readers import compared
from core.features.catalogue import KEY_FEATURES
from core.store.outline_log import OutlineStatus, without_ring
from tests.core.corrections.conftest import saying


def test_r30_the_last_outlines_of_two_readers_are_compared(root, opened, drawn, corrected):
    accepted = decide(root, opened, saying(OutlineStatus.ACCEPTED, who="First"))
    assert compared(root, history(root, opened), opened.row) == ()
    decide(root, opened, saying(OutlineStatus.CORRECTED, who="Second", corrected=corrected, on=accepted.id))
    (both,) = compared(root, history(root, opened), opened.row)
    assert (both.one.who, both.other.who) == ("First", "Second")
    assert both.dice == agreement(without_ring(opened.analysis.segmentation.labels), drawn)
    assert both.features == {
        name: (opened.analysis.features.values[name], corrected.features.values[name]) for name in KEY_FEATURES
    }


def test_r30_whoever_only_doubts_has_no_outline_to_compare(root, opened):
    first = decide(root, opened, saying(OutlineStatus.ACCEPTED, who="First"))
    decide(root, opened, saying(OutlineStatus.UNSURE, who="Second", why="pale", on=first.id))
    assert compared(root, history(root, opened), opened.row) == ()

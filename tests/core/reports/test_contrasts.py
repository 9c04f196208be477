"""Contrasts in sentences, as a table and as a report."""

from datetime import UTC, datetime

import pytest

from core.domain.settings import ROOT
from core.evaluation.agreement import Grade
from core.explorer.contrasts import FamilyAgreement, contrast
from core.explorer.selection import Selection
from core.explorer.view import By
from core.features.catalogue import CATALOGUE
from core.features.spec import Aspect, Family
from core.reports.contrasts import agreement, best, html_report, ordered, plain, sentences, to_frame
from core.store.database import Cohort
from tests.laboratories import BARCELONA, JOHNS_HOPKINS
from tests.populations import grades

AREA = "cell_shape2D_PixelSurface"


@pytest.fixture(scope="module")
def found():
    with Cohort.open([ROOT / "assets" / "reference"]) as cohort:
        yield contrast(cohort, Selection(), By.CELL_TYPE, [["monocyte"], ["lymphocyte"]], ("monocyte", "lymphocyte"))


def test_the_best_of_each_aspect_is_said_as_a_haematologist_would(found):
    said = [plain(best(found, aspect, {}), found.names) for aspect in Aspect]
    assert said[0].startswith("Monocytes are larger than lymphocytes (+0.99 in Hospital Clinic Barcelona")
    assert all(text.startswith("Monocytes have ") for text in said[1:])
    fine = found.by_feature["cytoplasm_granularity_Fine"]
    assert "the sources differ in which has more" in plain(fine, found.names)
    unspoken = found.by_feature["cell_shape2D_MajorAxisLength"]
    assert plain(unspoken, found.names).startswith("Cell major axis: higher in monocytes than in lymphocytes")


def test_what_is_poor_leads_nothing_and_comes_last(found):
    reliability = grades({AREA: Grade.POOR}, CATALOGUE)
    assert best(found, Aspect.FORM, reliability).feature != AREA
    assert ordered(found, reliability)[-1].feature == AREA
    frame = to_frame(found, reliability)
    assert frame["feature"].iloc[-1] == AREA
    assert frame["trust"].iloc[-1] == "poor"
    assert frame["aspect"].iloc[:-1].drop_duplicates().tolist() == list(Aspect)


def test_sentences_tell_the_sources_and_their_agreement(found):
    told = sentences(found)
    assert told[0] == f"{BARCELONA}: 935 monocytes and 992 lymphocytes, patients not all named."
    assert told[1] == f"{JOHNS_HOPKINS}: 357 monocytes and 632 lymphocytes, 58 and 69 patients."
    assert any(text.startswith("Tone (Spearman 0.9") for text in told)
    nothing = FamilyAgreement(Family.TONE, 3, None, 0, None, 0)
    assert agreement(nothing) == "Tone: no source sees a large difference."


def test_the_report_tells_methods_and_origin(found):
    text = html_report(found, Selection(), "abc", {}, datetime(2026, 12, 1, tzinfo=UTC))
    assert "<h1>Monocytes beside lymphocytes, inside each source</h1>" in text
    for words in ("DerSimonian and Laird", "Obuchowski 1997", "No value\nis corrected", "of two sources it is known"):
        assert words in text
    assert text.count("<tr") >= len(found.contrasts)
    assert "http" not in text.split("<body")[1].replace("http-equiv", "")

import re
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from markupsafe import escape

from core.charts.rows import part
from core.domain.cell_types import CellType
from core.domain.types import FeatureSet, LabelMap, OutlineReview, QualityFlag
from core.features.catalogue import CATALOGUE, KEY_FEATURES
from core.features.spec import Theme
from core.pipeline import remeasured
from core.populations.nearness import Nearness, NearPopulation, Unnamed
from core.reports.cell import html_pages, html_report
from core.reports.first_page import first_page
from core.segmentation.model_registry import find_model
from core.store.outline_log import without_ring
from tests.core.reports.support import STYLE, Seen, assert_fetches_and_runs_nothing
from tests.populations import GRADES

NEARNESS = Nearness(unnamed=Unnamed.UNLIKE, shapes=12)
WHEN = datetime(2026, 11, 22, 17, 30, tzinfo=UTC)


@pytest.fixture(scope="module")
def report(cell, references):
    analysis = replace(cell, flags=(QualityFlag("border", "The cell touches the image edge.", severe=True),))
    return html_report(analysis, references, NEARNESS, find_model(), GRADES, WHEN, {"Setting": "on"})


def test_report_fetches_nothing_and_runs_nothing(report):
    assert_fetches_and_runs_nothing(report)


def test_one_page_is_the_first_of_the_report_with_all_tables(cell, references, report):
    analysis = replace(cell, flags=(QualityFlag("border", "The cell touches the image edge.", severe=True),))
    page = first_page(analysis, references, NEARNESS, find_model(), GRADES, WHEN)
    alone = html_pages([page])
    assert_fetches_and_runs_nothing(alone)
    sheet = alone[alone.index("<article") : alone.index("</article>")]
    assert sheet in report
    assert 'class="appendix"' not in alone
    assert "<details>" not in alone
    assert len(alone) < len(report) / 3


def test_several_cells_are_a_sheet_each_under_one_name(cell, references):
    pages = [
        first_page(replace(cell, image=replace(cell.image, name=name)), references, NEARNESS, find_model(), {}, WHEN)
        for name in ("a.png", "b.png")
    ]
    text = html_pages(pages, "Case <7>")
    assert text.count('<article class="page"') == text.count("Research use, not for diagnosis") == 2
    assert "<title>Case &lt;7&gt;: Leukoscope report</title>" in text


def test_notes_stand_on_the_page_and_whole_in_the_tables(cell, references):
    notes = "<i>seen</i> twice\n" + "x" * 900 + " end"
    text = html_report(cell, references, NEARNESS, find_model(), {}, WHEN, {}, notes)
    assert "&lt;i&gt;seen&lt;/i&gt; twice\nx" in text[: text.index("</article>")]
    assert "x end" not in text[: text.index("</article>")]
    assert "x end" in _section(text, "Notes")


def test_report_has_its_style_inside(report):
    assert STYLE in report


def test_report_says_what_it_is_and_where_it_comes_from(report, cell, references):
    assert "Research use, not for diagnosis" in report
    assert cell.image.sha256 in report
    assert find_model().sha256 in report
    assert "2026-11-22T17:30:00" in report
    assert "The cell touches the image edge." in report
    assert "0.095 µm per pixel" in report
    for reference in references:
        assert reference.title in report
    for feature in KEY_FEATURES:
        assert CATALOGUE[feature].label in report


def test_small_groups_get_no_percentiles_in_the_report(report):
    hairy = report[report.index("<h2>Hairy cell (HCL)</h2>") :]
    assert "Only 5 cells: drawn as points, no percentiles." in hairy[: hairy.index("</section>")]


def test_names_from_outside_are_escaped(cell, references):
    bad = "<script>alert(1)</script><img src=x onerror=alert(2)>\" onload='x'"

    def report(name, title):
        analysis = replace(
            cell,
            image=replace(cell.image, name=name, notes=(title,)),
            flags=(QualityFlag("border", title, severe=True),),
            versions={title: title},
        )
        beside = [replace(references[0], title=title, source=title), references[2]]
        return html_report(analysis, beside, NEARNESS, find_model(), {}, WHEN, {title: title})

    harmless, evil = report("MO_1.png", "Monocytes"), report(f"{bad}.png", bad)
    assert_fetches_and_runs_nothing(evil)
    assert Seen(evil).elements == Seen(harmless).elements
    assert f"<title>{escape(bad)}.png: Leukoscope report</title>" in evil
    assert evil.count(str(escape(f"{bad}.png"))) > 3, "in the title, above the cell, in its footer"
    assert bad in Seen(evil).words


def test_report_of_an_image_without_a_cell_can_be_made(cell, references):
    nothing = replace(
        cell,
        segmentation=replace(cell.segmentation, labels=np.zeros_like(cell.segmentation.labels)),
        features=FeatureSet(dict.fromkeys(CATALOGUE), dict.fromkeys(CATALOGUE, "no cell was found")),
        flags=(QualityFlag("no_cell", "No cell was found.", severe=True),),
    )
    assert "No cell was found." in html_report(
        nothing, references, Nearness(unnamed=Unnamed.NOTHING), find_model(), {}, WHEN, {}
    )


def _section(report, title):
    start = report.index(f"<h2>{title}</h2>", report.index('class="appendix"'))
    return report[start : report.index("</section>", start)]


def test_report_opens_with_shape_folds_the_rest_and_ends_with_the_poor(report):
    section = _section(report, "Monocyte")
    open_table = section[section.index("<table") : section.index("<details>")]
    assert open_table.count("<tr>") == 1 + len(part(Theme.SHAPE)) + len(part(Theme.STRUCTURE)) - 1, (
        "a head, and all but the poor one"
    )
    assert "Nucleus area<" not in open_table
    assert "Nucleus elongation<" in open_table
    folded = re.findall(r"<summary>([^<]+)</summary>", section)
    assert [title.split(" beside")[0] for title in folded[:-1]] == ["Tone", "Stain and colour", "Texture"]
    assert folded[-1].startswith("Poor: 1 features that should not be relied on")
    poor = section[section.rindex("<details>") :]
    assert "Nucleus area<" in poor
    assert "Poor: drawn so for a test." in poor


def test_report_tells_the_grades_of_the_model_and_their_number(report, cell, references):
    methods = _section(report, "How it was measured, and how far to trust it")
    assert f"{len(CATALOGUE) - 2} good, 1 moderate, 1 poor" in methods
    assert find_model().model_id in methods
    assert "on up to 40 cells" in methods
    ungraded = html_report(cell, references[:1], NEARNESS, find_model(), {}, WHEN, {})
    assert "not yet measured" in ungraded
    assert "Poor" not in ungraded


def test_r31_the_report_of_a_corrected_cell_shows_both_outlines_who_corrected_and_what_changed(
    cell, references, segmenter
):
    labels = without_ring(cell.segmentation.labels).copy()
    labels[: np.flatnonzero(labels.any(axis=1))[0] + 15] = 0
    corrected = remeasured(cell, LabelMap(labels), segmenter)
    review = OutlineReview("corrected", "A. <Reader>", WHEN, "touching red cell")
    text = html_report(replace(corrected, review=review), references, NEARNESS, find_model(), {}, WHEN, {})
    assert "Corrected outlines: nucleus solid" in text
    assert "Outlines of true-mask" in text
    section = text[text.index("<h2>What the correction changed</h2>") :]
    section = section[: section.index("</section>")]
    for feature in KEY_FEATURES:
        assert CATALOGUE[feature].label in section
    old, new = (one.features.values["cell_shape2D_PixelSurface"] for one in (cell, corrected))
    assert f"{100 * (new - old) / old:+.1f} %" in section
    assert "corrected by A. &lt;Reader&gt;, 2026-11-22T17:30+00:00: touching red cell" in text
    assert "A careful drawing would probably agree" not in text
    assert "A person corrected the outline" in text


def test_a_cell_that_nobody_corrected_has_no_such_section(report):
    assert "What the correction changed" not in report
    assert "Corrected outlines" not in report


def test_another_model_than_that_of_the_populations_is_told(report, cell, references):
    assert "not all by one model" not in report
    assert "; outlined by true-mask" in report
    other = replace(cell, segmentation=replace(cell.segmentation, model_id="newer"))
    told = Seen(html_report(other, references, NEARNESS, find_model(), GRADES, WHEN, {})).words
    assert "newer (this cell), true-mask (monocyte drawn; monocyte other; lymphocyte drawn and 1 more)" in told
    assert "`leukoscope cohort rebuild`" in told


def test_the_report_says_what_is_nearest_and_by_what(cell, references, report):
    assert "Unlike every population here in shape" in _section(report, "Nearest populations")
    near = NearPopulation("p", CellType.MONOCYTE, "<b>Mono", 30, None, 0.4, 0.5, 62.4, True, False, None)
    nearness = Nearness((near,), shapes=12, sizes=20)
    named = _section(html_report(cell, references, nearness, find_model(), GRADES, WHEN, {}), "Nearest populations")
    assert "Nearest in shape and size: &lt;b&gt;Mono (62 % of its 30 cells" in named
    assert "12 shape features that need no scale and 20 sizes in micrometres, all graded" in named

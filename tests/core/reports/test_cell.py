import io
import re
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from core.charts.rows import part
from core.domain.cell_types import CellType
from core.domain.types import FeatureSet, Place, QualityFlag
from core.evaluation.agreement import Grade
from core.features.catalogue import CATALOGUE
from core.features.spec import Theme
from core.image.masks import cell_mask, encode_grey
from core.populations.typicality import Nearness
from core.reports.cell import (
    KEY_FEATURES,
    analyses_table,
    by_cell_type,
    comparison_table,
    distances,
    feature_table,
    file_name,
    html_report,
    main_sources,
    mask_files,
    most_different,
    nearest_in_words,
    nearest_populations,
    obstacles,
    place_cell,
    reliability_table,
    scale_source,
)
from core.segmentation.model_registry import find_model
from core.store.export import to_csv
from core.store.published import published_references
from tests.populations import AREA, ELONGATION, RATIO, analysed, drawn_references, grades

GRADES = grades({AREA: Grade.POOR, ELONGATION: Grade.MODERATE}, among=CATALOGUE)
WHEN = datetime(2026, 11, 22, 17, 30, tzinfo=UTC)


@pytest.fixture(scope="module")
def references(drawn_root):
    return (*drawn_references(drawn_root), *published_references(drawn_root))


@pytest.fixture(scope="module")
def cell():
    return analysed("lymphocyte", 5)


@pytest.fixture(scope="module")
def report(cell, references):
    analysis = replace(cell, flags=(QualityFlag("border", "The cell touches the image edge.", severe=True),))
    return html_report(analysis, references, find_model(), GRADES, WHEN, {"Setting": "on"})


class _Links(HTMLParser):
    """Collects what a browser would fetch or run."""

    def __init__(self):
        super().__init__()
        self.tags, self.targets = [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.targets += [value for name, value in attrs if name in {"src", "href", "xlink:href", "action"}]


def test_report_fetches_nothing_and_runs_nothing(report):
    links = _Links()
    links.feed(report)
    assert "script" not in links.tags
    assert "link" not in links.tags
    assert all(target.startswith(("data:", "#")) for target in links.targets)
    assert not re.search(r"url\((?!#|['\"]?#)", report)
    assert "@import" not in report


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
    evil = replace(cell, image=replace(cell.image, name="<img src=x onerror=alert(1)>.png"))
    text = html_report(evil, references[:1], find_model(), {}, WHEN, {})
    assert "<img" not in text
    assert "&lt;img" in text


def test_report_of_an_image_without_a_cell_can_be_made(cell, references):
    nothing = replace(
        cell,
        segmentation=replace(cell.segmentation, labels=np.zeros_like(cell.segmentation.labels)),
        features=FeatureSet(dict.fromkeys(CATALOGUE), dict.fromkeys(CATALOGUE, "no cell was found")),
        flags=(QualityFlag("no_cell", "No cell was found.", severe=True),),
    )
    assert "No cell was found." in html_report(nothing, references, find_model(), {}, WHEN, {})


def test_populations_are_grouped_by_type_with_tables_last(cell, references):
    grouped = by_cell_type(place_cell(cell, references))
    assert list(grouped) == [CellType.MONOCYTE, CellType.LYMPHOCYTE, CellType.HCL]
    assert [p.reference.population for p in grouped[CellType.MONOCYTE]] == [
        "monocyte_drawn",
        "monocyte_other",
        "published_monocyte",
    ]
    assert [p.reference.population for p in main_sources(place_cell(cell, references))] == [
        "monocyte_drawn",
        "lymphocyte_drawn",
        "hcl_drawn",
    ]


def test_a_small_group_borrows_the_lymphocytes_scale(cell, references):
    placed = place_cell(cell, references)
    named = {p.reference.population: p for p in placed}
    assert scale_source(named["hcl_drawn"], placed) is named["lymphocyte_drawn"]
    assert scale_source(named["monocyte_other"], placed) is named["monocyte_other"]
    assert scale_source(named["hcl_drawn"], [named["hcl_drawn"]]) is None


def _section(report, title):
    start = report.index(f"<h2>{title}</h2>")
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
    ungraded = html_report(cell, references[:1], find_model(), {}, WHEN, {})
    assert "not yet measured" in ungraded
    assert "Poor" not in ungraded


def test_shape_and_tone_are_ranked_apart_and_only_what_can_be_trusted(references):
    (place,) = place_cell(analysed("hairy_cell", 3), references[:1])
    shapes, tones = most_different(place, {})
    assert shapes, "a hairy cell is no typical monocyte"
    assert all(not CATALOGUE[c.feature].intensity_dependent for c in shapes)
    assert all(CATALOGUE[c.feature].intensity_dependent for c in tones)
    far = [abs(c.robust_z) for c in shapes]
    assert far == sorted(far, reverse=True)
    first, second = shapes[0].feature, shapes[1].feature
    trusted, _ = most_different(place, grades({first: Grade.POOR, second: Grade.MODERATE}, among=CATALOGUE))
    assert first not in [c.feature for c in trusted]
    assert second in [c.feature for c in trusted]


def test_nearest_asks_the_good_features_only(cell, references):
    everything = nearest_populations(cell.features, references, {})
    good = nearest_populations(
        cell.features, references, grades({RATIO: Grade.MODERATE, ELONGATION: Grade.POOR}, among=CATALOGUE)
    )
    assert good[0].features == everything[0].features - 2
    assert (
        nearest_populations(cell.features, references, grades(dict.fromkeys(CATALOGUE, Grade.POOR), among=CATALOGUE))
        == ()
    )


def test_distance_is_that_to_the_farthest_population(cell, references):
    placed = place_cell(cell, references[:3])
    found = distances(placed)
    assert found[RATIO] == max(abs(p.of(RATIO).robust_z) for p in placed)
    bare = place_cell(replace(cell, image=replace(cell.image, um_per_px=None)), references[:3])
    assert AREA not in distances(bare)


def test_missing_scale_is_said_once_per_reason(cell, references):
    bare = replace(cell, image=replace(cell.image, um_per_px=None))
    (place,) = place_cell(bare, references[:1])
    sentences = obstacles(place)
    assert len(sentences) == len(set(sentences))
    assert sum(int(s.split()[0]) for s in sentences) == sum(not c.comparable for c in place.comparisons)
    assert any("scale unknown" in s for s in sentences)
    assert obstacles(place, [RATIO]) == []
    assert obstacles(place, [RATIO, AREA])[0].startswith("1 feature is not compared: scale unknown")


def test_comparison_table_has_every_feature_with_numbers(cell, references):
    (place,) = place_cell(cell, references[:1])
    table = comparison_table(place, GRADES)
    assert len(table) == len(CATALOGUE)
    assert table["Feature"].iloc[-1] == "Nucleus area"
    assert table[["Trust", "Why"]].iloc[-1].tolist() == ["poor", "Poor: drawn so for a test."]
    assert set(comparison_table(place, {})["Trust"]) == {"not measured"}
    assert list(comparison_table(place, {}, [RATIO, AREA])["Feature"]) == ["N:C area ratio", "Nucleus area"]
    row = table.set_index("Feature").loc["N:C area ratio"]
    comparison = place.of("combined_PixelSurface")
    assert row["This cell"] == comparison.value
    assert row["Percentile"] == comparison.percentile
    assert row["n"] == 23
    assert table["Meaning"].str.len().min() > 0


def test_feature_table_is_safe_for_a_spreadsheet(cell, references):
    evil = replace(cell, image=replace(cell.image, name="=HYPERLINK(1).png"))
    table = feature_table(evil, place_cell(evil, references), GRADES)
    read = pd.read_csv(io.BytesIO(to_csv(table)))
    assert list(read["feature"]) == list(CATALOGUE)
    assert (read["image"] == "'=HYPERLINK(1).png").all()
    assert read.set_index("feature")["trust"][[AREA, RATIO]].tolist() == ["poor", "good"]
    area = read.set_index("feature").loc["cell_shape2D_PixelSurface"]
    assert area["value_um"] == pytest.approx(area["value"] * 0.095**2)
    assert not [column for column in read if "published" in column]


def test_batch_table_has_a_row_per_cell(cell):
    table = analyses_table([cell, cell])
    assert len(table) == 2
    assert list(table.columns[:3]) == ["image_path", "image_sha256", "cell_index"]
    assert set(CATALOGUE) <= set(table.columns)
    assert analyses_table([]).empty


def test_masks_of_one_cell_and_of_a_field_touching_cells_kept_apart_by_number(cell):
    labels = cell.segmentation.labels
    (alone,) = mask_files("one", cell.image.shape, [cell]).items()
    assert alone[0] == "one.png"
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(alone[1]))), encode_grey(labels))
    height, width = labels.shape
    both = [replace(cell, cell_index=index, place=Place(index * width, 0, width, height)) for index in (0, 1)]
    files = {
        name: np.asarray(Image.open(io.BytesIO(data)))
        for name, data in mask_files("field", (height, 2 * width), both).items()
    }
    assert set(files) == {"field.png", "field_instances.png"}
    np.testing.assert_array_equal(files["field.png"], np.tile(encode_grey(labels), (1, 2)))
    own = cell_mask(labels)
    np.testing.assert_array_equal(files["field_instances.png"], np.concatenate([own * 1, own * 2], axis=1))


def test_reliability_table_is_in_words_and_leaves_out_what_was_not_measured():
    known = {name: GRADES[name] for name in (AREA, ELONGATION, RATIO)}
    known[RATIO] = replace(
        known[RATIO],
        icc=None,
        icc_low=None,
        icc_high=None,
        bias=None,
        limit_low=None,
        limit_high=None,
        disturbances={},
        largest=None,
    )
    table = reliability_table(CATALOGUE, known).set_index("Feature")
    assert list(table.index) == ["Nucleus elongation", "N:C area ratio", "Nucleus area"]
    area = table.loc["Nucleus area"]
    assert (area["Trust"], area["95 % interval"], area["Limits"]) == ("poor", "0.10 to 0.24", "-0.40 to 0.50")
    assert area["Most moved by"] == "the outline one pixel wider (0.30)"
    assert area["Calibrate for"] == "stain 15 % paler (0.90)"
    assert table.loc["N:C area ratio", ["95 % interval", "Limits", "Most moved by", "Calibrate for"]].tolist() == [
        "",
        "",
        "",
        "",
    ]
    assert reliability_table(CATALOGUE, {}).empty


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("MO_1.jpg", "leukoscope_MO_1_2026-11-22.csv"),
        ("=cmd|'calc'!A0.png", "leukoscope_cmd_calc_A0_2026-11-22.csv"),
        ("../../etc/passwd", "leukoscope_passwd_2026-11-22.csv"),
        ("细胞.png", "leukoscope_细胞_2026-11-22.csv"),
        ("....", "leukoscope_image_2026-11-22.csv"),
    ],
)
def test_file_names_can_be_found_again_and_are_harmless(name, wanted):
    assert file_name(name, WHEN, "csv") == wanted


def test_nearest_is_a_description():
    def near(title, distance, typicality):
        return Nearness("p", title, "cells", 100, None, 10, distance, typicality)

    words = nearest_in_words([near("Monocytes", 0.9, 62.4), near("Lymphocytes", 2.0, 0.4)])
    assert (
        words
        == "Nearest in shape: Monocytes (62 % of its 100 cells lie as far out or farther), then Lymphocytes (fewer than"
        " 1 % of 100)."
    )
    assert "Unlike every population" in nearest_in_words([near("Monocytes", 5.0, 0)])
    assert nearest_in_words([]) == ""

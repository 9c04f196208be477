import io
from dataclasses import replace

import pandas as pd
import pytest

from core.domain.types import QualityFlag
from core.features.catalogue import CATALOGUE
from core.populations.placement import place_cell
from core.reports.tables import analyses_table, comparison_table, feature_table, reliability_table
from core.store.export import to_csv
from core.store.schema import OUTLINE_COLUMNS, arrow_schema
from tests.populations import AREA, ELONGATION, GRADES, RATIO


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
    assert (read["image_path"] == "'=HYPERLINK(1).png").all()
    assert read.set_index("feature")["trust"][[AREA, RATIO]].tolist() == ["poor", "good"]
    area = read.set_index("feature").loc["cell_shape2D_PixelSurface"]
    assert area["value_um"] == pytest.approx(area["value"] * 0.095**2)
    assert not [column for column in read if "published" in column]
    assert read["model_note"].isna().all()
    other = replace(cell, segmentation=replace(cell.segmentation, model_id="newer"))
    told = feature_table(other, place_cell(other, references), GRADES)["model_note"]
    assert told.str.contains("newer (this cell), true-mask (", regex=False).all()


def test_batch_table_has_a_row_per_cell(cell):
    table = analyses_table([cell, cell])
    assert len(table) == 2
    assert list(table.columns) == [name for name in arrow_schema().names if name not in OUTLINE_COLUMNS]
    assert set(CATALOGUE) <= set(table.columns)
    assert analyses_table([]).empty


def test_batch_table_says_of_each_cell_whether_it_can_be_trusted_and_why_not(cell):
    flagged = replace(cell, flags=(QualityFlag("border", "cut by the edge", severe=True),))
    table = analyses_table([cell, flagged])
    assert table["quality_flags"].tolist() == [[flag.code for flag in cell.flags], ["border"]]
    assert table["quality_ok"].tolist() == [cell.quality_ok, False]


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

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from core.charts.labels import number, unit, who, with_unit
from core.charts.populations import Form, distribution_chart
from core.charts.strips import strip_html
from core.charts.theme import LIGHT
from core.charts.training import dice_chart, loss_chart, published_scores_chart
from core.features.catalogue import CATALOGUE
from core.report import place_cell
from core.statistics import Basis

RATIO, AREA = "combined_PixelSurface", "cell_shape2D_PixelSurface"


def _rows(spec: dict, key: str) -> list[dict]:
    return [row for rows in spec["datasets"].values() for row in rows if key in row]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "\u2013"),
        (float("nan"), "\u2013"),
        (0, "0"),
        (0.55345, "0.553"),
        (13.456, "13.5"),
        (193.2, "193"),
        (13654.4, "13,654"),
        (-2.345, "-2.35"),
    ],
)
def test_numbers_have_three_digits(value, text):
    assert number(value) == text


def test_units_follow_the_basis():
    assert unit(CATALOGUE[AREA], Basis.MICROMETRES) == "µm²"
    assert unit(CATALOGUE[AREA], Basis.PIXELS) == "px²"
    assert with_unit(CATALOGUE[RATIO], 0.5, Basis.NONE) == "0.500"
    assert with_unit(CATALOGUE["nucleus_firstorder_Energy"], 83.7e6, Basis.NONE).startswith("83.7 \u00d710\u2076")


def test_who_names_cells_patients_and_source(placed):
    assert who(placed["monocyte_other"].reference) == "n = 21 cells, 7 patients, Laboratory 1"
    assert who(placed["lymphocyte_drawn"].reference) == "n = 22 cells, patients not recorded, Laboratory 2"
    assert who(placed["published_monocyte"].reference).startswith("n = 566 images")


@pytest.mark.parametrize("form", Form)
def test_distribution_shows_every_population_with_a_value(placed, form):
    references = [p.reference for p in placed.values()]
    spec = distribution_chart(references, RATIO, form, LIGHT).to_dict()
    shown = {row["population"] for row in _rows(spec, "population")}
    assert shown == {f"{r.title} (n = {r.n})" for r in references if RATIO in r.summaries}


def test_histogram_counts_every_cell_once(placed):
    reference = placed["monocyte_drawn"].reference
    rows = _rows(distribution_chart([reference], RATIO, Form.HISTOGRAM, LIGHT).to_dict(), "Cells")
    assert sum(row["Cells"] for row in rows) == reference.n == 23


def test_sizes_without_a_scale_are_left_out(placed):
    references = [placed["hcl_drawn"].reference, placed["published_monocyte"].reference, placed["monocyte_drawn"].reference]
    rows = _rows(distribution_chart(references, AREA, Form.CELLS, LIGHT).to_dict(), "population")
    assert {row["population"] for row in rows} == {f"{references[2].title} (n = 23)"}


def test_cumulative_reaches_one_hundred_per_cent(placed):
    rows = _rows(distribution_chart([placed["monocyte_drawn"].reference], RATIO, Form.CUMULATIVE, LIGHT).to_dict(), "share")
    assert max(row["share"] for row in rows) == pytest.approx(100)
    values = [row["value"] for row in rows]
    assert values == sorted(values)


def test_strip_sets_the_cell_among_the_populations(placed):
    places = [(p.reference, p.of(RATIO)) for p in placed.values() if not p.reference.published]
    text = strip_html(RATIO, places)
    assert text.count("n = ") == 4
    assert text.count("border-radius:50%") == 5, "five hairy cells, five points"
    assert "currentColor" in text


def test_strip_is_empty_where_nothing_can_be_compared(cell, placed):
    bare = replace(cell, image=replace(cell.image, um_per_px=None))
    (place,) = place_cell(bare, [placed["monocyte_drawn"].reference])
    assert strip_html(AREA, [(place.reference, place.of(AREA))]) == ""


def test_training_curves_hold_every_epoch_and_series():
    epochs = np.arange(1, 6)
    log = pd.DataFrame(
        {"epoch": epochs, "train_loss": 1 / epochs, "val_loss": 1.1 / epochs, "val_dice_nucleus": 0.9, "val_dice_cytoplasm": 0.8}
    )
    dice = _rows(dice_chart(log).to_dict(), "series")
    assert {row["series"] for row in dice} == {"nucleus", "cytoplasm"}
    assert len(dice) == 10
    assert {row["series"] for row in _rows(loss_chart(log, LIGHT).to_dict(), "series")} == {"training images", "validation images"}


def test_published_scores_are_hollow_and_ordered():
    table = pd.DataFrame({"architecture": ["A", "B"], "encoder": "e", "mean_dice_percent": [90.0, 95.0], "source": "s"})
    spec = published_scores_chart(table, LIGHT).to_dict()
    assert '"filled": false' in json.dumps(spec)
    assert [row["architecture"] for row in _rows(spec, "architecture")][:2] == ["B", "A"]

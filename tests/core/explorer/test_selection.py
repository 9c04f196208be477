import base64
import hashlib
import json
import re
import zlib
from itertools import pairwise

import numpy as np
import pytest

from core.domain.cell_types import CellType
from core.domain.errors import FeatureError, SelectionError
from core.explorer.selection import (
    MOST_CHOICES,
    MOST_VERTICES,
    Gate,
    Quality,
    Range,
    Scale,
    Selection,
    axis_sql,
    columns_read,
    from_json,
    from_link,
    on_axis,
    sentences,
    simplified,
    to_json,
    to_link,
    value_sql,
    where,
    without,
)
from core.features.catalogue import CATALOGUE
from core.populations.summaries import Basis, basis_of
from tests.core.explorer.conftest import LYMPHO, MONO, OTHER_SCALE, UNSCALED
from tests.core.store.conftest import AREA, RATIO

SKEWNESS = "nucleus_firstorder_Skewness"
SQUARE = ((1.0, 0.2), (3.0, 0.2), (3.0, 0.8), (1.0, 0.8))
FULL = Selection(
    cell_types=(CellType.MONOCYTE, CellType.LYMPHOCYTE, CellType.APL),
    sources=("A", "B, of the “city”"),
    populations=(MONO,),
    patients=("p1",),
    diagnoses=("AML",),
    models=("model-1",),
    quality=Quality.ANY,
    scale=Scale.KNOWN,
    ranges=(Range(AREA, 8, 12.5), Range(RATIO, high=0.75)),
    gates=(Gate("large; pale", AREA, RATIO, SQUARE, (True, False)),),
)


def ids(cohort, selection, **others):
    condition, parameters = where(selection)
    return set(cohort.query(f"SELECT cell_id FROM cells WHERE {condition}", parameters, **others)["cell_id"])


def cells(cohort, condition="true"):
    return set(cohort.query(f"SELECT cell_id FROM cells WHERE {condition}")["cell_id"])


@pytest.mark.parametrize("selection", [FULL, Selection(), Selection(quality=Quality.ANY)])
def test_the_columns_it_reads_are_those_its_sql_speaks_of(small, selection):
    words = set(re.findall(r"\w+", where(selection)[0].replace("$", "parameter_")))
    assert columns_read(selection) == words.intersection(small.columns)


def test_a_selection_reads_as_sentences():
    assert [sentence.words for sentence in sentences(FULL)] == [
        "cell type is monocyte, lymphocyte or APL cell",
        "source is A or B, of the “city”",
        "population is mono",
        "patient is p1",
        "diagnosis is AML",
        "model is model-1",
        "scale is known",
        "nucleus area is 8.00 to 12.5 µm²",
        "N:C area ratio is at most 0.750",
        "nucleus area and N:C area ratio lie in gate large; pale",
    ]
    assert [sentence.words for sentence in sentences(Selection())] == ["quality is good"]
    (words,) = (sentence.words for sentence in sentences(Selection(quality=Quality.LEFT_OUT)))
    assert words == "quality is too low for summaries"


def test_each_sentence_is_removed_by_its_key():
    for sentence in sentences(FULL):
        left = without(FULL, sentence.key)
        assert sentences(left) == tuple(other for other in sentences(FULL) if other != sentence)
    assert sentences(without(Selection(), "quality")) == ()
    for key in ("", "quality:", "range:", "gate:none", "roots", "__class__"):
        assert without(FULL, key) == FULL


@pytest.mark.parametrize(
    "selection", [Selection(), FULL, Selection(quality=Quality.LEFT_OUT), Selection(ranges=(Range(AREA, -1.5),))]
)
def test_a_selection_comes_back_from_a_link_and_from_a_file(selection):
    assert from_link(to_link(selection)) == selection
    assert from_json(to_json(selection)) == selection
    assert re.fullmatch(r"[A-Za-z0-9_.-]*", to_link(selection))


def test_a_link_is_short():
    assert to_link(Selection()) == ""
    lasso = Gate("lasso", AREA, RATIO, simplified([(np.cos(t), 2 + np.sin(t)) for t in np.linspace(0, 6.28, 1000)]))
    assert len(to_link(Selection(gates=(lasso,)))) < 4000
    assert len(to_link(FULL)) < 600


def packed(content: object) -> str:
    return "1." + base64.urlsafe_b64encode(zlib.compress(json.dumps(content).encode())).decode().rstrip("=")


@pytest.mark.parametrize(
    "link",
    [
        "x",
        "1.",
        "1.!!!!",
        "2.abc",
        "1." + "A" * 30_000,
        to_link(FULL)[:-9],
        to_link(FULL)[:50] + "ä" + to_link(FULL)[51:],
        "1." + base64.urlsafe_b64encode(zlib.compress(b" " * 50_000_000)).decode(),
        "1." + base64.urlsafe_b64encode(zlib.compress(b"[" * 400_000)).decode(),
        "1." + base64.urlsafe_b64encode(zlib.compress(b"\xff\xfe")).decode(),
        packed([]),
        packed("quality"),
        packed({"roots": ["/"]}),
        packed({"quality": "best"}),
        packed({"quality": ["good"]}),
        packed({"cell_types": "monocyte"}),
        packed({"cell_types": ["monster"]}),
        packed({"sources": [1]}),
        packed({"sources": [["A"]]}),
        packed({"sources": [""]}),
        packed({"sources": ["a\nb"]}),
        packed({"sources": ["a" * 501]}),
        packed({"patients": ["p"] * (MOST_CHOICES + 1)}),
        packed({"ranges": [{"feature": "no_such_feature", "low": 1}]}),
        packed({"ranges": [{"feature": 'cell_id"; DROP TABLE every_column; --', "low": 1}]}),
        packed({"ranges": [{"feature": AREA}]}),
        packed({"ranges": [{"feature": AREA, "low": "1"}]}),
        packed({"ranges": [{"feature": AREA, "low": True}]}),
        packed({"ranges": [{"feature": AREA, "low": float("nan")}]}),
        packed({"ranges": [{"feature": AREA, "low": 10**400}]}),
        packed({"ranges": [{"feature": AREA, "low": 2, "high": 1}]}),
        packed({"ranges": [{"feature": AREA, "low": 1, "sql": "1"}]}),
        packed({"ranges": [{"feature": AREA, "low": 1}, {"feature": AREA, "low": 2}]}),
        packed({"ranges": [AREA]}),
        packed({"gates": [{"name": "g", "x": AREA, "y": RATIO}]}),
        packed({"gates": [{"name": "g", "x": AREA, "y": RATIO, "polygon": [[0, 0], [1, 1]], "log": [False, False]}]}),
        packed(
            {"gates": [{"name": "g", "x": AREA, "y": RATIO, "polygon": [[0, 0], [1], [2, 2]], "log": [False, False]}]}
        ),
        packed(
            {
                "gates": [
                    {"name": "g", "x": AREA, "y": RATIO, "polygon": [[0, 0], [1, None], [2, 2]], "log": [False, False]}
                ]
            }
        ),
        packed(
            {"gates": [{"name": "g", "x": AREA, "y": RATIO, "polygon": [[0, 0], [1, 0], [2, 2]], "log": [True, False]}]}
        ),
        packed(
            {
                "gates": [
                    {
                        "name": "g",
                        "x": AREA,
                        "y": RATIO,
                        "polygon": [[1, 1]] * (MOST_VERTICES + 1),
                        "log": [False, False],
                    }
                ]
            }
        ),
    ],
)
def test_a_hostile_or_damaged_link_is_refused_in_words(link):
    with pytest.raises(SelectionError) as caught:
        from_link(link)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize(
    "text",
    ["", "no json", "[]", "{}", '{"leukoscope_selection": 2}', '{"leukoscope_selection": 1, "x": 1}', "[" * 9999],
)
def test_a_file_that_is_no_selection_is_refused_in_words(text):
    with pytest.raises(SelectionError, match="selection"):
        from_json(text)
    with pytest.raises(SelectionError, match="at most"):
        from_json(" " * 2_100_000)


def test_a_selection_that_makes_no_sense_is_refused():
    with pytest.raises(FeatureError, match="no feature"):
        Range("nucleus_area", 1, 2)
    with pytest.raises(SelectionError, match="no end"):
        Range(AREA)
    with pytest.raises(SelectionError, match="lower value first"):
        Range(AREA, 2, 1)
    with pytest.raises(SelectionError, match="finite"):
        Range(AREA, float("inf"))
    with pytest.raises(SelectionError, match="logarithmic"):
        Gate("g", AREA, RATIO, ((0, 1), (1, 1), (1, 2)), (True, False))
    with pytest.raises(SelectionError, match="two gates"):
        Selection(gates=(Gate("g", AREA, RATIO, SQUARE), Gate("g", RATIO, AREA, SQUARE)))


@pytest.mark.parametrize(
    "text", ["x' OR '1'='1", '"; DROP TABLE every_column; --', "$s_quality", "\\'); SELECT 1; --", "%s"]
)
def test_a_value_is_never_part_of_the_sql(small, text):
    everywhere = Selection(sources=(text,), populations=(text,), patients=(text,), diagnoses=(text,), models=(text,))
    assert ids(small, everywhere) == set()
    gate = Gate(text, AREA, RATIO, ((0.0, 0.0), (1e9, 0.0), (1e9, 1e9), (0.0, 1e9)))
    assert text not in where(Selection(gates=(gate,)))[0]
    assert ids(small, Selection(gates=(gate,))) == cells(
        small, f'quality_ok AND "{AREA}" IS NOT NULL AND um_per_px IS NOT NULL'
    )


def test_each_filter_takes_what_it_names(small):
    expected = {
        Selection(): "quality_ok",
        Selection(quality=Quality.ANY): "true",
        Selection(quality=Quality.LEFT_OUT): "NOT quality_ok",
        Selection(
            cell_types=(CellType.LYMPHOCYTE, CellType.HCL)
        ): f"quality_ok AND population IN ('{LYMPHO}', '{UNSCALED}')",
        Selection(sources=("B",)): "quality_ok AND source = 'B'",
        Selection(populations=(OTHER_SCALE,)): f"quality_ok AND population = '{OTHER_SCALE}'",
        Selection(patients=("p1", "p2")): "quality_ok AND patient_id IN ('p1', 'p2')",
        Selection(diagnoses=("AML",)): "quality_ok AND diagnosis = 'AML'",
        Selection(models=("model-1",)): "quality_ok",
        Selection(models=("model-2",)): "false",
        Selection(scale=Scale.KNOWN): f"quality_ok AND population != '{UNSCALED}'",
        Selection(scale=Scale.UNKNOWN): f"quality_ok AND population = '{UNSCALED}'",
    }
    for selection, condition in expected.items():
        assert ids(small, selection) == cells(small, condition), selection


def test_a_range_is_in_micrometres_and_includes_its_ends(small):
    frame = small.query(
        f'SELECT cell_id, "{AREA}" * um_per_px * um_per_px AS area FROM cells WHERE quality_ok ORDER BY area'
    ).dropna()
    low, high = frame["area"].iloc[[10, 40]]
    found = ids(small, Selection(ranges=(Range(AREA, low * (1 - 1e-12), high * (1 + 1e-12)),)))
    assert found == set(frame["cell_id"].iloc[10:41])
    assert ids(small, Selection(ranges=(Range(RATIO, 0.5, 0.5),))) == cells(small, f'quality_ok AND "{RATIO}" = 0.5')
    exact = small.query(f'SELECT "{RATIO}" AS r FROM cells WHERE quality_ok ORDER BY r')["r"]
    assert len(ids(small, Selection(ranges=(Range(RATIO, low=exact.iloc[-3]),)))) == 3
    assert len(ids(small, Selection(ranges=(Range(RATIO, high=exact.iloc[2]),)))) == 3


def test_the_basis_of_comparison_of_every_feature_is_that_of_its_unit(shipped):
    row = shipped.query("SELECT * FROM cells WHERE cell_type = 'monocyte' LIMIT 1").iloc[0]
    listed = ", ".join(f'{value_sql(spec)} AS "{name}"' for name, spec in CATALOGUE.items())
    found = shipped.query(f"SELECT {listed} FROM cells WHERE cell_id = $id", {"id": row["cell_id"]}).iloc[0]
    for name, spec in CATALOGUE.items():
        np.testing.assert_allclose(found[name], spec.in_um(row[name], row["um_per_px"]), rtol=1e-12)
        assert (basis_of(spec) is Basis.MICROMETRES) == bool(spec.length_power)
        assert (basis_of(spec) is Basis.NONE) == spec.scale_free


def within(x, y, polygon):
    """Even-odd rule, point by point."""
    inside = np.zeros(len(x), np.bool_)
    for (x1, y1), (x2, y2) in pairwise([*polygon, polygon[0]]):
        for index in range(len(x)):
            if (y1 <= y[index]) != (y2 <= y[index]) and x[index] < x1 + (y[index] - y1) * (x2 - x1) / (y2 - y1):
                inside[index] = not inside[index]
    return inside


@pytest.mark.parametrize("log", [(False, False), (True, False), (True, True)])
@pytest.mark.parametrize("kind", ["box", "triangle", "star", "tangle", "flat"])
def test_a_gate_takes_the_cells_within_its_polygon(shipped, kind, log):
    rng = np.random.default_rng(5)
    x_spec, y_spec = CATALOGUE[AREA], CATALOGUE[SKEWNESS]
    frame = shipped.query(
        f"SELECT cell_id, {value_sql(x_spec)} AS x, {value_sql(y_spec)} AS y FROM cells WHERE quality_ok"
    ).dropna()
    turn = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    far = np.where(np.arange(12) % 2, 1.0, 0.35)
    unit = {
        "box": [(-0.8, -0.5), (0.7, -0.5), (0.7, 0.9), (-0.8, 0.9)],
        "triangle": [(-1, -1), (1, -0.7), (0.1, 1)],
        "star": list(zip(far * np.cos(turn), far * np.sin(turn), strict=True)),
        "tangle": list(map(tuple, rng.uniform(-1, 1, (40, 2)))),
        "flat": [(-1, 0.1), (0.5, 0.1), (1, 0.1)],
    }[kind]
    polygon = tuple((80 + 30 * a, 0.4 + 0.7 * b) for a, b in unit)
    gate = Gate("g", AREA, SKEWNESS, polygon, log)

    def place(spec, values, log):
        return np.log(values * spec.display_factor + spec.display_offset) if log else values

    with np.errstate(invalid="ignore", divide="ignore"):
        x, y = place(x_spec, frame["x"].to_numpy(), log[0]), place(y_spec, frame["y"].to_numpy(), log[1])
    vertices = [(on_axis(x_spec, a, log=log[0]), on_axis(y_spec, b, log=log[1])) for a, b in polygon]
    expected = set(frame["cell_id"].to_numpy()[within(x, y, vertices)])
    assert ids(shipped, Selection(gates=(gate,))) == expected
    assert bool(expected) == (kind != "flat")


def test_two_gates_split_the_plane_without_overlap(small):
    left = Gate("left", RATIO, RATIO, ((0, 0), (0.5, 0), (0.5, 9), (0, 9)))
    right = Gate("right", RATIO, RATIO, ((0.5, 0), (9, 0), (9, 9), (0.5, 9)))
    parts = [ids(small, Selection(gates=(gate,))) for gate in (left, right)]
    assert not parts[0] & parts[1]
    assert parts[0] | parts[1] == ids(small, Selection())
    assert ids(small, Selection(gates=(left, right))) == set()


def test_a_logarithmic_axis_has_no_place_for_what_is_not_positive(shipped):
    column = f'SELECT {axis_sql(CATALOGUE[SKEWNESS], log=True)} AS place, "{SKEWNESS}" AS value FROM cells'
    frame = shipped.query(column)
    assert (frame["place"].isna() == ~(frame["value"] > -1)).all()
    assert frame["place"].isna().any() == bool((frame["value"] <= -1).any())


def test_a_path_is_thinned_to_what_a_gate_takes():
    path = [(float(n), n / 3) for n in range(5 * MOST_VERTICES + 1)]
    thin = simplified(path)
    assert 3 <= len(thin) <= MOST_VERTICES
    assert thin[0] == (0.0, 0.0)
    assert simplified(((1.23456789, 2), (3, 4), (5, 6))) == ((1.23457, 2.0), (3.0, 4.0), (5.0, 6.0))


def test_cells_chosen_by_hand_are_these_cells_and_no_others(small):
    everything = sorted(ids(small, Selection()))
    chosen = Selection(cells=(everything[3], everything[5], "nobody"))
    assert ids(small, chosen) == {everything[3], everything[5]}
    assert sentences(chosen)[-1].words == "3 cells chosen by hand"
    assert without(chosen, "cells") == Selection()
    assert from_link(to_link(chosen)) == from_json(to_json(chosen)) == chosen
    with pytest.raises(SelectionError, match="at most 20,000 cells"):
        Selection(cells=("a",) * 20_001)


def test_what_no_address_can_hold_is_for_a_file():
    many = Selection(cells=tuple(hashlib.sha256(bytes([n % 256, n // 256])).hexdigest() for n in range(3000)))
    with pytest.raises(SelectionError, match="save it as a file"):
        to_link(many)
    assert from_json(to_json(many)) == many

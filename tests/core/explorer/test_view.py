from dataclasses import replace

import numpy as np
import pytest

from core.domain.cell_types import CellType
from core.domain.errors import FeatureError, StoreError
from core.explorer import view
from core.explorer.selection import Gate, Quality, Range, Scale, Selection, value_sql, without
from core.explorer.view import (
    ALL_CELLS,
    NOT_RECORDED,
    By,
    counts,
    facets,
    group_sources,
    groups,
    histogram,
    measurements,
    quantiles,
    scatter,
    summary,
    table,
    values,
)
from core.features.catalogue import CATALOGUE
from core.populations.summaries import PERCENTILES, SMALL_GROUP, summarise
from core.store.database import Cohort
from core.store.queries import values as values_frame
from core.store.shards import write_population
from tests.core.explorer.conftest import LYMPHO, MONO, OTHER_SCALE, UNSCALED
from tests.core.store.conftest import AREA, RATIO, make_population, make_rows

EVERY = Selection(quality=Quality.ANY)
SKEWNESS, TEXTURE, TONE = "nucleus_firstorder_Skewness", "nucleus_glcm_Contrast", "nucleus_firstorder_Mean"
LARGE = {
    "large": Selection(ranges=(Range(RATIO, low=0.7),)),
    "all": Selection(),
    "none": Selection(sources=("nowhere",)),
}


def in_basis(cohort, selection_sql="quality_ok", features=(AREA, RATIO)):
    listed = ", ".join(f'{value_sql(CATALOGUE[name])} AS "{name}"' for name in features)
    return cohort.query(
        f"SELECT cell_id, population, cell_type, source, patient_id, {listed} FROM cells WHERE {selection_sql}"
    )


def test_counts_say_what_is_shown_and_what_each_condition_leaves_out(small):
    selection = Selection(sources=("A",), ranges=(Range(AREA, 9, 11),))
    frame = small.query(f'SELECT *, "{AREA}" * um_per_px ** 2 AS area FROM cells')
    met = {
        "sources": frame["source"] == "A",
        "quality": frame["quality_ok"].astype(bool),
        f"range:{AREA}": frame["area"].between(9, 11),
    }
    found = counts(small, selection)
    inside = frame[met["sources"] & met["quality"] & met[f"range:{AREA}"]]
    assert (found.cells, found.total) == (len(inside), len(frame))
    assert found.cells > 0
    assert found.cell_types == inside["cell_type"].value_counts().to_dict()
    assert found.populations == inside["population"].value_counts().to_dict()
    assert (found.patients, found.unknown_patient) == (0, len(inside))
    assert found.scales == (0.1, 0.1)
    assert found.without_scale == 0
    assert [given.sentence.key for given in found.left_out] == list(met)
    for given in found.left_out:
        others = np.logical_and.reduce([series for key, series in met.items() if key != given.sentence.key])
        assert given.cells == int((others & ~met[given.sentence.key]).sum())
        assert given.cells == counts(small, without(selection, given.sentence.key)).cells - found.cells


def test_counts_name_the_flags_that_keep_cells_out(small):
    found = counts(small, Selection())
    assert found.left_out[0].cells == 8
    assert found.flagged == {"border": 8, "blurred": 4}
    assert counts(small, EVERY).flagged == {}
    assert counts(small, Selection(quality=Quality.LEFT_OUT)).cells == 8


def test_patients_of_two_sources_are_two(small):
    found = counts(small, Selection())
    assert found.patients == 5 - 1
    assert found.unknown_patient == 96
    assert found.sources == {"A": 96, "B": 31}
    assert list(found.cell_types) == ["monocyte", "lymphocyte", "hcl"]


def test_an_empty_cohort_and_an_empty_selection_have_answers(nothing, small):
    for cohort, selection in ((nothing, Selection()), (small, Selection(patients=("nobody",)))):
        found = counts(cohort, selection)
        assert (found.cells, found.patients, found.scales, found.warnings) == (0, 0, None, ())
        assert len(found.offered) == len(CATALOGUE)
        assert groups(cohort, selection, By.CELL_TYPE) == ()
        assert [group.cells for group in groups(cohort, selection, LARGE)] == [0, 0, 0]
        assert len(values(cohort, selection, [AREA], By.PATIENT, sample=5)) == 0
        assert values(cohort, selection, [AREA]).matrix.shape == (0, 1)
        (only,) = summary(cohort, selection, [AREA])
        assert (only.group, only.n, only.n_absent, only.p50, only.mean, only.std, only.patients) == (
            ALL_CELLS,
            0,
            0,
            None,
            None,
            None,
            None,
        )
        assert summary(cohort, selection, [AREA], By.SOURCE) == ()
        assert np.isnan(quantiles(cohort, selection, AREA).values).all()
        assert histogram(cohort, selection, AREA).counts.sum() == 0
        assert histogram(cohort, selection, AREA, By.SOURCE, log=True).counts.shape == (0, 60)
        drawn = scatter(cohort, selection, AREA, RATIO)
        assert (drawn.cells, drawn.absent, len(drawn.points)) == (0, 0, 0)
        assert len(measurements(cohort, selection, [AREA], By.SOURCE).groups) == 0
        assert table(cohort, selection, ["cell_id", AREA]).empty
        assert set(facets(cohort, selection)) == {*(key for key in view.CHOICES), "quality", "scale"}


def test_five_cells_are_points(small):
    five = Selection(populations=(UNSCALED,), quality=Quality.ANY)
    of_area, of_ratio = summary(small, five, [AREA, RATIO])
    assert (of_area.n, of_area.n_absent) == (0, 5)
    assert (of_ratio.n, of_ratio.p50, of_ratio.patients) == (5, None, 1)
    column = in_basis(small, f"population = '{UNSCALED}'")[RATIO]
    assert of_ratio.mean == pytest.approx(column.mean())
    assert of_ratio.std == pytest.approx(column.std())
    assert len(scatter(small, five, RATIO, TONE).points) == 5
    assert scatter(small, five, AREA, RATIO).absent == 5


def test_facets_count_what_choosing_them_would_show(small):
    selection = Selection(cell_types=(CellType.MONOCYTE,), sources=("B", "nowhere"), quality=Quality.ANY)
    found = facets(small, selection)
    for key, chosen in (
        ("cell_types", CellType),
        ("sources", str),
        ("patients", str),
        ("diagnoses", str),
        ("populations", str),
    ):
        for facet in found[key]:
            if facet.value is not None:
                assert facet.cells == counts(small, replace(selection, **{key: (chosen(facet.value),)})).cells
    assert {facet.value: facet.cells for facet in found["sources"]} == {"A": 60, "B": 30, "nowhere": 0}
    assert [(facet.value, facet.label) for facet in found["cell_types"]] == [
        ("monocyte", "Monocyte"),
        ("hcl", "Hairy cell (HCL)"),
    ]
    assert sum(facet.cells for facet in found["quality"]) == 30
    assert [facet.cells for facet in facets(small, EVERY)["scale"]] == [130, 5]
    assert [facet.cells for facet in facets(small, EVERY)["diagnoses"]] == [30, 105]
    assert facets(small, EVERY)["diagnoses"][-1].label == NOT_RECORDED


def test_what_cannot_be_compared_is_refused_with_a_reason(small):
    def refused(*populations):
        found = counts(small, Selection(populations=populations))
        return {name for name in (AREA, RATIO, TEXTURE, TONE) if name not in found.offered}, found

    gone, found = refused(MONO, LYMPHO)
    assert (gone, found.warnings) == (set(), ())
    assert found.caution(TONE) is None
    # Sizes have a scale on both sides; the stain of two sources is not one.
    gone, found = refused(MONO, OTHER_SCALE)
    assert gone == {TONE, TEXTURE}
    assert "2 sources" in found.warnings[0]
    assert "inside each of them, or calibrate" in found.refusal(TONE)
    assert "not how exactly" in found.caution(AREA)
    assert "within 10 %" in replace(found, scale_errors={"A": 0.1, "elsewhere": 0.5}).caution(AREA)
    assert found.caution(RATIO) is None
    gone, found = refused(UNSCALED, OTHER_SCALE)
    assert gone == {AREA, TEXTURE}
    assert "no known scale" in found.warnings[0]
    assert "3 cells is unknown" in found.refusal(AREA)
    assert found.refusal(RATIO) is None
    one_source = replace(counts(small, Selection(populations=(MONO,))), scales=(0.1, 0.2))
    assert one_source.refusal(AREA) is None
    several = replace(one_source, scales=None, models={"old": 3, "new": 2})
    assert several.warnings == (several.model_note,)
    assert "old (cells in view: 3 of 5 cells), new (cells in view: 2 of 5 cells)" in several.model_note
    # An outline that a person drew is no model's.
    assert replace(one_source, models={"old": 3}, corrected=2).model_note is None
    with_table = replace(one_source, models={"old": 3, NOT_RECORDED: 2})
    assert "a model that is not recorded (cells in view: 2 of 5 cells)" in with_table.model_note
    restained = replace(one_source, scales=(0.1, 0.1), stains={"": 3, "darker 1.2 1.1 1": 2})
    assert "the same stain factors" in restained.refusal(TONE)
    assert restained.refusal(AREA) is None
    assert "3 with none, 2 with darker 1.2 1.1 1" in restained.warnings[0]
    assert found.stains == {"": found.cells}
    assert "same scale" in one_source.refusal(TEXTURE)
    assert "texture cannot" in one_source.warnings[0]


def test_groups_are_named_and_ordered(small):
    assert [(group.name, group.cells) for group in groups(small, EVERY, By.CELL_TYPE)] == [
        ("monocyte", 90),
        ("lymphocyte", 40),
        ("hcl", 5),
    ]
    assert [group.name for group in groups(small, EVERY, By.SOURCE)] == ["A", "B"]
    assert [group.name for group in groups(small, EVERY, By.DIAGNOSIS)] == ["AML", NOT_RECORDED]
    assert groups(small, EVERY, None) == (view.Group(ALL_CELLS, 135, 4, 100),)
    by_patient = groups(small, EVERY, By.PATIENT)
    assert [group.name for group in by_patient] == ["p0", "p1", "p2", "p3", NOT_RECORDED]
    assert by_patient[0].cells == 13
    assert by_patient[-1] == view.Group(NOT_RECORDED, 100, 0, 100)


def test_the_same_pseudonym_in_two_sources_is_two_groups(tmp_path):
    for source in ("A", "B"):
        population = make_population(source.lower(), source=source)
        write_population(
            tmp_path, population, [make_rows(population, [1.0] * (2 if source == "A" else 3), patient="p1")]
        )
    with Cohort.open([tmp_path]) as cohort:
        assert [(group.name, group.cells) for group in groups(cohort, EVERY, By.PATIENT)] == [
            ("p1, A", 2),
            ("p1, B", 3),
        ]
        assert counts(cohort, EVERY).patients == 2
        (found,) = summary(cohort, EVERY, [RATIO])
        assert found.patients == 2


def test_named_selections_take_cells_in_turn(small):
    found = values(small, EVERY, [RATIO], LARGE)
    frame = in_basis(small, "true")
    good = set(in_basis(small)["cell_id"])
    is_good = np.array([cell in good for cell in found.cell_id])
    expected = np.where(is_good & (frame[RATIO].to_numpy() >= 0.7), 0, np.where(is_good, 1, -1))
    assert found.group_names == ("large", "all", "none")
    np.testing.assert_array_equal(found.groups, expected)
    sizes = {group.name: group.cells for group in groups(small, EVERY, LARGE)}
    assert sizes == {"large": (expected == 0).sum(), "all": (expected == 1).sum(), "none": 0}


def test_values_are_in_the_basis_of_comparison(small):
    found = values(small, Selection(), [AREA, RATIO], By.SOURCE)
    frame = in_basis(small)
    assert found.cell_id.tolist() == frame["cell_id"].tolist()
    np.testing.assert_array_equal(found.matrix, frame[[AREA, RATIO]].to_numpy(dtype=np.float64))
    assert found.cells == len(found) == 127
    assert [found.group_names[code] for code in found.groups] == frame["source"].tolist() == found.source.tolist()
    assert set(found.patient_id[found.source == "A"]) == {None}
    assert np.isnan(found.um_per_px).sum() == 3
    assert [spec.name for spec in found.specs] == [AREA, RATIO]
    with pytest.raises(FeatureError):
        values(small, Selection(), ["cell_id"])


def test_a_sample_is_drawn_from_each_group_and_is_the_same_again(small):
    found = values(small, EVERY, [RATIO], By.POPULATION, sample=7, seed=1)
    assert np.bincount(found.groups).tolist() == [7, 7, 7, 5]
    assert found.cells == 135
    again = values(small, EVERY, [RATIO], By.POPULATION, sample=7, seed=1)
    assert found.cell_id.tolist() == again.cell_id.tolist()
    other = values(small, EVERY, [RATIO], By.POPULATION, sample=7, seed=2)
    assert set(found.cell_id) != set(other.cell_id)
    every = values(small, EVERY, [RATIO], By.POPULATION)
    rows = dict(zip(every.cell_id, every.matrix[:, 0], strict=True))
    assert found.matrix[:, 0].tolist() == [rows[cell] for cell in found.cell_id]
    drawn = [values(small, EVERY, [RATIO], sample=20, seed=seed).cell_id for seed in range(60)]
    times = np.array([sum(cell in set(cells) for cells in drawn) for cell in every.cell_id])
    assert times.sum() == 60 * 20
    assert times.max() < 25  # 8.9 expected, binomial: 25 is beyond five standard deviations


def test_measurements_are_the_values_without_the_identity_of_the_cells(small):
    found, expected = (
        measurements(small, EVERY, [AREA, RATIO], By.SOURCE),
        values(small, EVERY, [AREA, RATIO], By.SOURCE),
    )
    np.testing.assert_array_equal(np.column_stack([found.columns[AREA], found.columns[RATIO]]), expected.matrix)
    np.testing.assert_array_equal(found.groups, expected.groups)
    patients = dict(zip(found.patients.tolist(), expected.patient_id, strict=True))
    assert patients.pop(-1) is None
    assert sorted(patients) == [0, 1, 2, 3]
    assert sorted(patients.values()) == ["p0", "p1", "p2", "p3"]


def test_a_sample_may_say_how_many_of_each_group(small):
    drawn = values(small, EVERY, [AREA], By.POPULATION, sample={MONO: 7, UNSCALED: 100})
    assert {name: int((drawn.groups == code).sum()) for code, name in enumerate(drawn.group_names)} == {
        MONO: 7,
        LYMPHO: 0,
        OTHER_SCALE: 0,
        UNSCALED: 5,
    }
    assert drawn.cells == 135


@pytest.mark.parametrize("by", [None, By.POPULATION, By.PATIENT, LARGE])
def test_summaries_are_those_of_numpy(small, by):
    features = [AREA, RATIO]
    every = values(small, EVERY, features, by)
    found = summary(small, EVERY, features, by)
    assert [(given.feature, given.group) for given in found] == [
        (f, name) for f in features for name in every.group_names
    ]
    for given in found:
        mine = every.groups == every.group_names.index(given.group)
        column = every.matrix[mine, features.index(given.feature)]
        present = column[~np.isnan(column)]
        assert (given.n, given.n_absent) == (len(present), len(column) - len(present))
        owners = every.patient_id[mine][~np.isnan(column)]
        known = len(present) > 0 and all(owner is not None for owner in owners)
        assert given.patients == (len(set(owners)) if known else None)
        if len(present) >= SMALL_GROUP:
            np.testing.assert_allclose(
                [given.p2, given.p25, given.p50, given.p75, given.p98], np.percentile(present, PERCENTILES)
            )
            np.testing.assert_allclose([given.mean, given.std], [present.mean(), present.std(ddof=1)])
        else:
            assert given.p2 is given.p25 is given.p50 is given.p75 is given.p98 is None


def test_summaries_of_the_shipped_cohort_are_those_of_the_populations(shipped):
    features = [name for name, spec in CATALOGUE.items() if spec.length_power or spec.scale_free][::40]
    expected = {
        s.feature: s for s in summarise(values_frame(shipped, "monocyte_acevedo"), "monocyte_acevedo", in_um=True)
    }
    for given in summary(shipped, Selection(populations=("monocyte_acevedo",)), features):
        other = expected[given.feature]
        assert (given.n, given.n_absent, given.patients, given.basis) == (
            other.n,
            other.n_absent,
            other.patients,
            other.basis,
        )
        np.testing.assert_allclose(
            [given.p2, given.p50, given.p98, given.mean, given.std],
            [other.p2, other.p50, other.p98, other.mean, other.std],
            rtol=1e-9,
        )


def test_quantiles_are_those_of_numpy(small):
    found = quantiles(small, EVERY, AREA, By.POPULATION, shares=(0, 0.1, 0.5, 1))
    every = values(small, EVERY, [AREA], By.POPULATION)
    assert found.n.tolist() == [59, 29, 39, 0]
    for code in range(3):
        column = every.matrix[every.groups == code, 0]
        np.testing.assert_allclose(found.values[code], np.nanquantile(column, [0, 0.1, 0.5, 1]))
    assert np.isnan(found.values[3]).all()
    assert quantiles(small, EVERY, AREA).values.shape == (1, 201)


@pytest.mark.parametrize("log", [False, True])
def test_a_histogram_holds_every_cell(small, log):
    found = histogram(small, EVERY, AREA, By.POPULATION, bins=13, log=log)
    every = values(small, EVERY, [AREA], By.POPULATION)
    assert found.absent.tolist() == [1, 1, 1, 5]
    assert found.counts.sum(axis=1).tolist() == [59, 29, 39, 0]
    assert found.edges[[0, -1]] == pytest.approx([np.nanmin(every.matrix), np.nanmax(every.matrix)])
    assert np.ptp(np.diff(np.log(found.edges) if log else found.edges)) < 1e-9
    for code in range(3):
        column = every.matrix[every.groups == code, 0]
        edges = found.edges * (
            1 + 1e-12 * np.linspace(-1, 1, 14)
        )  # the outer values may have come back from their logarithm
        np.testing.assert_array_equal(found.counts[code], np.histogram(column[~np.isnan(column)], edges)[0])


def test_a_histogram_of_equal_values_and_of_named_selections(small):
    found = histogram(small, Selection(), TONE)
    assert found.counts.sum() == 127
    assert found.edges[0] < 1 < found.edges[-1]
    of_selections = histogram(small, EVERY, RATIO, LARGE)
    assert of_selections.counts.sum(axis=1).tolist() == [group.cells for group in groups(small, EVERY, LARGE)]


def test_few_cells_are_points_and_many_are_bins(small, monkeypatch):
    points = scatter(small, EVERY, AREA, RATIO, By.SOURCE, features=(TONE,))
    assert points.bins is None
    assert points.points.features == (AREA, RATIO, TONE)
    assert (points.cells, points.absent, len(points.points)) == (135, 3 + 5, 135)
    monkeypatch.setattr(view, "MOST_POINTS", 10)
    found = scatter(small, EVERY, AREA, RATIO, By.SOURCE, bins=(5, 4))
    assert found.points is None
    assert (found.cells, found.absent) == (135, 8)
    present = ~np.isnan(points.points.matrix).any(axis=1)
    for code in range(2):
        x, y = points.points.matrix[present & (points.points.groups == code), :2].T
        expected = np.histogram2d(x, y, (found.bins.x_edges, found.bins.y_edges))[0]
        np.testing.assert_array_equal(found.bins.counts[code], expected)
    logarithmic = scatter(small, EVERY, AREA, RATIO, log=(True, False), bins=(5, 4)).bins
    assert logarithmic.counts.sum() == 127
    assert np.ptp(np.diff(np.log(logarithmic.x_edges))) < 1e-9
    assert np.ptp(np.diff(logarithmic.y_edges)) < 1e-9


def test_a_lasso_goes_to_a_table(small):
    gate = Gate("g", AREA, RATIO, ((9.0, 0.4), (12.0, 0.4), (12.0, 1.2), (9.0, 1.2)))
    found = table(small, Selection(gates=(gate,)), ["cell_id", "note", AREA, RATIO], order=AREA, descending=True)
    assert found.columns.tolist() == ["cell_id", "note", AREA, RATIO]
    frame = in_basis(small)
    inside = frame[frame[AREA].between(9, 12) & frame[RATIO].between(0.4, 1.2)].sort_values(AREA, ascending=False)
    assert 0 < len(inside) < 100
    assert found["cell_id"].tolist() == inside["cell_id"].tolist()
    assert found[AREA].tolist() == inside[AREA].tolist()


def test_a_table_is_read_page_by_page_with_the_absent_last(small):
    pages = [table(small, EVERY, ["cell_id", AREA], limit=30, offset=start, order=AREA) for start in range(0, 135, 30)]
    ids = [cell for page in pages for cell in page["cell_id"]]
    assert len(ids) == len(set(ids)) == 135
    area = np.concatenate([page[AREA] for page in pages])
    assert np.isnan(area[-8:]).all()
    assert (np.diff(area[:-8]) >= 0).all()
    assert table(small, EVERY, ["cell_id"], limit=None)["cell_id"].tolist() == sorted(ids)
    with pytest.raises(StoreError, match="no columns"):
        table(small, EVERY, ['cell_id" FROM cells; --'])
    with pytest.raises(StoreError, match="no columns"):
        table(small, EVERY, ["cell_id"], order="1; --")


def test_an_unknown_scale_leaves_lengths_absent_and_ratios_there(shipped):
    unknown = Selection(scale=Scale.UNKNOWN)
    found = values(shipped, unknown, [AREA, RATIO], By.POPULATION)
    assert found.group_names == ("hcl_marrow", "hcl_smear")
    assert np.isnan(found.matrix[:, 0]).all()
    assert np.isfinite(found.matrix[:, 1]).all()
    assert "The cells have no known scale" in " ".join(counts(shipped, unknown).warnings)


@pytest.mark.parametrize("sample", [None, 9])
def test_many_features_are_read_by_row_and_are_the_same(small, tmp_path, sample):
    names = list(CATALOGUE)
    expected = values(small, EVERY, names, By.POPULATION, sample=sample)
    with Cohort.open(small.roots, tmp_path) as cohort:
        assert list(tmp_path.iterdir()) == []
        found = values(cohort, EVERY, names, By.POPULATION, sample=sample)
        assert list(tmp_path.iterdir())
    assert found.cell_id.tolist() == expected.cell_id.tolist()
    np.testing.assert_allclose(found.matrix, expected.matrix, rtol=1e-12)
    np.testing.assert_array_equal(found.groups, expected.groups)


@pytest.mark.parametrize("by", [By.CELL_TYPE, By.PATIENT, By.DIAGNOSIS])
def test_the_sources_of_a_group_are_those_of_its_cells(small, by):
    found = group_sources(small, EVERY, by)
    frame = small.query(f"SELECT DISTINCT coalesce({by.value}, '{NOT_RECORDED}') AS name, source FROM cells")
    assert {(name, source) for name, sources in found.items() for source in sources} == set(
        frame.itertuples(index=False, name=None)
    )


def test_joined_bins_hold_the_same_cells(small):
    fine = histogram(small, Selection(), AREA, By.SOURCE, bins=20)
    coarse = fine.joined(4)
    assert coarse.edges.tolist() == fine.edges[::4].tolist()
    assert coarse.counts.shape == (2, 5)
    assert coarse.counts[:, 0].tolist() == fine.counts[:, :4].sum(axis=1).tolist()


def test_rows_keep_every_array_of_the_cells_together(small):
    found = values(small, Selection(), (AREA, RATIO), By.SOURCE)
    order = np.array([3, 1])
    some = found.rows(order)
    assert some.cell_id.tolist() == found.cell_id[order].tolist()
    np.testing.assert_array_equal(some.matrix, found.matrix[order])
    assert some.groups.tolist() == found.groups[order].tolist()
    assert (some.features, some.cells) == (found.features, found.cells)
    assert some.without_features().matrix.shape == (2, 0)

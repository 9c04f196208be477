import numpy as np
import pytest

from core.domain.cell_types import CellType
from core.domain.errors import StoreError
from core.domain.types import QualityFlag
from core.domain.versions import MODEL_FILE
from core.features.catalogue import CATALOGUE
from core.populations.comparison import compare_cell
from core.populations.outlining import OutlineModel, Outlining
from core.populations.summaries import Basis
from core.store import queries
from core.store.database import Cohort
from core.store.schema import cell_row, decode_rings
from core.store.shards import write_population
from tests.core.store.conftest import AREA, make_analysis, make_population, make_rows

BORDER = QualityFlag("touches_border", "The cell touches the edge.", severe=True)
BLURRED = QualityFlag("blurred", "Not sharp.", severe=True)
NOTE = QualityFlag("other_cells", "Another cell is near.", severe=False)
RING = np.array([[1.0, 2.0], [3.0, 2.0], [3.0, 5.0]])


@pytest.fixture
def cohort(root):
    """22 good monocytes of two patients, areas 1 to 22, scale 0.5; three excluded ones with areas of 1000."""
    population = make_population(um_per_px=0.5, um_per_px_origin="red cells of 7.5 um")
    good = make_rows(population, [float(i) for i in range(1, 12)], patient="a")
    good += make_rows(population, [float(i) for i in range(12, 23)], start=11, patient="b")
    bad = [
        cell_row(make_analysis(100 + i, values={AREA: 1000.0}, flags=flags), population, outlines={"nucleus": [RING]})
        for i, flags in enumerate([(BORDER,), (BORDER, BLURRED), (BLURRED, NOTE)])
    ]
    noted = [
        cell_row(
            make_analysis(200, flags=(NOTE,)), make_population("lympho", cell_type=CellType.LYMPHOCYTE), outlines={}
        )
    ]
    write_population(root, make_population("lympho", cell_type=CellType.LYMPHOCYTE), [noted])
    write_population(root, population, [good, bad])
    with Cohort.open([root]) as opened:
        yield opened


def test_populations_are_counted_with_reasons_in_the_order_of_the_cell_types(cohort):
    mono, lympho = queries.populations(cohort)
    assert (mono.population.population_id, mono.n, mono.n_good, mono.patients, mono.scaled) == ("mono", 25, 22, 2, 22)
    assert mono.excluded == {"blurred": 2, "touches_border": 2}
    assert (lympho.n, lympho.n_good, lympho.patients, lympho.scaled, lympho.excluded) == (1, 1, None, 0, {})
    assert not mono.shipped


def test_shipped_populations_say_so_and_come_first(root, tmp_path):
    reference = tmp_path / "reference"
    write_population(reference, make_population("zz_last"), [], shipped=True)
    write_population(root, make_population("aa_first"), [])
    with Cohort.open([reference, root]) as cohort:
        assert [(info.population.population_id, info.shipped, info.n) for info in queries.populations(cohort)] == [
            ("zz_last", True, 0),
            ("aa_first", False, 0),
        ]


def test_cells_are_all_cells_with_their_outlines(cohort):
    frame = queries.cells(cohort, "mono")
    assert len(frame) == 25
    assert frame["image_path"].is_monotonic_increasing
    flagged = frame[~frame["quality_ok"]]
    np.testing.assert_array_equal(decode_rings(flagged["nucleus_outline"].iloc[0])[0], RING)
    assert [list(codes) for codes in flagged["quality_flags"]] == [
        ["touches_border"],
        ["touches_border", "blurred"],
        ["blurred", "other_cells"],
    ]
    assert list(queries.cells(cohort, "mono", ["cell_id", AREA], good_only=True).columns) == ["cell_id", AREA]


def test_values_are_of_good_cells_only(cohort):
    frame = queries.values(cohort, "mono", [AREA])
    assert sorted(frame[AREA]) == [float(i) for i in range(1, 23)]
    assert set(frame["patient_id"]) == {"a", "b"}
    assert queries.values(cohort, "mono").columns.tolist() == ["cell_id", "patient_id", "um_per_px", *CATALOGUE]


def test_summaries_in_pixels_and_micrometres(cohort):
    (pixels,) = [s for s in queries.summaries(cohort, "mono", in_um=False) if s.feature == AREA]
    (microns,) = [s for s in queries.summaries(cohort, "mono", in_um=True) if s.feature == AREA]
    assert (pixels.basis, pixels.n, pixels.patients, pixels.p50, pixels.mean) == (Basis.PIXELS, 22, 2, 11.5, 11.5)
    assert (microns.basis, microns.p50) == (Basis.MICROMETRES, 11.5 * 0.25)


def test_a_stored_cell_lies_at_its_own_rank(cohort):
    reference = queries.reference(cohort, "mono")
    assert (reference.n, reference.patients, reference.plural) == (22, 2, "monocytes")
    compared = {c.feature: c for c in compare_cell(make_analysis(values={AREA: 22.0}).features, 0.5, reference)}
    assert compared[AREA].percentile == pytest.approx(100 * 21.5 / 22)
    assert compared[AREA].caution == "Scale of the population: red cells of 7.5 um."


def test_duckdb_agrees_on_the_percentiles(cohort):
    """The same definition from another program: DuckDB's interpolated quantiles."""
    found = cohort.query(
        f'SELECT quantile_cont("{AREA}", [0.02, 0.5, 0.98]) AS q FROM cells WHERE quality_ok', populations=["mono"]
    )["q"].iloc[0]
    (summary,) = [s for s in queries.summaries(cohort, "mono", in_um=False) if s.feature == AREA]
    np.testing.assert_allclose(found, [summary.p2, summary.p50, summary.p98], rtol=1e-12)


def test_all_populations_in_one_question(cohort):
    found = cohort.query("SELECT population, count(*) AS n FROM cells GROUP BY population ORDER BY population")
    assert found.to_numpy().tolist() == [["lympho", 1], ["mono", 25]]


def test_an_unknown_population_names_those_there_are(cohort):
    for question in (queries.cells, queries.values, queries.reference):
        with pytest.raises(StoreError, match="'hcl'; there are: lympho, mono"):
            question(cohort, "hcl")


def test_a_reference_knows_by_which_models_its_good_cells_were_outlined(root):
    population = make_population()
    rows = make_rows(population, [float(i) for i in range(1, 8)])
    rows[0] |= {"versions": f'{{"{MODEL_FILE}": "aa"}}'}
    rows[1]["model_id"] = "model-2"
    rows[2]["model_id"] = None
    rows[3]["outline_by"] = "person"
    bad = cell_row(make_analysis(100, flags=(BORDER,)), population, outlines={})
    write_population(root, population, [[*rows, bad | {"model_id": "of a bad cell"}]])
    with Cohort.open([root]) as cohort:
        found = queries.reference(cohort, "mono").outlined
    models = {OutlineModel("model-1"): 3, OutlineModel("model-1", "aa"): 1, OutlineModel("model-2"): 1}
    assert found == Outlining(models, by_person=1, unknown=1)

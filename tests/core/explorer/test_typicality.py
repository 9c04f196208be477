import numpy as np
import pandas as pd
import pytest

from core.charts.trust import likeness_features, likeness_sizes
from core.domain.options import CellChoice
from core.domain.settings import ROOT
from core.domain.types import FeatureSet
from core.evaluation.agreement import load
from core.explorer.cells import cells, features_of
from core.explorer.selection import Quality, Selection
from core.explorer.typicality import CohortCentres
from core.explorer.view import By, values
from core.features.catalogue import CATALOGUE
from core.pipeline import AnalysisRequest, analyse_many
from core.populations.nearness import NearestPopulations, in_words
from core.populations.neighbours import comparable_features
from core.populations.robust import RobustScaling
from core.populations.summaries import SMALL_GROUP
from core.segmentation.model_registry import find_model
from core.store import queries
from core.store.database import Cohort

FEATURES = comparable_features(CATALOGUE)


@pytest.fixture(scope="module")
def centres(shipped):
    return CohortCentres.fit(shipped, FEATURES)


def test_a_population_is_judged_by_its_own_middle_and_spread(shipped):
    features = [name for name in FEATURES if not CATALOGUE[name].log_axis]
    centres, found = CohortCentres.fit(shipped, features), values(shipped, Selection(), features)
    members = found.population == "apl_deepapl"
    matrix = found.matrix[members]
    location = np.nanmedian(matrix, axis=0)
    scale = 1.4826 * np.nanmedian(np.abs(matrix - location), axis=0)
    varies = scale > 0
    expected = np.sqrt(
        np.nanmean(np.square(np.clip((matrix - location) / np.where(varies, scale, 1), -6, 6))[:, varies], axis=1)
    )
    distances = centres.distances(found.matrix, found.population)[members]
    assert varies.sum() > 5
    assert distances == pytest.approx(expected)
    percent = centres.typicality(distances, found.population[members])
    assert percent == pytest.approx([100 * np.mean(expected >= distance - 1e-12) for distance in expected])
    assert max(percent) == 100


def test_a_small_group_has_its_own_middle_and_the_spread_of_all(shipped, centres):
    small = centres.by_population["hcl_smear"]
    everyone = values(shipped, Selection(), FEATURES, By.POPULATION)
    assert len(small.of_members) < SMALL_GROUP
    assert small.scaling.scale == pytest.approx(RobustScaling.fit(everyone.matrix, FEATURES).scale, nan_ok=True)
    assert small.scaling.location == pytest.approx(
        RobustScaling.fit(everyone.matrix[everyone.population == "hcl_smear"], FEATURES).location, nan_ok=True
    )


def test_a_cell_is_as_typical_in_any_selection(shipped, centres):
    everything = values(shipped, Selection(), FEATURES)
    few = values(shipped, Selection(cells=tuple(everything.cell_id[::500])), FEATURES)
    of_all = dict(zip(everything.cell_id, centres.distances(everything.matrix, everything.population), strict=True))
    assert centres.distances(few.matrix, few.population) == pytest.approx([of_all[cell] for cell in few.cell_id])


def test_cells_that_were_left_out_are_farther_out(shipped, centres):
    distances = [
        np.nanmedian(centres.distances(found.matrix, found.population))
        for found in (
            values(shipped, Selection(quality=quality), FEATURES) for quality in (Quality.GOOD, Quality.LEFT_OUT)
        )
    ]
    assert distances[1] > distances[0]


def test_nothing_is_said_of_a_population_without_good_cells_or_of_a_cell_without_values(centres):
    nothing = np.full((1, len(FEATURES)), np.nan)
    assert np.isnan(centres.distances(nothing, np.array(["apl_deepapl"], dtype=object))).all()
    assert np.isnan(centres.distances(np.ones((1, len(FEATURES))), np.array(["other"], dtype=object))).all()
    populations = np.array(["other", "apl_deepapl", "hcl_smear", "apl_deepapl"], dtype=object)
    told = centres.typicality(np.array([1.0, np.nan, 1.0, 1.0]), populations)
    assert np.isnan(told).tolist() == [True, True, True, False], "five cells make no per cent"


def test_the_single_cell_page_and_the_card_name_the_same_nearest_populations_for_100_cells(shipped):
    reliability = load(find_model(folder=ROOT / "assets" / "models").reliability)
    shapes, sizes = likeness_features(reliability), likeness_sizes(reliability)
    names = [info.population.population_id for info in queries.populations(shipped)]
    on_page, on_card = (
        NearestPopulations([queries.reference(shipped, name, read) for name in names], shapes, sizes)
        for read in (None, [*shapes, *sizes])
    )
    chosen = shipped.query("SELECT cell_id FROM cells ORDER BY hash(cell_id, 17) LIMIT 100")["cell_id"].tolist()
    columns = ", ".join(f'"{name}"' for name in CATALOGUE)
    rows = shipped.query(f"SELECT cell_id, {columns} FROM cells WHERE list_contains($ids, cell_id)", {"ids": chosen})
    # As the engine measures it: values of double precision, and nothing that says it is the stored cell.
    measured = {
        row["cell_id"]: FeatureSet({name: None if pd.isna(row[name]) else float(row[name]) for name in CATALOGUE}, {})
        for row in rows.to_dict("records")
    }
    told = {}
    for cell in cells(shipped, chosen):
        page = on_page.of(measured[cell.cell_id], cell.um_per_px, cell.flags, cell.severe_flags)
        card = on_card.of(features_of(shipped, cell.cell_id), cell.um_per_px, cell.flags, cell.severe_flags)
        assert page == card
        told[cell.cell_id] = in_words(card)
        own = [near for near in card.populations if near.population == cell.population]
        assert all(near.others for near in own), "a cell is not its own neighbour"
    assert len(told) == 100
    assert sum(text.startswith("Nearest in shape and size") for text in told.values()) > 80


@pytest.mark.data
def test_the_picture_of_a_stored_cell_gets_the_same_answer_and_is_not_its_own_neighbour(shipped, model_entry, data_dir):
    reliability = load(model_entry.reliability)
    shapes, sizes = likeness_features(reliability), likeness_sizes(reliability)
    names = [info.population.population_id for info in queries.populations(shipped)]
    nearest = NearestPopulations([queries.reference(shipped, name) for name in names], shapes, sizes)
    sql = (
        "SELECT cell_id FROM cells WHERE quality_ok AND population = 'monocyte_acevedo' ORDER BY hash(cell_id) LIMIT 4"
    )
    stored = cells(shipped, shipped.query(sql)["cell_id"].tolist())
    pictures = [AnalysisRequest(data_dir / cell.image_path, cell.um_per_px, CellChoice.ONE) for cell in stored]
    for cell, outcome in zip(stored, analyse_many(pictures, model_entry), strict=True):
        (analysis,) = outcome.analyses
        measured = nearest.of(analysis.features, cell.um_per_px, cell.flags, ())
        assert in_words(measured) == in_words(
            nearest.of(features_of(shipped, cell.cell_id), cell.um_per_px, cell.flags, ())
        )
        own = [near.others for near in measured.populations if near.population == cell.population]
        assert own in ([True], []), "none is named where the cell is unlike all"


def test_both_draw_the_same_cells_of_a_large_population(monkeypatch):
    monkeypatch.setattr(queries, "MOST_FITTED", 200)
    with Cohort.open([ROOT / "assets" / "reference"]) as cohort:  # one that has answered nothing yet
        centre = CohortCentres.fit(cohort, FEATURES).by_population["apl_deepapl"]
        reference = queries.reference(cohort, "apl_deepapl")
        found = values(cohort, Selection(populations=("apl_deepapl",)), FEATURES)
    assert len(reference.sample) == len(centre.of_members) == 200
    assert reference.n == len(found) > 600
    sampled = centre.distances(reference.sample[list(FEATURES)].to_numpy(np.float64))
    assert np.sort(sampled).tolist() == centre.of_members.tolist()

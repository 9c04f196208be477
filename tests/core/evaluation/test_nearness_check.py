import json
from dataclasses import asdict

import pytest

from core.charts.trust import likeness_features, likeness_sizes
from core.domain.cell_types import CellType
from core.domain.settings import ROOT
from core.evaluation import nearness_check as module
from core.evaluation.agreement import load
from core.evaluation.nearness_check import NearnessCount, Setting, check_nearness, nearness_row
from core.populations.nearness import Nearness, NearPopulation, Unnamed
from core.store.database import Cohort


def near(cell_type):
    return NearPopulation("p", cell_type, "title", 30, None, 0.4, 0.5, 60.0, True, False, None)


def test_counts_and_shares_by_hand():
    monocyte, lymphocyte = near(CellType.MONOCYTE), near(CellType.LYMPHOCYTE)
    said = [
        (CellType.MONOCYTE, Nearness((monocyte, lymphocyte))),
        (CellType.MONOCYTE, Nearness((lymphocyte, monocyte), close_groups=(monocyte,))),
        (CellType.MONOCYTE, Nearness((lymphocyte, lymphocyte, monocyte))),
        (CellType.MONOCYTE, Nearness(unnamed=Unnamed.UNLIKE)),
        (CellType.MONOCYTE, Nearness(unnamed=Unnamed.FLAG, flag="border")),
        (CellType.MONOCYTE, Nearness(unnamed=Unnamed.GRANULOCYTE)),
    ]
    count = module._count(Setting.HELD_OUT, "Monocytes", said)
    assert count == NearnessCount(Setting.HELD_OUT, "Monocytes", 6, 2, 1, 1, 2, 1, {"lymphocytes": 2, "monocytes": 1})
    assert list(nearness_row(count).values()) == [
        "Monocytes", "6", "33 %", "25 %", "25 %", "50 %", "25 %", "lymphocytes 50 %, monocytes 25 %",
    ]  # fmt: skip
    lacking = nearness_row(module._count(Setting.LACKING, "Monocytes", said))
    assert list(lacking.values()) == ["Monocytes", "6", "33 %", "17 %", "17 %", "lymphocytes 33 %, monocytes 17 %"]
    assert nearness_row(module._count(Setting.HELD_OUT, "None", []))["unlike all"] == "-"


@pytest.fixture(scope="module")
def stored(model_entry):
    reliability = load(model_entry.reliability)
    with Cohort.open([ROOT / "assets" / "reference"]) as cohort:
        yield module._Stored.read(cohort, likeness_features(reliability), likeness_sizes(reliability), 60)


def test_a_patient_is_in_one_fold_of_all_populations(stored):
    known = stored.cells.dropna(subset=["patient_id"])
    assert (known.groupby("patient_id")["fold"].nunique() == 1).all()
    assert set(stored.cells["fold"]) == set(range(5))


def test_the_populations_are_those_of_good_cells_among_the_members_given(stored):
    few = stored.cells[stored.cells["population"] == "apl_deepapl"]
    (group,) = stored.nearest(few)._groups
    assert len(group.values) == few["quality_ok"].sum() < len(few)


def test_held_out_cells_are_mostly_nearest_to_their_type_and_sizes_help(stored):
    counts = list(stored.held_out())
    assert len(counts) == 3 * len(stored.references)
    assert all(count.n <= 60 for count in counts)
    first = {setting: sum(count.first for count in counts if count.setting is setting) for setting in Setting}
    assert first[Setting.HELD_OUT] > first[Setting.NO_SCALE] > sum(count.n for count in counts) / 3 / 2


def test_what_is_left_out_is_never_named(stored):
    for count in stored.left_out():
        assert count.first == count.second == 0
        assert count.n == count.refused + count.unlike + sum(count.named.values())


def test_other_laboratories_are_asked_only_where_they_have_the_type(stored):
    cells = [count.cells for count in stored.in_other_laboratories()]
    assert cells == [
        "Monocytes, Barcelona", "Monocytes, Johns Hopkins", "Lymphocytes, Barcelona", "Lymphocytes, Johns Hopkins",
    ]  # fmt: skip


@pytest.mark.data
def test_images_of_lacking_types_are_measured_and_counted(data_dir, model_entry):
    reliability = load(model_entry.reliability)
    seen = []
    with Cohort.open([ROOT / "assets" / "reference"]) as cohort:
        counts = check_nearness(
            model_entry,
            cohort,
            likeness_features(reliability),
            likeness_sizes(reliability),
            limit=2,
            progress=lambda done, total: seen.append((done, total)),
        )
    lacking = [count for count in counts if count.setting is Setting.LACKING]
    assert sum(len(types) for types in module._LACKING.values()) == len(lacking)
    assert seen[-1] == (2 * len(lacking), 2 * len(lacking))
    assert {count.setting for count in counts} == set(Setting)
    assert (
        json.loads(json.dumps(asdict(lacking[0])))["cells"] == "neutrophils, Hospital Clinic Barcelona, healthy donors"
    )

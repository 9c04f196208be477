import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.domain.errors import StoreError
from core.domain.settings import load_settings
from core.evaluation import model_selection as results

RUN = "run"


def rows(fold, status="done", architecture="unet"):
    """The tables of one unit."""
    unit = {"run_id": RUN, "protocol": "grouped", "k": 5, "fold": fold, "architecture": architecture}
    done = status == "done"
    return {
        "folds": [{**unit, "dice_mean": 0.9 if done else None, "status": status, "reason": "" if done else "why"}],
        "images": [
            {**unit, "sample_id": f"set/{i}", "copy": 0, "dice_nucleus": 0.9, "dice_cytoplasm": 0.8}
            for i in range(3 * done)
        ],
        "epochs": [{**unit, "epoch": epoch, "train_loss": 0.5} for epoch in (1, 2)],
    }


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / RUN
    folder.mkdir()
    (folder / "config.toml").write_text("")
    return folder


def folds(folder):
    return results.read(folder, "folds")["fold"].tolist()


def test_units_are_there_as_soon_as_they_are_added_and_after_compaction(run):
    for fold in (2, 1):
        assert results.add_unit(run, f"unit-{fold}", rows(fold))
    before = {table: results.read(run, table) for table in results.SCHEMAS}
    assert folds(run) == [1, 2]
    assert (len(before["images"]), len(before["epochs"])) == (6, 4)
    results.compact(run)
    assert {path.name for path in run.iterdir() if path.is_file()} == {
        "config.toml",
        "folds.parquet",
        "images.parquet",
        "epochs.parquet",
    }
    assert not (run / "units").exists()
    for table, frame in before.items():
        pd.testing.assert_frame_equal(results.read(run, table), frame)
    results.add_unit(run, "unit-3", rows(3))
    assert folds(run) == [1, 2, 3]


def test_a_unit_cannot_be_added_twice(run):
    assert results.add_unit(run, "unit-1", rows(1))
    assert not results.add_unit(run, "unit-1", rows(1))
    assert folds(run) == [1]
    assert not list((run / results.WORK_FOLDER).iterdir())


@pytest.mark.parametrize("tables", [["images"], ["images", "epochs"], ["images", "epochs", "folds"]])
def test_compaction_killed_half_way_counts_nothing_twice(run, tables):
    for fold in (1, 2):
        results.add_unit(run, f"unit-{fold}", rows(fold))
    # What it leaves: some tables are merged already, the units are all still there.
    for table in tables:
        schema = results.SCHEMAS[table]
        pq.write_table(
            pq.ParquetDataset(sorted(run.glob(f"units/*/{table}.parquet")), schema=schema).read(),
            run / f"{table}.parquet",
        )
    assert folds(run) == [1, 2]
    assert len(results.read(run, "images")) == 6
    results.compact(run)
    assert folds(run) == [1, 2]
    assert len(results.read(run, "epochs")) == 4


def test_failed_units_can_be_forgotten(run):
    results.add_unit(run, "unit-1", rows(1))
    results.add_unit(run, "unit-2", rows(2, "diverged"))
    assert results.discard_failed(run) == 1
    assert folds(run) == [1]
    assert set(results.read(run, "epochs")["fold"]) == {1}
    assert results.discard_failed(run) == 0
    assert results.add_unit(run, "unit-2", rows(2))
    assert results.read(run, "folds")["status"].tolist() == ["done", "done"]


def test_only_failed_units_leave_empty_tables_of_the_right_columns(run):
    results.add_unit(run, "unit-1", rows(1, "diverged"))
    results.compact(run)
    assert list(results.read(run, "images").columns) == results.SCHEMAS["images"].names
    assert results.read(run, "images").empty


def test_run_without_results_has_empty_tables(run):
    for table, schema in results.SCHEMAS.items():
        assert list(results.read(run, table).columns) == schema.names
        assert results.read(run, table).empty
    assert results.finished(run) == set()


def test_runs_are_folders_with_a_config(run, tmp_path, monkeypatch):
    (tmp_path / "something else").mkdir()
    assert results.run_folders(tmp_path) == [run]
    assert results.run_folders(tmp_path / "nowhere") == []
    monkeypatch.setenv("LEUKOSCOPE_SELECTION", str(tmp_path))
    assert results.run_folders() == [run]


def test_damaged_file_is_named(run):
    (run / "folds.parquet").write_bytes(b"no parquet")
    with pytest.raises(StoreError, match=r"run.folds\.parquet is damaged"):
        results.read(run, "folds")


def cost(architecture="unet", milliseconds=20.5):
    return {
        "architecture": architecture,
        "encoder": "tu-tf_efficientnet_lite0",
        "input_size": 160,
        "parameters": 5_000_000,
        "macs": 3_000_000_000,
        "onnx_mb": 20.7,
        "milliseconds": milliseconds,
        "milliseconds_q1": milliseconds - 1,
        "milliseconds_q3": milliseconds + 1,
        "torch_milliseconds": 2 * milliseconds,
        "threads": 1,
        "machine": "a processor",
        "versions": "{}",
        "measured": "2026-11-22",
    }


def test_costs_come_back_as_written_and_only_the_last_ones(run):
    results.write_costs(run, [cost("pan")])
    rows = [cost("unet"), cost("fpn", 12.25)]
    assert results.write_costs(run, rows).parent == run
    costs = results.read_costs(run)
    assert costs.to_dict("records") == rows
    assert list(costs.columns) == results.COST_SCHEMA.names
    assert {path.name for path in run.iterdir()} == {"config.toml", "costs.parquet"}


def test_costs_are_replaced_in_one_step(run):
    path = results.write_costs(run, [cost("unet")])
    before = path.read_bytes()
    with path.open("rb") as reader:
        results.write_costs(run, [cost("fpn")])
        # Who has begun to read goes on with the file as it was.
        assert reader.read() == before
    assert results.read_costs(run)["architecture"].tolist() == ["fpn"]


def test_costs_that_do_not_fit_leave_those_before(run):
    results.write_costs(run, [cost("unet")])
    with pytest.raises(pa.ArrowInvalid):
        results.write_costs(run, [{**cost("fpn"), "macs": "many"}])
    assert results.read_costs(run)["architecture"].tolist() == ["unet"]


def test_run_without_costs_has_an_empty_table_of_them(run):
    costs = results.read_costs(run)
    assert costs.empty
    assert list(costs.columns) == results.COST_SCHEMA.names


def test_costs_are_no_results_and_survive_compaction(run):
    results.add_unit(run, "unit-1", rows(1))
    results.write_costs(run, [cost()])
    results.compact(run)
    assert folds(run) == [1]
    assert len(results.read_costs(run)) == 1


def test_damaged_costs_are_named_with_what_to_do(run):
    (run / "costs.parquet").write_bytes(b"no parquet")
    with pytest.raises(StoreError, match=r"run.costs\.parquet is damaged .* and run `python -m export\.cost`"):
        results.read_costs(run)


def test_the_published_comparison_bears_the_names_of_our_configs_best_first(tmp_path):
    found = results.published(load_settings().reference)
    assert {"unetplusplus", "deeplabv3plus", "manet"} <= set(found["architecture"])
    assert found["mean_dice_percent"].is_monotonic_decreasing
    assert results.published(tmp_path) is None

"""How many cells make a model a laboratory's own: with tiny networks, what is drawn, measured once and told."""

import json

import pytest

from tests.training.tiny import tiny_config
from training.adaptation.config import AdaptationConfig
from training.experiments.__main__ import main
from training.experiments.adaptation import LEFT_OUT, STATISTICS, TRAINED_WITH, Laboratory, drawn, measure, table
from training.loop import SPLIT_FILE, fit

TINY = AdaptationConfig(images=8, batch_size=4, workers=0, threads=1)


@pytest.fixture(scope="module")
def together(tiny_root, tmp_path_factory):
    """A run of one epoch that was trained with set 2, too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LEUKOSCOPE_DATA", str(tiny_root))
        return fit(tiny_config(epochs=1, data_sets=("set1", "set2")), tmp_path_factory.mktemp("together")).folder


@pytest.fixture
def laboratory(trained_run, together, tiny_data):
    return Laboratory.read("set2", trained_run, together)


def test_what_is_taught_is_never_scored_and_small_draws_are_parts_of_large_ones(laboratory, together):
    split = json.loads((together / SPLIT_FILE).read_text())
    assert set(laboratory.test.items) == {name for name in split["test"] if name.startswith("set2/")}
    assert not set(laboratory.pool.items) & set(laboratory.test.items)
    few, more = (set(drawn(laboratory, count, 1).items) for count in (2, 5))
    assert few < more <= set(laboratory.pool.items)
    assert more != set(drawn(laboratory, 5, 2).items)
    assert {name.split("/")[0] for name in (*laboratory.known.items, *laboratory.known_test.items)} == {"set1"}


def test_each_variant_is_measured_once_and_told_beside_the_gap(laboratory, tmp_path):
    variants = [found["variant"] for found in measure(laboratory, [2], [1, 2], TINY, tmp_path, undrawn=False)]
    assert variants == [LEFT_OUT, TRAINED_WITH, "2 cells, draw 1", "2 cells, draw 2"]
    assert list(measure(laboratory, [2], [1, 2], TINY, tmp_path)) == []
    lines = table(tmp_path).splitlines()
    assert [line.split(" | ")[1] for line in lines[2:]] == [LEFT_OUT, "2 cells", "2 cells", TRAINED_WITH]
    assert "%" in lines[3]
    assert "%" not in lines[2] + lines[-1]
    assert not list(tmp_path.glob("*.lock"))


def test_new_statistics_change_the_network_and_need_no_drawing(laboratory, tmp_path):
    (found,) = [
        one for one in measure(laboratory, [], [], TINY, tmp_path, undrawn=True) if one["variant"] == STATISTICS
    ]
    left_out = json.loads((tmp_path / f"set2 {LEFT_OUT}.json").read_text())
    assert found["shares"]["1.0"]["test"] != left_out["shares"]["1.0"]["test"]


def test_the_command_prints_the_table_of_what_is_there(laboratory, trained_run, together, tmp_path, capsys):
    (tmp_path / "adapt.toml").write_text("images = 8\nbatch_size = 4\nworkers = 0\nthreads = 1\n")
    runs = ["--without", str(trained_run), "--trained-with", str(together), "--config", str(tmp_path / "adapt.toml")]
    out = str(tmp_path / "out")
    assert main(["adaptation", "--out", out, "--laboratory", "set2", *runs, "--cells", "2", "--draws", "1"]) == 0
    shown = capsys.readouterr().out
    assert "| set2 | 2 cells | 1 |" in shown
    assert main(["adaptation", "--out", out]) == 0
    assert capsys.readouterr().out == shown

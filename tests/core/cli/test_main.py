"""What every command shares: help, wrong use, errors in words."""

import subprocess
import sys

import pytest

from core import __version__
from core.cli.main import COMMANDS, PROGRAMS, main, parser
from core.domain.settings import ROOT
from tests.core.cli.support import fails_as_wrong_use, run


def test_unknown_options_and_values_are_wrong_use(cells, tmp_path, capsys):
    assert fails_as_wrong_use("segment", cells, "--out", tmp_path, "--colour", "blue")
    assert fails_as_wrong_use("segment", cells)  # no --out
    assert fails_as_wrong_use("segment", cells, "--out", tmp_path, "--device", "tpu")
    assert fails_as_wrong_use("segment", cells, "--out", tmp_path, "--jobs", "0")
    assert fails_as_wrong_use()
    assert "usage: python -m core" in capsys.readouterr().err


def test_help_names_every_command_and_loads_no_library():
    code = (
        "import sys; from contextlib import suppress; from core.cli.main import main\n"
        "with suppress(SystemExit): main(['--help'])\n"
        "print(*sorted(name for name in sys.modules if '.' not in name))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    *told, loaded = done.stdout.splitlines()
    assert set(COMMANDS) <= {line.split()[0] for line in told if line.startswith("    ")}
    heavy = {"numpy", "pandas", "scipy", "pyarrow", "duckdb", "onnxruntime", "altair", "streamlit", "torch", "shtab"}
    assert not heavy & set(loaded.split())


def test_every_command_has_its_arguments():
    for name in COMMANDS:
        assert f"usage: leukoscope {name}" in _help_of(name)


def _help_of(name):
    (commands,) = (action for action in parser([name], "leukoscope")._actions if action.choices)
    assert commands.choices[name].get_default("run") or name in (
        *PROGRAMS,
        "cohort",
        "corrections",
        "exchange",
        "models",
    )
    return commands.choices[name].format_help()


def test_the_version_is_told(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["--version"])
    assert stopped.value.code == 0
    assert capsys.readouterr().out == f"leukoscope {__version__}\n"


def test_help_is_everywhere(capsys):
    for command in (
        "segment",
        "features",
        "analyse",
        "cohort import",
        "cohort list",
        "reliability",
        "novelty",
        "models verify",
    ):
        with pytest.raises(SystemExit) as stopped:
            main([*command.split(), "--help"])
        assert stopped.value.code == 0
        assert "--json" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["segment", "analyse"])
def test_a_missing_or_empty_folder_is_wrong_use(tmp_path, capsys, command):
    code, _, err = run(capsys, command, tmp_path / "nowhere", "--out", tmp_path / "out")
    assert code == 2
    assert "does not exist; check the path" in err
    (tmp_path / "empty").mkdir()
    code, _, err = run(capsys, command, tmp_path / "empty", "--out", tmp_path / "out")
    assert code == 2
    assert "found none in" in err


def test_an_unknown_model_lists_the_known_ones(cells, tmp_path, capsys):
    code, _, err = run(capsys, "segment", cells, "--out", tmp_path, "--model", "resnet")
    assert code == 1
    assert "unknown model 'resnet'; known are" in err


@pytest.mark.parametrize("command", ["segment", "analyse"])
def test_a_place_that_cannot_be_written_is_told_in_words(cells, tmp_path, capsys, command):
    (tmp_path / "file").write_text("in the way")
    code, _, err = run(capsys, command, cells, "--out", tmp_path / "file")
    assert code == 2
    assert err.startswith("error: ")
    assert "file" in err


def test_without_models_every_command_says_what_to_do(tmp_path, monkeypatch, cells, capsys):
    monkeypatch.setenv("LEUKOSCOPE_SHIPPED_MODELS", str(tmp_path))
    for command in (["models", "list"], ["segment", str(cells), "--out", str(tmp_path / "out")]):
        code, _, err = run(capsys, *command)
        assert code == 1
        assert "no model: expected manifest.json" in err

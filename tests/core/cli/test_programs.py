import subprocess
import sys

import pytest

from core.cli.main import main
from core.domain.settings import ROOT


@pytest.mark.parametrize("program", ["training", "export"])
def test_a_program_reads_its_own_arguments(program, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([program, "--help"])
    assert stopped.value.code == 0
    assert f"usage: python -m {program}" in capsys.readouterr().out


# As if torch and timm were not installed.
WITHOUT = """
import sys
sys.modules["torch"] = None

class Refusing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "timm":
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Refusing())
import runpy
del sys.argv[0]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""


def without_torch(*command):
    ran = [sys.executable, "-c", WITHOUT, *command]
    return subprocess.run(ran, cwd=ROOT, capture_output=True, text=True, check=False)


SENTENCE = "needs torch, which is not installed; run `.venv/bin/pip install -r training/requirements.txt`\n"
EXPORT = ("export", "runs/mine", "--out", "mine.onnx")


@pytest.mark.parametrize(
    "command",
    [
        ("training", "finetune", "--out", "mine"),
        ("training", "localise", "--out", "mine"),
        ("training", "evaluate", "--json"),
        ("core", "training", "select", "--config", "mine.toml"),
        EXPORT,
        ("core", *EXPORT),
    ],
)
def test_without_torch_every_command_says_what_to_install(command):
    done = without_torch(*command)
    program = "export" if "export" in command else "training"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"error: {program} {SENTENCE}")


@pytest.mark.parametrize("command", [("training", "--help"), ("core", "training", "finetune", "-h"), ("export", "-h")])
def test_without_torch_help_is_shown_and_ends_in_what_to_install(command):
    done = without_torch(*command)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage: python -m ")
    assert done.stdout.endswith(SENTENCE)


def test_without_torch_wrong_use_is_still_told():
    done = without_torch("training", "tune")
    assert done.returncode == 2
    assert "invalid choice: 'tune'" in done.stderr

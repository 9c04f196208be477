"""A wheel of the checkout in an environment of its own, used from another folder as a stranger would."""

import os
import re
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest

from core import __version__
from core.domain.settings import ROOT


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Scripts of an environment that holds the wheel, and sees the libraries of the one that runs the tests."""
    work = tmp_path_factory.mktemp("installation")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    build = [*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(work), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = work.glob("leukoscope-*.whl")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(work / "venv")], check=True)
    scripts = work / "venv" / ("Scripts" if os.name == "nt" else "bin")
    python = scripts / Path(sys.executable).name
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = Path(subprocess.run([python, "-c", where], check=True, capture_output=True, text=True).stdout.strip())
    there = {path.name for path in site.iterdir()}
    command = [*pip, "--python", str(python), "install", "--no-deps", "--no-index", str(wheel)]
    subprocess.run(command, check=True, capture_output=True)
    added = {path.name for path in site.iterdir()} - there
    (site / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return scripts, python, site, added


@pytest.fixture
def outside(tmp_path, monkeypatch):
    """Outside the checkout, and in the home of somebody who has no settings."""
    for name in [name for name in os.environ if name.startswith(("LEUKOSCOPE_", "XDG_")) or name == "PYTHONPATH"]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path))

    def run(*command):
        done = subprocess.run([*map(str, command)], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_what_the_app_is_pinned_to_is_what_the_package_asks_for():
    def names(lines):
        return {re.match(r"[\w-]+", line)[0].lower() for line in lines if line and not line.startswith("#")}

    asked = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    assert names(asked) == names((ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines())


def test_nothing_but_names_of_our_own_is_put_beside_other_packages(installed):
    *_, added = installed
    assert added - {"__pycache__"} == {
        "leukoscope.py",
        "leukoscope.pth",
        "_leukoscope",
        f"leukoscope-{__version__}.dist-info",
    }


def test_the_command_answers_at_once_and_so_does_the_module(installed, outside):
    scripts, python, *_ = installed
    before = os.times()
    assert "cohort" in outside(scripts / "leukoscope", "--help")
    after = os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    assert used < 0.5  # seconds of CPU; 0.05 where nothing else runs
    assert outside(scripts / "leukoscope", "--version") == f"leukoscope {__version__}\n"
    assert outside(python, "-m", "core", "--version") == f"leukoscope {__version__}\n"


def test_three_lines_measure_a_cell(installed, outside):
    _, python, *_ = installed
    lines = (
        "import leukoscope\n"
        "cell = leukoscope.analyse(leukoscope.example())\n"
        "print(len(cell.table()), cell.table()['nucleus_shape2D_PixelSurface'].item())\n"
    )
    count, area = outside(python, "-c", lines).split()
    assert (count, float(area) > 1000) == ("1", True)


def test_the_shipped_files_are_found_and_a_person_s_own_lie_elsewhere(installed, outside, tmp_path):
    scripts, python, site, _ = installed
    assert "lymphocyte_acevedo" in outside(scripts / "leukoscope", "cohort", "list")
    home = site / "_leukoscope"
    assert (home / "Home.py").is_file()
    assert (home / "training" / "configs" / "finetune.toml").is_file()
    assert (home / ".streamlit" / "config.toml").is_file()
    assert (home / "pages" / "_ui" / "components" / "viewer" / "viewer.js").is_file()
    code = (
        "from core.domain.settings import load_settings; settings = load_settings();"
        " print(settings.cohort, settings.runs, settings.cache, settings.data, sep='\\n')"
    )
    own = [Path(line) for line in outside(python, "-c", code).splitlines()]
    assert not any(path.is_relative_to(site) for path in own)
    assert all(path.is_relative_to(tmp_path) for path in own)


def test_what_would_change_the_installation_is_refused(installed, tmp_path):
    scripts, *_ = installed
    command = [scripts / "leukoscope", "cohort", "build"]
    done = subprocess.run([*map(str, command)], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "would go into the installation" in done.stderr
    assert "LEUKOSCOPE_REFERENCE" in done.stderr

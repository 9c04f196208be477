import os
import subprocess
import sys

import pytest

from core.errors import UsageError
from core.settings import ROOT
from training.background import detach, read_queue, run_queue


def test_queue_is_read_without_comments(tmp_path):
    path = tmp_path / "queue.txt"
    path.write_text("# first\nvalidate --config 'a b.toml'  # why\n\nexperiments\n")
    assert read_queue(path) == [["validate", "--config", "a b.toml"], ["experiments"]]
    with pytest.raises(UsageError, match="could not be read as a list of commands"):
        read_queue(tmp_path / "none.txt")


def test_queue_goes_on_after_a_failure(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(ROOT)
    done = list(run_queue([["validate", "--config", "none.toml"], ["experiments", "--out", str(tmp_path)]]))
    assert [(command[0], code) for command, code, _ in done] == [("validate", 2), ("experiments", 0)]
    assert all(0 < minutes < 10 for _, _, minutes in done)
    printed = capfd.readouterr()
    assert "none.toml could not be read" in printed.err
    assert "No run has finished yet." in printed.out


def test_priority_becomes_the_lowest():
    # In a process of its own: this one is to keep its priority.
    program = "import os; from training.background import lower_priority; lower_priority(); print(os.nice(0))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "19"


def test_detached_command_runs_by_itself_and_writes_its_log(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    log = tmp_path / "logs" / "queue.log"
    pid = detach(["experiments", "--out", str(tmp_path)], log)
    assert os.getsid(pid) == pid != os.getsid(0)
    os.waitpid(pid, 0)
    assert "No run has finished yet." in log.read_text()

"""Real processes take turns; each notes when it had one."""

import json
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest

from core.batch.fair_queue import FairQueue

ROOT = Path(__file__).parents[3]

# Computes for `work` seconds in all, in steps, whenever it has the turn; writes a line for each turn it had.
RUN = """
import json, sys, time
from pathlib import Path
from core.batch.fair_queue import FairQueue
folder, owner, run, work, slice_s = Path(sys.argv[1]), sys.argv[2], sys.argv[3], float(sys.argv[4]), float(sys.argv[5])
log = folder.parent / "log"
left = work
with FairQueue(folder, owner, run, slice_s=slice_s) as turns:
    print("ready", flush=True)
    sys.stdin.readline()
    while left > 0:
        if turns.due():
            turns.give()
        if not turns.held:
            while not turns.take():
                time.sleep(0.01)
            with log.open("a") as file:
                file.write(json.dumps([time.monotonic(), owner, run, "takes"]) + "\\n")
        time.sleep(0.02)
        left -= 0.02
    with log.open("a") as file:
        file.write(json.dumps([time.monotonic(), owner, run, "done"]) + "\\n")
"""


class Runs:
    """Processes that take turns in one folder, started together."""

    def __init__(self, folder: Path, slice_s: float):
        self.folder, self.slice_s, self.processes = folder, slice_s, {}

    def add(self, owner: str, run: str, work: float) -> subprocess.Popen:
        command = [sys.executable, "-c", RUN, str(self.folder / "turns"), owner, run, str(work), str(self.slice_s)]
        process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert process.stdout.readline() == "ready\n"
        self.processes[owner, run] = process
        return process

    def go(self, *names) -> None:
        for name in names or self.processes:
            self.processes[name].stdin.write("\n")
            self.processes[name].stdin.flush()

    def finish(self) -> list[list]:
        for process in self.processes.values():
            assert process.wait(60) in {0, -signal.SIGKILL}
        return self.log()

    def log(self) -> list[list]:
        path = self.folder / "log"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def wait_for(self, what: tuple) -> None:
        deadline = time.monotonic() + 30
        while what not in [tuple(line[1:]) for line in self.log()]:
            assert time.monotonic() < deadline, what
            time.sleep(0.01)


@pytest.fixture
def runs(tmp_path):
    made = []

    def make(slice_s: float) -> Runs:
        made.append(Runs(tmp_path, slice_s))
        return made[-1]

    yield make
    for each in made:
        for process in each.processes.values():
            process.kill()
            process.communicate()


def test_a_small_run_is_not_stuck_behind_a_large_one(runs):
    queue = runs(0.3)
    queue.add("anna", "large", 3)
    queue.add("berta", "small", 0.2)
    queue.go(("anna", "large"))
    queue.wait_for(("anna", "large", "takes"))
    queue.go(("berta", "small"))
    log = queue.finish()
    ends = [line[1] for line in log if line[3] == "done"]
    assert ends == ["berta", "anna"]


def test_owners_take_turns_and_each_owner_s_runs_among_themselves(runs):
    queue = runs(0.2)
    for run in ("1", "2", "3"):
        queue.add("anna", run, 0.8)
    queue.add("berta", "1", 0.8)
    queue.go()
    log = queue.finish()
    taken = [tuple(line[1:3]) for line in log if line[3] == "takes"]
    until = max(number for number, who in enumerate(taken) if who[0] == "berta")
    owners = [owner for owner, _ in taken[1 : until + 1]]
    assert len(owners) >= 4
    assert all(first != second for first, second in pairwise(owners)), taken
    anna = [run for owner, run in taken if owner == "anna"]
    assert len(set(anna[:3])) == 3, "no run of an owner has a second turn before each had one"


def test_alone_a_run_keeps_its_turn(runs):
    queue = runs(0.05)
    queue.add("anna", "1", 0.5)
    queue.go()
    assert [line[3] for line in queue.finish()] == ["takes", "done"]


def test_a_killed_run_keeps_nobody_waiting(runs):
    queue = runs(60)
    holder = queue.add("anna", "1", 60)
    queue.go()
    queue.wait_for(("anna", "1", "takes"))
    waiter = queue.add("berta", "1", 60)
    queue.go(("berta", "1"))
    deadline = time.monotonic() + 30
    while not list((queue.folder / "turns").glob("*.waiting")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    waiter.kill()
    waiter.wait()
    holder.kill()
    holder.wait()
    with FairQueue(queue.folder / "turns", "carla", "1") as turns:
        assert turns.take()
        assert not list((queue.folder / "turns").glob("*.waiting"))


def test_only_one_has_the_turn_and_leaving_hands_it_on(tmp_path):
    first, second = FairQueue(tmp_path, "anna", "1", slice_s=0), FairQueue(tmp_path, "berta", "1")
    assert first.take()
    assert first.take()
    assert not first.due(), "nobody waits"
    assert not second.take()
    assert first.due()
    assert second.held is False
    with first:
        pass
    assert second.take()
    second.give()
    assert not second.held


def test_a_damaged_ledger_begins_anew(tmp_path):
    (tmp_path / "served.json").write_text('{"anna": 1')
    with FairQueue(tmp_path, "anna", "1") as turns:
        assert turns.take()
    assert json.loads((tmp_path / "served.json").read_text()) == {"anna": 1, "anna/1": 1}


def test_who_comes_back_has_no_advantage_over_who_waits(tmp_path):
    with FairQueue(tmp_path, "anna", "1") as turns:
        assert turns.take()
    with FairQueue(tmp_path, "berta", "1") as berta, FairQueue(tmp_path, "anna", "2") as anna:
        assert anna.take(), "nobody else waits yet"
        assert not berta.take()
        anna.give()
        assert not anna.take()
        assert berta.take()

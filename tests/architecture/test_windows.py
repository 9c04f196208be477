"""What only Linux and macOS have is not there on Windows: all of core is imported and a cohort asked without it."""

import re
import subprocess
import sys

import pytest

from core.domain.settings import ROOT
from tests.architecture.test_imports import modules_of

# The standard library's own halves for this system are loaded before; on Windows it has others in their place.
BLOCKED = """
import asyncio, subprocess, sys
try:
    import fcntl, multiprocessing.popen_spawn_posix
    from tests.locking import as_windows_does
    windows = as_windows_does(fcntl)
except ImportError:
    pass  # this is Windows
sys.modules["fcntl"] = sys.modules["resource"] = None
"""


def test_only_the_module_of_locks_speaks_to_what_locks_files() -> None:
    speaks = {
        path.relative_to(ROOT).as_posix()
        for package in ("core", "pages", "training", "export")
        for path in (ROOT / package).rglob("*.py")
        if re.search(r"\b(fcntl|msvcrt|flock)\b", path.read_text(encoding="utf-8"))
    }
    assert speaks == {"core/support/locks.py"}


def run_blocked(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-c", BLOCKED + program, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)


def test_core_is_imported_and_a_cohort_opened_and_asked(drawn_root) -> None:
    program = f"""
import importlib
for name in {modules_of("core")}:
    importlib.import_module(name)
from pathlib import Path
from core.store.database import Cohort
with Cohort.open([Path(sys.argv[1])]) as cohort:
    print(cohort.query("SELECT count(*) AS n FROM cells")["n"][0], len(cohort.populations()))
"""
    done = run_blocked(program, str(drawn_root))
    assert done.returncode == 0, done.stderr
    cells, populations = map(int, done.stdout.split())
    assert cells > populations > 0


def test_a_question_of_sql_is_answered_and_that_it_is_not_limited_is_said_once(drawn_root) -> None:
    # The process that answers is another, and finds the same missing.
    program = """
import runpy
from pathlib import Path
from core.store import sql_query
from core.store.database import Cohort

class Blocked(subprocess.Popen):
    def __init__(self, command, **how):
        python, isolated, script = command
        program = (
            "import sys; sys.modules['resource'] = None; import runpy;"
            f"runpy.run_path({script!r}, run_name='__main__')"
        )
        super().__init__([python, isolated, "-c", program], **how)

sql_query.subprocess.Popen = Blocked
with Cohort.open([Path(sys.argv[1])]) as cohort:
    for _ in range(2):
        print(sql_query.run(cohort, "SELECT count(*) AS n FROM cells").table["n"][0])
"""
    done = run_blocked(program, str(drawn_root))
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[0]) > 0
    assert done.stderr.count("cannot limit the memory of a process") == 1


def test_a_batch_is_measured_alone_in_its_folder_and_says_that_memory_is_not_limited(tmp_path) -> None:
    fcntl = pytest.importorskip("fcntl")
    if not hasattr(fcntl, "F_OFD_SETLK"):
        pytest.skip("stands in for Windows by locks that only Linux has")
    program = """
from core.support import bounded
from core.batch.results import RunFolder
from core.domain.errors import UsageError
from tests.core.batch.support import run, write_images
from pathlib import Path
sys.modules["msvcrt"] = windows
images, out = Path(sys.argv[1], "images"), Path(sys.argv[1], "out")
write_images(images, 3)
print(run(images, out, jobs=1).done)
bounded.limit_memory(1)
with RunFolder(str(out)):
    try:
        run(images, out)
    except UsageError as error:
        print(error)
"""
    done = run_blocked(program, str(tmp_path))
    assert done.returncode == 0, done.stderr
    measured, refused = done.stdout.splitlines()
    assert measured == "3"
    assert refused.startswith("another run is writing into")
    assert done.stderr.count("cannot limit the memory that an image may take") == 1

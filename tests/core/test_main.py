"""`python -m core` in a process of its own."""

import json
import subprocess
import sys

from core.domain.settings import ROOT
from tests.core.cli.support import save_cell


def test_the_program_itself(tmp_path):
    """One real process: nothing but the result on standard output, progress on standard error."""
    cell, out = save_cell(tmp_path / "cell.png"), tmp_path / "out"
    command = [sys.executable, "-W", "error", "-m", "core", "segment", str(cell), "--out", str(out), "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    (image,) = (said := json.loads(done.stdout)).pop("images")
    assert said == {"out": str(out), "cells": 1, "flagged": {}, "failed": {}, "passed_over": {}, "stain": None}
    assert image == {"image_path": "cell.png", "mask": "cell.png", "cells": 1, "notes": [], "flags": {}}
    assert "1/1 images" in done.stderr

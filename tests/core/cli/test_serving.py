"""`leukoscope serve`, as it is run: a process of its own on a free port of this machine."""

import json
import os
import re
import subprocess
import sys
import urllib.error
import urllib.request

import pytest

from core.domain.settings import ROOT
from core.image.imaging import encode_png
from core.image.synthetic import draw_cell
from tests.core.cli.support import run


@pytest.fixture
def address():
    command = [sys.executable, "-m", "core", "serve", "--port", "0", "--workers", "1"]
    environment = os.environ | {"LEUKOSCOPE_TOKEN": "secret", "LEUKOSCOPE_MAX_SECONDS": "60"}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            line = process.stderr.readline()
            found = re.search(r"answers at (http://127\.0\.0\.1:\d+); Ctrl-C ends it", line)
            assert found, line + process.stderr.read()
            yield found[1]
        finally:
            process.terminate()


def test_an_image_is_posted_and_its_cell_comes_back(address, model_entry):
    headers = {"Authorization": "Bearer secret", "Content-Type": "image/png"}
    request = urllib.request.Request(f"{address}/analyse", encode_png(draw_cell()[0].rgb), headers)
    with urllib.request.urlopen(request, timeout=120) as answer:
        told = json.load(answer)
    assert told["model_sha256"] == model_entry.sha256
    (cell,) = told["cells"]
    assert cell["cell_outline"]
    assert cell["places"]
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(f"{address}/model", timeout=60)


def test_other_hosts_need_a_token_and_a_port_is_one(capsys, monkeypatch):
    monkeypatch.delenv("LEUKOSCOPE_TOKEN", raising=False)
    code, _, err = run(capsys, "serve", "--host", "0.0.0.0")
    assert (code, "0.0.0.0 can be reached by others, but there is no token; set LEUKOSCOPE_TOKEN" in err) == (2, True)
    code, _, err = run(capsys, "serve", "--port", 70_000)
    assert (code, "--port must lie between 0 and 65535, but is 70000" in err) == (2, True)

"""`leukoscope app` with a real server, from another folder."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress

from core.domain.settings import ROOT


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def answer(address, server):
    """What the server says once it is up."""
    for _ in range(600):
        assert server.poll() is None, server.stdout.read()
        with suppress(OSError), urllib.request.urlopen(address, timeout=5) as response:
            return response.read().decode()
        time.sleep(0.1)
    raise AssertionError("no answer within a minute")


def test_the_app_answers_and_ends_with_ctrl_c(tmp_path):
    port = free_port()
    command = [sys.executable, "-m", "core", "app", "--port", str(port), "--server.headless", "true"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, start_new_session=True, **streams) as server:
        try:
            assert answer(f"http://127.0.0.1:{port}/_stcore/health", server) == "ok"
        finally:
            os.killpg(server.pid, signal.SIGINT)
        assert server.wait(30) == 0

"""`leukoscope app`: the pages, in a browser."""

import argparse
import subprocess
import sys
from contextlib import suppress

from core.domain.settings import ROOT


def app(parser: argparse.ArgumentParser) -> None:
    """Open the pages; options that are not ours are passed to `streamlit run`."""
    parser.epilog = "Further options go to `streamlit run`, as --server.headless true."
    parser.add_argument("--port", type=int, default=8501, metavar="N", help="port of the server (default 8501)")
    parser.set_defaults(run=_app, passed_on=[])


def _app(arguments: argparse.Namespace) -> int:
    """A process of its own: the engine needs no user interface, so it imports none."""
    # Streamlit finds the pages and .streamlit/config.toml beside it.
    command = [sys.executable, "-m", "streamlit", "run", str(ROOT / "Home.py"), "--server.port", str(arguments.port)]
    with suppress(KeyboardInterrupt):  # Ctrl-C reaches the server as well, and is how it is meant to end
        return subprocess.call([*command, *arguments.passed_on])
    return 0

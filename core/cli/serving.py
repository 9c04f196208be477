"""`leukoscope serve`: the engine for other programs, over HTTP."""

import argparse
import os
import sys

from core.cli.cohort import references
from core.cli.common import positive
from core.domain.errors import UsageError
from core.segmentation.model_registry import find_model, verify_model


def serve(parser: argparse.ArgumentParser) -> None:
    """Answer images with JSON."""
    parser.epilog = (
        "POST an image to /analyse; GET /health, /model and /openapi.json. LEUKOSCOPE_TOKEN is the token that requests"
        " must show; with another host than 127.0.0.1 it must be set. docs/serving.md has examples."
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this machine alone)")
    parser.add_argument("--port", type=int, default=8600, metavar="N", help="port of the service (default 8600)")
    text = "as `leukoscope models list` names it (default: the model in use)"
    parser.add_argument("--model", metavar="ID", help=text)
    text = "images analysed at once (default: a quarter of the cores, at least 2); as many again, twice, may wait"
    parser.add_argument("--workers", type=positive, metavar="N", help=text)
    parser.set_defaults(run=_serve)


def _serve(arguments: argparse.Namespace) -> int:
    import uvicorn  # help comes without it

    from core.serving.server import ServiceSettings, open_desk, service, workers_by_default

    if not 0 <= arguments.port <= 65_535:
        msg = f"--port must lie between 0 and 65535, but is {arguments.port}"
        raise UsageError(msg)
    workers = arguments.workers or workers_by_default()
    settings = ServiceSettings(arguments.host, os.environ.get("LEUKOSCOPE_TOKEN", ""), workers)
    model = find_model(arguments.model)
    verify_model(model)
    desk = open_desk(model, workers)
    try:
        app = service(model, desk, references(), settings)
        config = uvicorn.Config(
            app, arguments.host, arguments.port, log_level="warning", access_log=False, server_header=False
        )
        with config.bind_socket() as listening:
            # A socket's name is (host, port), with more behind them under IPv6.
            host, port = listening.getsockname()[:2]
            print(f"{model.model_id} answers at http://{host}:{port}; Ctrl-C ends it", file=sys.stderr, flush=True)
            uvicorn.Server(config).run([listening])
    finally:
        desk.close()
    return 0

"""`python -m core`: the same program as the command `leukoscope`."""

import sys

from core.cli.main import PYTHON_M, main, program

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(program(PYTHON_M))

"""`leukoscope completion`: a completion script for a shell, made from the parsers."""

import argparse
from collections.abc import Iterator
from pathlib import Path

import shtab

from core.cli import main


def completion(parser: argparse.ArgumentParser) -> None:
    """Print the script of a shell."""
    parser.epilog = 'In bash: eval "$(leukoscope completion bash)", in ~/.bashrc for good.'
    parser.add_argument("shell", choices=shtab.SUPPORTED_SHELLS, help="shell that is to read the script")
    parser.set_defaults(run=_completion)


def _completion(arguments: argparse.Namespace) -> int:
    print(script(arguments.shell))
    return 0


def script(shell: str) -> str:
    """Return the script that completes `leukoscope` in a shell, with files where a path is wanted."""
    program = main.parser(prog="leukoscope")
    for action in _actions(program):
        if action.type is Path:
            action.complete = shtab.FILE  # type: ignore[attr-defined]  # an attribute that shtab looks for
    return shtab.complete(program, shell)


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for action in parser._actions:  # argparse tells them in no other way
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for below in dict.fromkeys(action.choices.values()):
                yield from _actions(below)

"""The reference of the command line, made of the parsers, which `--help` shows too."""

import argparse
from collections.abc import Iterator

import export.__main__ as export_command
import training.__main__ as training_command
from core.cli.main import PROGRAMS, parser

PROGRAM = "leukoscope"


def commands() -> str:
    """A section for every command: its usage, what it does, and each argument with its help."""
    return "\n\n".join(_section(name, command) for name, command in every_command())


def every_command() -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Every command by its words after `leukoscope`, families before their members."""
    for name, command in _subcommands(parser(prog=PROGRAM)):
        if name not in PROGRAMS:
            yield from _with_members(name, command)
    yield from _with_members("training", training_command.parser())
    yield "export", export_command.parser()
    yield "export bundle", export_command.bundle_parser()


def arguments_of(command: argparse.ArgumentParser) -> list[argparse.Action]:
    """What a command takes, in the order of importance; without --help and without its members."""
    none = (argparse._HelpAction, argparse._SubParsersAction)
    # argparse tells them in no other way.
    return sorted((action for action in command._actions if not isinstance(action, none)), key=_importance)


def _importance(action: argparse.Action) -> int:
    if not action.option_strings:
        return 0
    return 1 if action.required else 3 if "--json" in action.option_strings else 2


def _with_members(name: str, command: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    yield name, command
    for member, below in _subcommands(command):
        yield f"{name} {member}", below


def _subcommands(command: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    for action in command._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield from action.choices.items()


def _section(name: str, command: argparse.ArgumentParser) -> str:
    family = any(_subcommands(command))
    parts = [f"{'##' if ' ' not in name else '###'} {name}", _text(command.description)]
    if not family:
        parts.append(f"```\n{_usage(name, arguments_of(command))}\n```")
        parts += [_text(command.epilog)] if command.epilog else []
        rows = [f"| {_names(action)} | {_help(action)} |" for action in arguments_of(command)]
        parts.append("\n".join(["| argument | meaning |", "| --- | --- |", *rows]))
    return "\n\n".join(parts)


def _usage(name: str, arguments: list[argparse.Action]) -> str:
    """What must be given, in one line: the same under every Python, as argparse's own is not."""
    needed = [
        f"{action.option_strings[0]} {_value(action)}" if action.option_strings else _value(action)
        for action in arguments
        if action.required or not action.option_strings
    ]
    free = any(action.option_strings and not action.required for action in arguments)
    return " ".join([PROGRAM, name, *needed, *(["[options]"] if free else [])])


def _names(action: argparse.Action) -> str:
    if not action.option_strings:
        return f"`{_value(action)}`"
    value = "" if action.nargs == 0 else f" {_value(action)}"
    return ", ".join(f"`{option}{value}`" for option in action.option_strings)


def _value(action: argparse.Action) -> str:
    """What stands for the value of an argument, with the signs for several and for none."""
    called = action.metavar if isinstance(action.metavar, str) else action.dest.upper()
    if action.choices is not None and action.metavar is None:
        called = f"{{{','.join(map(str, action.choices))}}}"
    called = called.replace("|", " or ")  # which would part a cell of the table
    return {"+": f"{called}...", "*": f"[{called}...]", "?": f"[{called}]"}.get(str(action.nargs), called)


def _help(action: argparse.Action) -> str:
    words = (action.help or "") % {
        **vars(action),
        "prog": PROGRAM,
        "choices": ", ".join(map(str, action.choices or ())),
    }
    told = action.nargs == 0 or action.default in (None, "", []) or "default" in words
    return _text(words if told else f"{words} (default: {action.default})")


def _text(words: str | None) -> str:
    """Plain words as Markdown, where only backticks keep their meaning."""
    plain = " ".join((words or "").split())
    parts = plain.split("`")
    parts[::2] = [part.replace("*", "\\*").replace("<", "&lt;").replace("|", "\\|") for part in parts[::2]]
    return "`".join(parts)

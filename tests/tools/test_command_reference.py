"""The reference of the command line names every command and every option, and says what each is for."""

import pytest

from core.cli.main import COMMANDS
from tools.command_reference import arguments_of, commands, every_command

EVERY = dict(every_command())


def test_every_command_has_a_section():
    assert COMMANDS.keys() <= EVERY.keys()
    headings = [line.lstrip("# ") for line in commands().splitlines() if line.startswith("#")]
    assert headings == list(EVERY)


@pytest.mark.parametrize("name", EVERY)
def test_every_argument_says_what_it_is_for(name):
    silent = [argument.dest for argument in arguments_of(EVERY[name]) if not argument.help]
    assert not silent


def test_what_must_be_given_comes_first_and_what_may_be_chosen_is_told():
    text = commands().partition("### cohort import-table\n")[2].partition("### ")[0]
    assert "leukoscope cohort import-table FILE --name NAME --source NAME [options]" in text
    arguments = [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("| `")]
    assert arguments[:4] == ["`FILE`", "`--name NAME`", "`--source NAME`", "`--units {px,um}`"]
    assert arguments[-1] == "`--json`"

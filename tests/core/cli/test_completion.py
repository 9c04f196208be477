import shutil
import subprocess

import pytest

from tests.core.cli.support import run


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    """The script that bash is given."""
    from core.cli.completion import script

    path = tmp_path_factory.mktemp("completion") / "leukoscope.sh"
    path.write_text(script("bash"))
    return path


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize(
    ("line", "offered"),
    [
        (["leukoscope", "co"], {"cohort", "completion", "corrections"}),
        (["leukoscope", "cohort", "imp"], {"import", "import-table"}),
        (["leukoscope", "segment", "--um"], {"--um-per-px", "--um-per-px-error"}),
        (["leukoscope", "segment", "--device", "c"], {"cpu", "cuda"}),
    ],
    ids=lambda value: " ".join(sorted(value)),
)
def test_bash_completes_commands_actions_options_and_choices(script, line, offered):
    ask = (
        f"source {script}; COMP_WORDS=({' '.join(line)}); COMP_CWORD={len(line) - 1};"
        " $(complete -p leukoscope | sed 's/.*-F \\([^ ]*\\) .*/\\1/'); printf '%s\\n' \"${COMPREPLY[@]}\""
    )
    done = subprocess.run(["bash", "-c", ask], capture_output=True, text=True, check=True)
    assert {word.strip() for word in done.stdout.split()} == offered


def test_the_script_is_printed(capsys):
    code, out, _ = run(capsys, "completion", "zsh")
    assert code == 0
    assert out.startswith("#compdef leukoscope")

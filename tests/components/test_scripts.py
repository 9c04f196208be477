"""The scripts of the components: their own tests under node, and that they reach the browser whole."""

import re
import subprocess
from pathlib import Path

import pytest

from pages._ui.components.assets import joined

HERE = Path(__file__).parent
COMPONENTS = HERE.parents[1] / "pages" / "_ui" / "components"
ENTRIES = sorted(
    COMPONENTS / folder.name / f"{folder.name}.js"
    for folder in COMPONENTS.iterdir()
    if (folder / f"{folder.name}.js").exists()
)


@pytest.mark.parametrize("script", sorted(HERE.glob("*.test.mjs")), ids=lambda path: path.stem)
def test_a_script_passes_its_own_tests(node, script):
    done = subprocess.run([node, "--test", script], capture_output=True, text=True, check=False)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^# pass [1-9]", done.stdout, re.MULTILINE), "no test was run"


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda path: path.stem)
def test_a_component_reaches_the_browser_as_one_script_that_asks_for_no_other(node, entry, tmp_path):
    script = tmp_path / "component.mjs"
    script.write_text(joined(entry), encoding="utf-8")
    program = f"import({script.as_uri()!r}).then(it => console.log(Object.keys(it), typeof it.default))"
    done = subprocess.run([node, "-e", program], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[ 'default' ] function", done.stderr
    assert not re.search(r"^import\b", script.read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda path: path.stem)
def test_every_script_in_a_folder_reaches_the_browser(entry):
    whole = joined(entry)
    for path in entry.parent.glob("*.js"):
        last = path.read_text(encoding="utf-8").rstrip().splitlines()[-3:]
        assert "\n".join(last) in whole, path.name


def test_a_script_comes_once_and_after_those_it_needs(tmp_path):
    (tmp_path / "entry.js").write_text(
        'import { a } from "./a.js";\nimport {\n  b,\n} from "./b.js";\n\nexport default function () {}\n'
    )
    (tmp_path / "a.js").write_text('import { b } from "./b.js";\n\nexport const a = b;\n')
    (tmp_path / "b.js").write_text('export const b = "export and import stay in words";\n')
    assert joined(tmp_path / "entry.js").split("\n\n") == [
        'const b = "export and import stay in words";',
        "\nconst a = b;",
        "\nexport default function () {}\n",
    ]

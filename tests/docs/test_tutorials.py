"""What the docs tell a person to run in Python does run; notebooks hold no output of anybody's images."""

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from core.domain.settings import ROOT
from core.image.imaging import encode_png

NOTEBOOKS = sorted((ROOT / "docs" / "tutorials").glob("*.ipynb"))
# Of Jupyter's own, about its future: nothing a notebook could mend.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_kept_without_outputs(path: Path):
    cells = code_cells(nbformat.read(path, as_version=4))
    assert cells
    assert not any(cell.outputs or cell.execution_count for cell in cells)


def test_the_three_lines_of_the_readme_measure_a_cell(synthetic_cell, tmp_path, monkeypatch):
    (lines,) = re.findall(r"```python\n(.+?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "cell.png").write_bytes(encode_png(synthetic_cell[0].rgb))
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(lines, names)
    assert names["cell"].table()["um_per_px"].tolist() == [0.095]


def test_one_cell_is_outlined_measured_and_set_beside_others():
    notebook = nbformat.read(ROOT / "docs" / "tutorials" / "one_cell.ipynb", as_version=4)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(ROOT)}}).execute()
    shown = [cell.outputs[-1]["data"] for cell in code_cells(notebook)]
    assert shown[0]["text/html"].startswith('<img src="data:image/png;base64,')
    assert "Nucleus area" in shown[1]["text/html"]
    assert "lymphocyte_acevedo" in shown[3]["text/html"]
    assert "synthetic_hairy_cell" in shown[4]["text/plain"]

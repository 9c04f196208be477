"""What may import what: the contracts of pyproject.toml, the entry page, and what a cold start loads."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

from core.domain.settings import ROOT

TRAINING_STACK = {"torch", "torchvision", "segmentation_models_pytorch", "timm", "albumentations", "cv2", "training"}


def loaded_by(*modules: str) -> set[str]:
    """Top-level modules that a fresh interpreter holds after importing the given ones."""
    program = (
        f"import json, sys, {', '.join(modules)}; print(json.dumps(sorted({{name.split('.')[0] for name in"
        " sys.modules})))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


def modules_of(folder: str) -> list[str]:
    """Every module below a folder of the repository, in all its rooms."""
    paths = (path.relative_to(ROOT).with_suffix("") for path in (ROOT / folder).rglob("*.py"))
    return sorted(".".join(path.parts).removesuffix(".__init__") for path in paths)


def test_import_contracts_are_kept() -> None:
    lint_imports = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([lint_imports, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_home_is_made_of_streamlit_core_and_pages() -> None:
    tree = ast.parse((ROOT / "Home.py").read_text(encoding="utf-8"))
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    foreign = {name.split(".")[0] for name in names} - set(sys.stdlib_module_names)
    assert "streamlit" in foreign
    assert foreign <= {"streamlit", "core", "pages"}


def test_core_starts_without_a_user_interface_or_a_training_stack() -> None:
    loaded = loaded_by(*modules_of("core"))
    assert {"core", "numpy"} <= loaded
    assert not loaded & (TRAINING_STACK | {"streamlit"})


@pytest.mark.parametrize(
    "module", ["core.domain.types", "core.image.imaging", "core.image.masks", "core.image.synthetic"]
)
def test_looking_at_an_image_needs_no_database_and_no_network(module: str) -> None:
    assert not loaded_by(module) & (
        TRAINING_STACK | {"streamlit", "duckdb", "pyarrow", "onnxruntime", "radiomics", "SimpleITK", "altair"}
    )


def test_pages_import_without_a_training_stack() -> None:
    modules = modules_of("pages/_ui")
    assert {"pages._ui.common.layout", "pages._ui.explorer.page", "pages._ui.components.viewer.viewer"} <= set(modules)
    assert not loaded_by(*modules) & TRAINING_STACK


@pytest.mark.parametrize("program", ["training", "export"])
def test_help_on_training_waits_for_no_torch(program: str) -> None:
    code = (
        f"import sys; from contextlib import suppress; from {program}.__main__ import main\n"
        "with suppress(SystemExit): main(['--help'])\n"
        "print('torch' in sys.modules, 'numpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False False"

"""Whatever a page puts into Markdown and comes from outside has passed `core.support.text.markdown`.

Streamlit reads Markdown in most of what it shows: texts, labels, hints, captions. This looks at every such call of the
pages, with the variables that its function makes, for attributes that hold names and words from outside.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.domain.settings import ROOT

# Functions that read their first argument as Markdown, and any argument of these names.
READS = {
    "markdown", "caption", "info", "error", "warning", "success", "title", "header", "subheader", "toast", "write",
    "button", "checkbox", "toggle", "expander", "popover", "radio", "pills", "segmented_control", "selectbox",
    "multiselect", "slider", "text_input", "text_area", "number_input", "file_uploader", "download_button",
    "form_submit_button", "link_button", "menu_button", "metric", "spinner", "tabs", "empty_state", "badge", "status",
    "page_link", "progress",
}  # fmt: skip
READ_BY_NAME = {"label", "help", "text", "caption", "captions"}

# Attributes and fields that hold what people, files and other programs say.
OUTSIDE = {
    "name", "stem", "title", "plural", "source", "citation", "terms", "note", "created", "who", "message", "reason",
    "problem", "sentence", "words", "sampling", "patient_id", "diagnosis", "image_name", "image_path",
    "sample_id", "model_id", "provider", "precision", "intended_use", "limits", "training_data", "split", "licence",
    "classes", "encoder", "architecture", "not_taken", "machine", "archive",
}  # fmt: skip
# What a name of these holds is written in the code.
OWN = {"CELL_TYPES", "CATALOGUE", "COSTS"}

PAGES = [ROOT / "Home.py", *sorted((ROOT / "pages").rglob("*.py"))]


def leaks(path: Path) -> list[str]:
    """Places of a file where something from outside meets Markdown as it is."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    itself = ast.Module([node for node in tree.body if not isinstance(node, ast.FunctionDef)], [])
    found = []
    for function in [*functions, itself]:
        made: dict[str, list[ast.expr]] = {}
        for node in ast.walk(function):
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                made.setdefault(node.targets[0].id, []).append(node.value)
        for node in ast.walk(function):
            if isinstance(node, ast.Call):
                for argument in read_by(node):
                    bare = [ast.unparse(part) for part in from_outside(argument, made)]
                    found += [f"{path.relative_to(ROOT)}:{node.lineno}: {part}" for part in bare]
    return sorted(set(found))


def read_by(call: ast.Call) -> Iterator[ast.expr]:
    """Arguments of a call that are read as Markdown."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    if name in READS and (isinstance(call.func, ast.Attribute) or name == "empty_state"):
        yield from call.args[: 2 if name == "empty_state" else 1]
        yield from (each.value for each in call.keywords if each.arg in READ_BY_NAME)
        if name in ("radio", "pills", "segmented_control", "tabs", "button"):  # their choices are Markdown, too
            yield from (each.value for each in call.keywords if each.arg == "format_func")


def from_outside(
    node: ast.AST, made: dict[str, list[ast.expr]], seen: frozenset[str] = frozenset()
) -> Iterator[ast.AST]:
    """Parts of an expression that come from outside and have not passed the border."""
    if isinstance(node, ast.Call):
        called = getattr(node.func, "id", "")
        if called in ("markdown", "len", "sum", "int", "when"):
            return
        if called == "map" and getattr(node.args[0], "id", "") == "markdown":
            return
        if called == "str" and getattr(node.args[0], "id", "") in ("error", "problem", "root", "path"):
            yield node
            return
    if isinstance(node, ast.FormattedValue) and node.format_spec is not None:
        return  # a number, or a time
    if isinstance(node, ast.Compare):
        return
    if isinstance(node, ast.IfExp):
        node = ast.Tuple([node.body, node.orelse])
    if isinstance(node, ast.Attribute) and node.attr in OUTSIDE and not isinstance(node.value, ast.Call):
        if not any(getattr(part, "id", "") in OWN for part in ast.walk(node)):
            yield node
        return
    if isinstance(node, ast.Subscript) and getattr(node.slice, "value", None) in OUTSIDE:
        yield node
        return
    if isinstance(node, ast.Name) and node.id not in seen:
        for value in made.get(node.id, []):
            yield from from_outside(value, made, seen | {node.id})
    for child in ast.iter_child_nodes(node):
        yield from from_outside(child, made, seen)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_what_comes_from_outside_meets_markdown_only_through_the_border(path):
    assert leaks(path) == []


@pytest.mark.parametrize(
    "line",
    [
        "st.error(str(error))",
        "st.markdown(f'**{image.name}**')",
        "words = f'of {population.source}'\n    st.caption(words)",
        "st.info('x', help=cell.note)",
        "st.markdown('; '.join(run.title for run in runs))",
        "st.markdown(row['sample_id'])",
    ],
)
def test_the_look_finds_what_has_not_passed(tmp_path, monkeypatch, line):
    page = tmp_path / "page.py"
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    page.write_text(f"def show():\n    {line}\n")
    assert len(leaks(page)) == 1
    page.write_text("def show():\n    st.caption(f'of {markdown(image.name)}')\n")
    assert leaks(page) == []

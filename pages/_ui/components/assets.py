"""A component's own files as Streamlit takes them: a style sheet and a single script.

A folder holds the component's module, style sheet and script, all of its name; the script may import its neighbours
in the folder. A browser that is handed one script as text has no place to load those from, so they are joined here.
"""

import re
from functools import cache
from pathlib import Path
from typing import Final

import streamlit as st
from streamlit.components.v2.types import ComponentRenderer

_IMPORT: Final = re.compile(r'^import \{[^}]+\} from "\./([^"]+)";\n', re.MULTILINE)
_EXPORT: Final = re.compile(r"^export (?!default )", re.MULTILINE)


def component(module: str, name: str, html: str) -> ComponentRenderer:
    """Register a component.

    Parameters
    ----------
    module
        `__file__` of the component's Python module.
    name
        What Streamlit and the browser know it by; several may share a folder's files.
    html
        What is in it at first.
    """
    css, js = _assets(Path(module))
    return st.components.v2.component(name, html=html, css=css, js=js)


@cache
def _assets(module: Path) -> tuple[str | None, str]:
    css = module.with_suffix(".css")
    return css.read_text(encoding="utf-8") if css.exists() else None, joined(module.with_suffix(".js"))


def joined(entry: Path) -> str:
    """An ES module and all it imports from its folder as one module; only the default export of the entry stays one.

    They share one scope, so no two may name a thing alike, and an import may not rename.
    """
    parts: dict[Path, str] = {}

    def add(path: Path) -> None:
        text = path.read_text(encoding="utf-8")
        for imported in _IMPORT.findall(text):
            if path.parent / imported not in parts:
                add(path.parent / imported)
        parts[path] = _EXPORT.sub("", _IMPORT.sub("", text))

    add(entry)
    return "\n".join(parts.values())

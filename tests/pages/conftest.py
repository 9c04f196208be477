import hashlib
import json
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from core.evaluation.agreement import Grade, ReliabilityReport, save
from core.features.catalogue import CATALOGUE
from core.segmentation.model_registry import MANIFEST, find_model
from tests.populations import grades

HOME = str(Path(__file__).parents[2] / "Home.py")


@pytest.fixture
def open_page(monkeypatch, drawn_root, tmp_path) -> Callable[[str], AppTest]:
    """Open a page the way a person does: from Home.

    The cohort holds drawn populations, the model is the shipped one.
    """
    monkeypatch.setenv("LEUKOSCOPE_REFERENCE", str(drawn_root))
    monkeypatch.setenv("LEUKOSCOPE_COHORT", str(tmp_path / "cohort"))
    monkeypatch.setenv("LEUKOSCOPE_CACHE", str(tmp_path / "cache"))
    st.cache_data.clear()

    def visit(page: str = "") -> AppTest:
        app = AppTest.from_file(HOME, default_timeout=60).run()
        return app.switch_page(page).run() if page else app

    return visit


@pytest.fixture
def graded_models(monkeypatch, tmp_path) -> Callable[[Mapping[str, Grade] | None], None]:
    """Let the shipped model have these grades, good for all other features; or, with None, never have been measured."""

    def use(given: Mapping[str, Grade] | None) -> None:
        model = find_model()
        folder = tmp_path / "models"
        shutil.copytree(model.path.parent, folder)
        manifest = json.loads((folder / MANIFEST).read_text())
        if given is None:
            manifest["models"][model.model_id].pop("reliability", None)
            manifest["models"][model.model_id]["sealed"].pop("reliability", None)
        else:
            report = ReliabilityReport(
                model.model_id, model.sha256, "2026-11-22", "", {}, (), {}, grades(given, among=CATALOGUE)
            )
            save(report, folder / "grades.json")
            manifest["models"][model.model_id]["reliability"] = "grades.json"
            sealed = hashlib.sha256((folder / "grades.json").read_bytes()).hexdigest()
            manifest["models"][model.model_id]["sealed"]["reliability"] = sealed
        (folder / MANIFEST).write_text(json.dumps(manifest))
        monkeypatch.setenv("LEUKOSCOPE_MODELS", str(folder))

    return use


def read(markdown: str) -> str:
    """What a person reads of Markdown whose signs are escaped (`core.support.text.markdown`)."""
    return re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", markdown).replace("\N{WORD JOINER}", "")


def texts(app: AppTest) -> str:
    """Everything a page says, for looking up sentences."""
    parts = [*app.markdown, *app.caption, *app.error, *app.warning, *app.info, *app.get("html")]
    return read("\n".join(str(getattr(part, "value", None) or getattr(part.proto, "body", "")) for part in parts))


def table(app: AppTest, column: str) -> pd.DataFrame:
    """The first table of a page that has the column."""
    return next(frame.value for frame in app.dataframe if column in frame.value)

import os
from pathlib import Path

import pytest

from core.domain.settings import ROOT, load_settings

FOLDERS = ("DATA", "MODELS", "SHIPPED_MODELS", "REFERENCE", "COHORT")
NAMES = (*FOLDERS, "MAX_PIXELS", "MAX_BYTES", "MAX_UPLOAD_BYTES", "ROOTS")


@pytest.fixture(autouse=True)
def _fresh_clone(monkeypatch):
    for name in NAMES:
        monkeypatch.delenv(f"LEUKOSCOPE_{name}", raising=False)


def test_defaults_of_a_fresh_clone():
    settings = load_settings()
    assert (ROOT / "core" / "domain" / "settings.py").is_file()
    assert settings.shipped_models.is_dir()
    assert not settings.models.is_relative_to(ROOT / "assets")
    assert settings.reference.is_dir()
    assert settings.data == ROOT.parent / "shared" / "data"
    assert settings.roots == (settings.data,)
    assert not settings.cohort.is_relative_to(ROOT / "assets")


def test_every_field_follows_its_variable(monkeypatch, tmp_path):
    for name in FOLDERS:
        monkeypatch.setenv(f"LEUKOSCOPE_{name}", str(tmp_path / name))
    monkeypatch.setenv("LEUKOSCOPE_MAX_PIXELS", "1000")
    monkeypatch.setenv("LEUKOSCOPE_MAX_BYTES", "2000")
    monkeypatch.setenv("LEUKOSCOPE_MAX_UPLOAD_BYTES", "3000")
    monkeypatch.setenv("LEUKOSCOPE_ROOTS", os.pathsep.join(["~/a", str(tmp_path)]))
    monkeypatch.setenv("LEUKOSCOPE_MAX_SECONDS", "1.5")
    monkeypatch.setenv("LEUKOSCOPE_MAX_MEMORY_MB", "100")
    settings = load_settings()
    assert (settings.max_seconds, settings.max_memory_mb) == (1.5, 100)
    assert (settings.data, settings.models) == (tmp_path / "DATA", tmp_path / "MODELS")
    assert settings.shipped_models == tmp_path / "SHIPPED_MODELS"
    assert (settings.reference, settings.cohort) == (tmp_path / "REFERENCE", tmp_path / "COHORT")
    assert (settings.max_pixels, settings.max_bytes) == (1000, 2000)
    assert settings.max_upload_bytes == 3000
    assert settings.roots == (Path.home() / "a", tmp_path)


def test_home_is_expanded(monkeypatch):
    monkeypatch.setenv("LEUKOSCOPE_COHORT", "~/cells")
    assert load_settings().cohort == Path.home() / "cells"

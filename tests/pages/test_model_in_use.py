"""What is loaded while the person chooses an image: beside the pages, and once."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import streamlit as st

from core.charts import theme
from core.domain.errors import StoreError
from core.store import queries
from pages._ui.common import model_in_use
from pages._ui.home import example


@pytest.fixture
def held(monkeypatch):
    """Populations are read only once this event is set."""
    made, go_on = queries._made_reference, threading.Event()

    def slow(*args):
        assert go_on.wait(60)
        return made(*args)

    monkeypatch.setattr(queries, "_made_reference", slow)
    # Home, from which the pages are opened here, waits for the populations of its example last of all.
    monkeypatch.setattr(example, "show_example", lambda: None)
    st.cache_resource.clear()
    yield go_on
    go_on.set()


def preparations():
    return [thread for thread in threading.enumerate() if thread.name == "preparation"]


def test_the_page_is_there_while_the_populations_are_still_read(open_page, held, monkeypatch):
    opened = threading.Event()
    monkeypatch.setattr(theme, "open_converter", opened.set)
    app = open_page("pages/1_Single_cell.py")
    assert not app.exception
    assert any("No image yet" in each.value for each in app.markdown)
    (thread,) = preparations()
    app.run()
    assert preparations() == [thread], "a later run begins nothing that is under way"
    assert not opened.is_set()
    held.set()
    thread.join(60)
    assert opened.is_set()


def test_a_change_of_the_cohort_prepares_anew(open_page, held, monkeypatch, tmp_path):
    monkeypatch.setattr(theme, "open_converter", lambda: None)
    held.set()
    app = open_page("pages/1_Single_cell.py")
    begun = []
    start = threading.Thread.start
    monkeypatch.setattr(
        threading.Thread,
        "start",
        lambda thread: (begun.append(thread) if thread.name == "preparation" else None, start(thread))[1],
    )
    app.run()
    assert not begun
    (tmp_path / "cohort").mkdir()
    (tmp_path / "cohort" / "edits.jsonl").write_text("\n")
    app.run()
    assert len(begun) == 1
    begun[0].join(60)


def test_a_server_can_be_stopped_while_it_prepares(drawn_root, tmp_path):
    script = """
import threading
from core.store import queries
from pages._ui.common import model_in_use
from pages._ui.home import example

made, begun = queries._made_reference, threading.Event()

def told(*args):
    begun.set()
    threading.main_thread().join()
    reference = made(*args)
    print("read", flush=True)
    return reference

queries._made_reference = told
model_in_use._preparation.__wrapped__(((), ()))
begun.wait()
"""
    folders = {"REFERENCE": drawn_root, "COHORT": tmp_path / "cohort", "CACHE": tmp_path / "cache"}
    ended = subprocess.run(
        [sys.executable, "-c", script],
        cwd=Path(__file__).parents[2],
        env=os.environ | {f"LEUKOSCOPE_{name}": str(folder) for name, folder in folders.items()},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == "read\n", "what is under way is read to its end, and nothing else is begun"


def test_what_cannot_be_read_is_left_to_whoever_asks_for_it(monkeypatch):
    def damaged(*_):
        msg = "cannot be read"
        raise StoreError(msg)

    opened = []
    monkeypatch.setattr(queries, "populations", damaged)
    monkeypatch.setattr(theme, "open_converter", lambda: opened.append(True))
    with queries.Cohort.open([]) as cohort:
        model_in_use._prepare(cohort, ())
    assert opened == [True]

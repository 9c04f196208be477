import shutil
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from core.domain.errors import StoreError, UsageError
from core.domain.settings import ROOT
from core.explorer import embedding
from core.explorer.embedding import MOST_CELLS, Umap, UmapCache, prepare, principal_axes, umap_key
from core.features.catalogue import CATALOGUE
from core.support import locks

NAMES = [name for name, spec in CATALOGUE.items() if not spec.log_axis]


def two_clouds(n=120, features=6, apart=8.0):
    matrix = np.random.default_rng(0).normal(size=(n, features))
    matrix[: n // 2] += apart
    return matrix


def program(name):
    path = shutil.which(name)
    assert path
    return path


def wait_for(cache, key, seconds=400):
    deadline = time.monotonic() + seconds
    while (state := cache.look(key)).started is not None:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    return state


# --- preparing ---


def test_features_that_are_mostly_absent_or_do_not_vary_are_dropped_and_the_rest_is_filled():
    matrix = two_clouds()
    matrix[:10, 1], matrix[:5, 2], matrix[:, 3] = np.nan, np.nan, 7
    prepared = prepare(matrix, NAMES[:6])
    assert prepared.features == (NAMES[0], NAMES[2], NAMES[4], NAMES[5])
    assert dict(prepared.dropped) == {NAMES[1]: "absent in 8 % of the cells", NAMES[3]: "does not vary"}
    assert prepared.filled == 5
    assert (prepared.z[:5, 1] == 0).all()
    assert prepared.sentence.startswith("120 cells by 4 features")
    assert "2 left out" in prepared.sentence
    assert "5 absent values stand at the median" in prepared.sentence
    assert prepared.place(matrix[:, [0, 2, 4, 5]]) == pytest.approx(prepared.z)


def test_too_few_cells_or_features_are_refused():
    with pytest.raises(UsageError, match="at least 20 cells"):
        prepare(two_clouds(18), NAMES[:6])
    with pytest.raises(UsageError, match="at least two features"):
        prepare(two_clouds(features=1), NAMES[:1])


# --- principal axes ---


def test_axes_are_those_of_a_singular_value_decomposition():
    prepared = prepare(
        np.random.default_rng(1).normal(size=(300, 12)) @ np.random.default_rng(2).normal(size=(12, 12)), NAMES[:12]
    )
    axes = principal_axes(prepared)
    centred = prepared.z - prepared.z.mean(axis=0)
    _, values, vectors = np.linalg.svd(centred, full_matrices=False)
    assert axes.explained == pytest.approx((values**2 / np.sum(values**2))[:10])
    assert np.abs(axes.loadings.T) == pytest.approx(np.abs(vectors[:10]), abs=1e-8)
    assert axes.scores == pytest.approx(centred @ axes.loadings)
    assert axes.place(prepared.z[:7]) == pytest.approx(axes.scores[:7])
    assert (axes.loadings.max(axis=0) == np.abs(axes.loadings).max(axis=0)).all()


def test_an_axis_is_named_by_what_makes_it_and_repeats_nothing():
    rng = np.random.default_rng(3)
    size, other = rng.normal(size=300), rng.normal(size=300)
    noise = 0.05 * rng.normal(size=(300, 4))
    matrix = np.column_stack([size, size, -size - 0.5 * other, other]) + noise
    words = principal_axes(prepare(matrix, NAMES[:4])).words
    labels = [CATALOGUE[name].label for name in NAMES[:4]]
    assert words[0].startswith("Axis 1, ")
    assert labels[2] in words[0]
    assert (labels[0] in words[0]) != (labels[1] in words[0])
    assert "less" in words[0]


# --- UMAP ---


def test_another_question_has_another_key():
    keys = {
        umap_key("r1", "s", NAMES[:3], 0),
        umap_key("r2", "s", NAMES[:3], 0),
        umap_key("r1", "t", NAMES[:3], 0),
        umap_key("r1", "s", NAMES[:2], 0),
        umap_key("r1", "s", NAMES[:3], 1),
    }
    assert len(keys) == 5
    assert umap_key("r1", "s", NAMES[:3], 0) in keys


@pytest.fixture(scope="module")
def mapped(tmp_path_factory):
    """A map of two clouds, computed by the real process.

    The calls that started it twice; and how long starting took.
    """
    cache, prepared = UmapCache(tmp_path_factory.mktemp("maps") / "umap"), prepare(two_clouds(), NAMES[:6])
    before = cache.look("key")
    began = time.monotonic()
    cache.start("key", prepared, seed=3)
    took = time.monotonic() - began
    during = cache.look("key")
    cache.start("key", prepared, seed=4)  # it is being computed: nothing happens
    return cache, prepared, before, during, took, wait_for(cache, "key")


def test_a_map_is_computed_beside_and_found_when_it_is_done(mapped):
    cache, _, before, during, took, after = mapped
    assert (before.umap, before.started, before.problem) == (None, None, None)
    assert during.started is not None
    assert time.time() - during.started < 3600
    assert took < 5
    assert after.problem is None
    assert after.umap.seed == 3, "the second start found it running"
    assert after.umap.n == len(after.umap.rows) == 120
    xy = after.umap.xy
    assert xy.shape == (120, 2)
    assert np.isfinite(xy).all()
    first, second = xy[:60], xy[60:]
    between = np.linalg.norm(first.mean(axis=0) - second.mean(axis=0))
    assert between > 2 * max(np.linalg.norm(cloud - cloud.mean(axis=0), axis=1).mean() for cloud in (first, second))
    assert "seed 3" in after.umap.sentence
    assert not list(cache._folder.glob("*.input.npz"))


def test_another_cell_is_placed_among_those_like_it(mapped):
    _, prepared, *_, after = mapped
    x, y = after.umap.place(prepared.z[5] + 0.01, prepared.z)
    assert np.linalg.norm(after.umap.xy[:60].mean(axis=0) - (x, y)) < np.linalg.norm(
        after.umap.xy[60:].mean(axis=0) - (x, y)
    )
    assert (x, y) == pytest.approx(tuple(after.umap.xy[5]), abs=2)


def test_a_process_that_died_is_a_problem_and_can_be_started_again(tmp_path, monkeypatch, mapped):
    cache, prepared = UmapCache(tmp_path), mapped[1]
    with monkeypatch.context() as patch:
        patch.setattr(sys, "executable", program("false"))
        cache.start("key", prepared)
        assert "ended before it was done" in wait_for(cache, "key").problem
        (tmp_path / "key.log").write_text("Traceback\nMemoryError: too much\n\n")
        assert cache.look("key").problem == "MemoryError: too much"
    monkeypatch.setattr(sys, "executable", program("sleep"))  # takes `-m` for a mistake and says so: it was started
    cache.start("key", prepared)
    assert "sleep" in wait_for(cache, "key").problem


def test_what_a_power_cut_left_of_a_map_is_none(tmp_path):
    for content in (b"", b"PK\x03\x04 half"):
        (tmp_path / "key.npz").write_bytes(content)
        assert UmapCache(tmp_path).look("key").umap is None


def test_looking_on_keeps_nobody_from_starting(tmp_path, monkeypatch, mapped):
    monkeypatch.setattr(sys, "executable", program("sleep"))
    looking = locks.lock(tmp_path / "key.lock")
    threading.Timer(0.02, looking.release).start()
    UmapCache(tmp_path).start("key", mapped[1])
    assert (tmp_path / "key.log").exists()


def test_a_process_goes_on_without_the_server_that_started_it(tmp_path, mapped):
    started = (
        "import sys, time, pathlib, numpy as np; from core.explorer.embedding import UmapCache, prepare\n"
        "from core.features.catalogue import CATALOGUE\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "z = np.random.default_rng(1).normal(size=(60, 3))\n"
        "UmapCache(folder).start('key', prepare(z, list(CATALOGUE)[:3]), seed=5)\n"
        "while not (folder / 'key.running').exists(): time.sleep(0.01)"
    )
    subprocess.run([sys.executable, "-c", started, str(tmp_path)], cwd=ROOT, check=True, timeout=240)
    cache = UmapCache(tmp_path)
    during = cache.look("key")
    assert during.started is not None or during.umap is not None
    cache.start("key", mapped[1], seed=6)  # it is being computed: nothing happens
    assert wait_for(cache, "key").umap.seed == 5


def test_a_folder_that_cannot_be_written_to_is_said(tmp_path, mapped):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError, match="free space and the permissions"):
        UmapCache(tmp_path / "file" / "umap").start("key", mapped[1])
    assert UmapCache(tmp_path / "nothing").look("key").umap is None


def test_of_very_many_cells_a_sample_is_given_to_the_process(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", program("true"))
    cache, n = UmapCache(tmp_path), MOST_CELLS + 500
    cache.start("key", prepare(np.random.default_rng(0).normal(size=(n, 2)), NAMES[:2]))
    with np.load(tmp_path / "key.input.npz") as stored:
        rows, z = stored["rows"], stored["z"]
    assert z.shape == (MOST_CELLS, 2)
    assert len(np.unique(rows)) == MOST_CELLS
    assert "a sample of 20,000 of 20,500 cells" in Umap(np.zeros((MOST_CELLS, 2), np.float32), rows, n, 0, 1.0).sentence


def test_only_the_newest_maps_are_kept(tmp_path):
    for number in range(3):
        embedding._write(tmp_path / f"old{number}.npz", xy=np.zeros(1))
        (tmp_path / f"old{number}.lock").touch()
    embedding._remove_old(tmp_path, kept=2)
    assert len(list(tmp_path.glob("*.npz"))) == len(list(tmp_path.glob("*.lock"))) == 2


def test_nothing_but_the_process_imports_umap():
    code = (
        "import sys, core.explorer.embedding, core.explorer.panel; sys.exit(any(n in sys.modules for n in ('umap',"
        " 'numba', 'sklearn')))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0

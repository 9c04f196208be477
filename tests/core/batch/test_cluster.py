"""The same run on a cluster: a real one of two nodes on this machine, one of which is killed in mid-run."""

import csv
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest

from core.batch.cluster import ray_engine
from core.batch.run import run_batch
from core.batch.settings import State
from core.domain.errors import ClusterError
from core.domain.settings import ROOT
from tests.core.batch.support import Quick, Slow, batch, run, write_images

pytestmark = [
    # Ray leaves its own pipes, logs and processes to the collector.
    pytest.mark.filterwarnings("ignore:(unclosed|subprocess .* is still running):ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    # What workers without a GPU will be told by a later version of Ray.
    pytest.mark.filterwarnings("ignore:Tip. In future versions of Ray:FutureWarning"),
]
# Ray's own nodes listen at 127.0.0.1 only; it reads this when it is first imported.
os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
IMAGES = 400
NODE = {"num_cpus": 1, "node_ip_address": "127.0.0.1", "object_store_memory": 80 * 2**20, "include_dashboard": False}


class DeadlyToActors(Quick):
    """An image that takes not only the process that measures it, but its actor."""

    def _one(self, one):
        if "deadly" in one.task.image_path:
            os.kill(os.getppid(), signal.SIGKILL)
            time.sleep(60)
        return super()._one(one)


def rows(out):
    """Every row but for its date, which is that of the run."""
    with (out / "cells.csv").open(newline="", encoding="utf-8") as file:
        return [{name: value for name, value in row.items() if name != "created"} for row in csv.DictReader(file)]


@contextmanager
def started_cluster(nodes=2):
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args=NODE)
    try:
        for _ in range(nodes - 1):
            cluster.add_node(**NODE)
        yield cluster
    finally:
        cluster.shutdown()


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    write_images(folder, IMAGES)
    (folder / "000" / "broken.png").write_bytes(b"no image at all")
    return folder


@pytest.fixture(scope="module")
def local(images, tmp_path_factory):
    out = tmp_path_factory.mktemp("local") / "out"
    run(images, out, Quick)
    return out


def after(count, act, engine):
    """The engine; `act` is called once, when so many records have come."""

    def made(folder, run, measurer):
        def records(tasks, may_submit):
            came = 0
            for record in (found := engine(folder, run, measurer)(tasks, may_submit)):
                came += record is not None
                if record is not None and came == count:
                    act()
                try:
                    yield record
                except GeneratorExit:
                    found.close()
                    raise

        return records

    return made


def test_a_node_is_killed_and_nothing_is_lost(images, local, tmp_path):
    """One of two nodes goes with its actor and what it had under way.

    A new one joins, and the table is that of one machine.
    """
    with started_cluster() as cluster:
        second = next(iter(cluster.worker_nodes))

        def exchange_the_second():
            cluster.remove_node(second, allow_graceful=False)
            cluster.add_node(**NODE)

        engine = after(IMAGES // 8, exchange_the_second, ray_engine(cluster.address))
        ended = run_batch(batch(images, tmp_path / "out", Slow, engine=engine))
        assert second not in cluster.worker_nodes
    assert (ended.state, ended.done, ended.failed) == (State.FINISHED, IMAGES + 1, 1)
    assert rows(tmp_path / "out") == rows(local)
    assert (tmp_path / "out" / "errors.csv").read_bytes() == (local / "errors.csv").read_bytes()


DRIVER = """
import sys
from core.batch.cluster import ray_engine
from core.batch.run import run_batch
from tests.core.batch.support import Slow, batch
run_batch(batch(sys.argv[1], sys.argv[2], Slow, engine=ray_engine(sys.argv[3])))
"""


def test_a_driver_is_killed_and_the_same_command_goes_on(images, local, tmp_path):
    """The cluster outlives it; whatever its actors had saved counts, whatever they had not is done again."""
    out = tmp_path / "out"
    with started_cluster() as cluster:
        command = [sys.executable, "-c", DRIVER, str(images), str(out), cluster.address]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as driver:
            deadline = time.monotonic() + 120
            while not (out / "cells").exists() or len(list((out / "cells").iterdir())) < 4:
                assert driver.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.02)
            driver.kill()
        assert not (out / "cells.csv").exists()
        ended = run_batch(batch(images, out, Slow, engine=ray_engine(cluster.address)))
    assert (ended.state, ended.done, ended.failed) == (State.FINISHED, IMAGES + 1, 1)
    assert 0 < ended.skipped < IMAGES
    assert rows(out) == rows(local)


def test_an_image_that_takes_its_actors_with_it_is_found_and_the_rest_measured(tmp_path):
    write_images(tmp_path / "in", 4)
    (tmp_path / "in" / "000" / "000001.png").rename(tmp_path / "in" / "000" / "deadly.png")
    ended = run_batch(batch(tmp_path / "in", tmp_path / "out", DeadlyToActors, engine=ray_engine(actors=2)))
    assert (ended.done, ended.failed) == (4, 1)
    with (tmp_path / "out" / "errors.csv").open(newline="", encoding="utf-8") as file:
        (failure,) = csv.DictReader(file)
    assert (failure["image_path"], failure["stage"]) == ("000/deadly.png", "crash")


def test_without_ray_a_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ClusterError, match=r"requirements-cluster\.txt"):
        ray_engine()


def test_a_cluster_that_is_not_there_is_told(images, tmp_path):
    with pytest.raises(ClusterError, match=r"expected a cluster at 127\.0\.0\.1:1"):
        run_batch(batch(images, tmp_path / "out", engine=ray_engine("127.0.0.1:1")))

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
from core.batch.settings import State
from core.errors import ClusterError
from core.settings import ROOT
from tests.core.batch.support import Poisoned, Quick, Slow, batch, run, write_images

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

    node = {"num_cpus": 1, "node_ip_address": "127.0.0.1", "object_store_memory": 80 * 2**20, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=node)
    try:
        for _ in range(nodes - 1):
            cluster.add_node(**node)
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


def test_a_node_is_killed_and_nothing_is_lost(images, local, tmp_path):
    """One of two nodes goes with its actor and what it had under way; a new one joins, and the table is that of one machine."""
    from core.batch.run import run_batch

    with started_cluster() as cluster:
        second = cluster.worker_nodes.copy().pop()
        seen = []

        def kill_once_under_way(progress):
            seen.append(progress.done)
            if progress.done > IMAGES // 8 and second in cluster.worker_nodes:
                cluster.remove_node(second, allow_graceful=False)
                cluster.add_node(num_cpus=1, node_ip_address="127.0.0.1", object_store_memory=80 * 2**20)

        ended = run_batch(batch(images, tmp_path / "out", Slow, engine=ray_engine(cluster.address)), kill_once_under_way)
        assert second not in cluster.worker_nodes, f"the run was over before a node could be killed: {seen}"
    assert (ended.state, ended.done, ended.failed) == (State.FINISHED, IMAGES + 1, 1)
    assert rows(tmp_path / "out") == rows(local)
    assert (tmp_path / "out" / "errors.csv").read_bytes() == (local / "errors.csv").read_bytes()

"""What tests of clusters share."""

import fcntl

import pytest


@pytest.fixture
def only_cluster(tmp_path_factory):
    """Keep other tests, of other processes too, from having a cluster of this machine meanwhile."""
    base = tmp_path_factory.getbasetemp()
    with open(base.parent / "cluster.lock", "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield

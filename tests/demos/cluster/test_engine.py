"""Sweeps on Ray: without it, and on a cluster of one node."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from demos.cluster import connection, engine
from robolearn.__main__ import main
from robolearn.errors import UserError
from robolearn.sweeps.grid import SweepConfig

LINE = ["reach", "trials=3", "sweep.seed=[0, 1]", "sweep.memory_gb=0.1", "out=all"]
NODE = {"NodeID": "a", "NodeManagerAddress": "10.0.0.2", "Resources": {"CPU": 4.0, "memory": 8e9}}


def test_without_ray_the_extra_is_named(lab, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main([*LINE, "sweep.engine=ray"]) == 2
    assert capsys.readouterr().err == (
        "robolearn: sweep.engine: ray is not installed; pip install 'robolearn[ray]'\n"
    )


def test_a_ray_that_is_broken_is_one_line(lab, monkeypatch, capsys):
    (lab / "ray.py").write_text("raise ImportError('half of it is there')")
    monkeypatch.syspath_prepend(lab)
    monkeypatch.delitem(sys.modules, "ray", raising=False)
    assert main([*LINE, "sweep.engine=ray"]) == 2
    assert "ray cannot be imported (half of it is there); pip" in capsys.readouterr().err


def test_a_run_that_no_node_is_large_enough_for_is_one_line():
    engine._require_room([NODE], SweepConfig(engine="ray", cpus=4))
    for too_much in ({"cpus": 5}, {"gpus": 1.0}, {"memory_gb": 9.0}):
        with pytest.raises(UserError, match=r"no node has .* cores, .* GPUs and .* GB"):
            engine._require_room([NODE], SweepConfig(engine="ray", **too_much))


class Elsewhere:
    """As much of Ray as asks one node; it answers what it is told to."""

    def __init__(self, answer):
        self.answer, self.util, self.exceptions = answer, self, self
        self.scheduling_strategies, self.RayError = self, RuntimeError

    def NodeAffinitySchedulingStrategy(self, node, soft):
        assert not soft

    def remote(self, *of):
        return self

    def options(self, **of):
        return self

    def get(self, reference, timeout):
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def test_a_node_that_differs_is_named_with_what_differs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ours = connection._about(str(tmp_path))
    connection.require_same(Elsewhere(ours), [NODE])
    wrong = {
        "numpy": "1.0",
        "dm-control": "1.0.40",
        f"folder {tmp_path}": "missing",
        "commit": "another",
    }
    for what, value in wrong.items():
        with pytest.raises(UserError, match=f"node 10.0.0.2: {what} is {value} there, "):
            connection.require_same(Elsewhere(ours | {what: value}), [NODE])
    failure = RuntimeError("far\nModuleNotFoundError: No module named 'robolearn'")
    with pytest.raises(UserError, match="node 10.0.0.2: .* there: ModuleNotFoundError: No module"):
        connection.require_same(Elsewhere(failure), [NODE])


def test_an_address_where_nobody_listens_is_one_line_at_once():
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        connection.require_listening("it", address)
    for wrong in (address, "127.0.0.1:99999"):
        with pytest.raises(UserError, match=f"^it: nobody listens at {wrong}: "):
            connection.require_listening("it", wrong)
    connection.require_listening("it", "auto")


def test_a_sweep_on_a_cluster_of_its_own_gives_the_same_as_here(lab, only_cluster):
    pytest.importorskip("ray", reason="ray is not installed (pip install 'robolearn[ray]')")
    command = [sys.executable, "-m", "robolearn", *LINE, "sweep.engine=ray"]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    told = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=True, timeout=300
    )
    assert "Ray on this machine, 1 node with " in told.stderr
    assert main(["reach", "trials=3", "seed=1", "out=alone"]) == 0
    for name in ("summary.json", "checkpoint/weights.safetensors"):
        assert Path("all/seed-1", name).read_bytes() == Path("alone", name).read_bytes()
    steps = [json.loads(line)["step"] for line in open("all/seed-1/metrics.jsonl")]
    assert steps == [0, 1, 2]
    assert "best: " in Path("all/logs/seed-1.txt").read_text()

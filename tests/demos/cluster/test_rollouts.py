"""Environments of a learner in other processes: on a Ray cluster of one node."""

import dataclasses
import functools
import importlib.util
import sys

import numpy as np
import pytest
import torch

from demos.cluster import rollouts
from robolearn.__main__ import main
from robolearn.algos.ppo import PPO, PPOConfig
from robolearn.errors import UserError
from robolearn.loops.collecting import seeds_after
from robolearn.loops.on_policy import Collector, OnlineConfig, Progress, WorkersConfig, online
from robolearn.running.config import EnvConfig
from robolearn.running.run import make_batch

MAKE = functools.partial(make_batch, EnvConfig("tabletop/cube"))
TRAINING = OnlineConfig(steps=4 * 8 * 6, horizon=8, checkpoint_updates=2)
NODE = {"Resources": {"CPU": 3.0}}


class Stopped(Exception):
    pass


@pytest.fixture(autouse=True)
def one_thread():
    """Compute as the workers do."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Here:
    """Two collectors of this process that do what two workers do."""

    num_envs = 4

    def __init__(self, learner):
        self.parts = [Collector(MAKE(2, threads=1), TRAINING) for _ in range(2)]
        self.policies = [PPO(learner.interface, learner.config) for _ in range(2)]

    def begin(self, seed, progress):
        seeds = seeds_after(seed, progress.updates if progress else 0, 4)
        for i, (collector, policy) in enumerate(zip(self.parts, self.policies, strict=True)):
            rows = slice(2 * i, 2 * i + 2)
            collector.begin(seeds[rows], progress and rollouts._part(progress, rows))
            policy.noise.manual_seed(seeds[2 * i] % rollouts.NOISE)

    def rollout(self, learner, update):
        found = []
        for collector, policy in zip(self.parts, self.policies, strict=True):
            policy.load_state_dict(learner.state_dict())
            found.append(collector.rollout(policy, update))
        return rollouts._side_by_side(found)

    def progress(self, updates):
        lists = [dataclasses.asdict(part.progress(updates)) for part in self.parts]
        joined = {name: lists[0][name] + lists[1][name] for name in rollouts.OF_EACH}
        return Progress(updates, **joined)

    def read(self):
        return {}


def learner():
    return PPO(MAKE(1, threads=1).interface, PPOConfig(widths=(8,), epochs=1), seed=1)


def learnt(one, environments, progress=None, until=None):
    """Let a learner learn; give the learner, and the progress at its last checkpoint."""
    kept = []

    def on_checkpoint(progress):
        kept.append(progress)
        if progress.updates == until:
            raise Stopped

    try:
        online(one, environments, TRAINING, 5, progress=progress, on_checkpoint=on_checkpoint)
    except Stopped:
        pass
    return one, kept[-1]


@pytest.mark.skipif(
    importlib.util.find_spec("ray") is None,  # not imported: what it reads then is not set yet
    reason="ray is not installed (pip install 'robolearn[ray]')",
)
def test_workers_do_what_is_done_here_and_a_stopped_training_goes_on(only_cluster, tmp_path):
    here, at_last = learnt(learner(), Here(learner()))
    config = WorkersConfig(count=2)
    with rollouts.Workers(config, MAKE, 4, learner(), TRAINING, tmp_path / "ray.txt") as workers:
        whole, end = learnt(learner(), workers)
        assert workers.read()["staleness"] == 0.0
        half, middle = learnt(learner(), workers, until=2)
        assert middle.updates == 2 and len(middle.states) == 4
        resumed, again = learnt(half, workers, progress=middle)
        with pytest.raises(UserError, match="mu"):
            workers._all([workers._workers[0].rollout.remote(({"mu": np.zeros(1)}, 0))])
    assert end == again == at_last
    for one in (whole, resumed):
        for name, tensor in here.state_dict().items():
            assert torch.equal(tensor, one.state_dict()[name]), name


def test_environments_are_dealt_out_evenly_and_preferences_stay_here(tmp_path, capsys):
    launch = "ppo_walker"
    assert main([launch, "environments=4", "workers={count: 3}", f"out={tmp_path}/a"]) == 2
    assert "workers.count: 4 environments are no multiple of it" in capsys.readouterr().err
    asked = "preferences={labels: 8}"
    assert main([launch, "workers={count: 2}", asked, f"out={tmp_path}/b"]) == 2
    assert "workers: preferences are asked about" in capsys.readouterr().err


def test_workers_that_would_wait_for_cores_for_ever_are_refused():
    rollouts._require_cores([NODE, NODE], WorkersConfig(count=6))
    rollouts._require_cores([NODE, NODE], WorkersConfig(count=2, cpus=2))
    with pytest.raises(UserError, match="3 with 2 cores each are asked for, .* room for 2"):
        rollouts._require_cores([NODE, NODE], WorkersConfig(count=3, cpus=2))


def test_without_ray_the_extra_is_named(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main(["slim_tabletop", "workers={count: 2}", f"out={tmp_path}/run"]) == 2
    assert "workers: ray is not installed; pip install 'robolearn[ray]'" in capsys.readouterr().err

"""Environments of a learner in other processes: on a Ray cluster of one node."""

import functools
import importlib.util
import sys

import numpy as np
import pytest
import torch

from demos.cluster import dealing, rollouts, steps
from robolearn.__main__ import main
from robolearn.algos.ppo import PPO, PPOConfig
from robolearn.algos.sac import SAC, SACConfig
from robolearn.errors import UserError
from robolearn.loops.collecting import WorkersConfig, seeds_after
from robolearn.loops.off_policy import ActorsConfig, OffPolicyConfig, off_policy
from robolearn.loops.on_policy import Collector, OnlineConfig, online
from robolearn.loops.replay import Replay
from robolearn.running import launch, strict_yaml
from robolearn.running.config import EnvConfig
from robolearn.running.run import make_batch

MAKE = functools.partial(make_batch, EnvConfig("tabletop/cube"))
STEPS = OffPolicyConfig(
    steps=80, random_steps=16, updates_per_step=0.5, batch=8, capacity=200, log_steps=4,
    checkpoint_steps=40,
)  # fmt: skip
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
            collector.begin(seeds[rows], progress and dealing.part_of(progress, rows))
            policy.noise.manual_seed(seeds[2 * i] % dealing.NOISE)

    def rollout(self, learner, update):
        found = []
        for collector, policy in zip(self.parts, self.policies, strict=True):
            policy.load_state_dict(learner.state_dict())
            found.append(collector.rollout(policy, update))
        return dealing.side_by_side(found, axis=1)

    def progress(self, updates):
        return dealing.joined([part.progress(updates) for part in self.parts])

    def read(self):
        return {}


def learner():
    return PPO(MAKE(1, threads=1).interface, PPOConfig(widths=(8,), epochs=1), seed=1)


def learnt(one, environments, progress=None, until=None):
    """Let a learner learn; give the learner, and the progress at its last checkpoint."""
    with stopping(until) as on_checkpoint:
        online(one, environments, TRAINING, 5, progress=progress, on_checkpoint=on_checkpoint)
    return one, on_checkpoint.kept


class stopping:
    """Keeps the progress at the last checkpoint, and stops at one."""

    def __init__(self, until):
        self.until, self.kept = until, None

    def __enter__(self):
        return self

    def __exit__(self, kind, *error):
        return kind is Stopped

    def __call__(self, progress):
        self.kept = progress
        if self.until is not None:
            raise Stopped


@pytest.mark.skipif(
    importlib.util.find_spec("ray") is None,  # not imported: what it reads then is not set yet
    reason="ray is not installed (pip install 'robolearn[ray]')",
)
def test_workers_do_what_is_done_here_and_a_stopped_training_goes_on(only_cluster, tmp_path):
    here, at_last = learnt(learner(), Here(learner()))
    config = WorkersConfig(count=2)
    with rollouts.Workers(config, MAKE, 4, learner(), TRAINING, tmp_path / "ray.txt") as workers:
        whole, end = learnt(learner(), workers)
        half, middle = learnt(learner(), workers, until=True)
        assert middle.updates == 2 and len(middle.states) == 4
        resumed, again = learnt(half, workers, progress=middle)
        with pytest.raises(UserError, match="mu"):
            workers._all([workers._workers[0].rollout.remote({"mu": np.zeros(1)}, 0)])
    assert end == again == at_last
    for one in (whole, resumed):
        for name, tensor in here.state_dict().items():
            assert torch.equal(tensor, one.state_dict()[name]), name


def soft(seed=1):
    config = SACConfig(widths=(8,))
    return SAC(MAKE(1, threads=1).interface, config, seed)


def replayed(one, environments, progress=None, replay=None, until=None):
    """Let a learner learn from a replay; give it, the progress, the replay, and the staleness."""
    replay, logs = replay or Replay(one.interface, 200, 4), []
    with stopping(until) as on_checkpoint:
        off_policy(
            one, environments, STEPS, 5, replay, progress=progress, on_checkpoint=on_checkpoint,
            on_log=lambda rounds, info: logs.append(info["staleness"]),
        )  # fmt: skip
    return one, on_checkpoint.kept, replay, logs


@pytest.mark.skipif(
    importlib.util.find_spec("ray") is None,
    reason="ray is not installed (pip install 'robolearn[ray]')",
)
def test_workers_act_ahead_of_what_is_learnt_by_weights_that_are_not_too_old(
    only_cluster, tmp_path
):
    config, log = ActorsConfig(count=2, rounds=3), tmp_path / "ray.txt"
    with steps.Workers(config, MAKE, 4, soft(), STEPS, log) as workers:
        whole, end, memory, logs = replayed(soft(), workers)
        assert len(memory) == 4 * 20 and end.rounds == 20
        assert max(logs) == 4 * 5 * STEPS.updates_per_step  # twice three steps, but for one
        half, middle, kept, _ = replayed(soft(), workers, until=True)
        assert middle.rounds == 10
        resumed, again, _, _ = replayed(half, workers, middle, kept)
    assert end == again
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name


def test_environments_are_dealt_out_evenly_and_preferences_stay_here(tmp_path, capsys):
    launch = "ppo_walker"
    assert main([launch, "environments=4", "workers={count: 3}", f"out={tmp_path}/a"]) == 2
    assert "workers.count: 4 environments are no multiple of it" in capsys.readouterr().err
    asked = "preferences={labels: 8}"
    assert main([launch, "workers={count: 2}", asked, f"out={tmp_path}/b"]) == 2
    assert "workers: preferences are asked about" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["ppo_walker", "sac_cartpole", "slim_tabletop"])
def test_a_stopped_training_may_go_on_at_another_address_with_as_many_workers(tmp_path, name):
    def read(workers):
        return launch.read(launch.find(name), [f"workers={{{workers}}}", "environments=4"])

    earlier = tmp_path / "config.yaml"
    earlier.write_text(strict_yaml.dump(read("count: 2").settings()))
    launch.require_same(read("count: 2, address: elsewhere:6379"), earlier, "it")
    with pytest.raises(UserError, match="it: that run has workers.count=2, not 4"):
        launch.require_same(read("count: 4"), earlier, "it")


def test_workers_that_would_wait_for_cores_for_ever_are_refused():
    dealing.require_cores([NODE, NODE], WorkersConfig(count=6))
    dealing.require_cores([NODE, NODE], WorkersConfig(count=2, cpus=2))
    with pytest.raises(UserError, match="3 with 2 cores each are asked for, .* room for 2"):
        dealing.require_cores([NODE, NODE], WorkersConfig(count=3, cpus=2))


def test_without_ray_the_extra_is_named(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main(["slim_tabletop", "workers={count: 2}", f"out={tmp_path}/run"]) == 2
    assert "workers: ray is not installed; pip install 'robolearn[ray]'" in capsys.readouterr().err

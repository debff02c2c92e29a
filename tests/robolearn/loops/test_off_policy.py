"""Off-policy learning on a batch of points: small enough to be worked out by hand."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode

from robolearn.algos.sac import SAC, SACConfig
from robolearn.errors import DataError, UserError
from robolearn.loops.off_policy import (
    OffPolicyConfig,
    OffPolicyProgress,
    off_policy,
    updates_in,
)
from robolearn.loops.replay import Replay
from robolearn.types import ArraySpec

from .reaching import FALL, Reaching

SMALL = SACConfig(widths=(16,), gamma=0.9, learning_rate=3e-3, tau=0.05)
LENGTH = OffPolicyConfig(
    steps=180, random_steps=30, batch=16, capacity=90, log_steps=15, checkpoint_steps=60
)
THRIFTY = dataclasses.replace(LENGTH, updates_per_step=0.34)  # an update a step of the batch


pytestmark = pytest.mark.usefixtures("one_thread")


class Watching:
    """Pushes right, and keeps the batches that it is given; the reward is twice the step's."""

    device = torch.device("cpu")

    def __init__(self):
        self.batches, self.acted, self.rewarded = [], 0, []

    def act(self, observation, explore=False):
        assert explore
        self.acted += 1
        return np.ones((len(observation["state"]), 1), np.float32)

    def reward(self, batch):
        self.rewarded.append(batch)
        return 2 * batch["rewards"]

    def update(self, batch):
        self.batches.append(batch)
        return {"loss": float(len(self.batches))}


def watched(env=None, **settings):
    env, learner, log = env or Reaching(), Watching(), {}
    config = dataclasses.replace(LENGTH, **settings)
    kept = {"task_rewards": ArraySpec(())}
    replay = Replay(env.interface, config.capacity, env.num_envs, kept)
    off_policy(learner, env, config, 0, replay, on_log=log.__setitem__)
    return learner, replay, log


def test_random_steps_come_first_and_then_the_policys_own():
    env = Reaching()
    learner, replay, _ = watched(env)
    sent = np.array(env.sent)[..., 0]  # [T, N]
    assert len(sent) == 60 and learner.acted == 50
    assert np.abs(sent[:10]).max() <= 1 and len(np.unique(sent[:10])) == 30
    assert -0.4 < sent[:10].mean() < 0.4 and (sent[10:] == 1).all()
    assert len(replay) == 90


def test_what_is_remembered_is_what_happened_with_the_learners_reward():
    env = Reaching(horizon=4)
    env.x[:] = 0.0
    learner, replay, _ = watched(env, random_steps=0, steps=30)
    rows = replay._take(np.arange(len(replay)))
    state, reached = rows["observations"]["state"], rows["next_observations"]["state"]
    np.testing.assert_allclose(reached, state + 0.1, atol=1e-6)  # at the end of an episode too
    np.testing.assert_allclose(rows["rewards"], -2 * np.abs(reached[:, 0]), rtol=1e-5)
    np.testing.assert_allclose(rows["task_rewards"], -np.abs(reached[:, 0]), rtol=1e-5)
    assert rows["ended"].reshape(10, 3).all(axis=1).nonzero()[0].tolist() == [3, 7]
    assert not rows["terminated"].any()
    first = learner.rewarded[0]
    assert first["actions"].shape == (3, 1) and first["reward_terms"] == {}


def test_what_terminates_is_told_from_what_time_ended():
    env = Reaching(n=1, horizon=50)
    env._restart = lambda i: (env.x.__setitem__(i, FALL - 0.25), env.steps.__setitem__(i, 0))
    _, replay, _ = watched(env, random_steps=0, steps=9)
    rows = replay._take(np.arange(9))
    assert rows["terminated"].nonzero()[0].tolist() == [2, 5, 8]
    assert rows["ended"].tolist() == rows["terminated"].tolist()


@pytest.mark.parametrize(("ratio", "n"), [(1.0, 3), (0.5, 1), (0.4, 3), (2.5, 2), (0.01, 3)])
def test_updates_for_a_step_add_up(ratio, n):
    config = dataclasses.replace(LENGTH, updates_per_step=ratio)
    counts = [updates_in(rounds, n, config) for rounds in range(1, 401)]
    assert sum(counts) == int(ratio * 400 * n)
    assert max(counts) - min(counts) <= 1


def test_nothing_is_learnt_before_the_random_steps_are_over():
    learner, _, log = watched()
    assert len(learner.batches) == 3 * (60 - 9)  # the tenth step of the batch completes them
    assert learner.batches[0]["actions"].shape == (16, 1)
    assert sorted(log) == list(range(5, 61, 5))
    assert "loss" not in log[5] and log[10]["loss"] == 2.0  # the mean of 1, 2, 3
    assert log[15]["loss"] == np.mean(range(4, 19))
    assert log[10]["length"] == 10.0 and "return" in log[10] and "return" not in log[15]


def test_a_replay_that_holds_no_part_of_a_step_learns_all_the_same():
    learner, replay, _ = watched(random_steps=31, capacity=32)
    assert len(replay) == 30 and len(learner.batches) == 3 * (60 - 9)


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.DISABLED])
def test_a_batch_that_begins_episodes_in_another_way_is_refused(mode):
    env = Reaching()
    env.metadata = {"autoreset_mode": mode}
    with pytest.raises(UserError, match=f"'same_step', not '{mode.name.lower()}'"):
        watched(env)
    assert not env.sent


def test_what_is_not_finite_is_named_with_its_environment_and_step():
    class Broken(Reaching):
        def step(self, actions, active=None, *, autoreset=True):
            observation, rewards, *rest = super().step(actions)
            if len(self.sent) == 5:
                rewards[1] = np.nan
            return observation, rewards, *rest

    with pytest.raises(DataError, match="test/Reaching: reward .*environment 1 .*step 4"):
        watched(Broken())


def train(learner=None, stop_after=None, progress=None, stored=None):
    """Train, and give the learner, what was logged, and all checkpoints with their replays."""
    env = Reaching()
    learner = learner or SAC(env.interface, SMALL, seed=1)
    replay = Replay(env.interface, LENGTH.capacity, env.num_envs)
    if stored is not None:
        replay.load_state_dict(stored)
    log, checkpoints = {}, []

    def on_log(rounds, info):
        log[rounds] = info
        if rounds == stop_after:
            raise KeyboardInterrupt

    def on_checkpoint(progress):
        weights, state = (
            {k: v.clone() for k, v in tensors.items()}
            for tensors in (learner.state_dict(), learner.training_state())
        )
        kept = {k: v.copy() for k, v in replay.state_dict().items()}
        whole = json.loads(json.dumps(dataclasses.asdict(progress)))
        checkpoints.append((whole, weights, state, kept))

    try:
        off_policy(
            learner, env, THRIFTY, 7, replay,
            progress=progress, on_log=on_log, on_checkpoint=on_checkpoint,
        )  # fmt: skip
    except KeyboardInterrupt:
        assert stop_after
    return learner, log, checkpoints


@pytest.fixture(scope="module")
def undisturbed():
    return train()


def test_an_interrupted_training_goes_on_bit_for_bit_with_its_replay(undisturbed):
    whole, log, checkpoints = undisturbed
    assert [c[0]["rounds"] for c in checkpoints] == [20, 40, 60]
    _, first_log, kept = train(stop_after=50)
    progress, weights, state, stored = kept[-1]
    assert progress["rounds"] == 40 and len(stored["age"]) == 30  # the replay has gone round
    learner = SAC(Reaching().interface, SMALL, seed=99)
    learner.load_state_dict(weights)
    learner.load_training_state(state)
    resumed, second_log, _ = train(learner, progress=OffPolicyProgress(**progress), stored=stored)
    assert sorted(second_log) == [45, 50, 55, 60]
    assert first_log | second_log == log
    for name, weight in whole.state_dict().items():
        assert torch.equal(weight, resumed.state_dict()[name]), name


def test_without_its_replay_the_policy_fills_it_before_it_learns():
    env, learner = Reaching(), Watching()
    replay = Replay(env.interface, LENGTH.capacity, env.num_envs)
    before = OffPolicyProgress(40, [[0.0, 8.0]] * 3, [0.0] * 3, [8] * 3)
    off_policy(learner, env, LENGTH, 0, replay, progress=before)
    assert learner.acted == 20  # none of them at random
    assert len(learner.batches) == 3 * (20 - 9)


def test_the_seed_decides_everything(undisturbed):
    assert train()[1] == undisturbed[1]
    assert train(SAC(Reaching().interface, SMALL, seed=2))[1] != undisturbed[1]


def test_sac_learns_to_reach():
    env, returns = Reaching(n=8, horizon=20), []
    learner = SAC(env.interface, dataclasses.replace(SMALL, initial_alpha=0.05), seed=0)
    config = OffPolicyConfig(
        steps=3200, random_steps=400, updates_per_step=0.15, batch=128, capacity=3200, log_steps=160
    )
    off_policy(
        learner, env, config, 0, Replay(env.interface, 3200, 8),
        on_log=lambda _, info: returns.append(info["return"]),
    )  # fmt: skip
    nothing = -20 / 2  # to stay where one begins, |x| = 1/2 in the mean
    best = -1 / 3 / (2 * 0.1)  # to go to the origin at full speed: x^2 / (2 * 0.1) is the sum
    assert np.mean(returns[:2]) == pytest.approx(nothing, abs=3.0)
    assert np.mean(returns[-5:]) > best - 2.0
    states = {"state": np.array([[1.0], [-1.0]], np.float32)}
    np.testing.assert_array_less(learner.act(states)[:, 0] * [1, -1], -0.5)


@pytest.mark.parametrize("setting", ["steps", "updates_per_step", "batch", "checkpoint_steps"])
def test_settings_out_of_range_are_named(setting):
    with pytest.raises(UserError, match=f"{setting} should be greater than 0, not 0"):
        OffPolicyConfig(**{setting: 0})


def test_a_replay_that_never_holds_the_random_steps_is_refused():
    with pytest.raises(UserError, match="capacity: 99 is less than the 100 random steps"):
        OffPolicyConfig(capacity=99, random_steps=100)


def test_whoever_looks_on_sees_each_step_remembered_before_it_is_learnt_from():
    env, learner, seen = Reaching(), Watching(), []
    replay = Replay(env.interface, 90, 3, {"states": ArraySpec((2,), "float64")})
    config = dataclasses.replace(LENGTH, steps=90)

    def on_step(rounds):
        seen.append((rounds, len(replay), len(learner.batches)))

    off_policy(learner, env, config, 0, replay, keep_states=True, on_step=on_step)
    assert [rounds for rounds, _, _ in seen] == list(range(1, 31))
    assert all(remembered == 3 * rounds for rounds, remembered, _ in seen)
    assert [learnt for _, _, learnt in seen][9:12] == [0, 3, 6]  # updates come after it
    rows = replay._take(np.arange(90))
    np.testing.assert_allclose(rows["states"][:, 0], rows["observations"]["state"][:, 0], atol=1e-6)
    assert rows["states"][:, 1].max() == 9.0  # steps before the last of an episode

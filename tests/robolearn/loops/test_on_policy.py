"""On-policy learning on a batch of points: small enough to be worked out by hand."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode

from robolearn.algos.ppo import PPO, PPOConfig
from robolearn.errors import DataError, UserError
from robolearn.loops.collecting import Cuts, Tally, collect, spread_cuts
from robolearn.loops.on_policy import OnlineConfig, Progress, online
from robolearn.networks.functional import gae
from robolearn.skills.env import SkillEnv
from robolearn.types import VectorEnvironment

from .reaching import FALL, Reaching

pytestmark = pytest.mark.usefixtures("one_thread")


class Pusher:
    """Pushes right, harder than is possible."""

    def sample(self, observation):
        return np.full((len(observation["state"]), 1), 3.0, np.float32)


class Watching:
    """Does nothing, and keeps the rollouts that it is given."""

    device = torch.device("cpu")

    def __init__(self):
        self.rollouts = []

    def sample(self, observation):
        return np.zeros((len(observation["state"]), 1), np.float32)

    def update(self, rollout):
        self.rollouts.append(rollout)
        return {}

    def ends(self):
        """Say at which steps the episodes of each environment ended."""
        ended = torch.cat([rollout["ended"] for rollout in self.rollouts])  # [T, N]
        return [(torch.nonzero(row)[:, 0] + 1).tolist() for row in ended.T]


def tally(n):
    return Tally(np.zeros(n), np.zeros(n, int))


def test_the_toy_is_a_batch_of_environments():
    assert isinstance(Reaching(), VectorEnvironment)


def test_a_rollout_says_where_every_action_led():
    env = Reaching(n=2, horizon=3)
    first, _ = env.reset(seed=[0, 1])
    env.x[1] = first["state"][1] = FALL - 0.15  # terminates at its second step
    rollout, last = collect(env, Pusher(), first, 5, tally(2))
    state = rollout["observations"]["state"][..., 0]  # [T, N]
    reached = rollout["next_observations"]["state"][..., 0]
    np.testing.assert_allclose(reached, state + 0.1, atol=1e-6)
    np.testing.assert_allclose(rewards := rollout["rewards"], -np.abs(reached), atol=1e-6)
    assert rewards.dtype == np.float32
    assert rollout["terminated"].T.tolist() == [[False] * 5, [False, True, False, False, False]]
    assert rollout["ended"][:, 0].tolist() == [False, False, True, False, False]
    assert rollout["ended"][:, 1].tolist() == [False, True, False, False, True]
    follows = ~rollout["ended"][:-1]
    np.testing.assert_array_equal(state[1:][follows], reached[:-1][follows])
    assert not np.isclose(state[1:], reached[:-1])[~follows].any()
    np.testing.assert_array_equal(last["state"], env._observe()["state"])


def test_actions_are_kept_as_drawn_and_sent_clipped():
    env = Reaching()
    rollout, _ = collect(env, Pusher(), env.reset()[0], 2, tally(3))
    assert (rollout["actions"] == 3.0).all() and (np.array(env.sent) == 1.0).all()


def test_returns_are_those_of_whole_episodes():
    count = tally(2)
    ends = np.array([[0, 0], [1, 0], [0, 0], [0, 1], [1, 0]], bool)
    successes = np.array([[1, 1], [1, 0], [1, 1], [0, 0], [0, 1]], bool)  # one at an end
    for rewards, *rest in zip(np.arange(10.0).reshape(5, 2), ends, successes, strict=True):
        count.add(rewards, *rest)
    means = {"return": np.mean([0 + 2, 4 + 6 + 8, 1 + 3 + 5 + 7]), "length": 3.0, "success": 1 / 3}
    assert count.read() == pytest.approx(means)
    assert count.read() == {}
    assert count.returns.tolist() == [0, 9] and count.lengths.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("n", "horizon", "cuts"),
    [
        (4, 1000, [250, 500, 750, 1000]),
        (3, 10, [4, 7, 10]),
        (1, 7, [7]),
        (5, 2, [1, 1, 2, 2, 2]),
        (2, None, [0, 0]),
    ],
)
def test_cuts_are_spread_over_an_episode(n, horizon, cuts):
    assert spread_cuts(n, horizon).left.tolist() == cuts


def watched(env, **settings):
    learner = Watching()
    online(learner, env, OnlineConfig(steps=env.num_envs * 32, **settings), seed=0)
    return learner


def test_episodes_of_environments_that_began_together_end_evenly_spread():
    ends = watched(Reaching(n=4, horizon=12), horizon=8, checkpoint_updates=1).ends()
    assert ends == [[3, 15, 27], [6, 18, 30], [9, 21], [12, 24]]


@pytest.mark.parametrize(
    "settings",
    [{"horizon": 8, "spread": False}, {"horizon": 12}, {"horizon": 24}],
    ids=["not wanted", "an episode", "two episodes"],
)
def test_nothing_is_cut_where_it_is_not_wanted_or_rollouts_are_whole_episodes(settings):
    learner = watched(Reaching(n=4, horizon=12), **settings)
    steps = len(learner.rollouts) * settings["horizon"]
    assert learner.ends() == [list(range(12, steps + 1, 12))] * 4


def test_where_nobody_knows_how_long_episodes_are_nothing_is_cut():
    env = Reaching(n=4, horizon=12)
    env.horizon = None
    assert watched(env, horizon=8).ends() == [[12, 24]] * 4


def test_a_cut_is_a_truncation():
    """With V(s) = s, gamma = lambda = 1/2: x goes .5 .6 .7, is cut, and something else begins."""
    env, count = Reaching(n=2, horizon=4), tally(2)
    first, _ = env.reset(seed=[0, 1])
    env.x[:] = first["state"][:, 0] = [0.5, -1.0]
    rollout, last = collect(env, Pusher(), first, 3, count, cuts=spread_cuts(2, 4))
    state = torch.as_tensor(rollout["observations"]["state"])[..., 0]  # [T, N]
    reached = torch.as_tensor(rollout["next_observations"]["state"])[..., 0]
    assert rollout["ended"].T.tolist() == [[False, True, False], [False] * 3]
    assert not rollout["terminated"].any()
    np.testing.assert_allclose(reached[:2, 0], [0.6, 0.7], atol=1e-6)
    assert abs(state[2, 0] - 0.7) > 0.01
    np.testing.assert_allclose(state[:, 1], [-1.0, -0.9, -0.8], atol=1e-6)  # goes on
    np.testing.assert_array_equal(last["state"], env._observe()["state"])
    rewards, terminated, ended = (
        torch.as_tensor(rollout[key]) for key in ("rewards", "terminated", "ended")
    )
    advantages = gae(rewards, state, reached, terminated, ended, gamma=0.5, lam=0.5)
    second = -0.7 + 0.5 * 0.7 - 0.6
    assert advantages[1, 0].item() == pytest.approx(second, abs=1e-5)
    first = -0.6 + 0.5 * 0.6 - 0.5 + 0.25 * second
    assert advantages[0, 0].item() == pytest.approx(first, abs=1e-5)


def test_what_is_cut_is_no_episode():
    env, count, cuts = Reaching(n=2, horizon=4), tally(2), spread_cuts(2, 4)
    first, _ = env.reset(seed=[0, 1])
    _, last = collect(env, Pusher(), first, 3, count, cuts=cuts)
    assert count.read() == {} and count.lengths.tolist() == [1, 3]
    assert count.returns[0] == -abs(env.x[0]) and cuts.left.tolist() == [0, 1]
    collect(env, Pusher(), last, 3, count, cuts=cuts)
    assert count.read()["length"] == 4.0 and count.lengths.tolist() == [0, 2]


def test_what_ends_by_itself_is_not_cut():
    cuts = Cuts(np.array([2, 2, 3, 0]))
    assert not cuts.count(np.array([True, False, False, False])).any()
    assert cuts.left.tolist() == [0, 1, 2, 0]
    assert not cuts.count(np.array([False, True, False, False])).any()  # at the same step
    assert cuts.count(np.zeros(4, bool)).tolist() == [False, False, True, False]
    assert cuts.left.tolist() == [0] * 4


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.DISABLED])
def test_a_batch_that_begins_episodes_in_another_way_is_refused(mode):
    env = Reaching()
    env.metadata = {"autoreset_mode": mode}
    for make in (lambda: env, lambda: SkillEnv(env, 2, lambda n, generator: torch.zeros(n, 2))):
        with pytest.raises(UserError, match=f"'same_step', not '{mode.name.lower()}'"):
            wrong = make()
            online(PPO(wrong.interface, PPOConfig(), 0), wrong, OnlineConfig(steps=30), 0)
    assert not env.sent


def test_simulations_that_diverged_are_counted():
    class Diverging(Reaching):
        def step(self, actions, active=None, *, autoreset=True):
            *result, info = super().step(actions)
            return *result, info | {"error": np.array([None, "diverged", None], object)}

    env, count = Diverging(n=3, horizon=2), tally(3)
    collect(env, Pusher(), env.reset()[0], 2, count)
    assert count.read()["diverged"] == 2
    assert "diverged" not in count.read()


@pytest.mark.parametrize("what", ["reward", "state"])
def test_what_is_not_finite_is_named_with_its_environment_and_step(what):
    class Broken(Reaching):
        def step(self, actions, active=None, *, autoreset=True):
            observation, rewards, *rest = super().step(actions)
            if len(self.sent) == 5:
                (rewards if what == "reward" else observation["state"])[1] = np.nan
            return observation, rewards, *rest

    with pytest.raises(
        DataError, match=f"test/Reaching: {what} .*finite in environment 1 .*step 4"
    ):
        online(PPO(Reaching().interface, SMALL), Broken(), OnlineConfig(60, 4), seed=0)


SMALL = PPOConfig(widths=(16,), minibatch=32, epochs=4, gamma=0.9, learning_rate=3e-3)
CHANGING = dataclasses.replace(SMALL, target_kl=0.04, final_kl=0.01)
LENGTH = OnlineConfig(steps=12 * 3 * 8, horizon=8, checkpoint_updates=4)


def train(learner=None, stop_after=None, progress=None, horizon=10):
    """Train, and give the learner, what was logged by update, and all checkpoints."""
    env = Reaching(horizon=horizon)
    learner = learner or PPO(env.interface, CHANGING, seed=1)
    log, checkpoints = {}, []

    def on_update(updates, info):
        log[updates] = info
        if updates == stop_after:
            raise KeyboardInterrupt

    def on_checkpoint(progress):
        state = {k: v.clone() for k, v in learner.training_state().items()}
        weights = {k: v.clone() for k, v in learner.state_dict().items()}
        checkpoints.append((json.loads(json.dumps(dataclasses.asdict(progress))), weights, state))

    try:
        online(
            learner, env, LENGTH, 7,
            progress=progress, on_update=on_update, on_checkpoint=on_checkpoint,
        )  # fmt: skip
    except KeyboardInterrupt:
        assert stop_after
    return learner, log, checkpoints


@pytest.mark.parametrize(("horizon", "cuts"), [(10, [0, 0, 0]), (50, [0, 2, 18])])
def test_an_interrupted_training_goes_on_bit_for_bit(horizon, cuts):
    whole, log, checkpoints = train(horizon=horizon)
    assert [c[0]["updates"] for c in checkpoints] == [4, 8, 12]
    assert sorted(log) == [*range(1, 13)]
    _, first_log, kept = train(stop_after=7, horizon=horizon)
    progress, weights, state = kept[-1]
    assert progress["updates"] == 4 and any(progress["lengths"])  # in the middle of episodes
    assert progress["cuts"] == cuts
    learner = PPO(Reaching().interface, CHANGING, seed=99)
    learner.load_state_dict(weights)
    learner.load_training_state(state)
    resumed, second_log, _ = train(learner, progress=Progress(**progress), horizon=horizon)
    assert sorted(second_log) == [*range(5, 13)]
    assert first_log | second_log == log
    for name, weight in whole.state_dict().items():
        assert torch.equal(weight, resumed.state_dict()[name]), name


def test_a_training_that_began_without_cuts_goes_on_without():
    before = Progress(1, [[0.0, 8.0]] * 3, [0.0] * 3, [8] * 3)  # as older checkpoints have it
    env, learner = Reaching(horizon=20), Watching()
    online(learner, env, OnlineConfig(3 * 48, 8), seed=0, progress=before)
    assert learner.ends() == [[12, 32]] * 3


def test_the_seed_decides_everything():
    assert train()[1] == train()[1]
    assert train()[1] != train(PPO(Reaching().interface, SMALL, seed=2))[1]


def test_ppo_learns_to_reach():
    env, returns = Reaching(n=16, horizon=20), []
    learner = PPO(env.interface, SMALL, seed=0)
    online(
        learner, env, OnlineConfig(25 * 16 * 20, 20), 0,
        on_update=lambda _, info: returns.append(info["return"]),
    )  # fmt: skip
    nothing = -20 / 2  # to stay where one begins, |x| = 1/2 in the mean
    best = -1 / 3 / (2 * 0.1)  # to go to the origin at full speed: x^2 / (2 * 0.1) is the sum
    assert np.mean(returns[:2]) == pytest.approx(nothing, abs=2.0)
    assert np.mean(returns[-10:]) > best - 1.5
    states = {"state": np.array([[1.0], [-1.0]], np.float32)}
    np.testing.assert_array_less(learner.act(states)[:, 0] * [1, -1], -0.5)


@pytest.mark.parametrize("setting", ["steps", "horizon", "checkpoint_updates"])
def test_settings_out_of_range_are_named(setting):
    with pytest.raises(UserError, match=f"{setting} should be greater than 0, not 0"):
        OnlineConfig(**{setting: 0})


def test_whoever_looks_on_sees_a_rollout_with_its_states_before_it_is_learnt_from():
    learner, seen = Watching(), []

    def on_rollout(updates, rollout):
        seen.append((updates, len(learner.rollouts)))
        states = rollout["states"]
        assert states.shape == (8, 3, 2) and states.dtype == np.float64
        np.testing.assert_allclose(states[..., :1], rollout["observations"]["state"], atol=1e-6)

    online(learner, Reaching(), LENGTH, 0, keep_states=True, on_rollout=on_rollout)
    assert seen == [(i, i) for i in range(12)]
    assert "states" not in collect(Reaching(), Pusher(), Reaching().reset()[0], 2, tally(3))[0]

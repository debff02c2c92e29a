"""What follows the end of an episode, in each of gymnasium's ways: as its SyncVectorEnv does."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import vector as wrappers

import sim
from robolearn.errors import UserError
from robolearn.loops.rollout import Job, rollouts
from sim.base.spaces import interface_spaces

N, STEPS, HORIZON = 3, 12, 4
ARM_TASK = {
    "observation": ["joint_pos:hinge", "joint_vel:hinge"],
    "reward": {"near": {"quantity": "joint_pos:hinge", "margin": 0.5}},
    "success": [{"quantity": "joint_vel:hinge", "low": 0.0, "high": 100.0}],
    "failure": [{"quantity": "joint_vel:hinge", "low": 2.0, "high": 100.0}],
    "reset": [{"quantity": "joint_pos:hinge", "low": -1.0, "high": 1.0}],
    "control_hz": 20,
    "horizon": HORIZON,
}
ARM = f"mujoco/{Path(__file__).parents[1] / 'models' / 'arm.xml'}"
CASES = {
    "compiled": ("tabletop/cube", {"horizon": HORIZON}),
    "arrays": (ARM, {"task": ARM_TASK}),
    "processes": ("gym/CartPole-v1", {"horizon": HORIZON}),
}
MODES = {mode.name.lower(): mode for mode in AutoresetMode}
by_case = pytest.mark.parametrize("case", CASES)
by_mode = pytest.mark.parametrize("mode", MODES)


@pytest.fixture
def make():
    """Make a batch, or gymnasium's of the same environments; closed in the end."""
    made = []

    def make_batch(case, mode, synchronous=False):
        name, options = CASES[case]
        if synchronous:
            singles = [partial(sim.make, name, **options)] * N
            made.append(SyncVectorEnv(singles, autoreset_mode=MODES[mode]))
        else:
            made.append(sim.make_vec(name, N, threads=2, autoreset_mode=mode, **options))
        return made[-1]

    yield make_batch
    for envs in made:
        envs.close()


def out_of_step(envs):
    """Begin episodes, in one row later than in the others, so that they end at different times."""
    envs.reset(seed=5)
    envs.step(np.zeros(envs.action_space.shape, np.float32))
    envs.reset(options={"reset_mask": np.arange(N) == 1})
    return envs


def steps(envs):
    """Step at random, and give every step; reset what has ended where nobody else does."""
    rng = np.random.default_rng(0)
    disabled = envs.metadata["autoreset_mode"] == AutoresetMode.DISABLED
    for _ in range(STEPS):
        result = envs.step(rng.uniform(-1, 1, envs.action_space.shape).astype(np.float32))
        yield result
        ended = result[2] | result[3]
        if disabled and ended.any():
            observation, _ = envs.reset(options={"reset_mask": ended})
            yield observation, np.zeros(N), *np.zeros((2, N), bool), {}


def assert_same_info(ours, theirs):
    """Compare all that gymnasium's batch says of its environments."""
    for key in ("success", "reward_terms"):
        if f"_{key}" not in theirs:
            continue
        rows = theirs[f"_{key}"]
        assert ours[f"_{key}"][rows].all()
        if key == "success":
            np.testing.assert_array_equal(ours[key][rows], theirs[key][rows])
            continue
        for term in (term for term in theirs[key] if term[0] != "_"):
            np.testing.assert_allclose(ours[key][term][rows], theirs[key][term][rows], atol=1e-12)


@by_case
@by_mode
def test_a_batch_does_what_gymnasiums_does(make, case, mode):
    ours, theirs = make(case, mode), make(case, mode, synchronous=True)
    assert ours.metadata["autoreset_mode"] is theirs.metadata["autoreset_mode"]
    ends, failed = [], False
    for a, b in zip(steps(out_of_step(ours)), steps(out_of_step(theirs)), strict=True):
        np.testing.assert_allclose(a[0]["state"], b[0]["state"], atol=1e-6)
        np.testing.assert_allclose(a[1], b[1], rtol=0, atol=1e-12)
        np.testing.assert_array_equal(a[2:4], b[2:4])
        assert_same_info(a[4], b[4])
        ends.append(b[2] | b[3])
        failed |= b[2].any()
        assert ("final_obs" in a[4]) == ("final_obs" in b[4])
        if "final_obs" in b[4]:
            np.testing.assert_array_equal(a[4]["_final_obs"], b[4]["_final_obs"])
            for i in np.flatnonzero(b[4]["_final_obs"]):
                last, wanted = (info["final_obs"][i]["state"] for info in (a[4], b[4]))
                np.testing.assert_allclose(last, wanted, atol=1e-6)
            assert_same_info(a[4]["final_info"], b[4]["final_info"])
    assert any(0 < ended.sum() < N for ended in ends)
    assert sum(ended.sum() for ended in ends) > N
    assert case != "arrays" or failed


def wrapped(envs):
    """Put gymnasium's wrappers around a batch, all that accept its mode."""
    if envs.metadata["autoreset_mode"] != AutoresetMode.SAME_STEP:
        envs = wrappers.FlattenObservation(envs)
    if envs.metadata["autoreset_mode"] == AutoresetMode.NEXT_STEP:
        envs = wrappers.NormalizeObservation(envs)
    return wrappers.ClipReward(wrappers.NormalizeReward(envs), 0.0, 0.5)


@by_case
@by_mode
def test_gymnasiums_wrappers_give_what_they_give_around_its_own_batch(make, case, mode):
    ours, theirs = make(case, mode), make(case, mode, synchronous=True)
    pair = (steps(wrapped(out_of_step(envs))) for envs in (ours, theirs))
    for a, b in zip(*pair, strict=True):
        a, b = ([obs["state"] if isinstance(obs, dict) else obs, *rest] for obs, *rest in (a, b))
        np.testing.assert_allclose(a[0], b[0], atol=1e-5)
        np.testing.assert_allclose(a[1], b[1], atol=1e-5)
        np.testing.assert_array_equal(a[2:4], b[2:4])


@by_mode
def test_episode_statistics_count_what_was_stepped(make, mode):
    envs = wrappers.RecordEpisodeStatistics(make("compiled", mode))
    lengths = [
        info["episode"]["l"][i]
        for *_, info in steps(out_of_step(envs))
        if "episode" in info
        for i in np.flatnonzero(info["_episode"])
    ]
    assert len(lengths) > N
    assert set(lengths) == {HORIZON}


def test_the_action_of_a_row_that_is_reset_is_not_looked_at(make):
    envs = make("compiled", "next_step")
    actions = np.zeros(envs.action_space.shape, np.float32)
    envs.reset(seed=0)
    for _ in range(HORIZON):
        *_, truncated, info = envs.step(actions)
    assert truncated.all() and "final_obs" not in info
    later = np.array([True, False, True])
    before = envs.get_state()
    observation, reward, terminated, truncated, info = envs.step(
        np.full_like(actions, np.nan), active=later
    )
    assert not (reward.any() or terminated.any() or truncated.any() or info["_success"].any())
    np.testing.assert_array_equal(envs.get_state()[1], before[1])
    assert not np.array_equal(envs.get_state()[0], before[0])
    *_, info = envs.step(actions)
    assert list(info["_success"]) == list(later)  # now the second is reset, the others move


@by_mode
def test_a_step_without_autoreset_resets_nothing(make, mode):
    envs = make("compiled", mode)
    actions = np.zeros(envs.action_space.shape, np.float32)
    envs.reset(seed=0)
    for _ in range(HORIZON):
        *_, truncated, info = envs.step(actions, autoreset=False)
    assert truncated.all() and "final_obs" not in info
    ended = envs.get_state()
    if mode == "disabled":
        with pytest.raises(UserError, match="have ended"):
            envs.step(actions, autoreset=False)
    else:
        assert envs.step(actions, autoreset=False)[3].all()  # past the horizon
    first = np.array([True, False, False])
    envs.reset(options={"reset_mask": first})
    envs.step(actions, active=first, autoreset=False)
    assert not np.array_equal(envs.get_state()[0], ended[0])


def test_a_row_that_ended_is_not_stepped_where_autoreset_is_disabled(make):
    envs = make("compiled", "disabled")
    actions = np.zeros(envs.action_space.shape, np.float32)
    envs.reset(seed=0)
    envs.step(actions)
    envs.reset(options={"reset_mask": np.array([True, False, False])})
    for _ in range(3):
        envs.step(actions)
    ended = envs.get_state()
    message = "tabletop/cube: 2 of 3 environments have ended, the first is 1; before the next step"
    with pytest.raises(UserError, match=message):
        envs.step(actions)
    np.testing.assert_array_equal(envs.get_state(), ended)
    assert envs.step(actions, active=np.array([True, False, False]))[3][0]
    envs.set_state(ended)
    envs.step(actions)


class Still:
    """Does nothing."""

    memoryless = True

    def __init__(self, size):
        self.size = size

    def reset(self, n):
        pass

    def act(self, observation, explore=False):
        return np.zeros((len(observation["state"]), self.size), np.float32)


def test_rollouts_are_the_same_in_every_mode(make):
    kept = []
    for mode in MODES:
        envs = make("compiled", mode)
        still = Still(interface_spaces(envs.interface)[1].shape[0])
        found = rollouts(envs, [Job(still, seed) for seed in range(4)], horizon=6)
        kept.append([episode.states for episode, _ in found])
    for states in kept[1:]:
        np.testing.assert_array_equal(np.stack(states), np.stack(kept[0]))


def test_modes_are_gymnasiums_or_their_names():
    envs = [
        sim.make_vec("tabletop/cube", 2, autoreset_mode=mode)
        for mode in ("next_step", AutoresetMode.DISABLED, "same_step")
    ]
    envs.append(sim.make_vec("tabletop/cube", 2))
    found = [one.metadata["autoreset_mode"].name for one in envs]
    assert found == ["NEXT_STEP", "DISABLED", "SAME_STEP", "SAME_STEP"]
    for wrong in ("nextstep", None, 3):
        with pytest.raises(UserError, match="tabletop/cube: unknown autoreset_mode '"):
            sim.make_vec("tabletop/cube", 2, autoreset_mode=wrong)
        with pytest.raises(UserError, match="tabletop/cube: unknown autoreset_mode '"):
            envs[0].autoreset_mode = wrong
    assert envs[0].autoreset_mode is envs[0].metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
    envs[0].autoreset_mode = "same_step"
    assert envs[0].autoreset_mode is envs[0].metadata["autoreset_mode"] is AutoresetMode.SAME_STEP

"""Batches of dm_control's tasks as arrays against single environments, which run dm_control."""

import numpy as np
import pytest

import sim
from sim.dmc.arrays import TASKS, length
from sim.mujoco.vector import MujocoVectorEnv
from sim.vector.processes import ProcessVectorEnv, Workers

HORIZON = 5
N = 40
# Of rewards, which are at most 1. dm_control squares one number with the C library's ``pow``, which
# in one case of a thousand rounds otherwise than numpy's square of an array.
ROUNDING = 4 * np.finfo(float).eps


@pytest.fixture(scope="module", params=TASKS)
def pair(request):
    """A batch and a single environment of every task."""
    name = f"dmc/{request.param}"
    batch, single = (
        sim.make_vec(name, N, threads=2, horizon=HORIZON),
        sim.make(name, horizon=HORIZON),
    )
    yield batch, single
    batch.close()


def assert_same_step(step, i: int, wanted) -> bool:
    """Compare row i of a batch's step with a single environment's; say whether it ended.

    Observations are equal to the last bit, since both are made with the same primitives.
    """
    observation, reward, terminated, truncated, info = step
    seen, *flags, own = wanted
    shown = info["final_obs"][i]["state"] if truncated[i] else observation["state"][i]
    np.testing.assert_array_equal(shown, seen["state"])
    assert reward[i] == pytest.approx(flags[0], rel=0, abs=ROUNDING)
    assert [terminated[i], truncated[i]] == flags[1:]
    assert info["reward_terms"]["task"][i] == reward[i]
    assert own["reward_terms"]["task"] == flags[0]
    assert info["success"][i] == own["success"]
    assert info.get("error", {i: None})[i] == own.get("error")
    return truncated[i]


def test_a_batch_does_what_single_environments_do(pair):
    batch, single = pair
    assert isinstance(batch, MujocoVectorEnv)
    assert batch.interface == single.interface
    observation, _ = batch.reset(seed=4)
    np.testing.assert_array_equal(observation["state"][1], single.reset(seed=5)[0]["state"])
    rng = np.random.default_rng(0)
    for _ in range(2 * HORIZON + 2):
        actions = rng.uniform(-1, 1, batch.action_space.shape)
        if assert_same_step(batch.step(actions), 1, single.step(actions[1])):
            single.reset()
        np.testing.assert_array_equal(batch.get_state()[1], single.get_state())


def test_rewards_of_rare_states(pair):
    """Upright, at rest, fast, near the target; also such that the simulation diverges."""
    batch, single = pair
    batch.reset(seed=0)
    states, rng = batch.get_state(), np.random.default_rng(1)
    nq, end = single.model.nq, single.mujoco_state_size
    states[:, 1 : 1 + nq] *= rng.choice([0, 0.1, 1], (N, 1))
    states[:, 1 + nq : end] += rng.normal(0, 1, (N, end - 1 - nq)) * rng.choice([0, 1, 30], (N, 1))
    states[0, end - 1] = 1e11  # too fast for MuJoCo
    batch.set_state(states)
    actions = rng.uniform(-1, 1, batch.action_space.shape) * rng.choice([0, 1], (N, 1))
    step = batch.step(actions)
    for i, state in enumerate(states):
        single.set_state(state)
        assert_same_step(step, i, single.step(actions[i]))
    assert "diverged" in step[4]["error"][0]
    if batch.interface.environment != "dmc/reacher-hard":  # whose target is small
        assert len(set(step[1])) > 1


@pytest.mark.parametrize("entries", [2, 3])
def test_lengths_of_rows_are_those_of_single_vectors(entries):
    vectors = np.random.default_rng(0).normal(size=(1000, entries))
    alone = [np.linalg.norm(vector) for vector in vectors]
    for layout in (vectors, np.asfortranarray(vectors), np.repeat(vectors, 2, axis=1)[:, ::2]):
        np.testing.assert_array_equal(length(layout), alone)


def assert_same_steps(one, other) -> None:
    """Compare two batches' steps, rewards to rounding."""
    rewards = [[step[1], step[4]["reward_terms"].pop("task")] for step in (one, other)]
    np.testing.assert_allclose(*rewards, rtol=0, atol=ROUNDING)
    np.testing.assert_equal(*(step[:1] + step[2:] for step in (one, other)))


@pytest.mark.parametrize("name", ["walker-walk", "finger-turn_easy"])
def test_arrays_and_processes_are_alike(name):
    """Seeds, masks, states, time limits and ends, also where resets write into the model."""
    options = {"horizon": 4, "state": ("velocity",), "success_reward": 0.2}
    arrays = sim.make_vec(f"dmc/{name}", 3, threads=2, **options)
    processes = ProcessVectorEnv(Workers(f"dmc/{name}", 3, 1, options))
    for seed in ([3, None, 5], None):  # environment 1 draws its own
        one, two = (
            envs.reset(seed=seed, options={"reset_mask": np.array([True, seed is None, True])})[0]
            for envs in (arrays, processes)
        )
    np.testing.assert_array_equal(one["state"][[0, 2]], two["state"][[0, 2]])
    processes.set_state(arrays.get_state())
    rng = np.random.default_rng(0)
    for active in ([True] * 3, [True, False, True], [False] * 3, [True] * 3, [True] * 3):
        actions = rng.uniform(-1, 1, arrays.action_space.shape)
        before = arrays.get_state()
        steps = [
            envs.step(actions, np.array(active), autoreset=False) for envs in (arrays, processes)
        ]
        assert_same_steps(*steps)
        still = ~np.array(active)
        np.testing.assert_array_equal(arrays.get_state()[still], before[still])
    assert list(steps[0][3]) == [True, False, True]
    np.testing.assert_array_equal(arrays.get_state(), processes.get_state())
    processes.close()
    arrays.close()


def test_a_task_without_formulas_goes_to_processes():
    batch = sim.make_vec("dmc/lqr-lqr_2_1", 1)
    assert isinstance(batch, ProcessVectorEnv)
    batch.close()

"""Skills in the state: drawn once an episode, stored, restored."""

import numpy as np
import pytest
import torch

from robolearn.errors import UserError
from robolearn.loops.rollout import Job, rollouts
from robolearn.rewards.base import directions
from robolearn.skills.env import SkillEnv
from robolearn.types import VectorEnvironment
from sim import make_vec

N, Z = 3, 2


@pytest.fixture(scope="module")
def env():
    batch = make_vec("tabletop/cube", N, threads=1, horizon=4)
    wrapped = SkillEnv(batch, Z, lambda n, generator: directions(n, Z, generator))
    yield wrapped
    wrapped.close()


def skills_of(observation):
    return observation["state"][:, -Z:]


def idle(env):
    return env.step(np.zeros((N, *env.interface.action.shape), np.float32))


def test_it_is_a_batch_of_environments_whose_state_ends_with_a_skill(env):
    assert isinstance(env, VectorEnvironment) and env.horizon == 4
    spec = env.interface.observations["state"]
    observation, _ = env.reset(seed=[0, 1, 2])
    assert observation["state"].shape == (N, *spec.shape)
    assert observation["state"].dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(skills_of(observation), axis=1), 1, rtol=1e-6)
    assert spec.names[-Z:] == ("skill_1", "skill_2") and len(spec.units) == len(spec.names)


def test_a_skill_lasts_as_long_as_its_episode(env):
    first, _ = env.reset(seed=[0, 1, 2])
    for _ in range(3):
        observation, *_ = idle(env)
        np.testing.assert_array_equal(skills_of(observation), skills_of(first))
    observation, _, _, truncated, info = idle(env)
    assert truncated.all()
    last = np.stack([end["state"] for end in info["final_obs"]])
    np.testing.assert_array_equal(last[:, -Z:], skills_of(first))
    assert (skills_of(observation) != skills_of(first)).any(axis=1).all()


def test_the_seed_decides_on_the_skill_whatever_runs_beside(env):
    first, _ = env.reset(seed=[5, 6, 7])
    idle(env)
    again, _ = env.reset(seed=[9, 5, 9], options={"reset_mask": np.array([False, True, False])})
    np.testing.assert_array_equal(skills_of(again)[1], skills_of(first)[0])
    np.testing.assert_array_equal(skills_of(again)[[0, 2]], skills_of(first)[[0, 2]])


def test_seeds_may_be_numpys_and_wrong_ones_are_refused_by_the_batch(env):
    first, _ = env.reset(seed=5)
    for seed in (np.int64(5), np.array([5, 6, 7]), [np.int32(5), 6, 7]):
        np.testing.assert_array_equal(env.reset(seed=seed)[0]["state"], first["state"])
    for seed in (1.5, "ab", [1, 2.5, 3]):
        with pytest.raises(UserError, match="^tabletop/cube: seed.* must be a whole number"):
            env.reset(seed=seed)


@pytest.mark.parametrize("mode", ["next_step", "disabled"])
def test_another_autoreset_is_refused(mode):
    batch = make_vec("tabletop/cube", N, threads=1, autoreset_mode=mode)
    needed = f"drawing skills needs a batch with autoreset_mode='same_step', not '{mode}'"
    with pytest.raises(UserError, match=f"^tabletop/cube: {needed}$"):
        SkillEnv(batch, Z, lambda n, generator: directions(n, Z, generator))
    batch.close()


def test_a_stored_state_brings_its_skill_with_it(env):
    env.reset(seed=[0, 1, 2])
    before, *_ = idle(env)
    states = env.get_state()
    after, *_ = idle(env)
    env.reset(seed=[7, 8, 9])
    restored, _ = env.reset(seed=[1, 1, 1], options={"state": states})
    np.testing.assert_array_equal(restored["state"], before["state"])
    np.testing.assert_array_equal(idle(env)[0]["state"], after["state"])


def test_without_autoreset_nothing_is_drawn(env):
    first, _ = env.reset(seed=[0, 1, 2])
    actions = np.zeros((N, *env.interface.action.shape), np.float32)
    for _ in range(4):
        observation, _, _, truncated, _ = env.step(actions, autoreset=False)
    assert truncated.all()
    np.testing.assert_array_equal(skills_of(observation), skills_of(first))


def test_an_episode_does_not_depend_on_its_batch(env):
    class Still:
        memoryless = True

        def reset(self, n):
            pass

        def act(self, observation, explore=False):
            return np.zeros((len(observation["state"]), *env.interface.action.shape), np.float32)

    jobs = [Job(Still(), seed) for seed in (3, 4, 5, 6)]
    seen = {}
    for many, order in (("all", jobs), ("some", jobs[2:])):
        found = list(rollouts(env, order, horizon=4, settle_steps=4))
        seen[many] = [episode.observations["state"] for episode, _ in found]
    for ours, theirs in zip(seen["all"][2:], seen["some"], strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_generators_are_those_of_torch(env):
    observation, _ = env.reset(seed=[11, 12, 13])
    expected = directions(1, Z, torch.Generator().manual_seed(12))[0].numpy()
    np.testing.assert_array_equal(skills_of(observation)[1], expected)

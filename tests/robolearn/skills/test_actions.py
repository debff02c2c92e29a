"""Skills as actions: what is held, summed up, counted and restored, on a tabletop."""

import itertools

import numpy as np
import pytest

from robolearn.loops.rollout import Job, rollouts
from robolearn.skills.actions import HeldSkills, SkillActions, carry_out
from robolearn.skills.frozen import scripted_skills
from robolearn.types import VectorEnvironment
from sim import make_vec

N, HOLD, HORIZON = 3, 3, 7  # an episode has three choices; the last is held for one step
SEEDS = [3, 4, 5]


def table():
    return make_vec("tabletop/cube", N, threads=1, goal="position", horizon=HORIZON)


@pytest.fixture(scope="module")
def env():
    batch = table()
    wrapped = SkillActions(batch, scripted_skills(batch.interface), "cube", HOLD)
    yield wrapped
    wrapped.close()


@pytest.fixture(scope="module")
def below():
    batch = table()
    yield batch
    batch.close()


def choices(seed=0, rows=N):
    drawn = np.random.default_rng(seed).normal(size=(rows, 3))
    return (0.9 * drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)


def test_it_is_a_batch_of_environments_whose_actions_are_skills(env, below):
    assert isinstance(env, VectorEnvironment) and env.horizon == 3
    assert env.interface.action.names == ("skill_1", "skill_2", "skill_3")
    assert env.interface.observations == below.interface.observations
    assert env.interface.period_s == pytest.approx(HOLD * below.interface.period_s)


def test_a_choice_is_as_many_control_steps_of_the_skill(env, below):
    skills = scripted_skills(below.interface)
    first, _ = env.reset(seed=SEEDS)
    observation, _ = below.reset(seed=SEEDS)
    np.testing.assert_array_equal(first["state"], observation["state"])
    for choice, steps in enumerate((3, 3, 1)):
        actions = choices(choice)
        z = actions / np.linalg.norm(actions, axis=1, keepdims=True)
        total, terms = 0.0, 0.0
        for _ in range(steps):
            moves = skills.act(observation, z, "cube")
            observation, reward, *ends, info = below.step(moves, autoreset=False)
            total, terms = total + reward, terms + info["reward_terms"]["reach"]
        seen, reward, terminated, truncated, info = env.step(actions, autoreset=False)
        np.testing.assert_allclose(seen["state"], observation["state"], atol=1e-6)
        np.testing.assert_allclose(reward, total)
        np.testing.assert_allclose(info["reward_terms"]["reach"], terms)
        assert not terminated.any() and (truncated == (choice == 2)).all()


def test_a_short_choice_keeps_the_hand_where_it_is(below):
    skills = scripted_skills(below.interface)
    observation, _ = below.reset(seed=SEEDS)
    lengths = np.array([[0.0], [0.45], [0.55]], np.float32)
    moves = carry_out(skills, lengths * choices() / 0.9, observation, "cube")
    assert (moves[:2] == 0).all() and (moves[2] != 0).any()


def test_an_episode_that_ends_within_a_hold_begins_the_next_only_after_it(env):
    env.reset(seed=SEEDS)
    for choice in range(3):
        observation, _, _, truncated, info = env.step(choices(choice))
    assert truncated.all() and info["_final_obs"].all()
    goals = env.interface.observations["state"].index("goal_cube_pos")
    last = np.stack([end["state"] for end in info["final_obs"]])
    assert (last[:, goals] != observation["state"][:, goals]).any(axis=1).all()
    for choice in range(3):  # nothing of the next episode has been used up
        *_, truncated, _ = env.step(choices(choice))
        assert truncated.all() == (choice == 2)


def test_an_episode_that_is_thrown_away_is_not_moved_any_more():
    class Ending:
        """Ends the first environment at its first step, and counts the steps of each."""

        def __init__(self):
            self.table, self.steps = table(), np.zeros(N, int)
            self.interface, self.num_envs, self.close = self.table.interface, N, self.table.close
            self.horizon = self.table.horizon
            self.reset, self.get_state = self.table.reset, self.table.get_state

        def step(self, actions, active=None, *, autoreset=True):
            self.steps += active
            observation, reward, terminated, *rest = self.table.step(
                actions, active=active, autoreset=autoreset
            )
            return observation, reward, terminated | (active & [True, False, False]), *rest

    ending = Ending()
    env = SkillActions(ending, scripted_skills(ending.interface), "cube", HOLD)
    env.reset(seed=SEEDS)
    *_, terminated, truncated, info = env.step(choices())
    env.close()
    assert ending.steps.tolist() == [1, HOLD, HOLD]
    assert terminated.tolist() == info["_final_obs"].tolist() == [True, False, False]
    assert not truncated.any()


def test_rows_that_are_not_active_stay(env):
    first, _ = env.reset(seed=SEEDS)
    active = np.array([True, False, True])
    observation, reward, *_ = env.step(choices(), active=active)
    moved = (observation["state"] != first["state"]).any(axis=1)
    assert moved.tolist() == active.tolist() and reward[1] == 0


def test_a_stored_state_goes_on_as_before(env):
    env.reset(seed=SEEDS)
    env.step(choices(0))
    states = env.get_state()
    wanted = env.step(choices(1))[0]["state"]
    env.reset(seed=[7, 8, 9])
    env.reset(seed=[1, 1, 1], options={"state": states})
    np.testing.assert_array_equal(env.step(choices(1))[0]["state"], wanted)


class Turning:
    """Chooses by what it sees, so that two who agree have seen the same."""

    memoryless = True

    def reset(self, n):
        pass

    def act(self, observation, explore=False):
        return np.sin(1e3 * observation["state"][:, :3])


def test_held_skills_do_below_what_the_choices_do_above(env, below):
    above = rollouts(env, [Job(Turning(), seed) for seed in SEEDS], horizon=9, settle_steps=9)
    skills = scripted_skills(below.interface)
    jobs = [Job(HeldSkills(Turning(), skills, "cube", HOLD), seed) for seed in SEEDS]
    itself = rollouts(below, jobs, horizon=9, settle_steps=9)
    for (ours, _), (theirs, _) in itertools.zip_longest(above, itself):
        assert len(ours) == 3 and len(theirs) == HORIZON
        seen = theirs.observations["state"][[0, 3, 6, 7]]
        np.testing.assert_allclose(ours.observations["state"], seen, atol=1e-5)
        assert ours.rewards.sum() == pytest.approx(theirs.rewards.sum(), rel=1e-5)

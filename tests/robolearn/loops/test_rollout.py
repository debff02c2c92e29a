"""The loops, on a counter: the action is added to it, and it succeeds at 3."""

import numpy as np
import pytest

from robolearn.errors import SpecError
from robolearn.loops.rollout import Job, rollout, rollouts
from robolearn.types import ArraySpec, Spec, VectorEnvironment


class Counter:
    interface = Spec("test/Counter", {"state": ArraySpec((1,))}, ArraySpec((1,)), period_s=0.1)

    def __init__(self, ends_at=np.inf, limit=np.inf):
        self.ends_at, self.limit = ends_at, limit

    def reset(self, *, seed=None, options=None):
        self.steps, self.value = 0, float(seed or 0)
        if options:
            self.value = float(options["state"][0])
        return self._observe(), {}

    def step(self, action):
        self.steps += 1
        self.value += float(action[0])
        info = {"success": self.value == 3.0, "reward_terms": {"value": self.value}}
        ended, late = self.value >= self.ends_at, self.steps >= self.limit
        return self._observe(), self.value, ended, late, info

    def get_state(self):
        return np.array([self.value])

    def _observe(self):
        return {"state": np.array([self.value], np.float32)}


class One:
    def reset(self, n):
        self.seen = []

    def act(self, observation, explore=False):
        self.seen.append((observation["state"].copy(), explore))
        return np.ones((1, 1), np.float32)


def test_an_episode_lines_up():
    watched = []
    episode = rollout(Counter(), One(), horizon=2, seed=5, on_step=watched.append)
    assert episode.observations["state"][:, 0].tolist() == [5, 6, 7]
    assert episode.states[:, 0].tolist() == [5, 6, 7]
    assert episode.rewards.tolist() == episode.reward_terms["value"].tolist() == [6, 7]
    assert [(s.t, s.state[0], s.reward) for s in watched] == [(0, 5, 6), (1, 6, 7)]
    assert episode.metadata == {"environment": "test/Counter", "seed": 5}


@pytest.mark.parametrize(
    ("env", "settle_steps", "length", "terminated", "success"),
    [
        (Counter(), 0, 3, False, True),  # stopped at the first success: the task went on
        (Counter(), 2, 5, False, True),  # and if success does not last, it was one all the same
        (Counter(), 99, 8, False, True),  # out of time
        (Counter(limit=2), 0, 2, False, False),
        (Counter(ends_at=2), 0, 2, True, False),
        (Counter(ends_at=2, limit=2), 0, 2, True, False),  # an end is an end, also at the limit
    ],
)
def test_how_it_ends(env, settle_steps, length, terminated, success):
    episode = rollout(env, One(), horizon=8, settle_steps=settle_steps)
    assert (len(episode), episode.success) == (length, success)
    assert (episode.terminated, episode.truncated) == (terminated, not terminated)


def test_it_starts_where_it_is_told_and_asks_for_one_action_at_a_time():
    policy = One()
    episode = rollout(Counter(), policy, horizon=1, state=np.array([2.0]), explore=True)
    assert episode.states[:, 0].tolist() == [2, 3]
    (state, explore), *others = policy.seen
    assert state.shape == (1, 1) and explore and not others


def test_an_action_of_other_entries_is_refused(together):
    class Two(One):
        memoryless = True

        def act(self, observation, explore=False):
            return np.ones((1, 2), np.float32)

    said = r"^test/Counter: an action has shape \(2,\) instead of \(1,\)"
    with pytest.raises(SpecError, match=said):
        rollout(Counter(), Two(), horizon=2)
    with pytest.raises(SpecError, match=said):
        list(rollouts(together([Counter()]), [Job(Two(), seed=0)], horizon=2))


def test_what_is_kept_is_what_was_sent():
    class Wild(One):
        def act(self, observation, explore=False):
            return np.array([[2.5]], np.float32)

    episode = rollout(Counter(), Wild(), horizon=2)
    assert episode.actions[:, 0].tolist() == [1, 1]
    assert episode.observations["state"][:, 0].tolist() == [0, 1, 2]


class Slower(One):
    """Remembers how often it acted, and adds less every time."""

    def reset(self, n):
        self.acted = 0

    def act(self, observation, explore=False):
        self.acted += 1
        return np.ones((1, 1), np.float32) / self.acted


class Same(One):
    memoryless = True


def fields(episode):
    arrays = {"actions": episode.actions, "rewards": episode.rewards, "states": episode.states}
    arrays |= episode.observations | episode.reward_terms
    ends = episode.terminated, episode.truncated, episode.success, episode.metadata
    return {name: array.tolist() for name, array in arrays.items()}, ends


STARTS = (0, 2, -4, 1, 5, -1, 0)  # from 5 the counter never succeeds


@pytest.mark.parametrize("n", [1, 2, 3, 9])
@pytest.mark.parametrize("limits", [{}, {"ends_at": 2.5}, {"limit": 4}])
@pytest.mark.parametrize("make_policy", [Same, Slower])
def test_a_batch_gives_the_episodes_of_single_rollouts_in_order(together, n, limits, make_policy):
    envs = together([Counter(**limits) for _ in range(n)])
    assert isinstance(envs, VectorEnvironment) and not isinstance(Counter(), VectorEnvironment)
    jobs = [Job(make_policy(), seed) for seed in STARTS]
    got = list(rollouts(envs, jobs, horizon=8, settle_steps=1))
    for seed, (episode, start) in zip(STARTS, got, strict=True):
        alone = rollout(Counter(**limits), make_policy(), horizon=8, seed=seed, settle_steps=1)
        assert fields(episode) == fields(alone)
        assert start.tolist() == [seed]
    assert envs.moved == sum(len(episode) for episode, _ in got)  # nothing runs on


def test_an_environment_that_is_free_takes_the_next_job(together):
    envs, calls = together([Counter(), Counter()]), []
    step = envs.step
    envs.step = lambda *arguments, **how: calls.append(how["active"]) or step(*arguments, **how)
    lengths = [len(e) for e, _ in rollouts(envs, [Job(Same(), s) for s in (0, 2, 2, 2)], horizon=9)]
    assert lengths == [3, 1, 1, 1]
    assert len(calls) == 3 and all(active.all() for active in calls)


def test_a_policy_with_memory_acts_in_one_episode_at_a_time(together):
    policy, envs = Slower(), together([Counter() for _ in range(3)])
    got = list(rollouts(envs, [Job(policy, seed) for seed in STARTS], horizon=8))
    for seed, (episode, _) in zip(STARTS, got, strict=True):
        assert fields(episode) == fields(rollout(Counter(), policy, horizon=8, seed=seed))


@pytest.mark.parametrize("n", [0, 1, 2, 5])
def test_no_job_is_begun_that_is_not_needed(together, n):
    """Three successes are wanted; starts from 5 fail, so the first five jobs are needed."""
    envs = together([Counter() for _ in range(n)]) if n else Counter()
    begun = []

    class Noted(Same):
        def reset(self, n):
            super().reset(n)
            begun.append(self)

    jobs = [Job(Noted(), seed) for seed in (0, 5, 1, 5, 2, 0, 0)]
    got = list(rollouts(envs, jobs, horizon=8, wanted=3))
    assert [episode.success for episode, _ in got] == [True, False, True, False, True]
    assert begun == [job.policy for job in jobs[:5]]
    assert not list(rollouts(envs, jobs, horizon=8, wanted=0)) and len(begun) == 5


def test_jobs_start_in_stored_states_and_states_are_kept_on_demand(together):
    envs = together([Counter(), Counter()])
    jobs = [Job(Same(), 0, np.array([2.0])), Job(Same(), 1), Job(Same(), 0, np.array([-1.0]))]
    got = list(rollouts(envs, jobs, horizon=2, keep_states=False))
    assert [start.tolist() for _, start in got] == [[2], [1], [-1]]
    assert [len(episode) for episode, _ in got] == [1, 2, 2]
    assert all(episode.states is None for episode, _ in got)


def test_steps_of_a_batch_are_heard_of_as_they_happen(together):
    heard = []
    jobs = [Job(Same(), 0), Job(Same(), 1)]
    list(rollouts(together([Counter(), Counter()]), jobs, horizon=9, on_step=heard.append))
    assert [(s.t, s.state[0]) for s in heard] == [(0, 0), (0, 1), (1, 1), (1, 2), (2, 2)]
    assert heard[0].info == {"success": False, "reward_terms": {"value": 1.0}}

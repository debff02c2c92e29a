"""The loop, on a counter: the action is added to it, and it succeeds at 3."""

import numpy as np
import pytest

from robolearn.rollout import rollout
from robolearn.types import ArraySpec, Spec


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


def test_what_is_kept_is_what_was_sent():
    class Wild(One):
        def act(self, observation, explore=False):
            return np.array([[2.5]], np.float32)

    episode = rollout(Counter(), Wild(), horizon=2)
    assert episode.actions[:, 0].tolist() == [1, 1]
    assert episode.observations["state"][:, 0].tolist() == [0, 1, 2]

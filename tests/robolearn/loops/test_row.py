"""An environment of a batch by itself, on the counters of the tests of the loops."""

import numpy as np
import pytest

from robolearn.loops.rollout import rollout
from robolearn.loops.row import RowEnvironment

from .test_rollout import Counter, One, Slower, fields


@pytest.mark.parametrize("i", [0, 2])
def test_it_gives_the_episodes_of_a_single_environment(together, i):
    envs = together([Counter() for _ in range(3)])
    row = RowEnvironment(envs, i)
    for seed in (0, 2, -4):
        ours = rollout(row, Slower(), horizon=8, seed=seed)
        assert fields(ours) == fields(rollout(Counter(), Slower(), horizon=8, seed=seed))
    begun = rollout(row, One(), horizon=8, state=np.array([1.0]))
    assert begun.states[:, 0].tolist() == [1, 2, 3]


def test_the_others_stand_still(together):
    envs = together([Counter() for _ in range(3)])
    row = RowEnvironment(envs, 1)
    row.reset(seed=7)
    others = envs.get_state()[[0, 2]]
    for _ in range(4):
        row.step(np.ones(1, np.float32))
    assert envs.moved == 4 and row.get_state() == [11]
    np.testing.assert_array_equal(envs.get_state()[[0, 2]], others)
    row.close()
    assert not envs.closed


def test_what_it_gave_stays_as_it_was(together):
    row = RowEnvironment(together([Counter()]))
    first, _ = row.reset(seed=1)
    start = row.get_state()
    row.step(np.ones(1, np.float32))
    assert first["state"] == [1] and start == [1] and row.get_state() == [2]
    assert row.set_state(start)["state"] == [1] and row.get_state() == [1]


def test_its_episodes_end_as_the_batch_says(together):
    row = RowEnvironment(together([Counter(ends_at=2, limit=5), Counter()]))
    row.reset(seed=1)
    _, reward, terminated, truncated, info = row.step(np.ones(1, np.float32))
    assert (reward, terminated, truncated) == (2.0, True, False)
    assert info == {"success": False, "reward_terms": {"value": 2.0}}

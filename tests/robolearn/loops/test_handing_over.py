"""Episodes that somebody else begins, and decisions that last, on points on a line."""

import numpy as np
import pytest

from robolearn.errors import UserError
from robolearn.loops.handing_over import TIMES, HandedOver
from robolearn.loops.held import Held

from ..algos.points import Points


class Right:
    """Pushes right by half of what is possible."""

    memoryless = True

    def reset(self, n):
        pass

    def act(self, observation, explore=False):
        return np.full((len(observation["state"]), 2), 0.5, np.float32)


def pushes(n, push):
    return np.full((n, 2), push, np.float32)


def test_episodes_go_on_where_the_other_one_has_got():
    env = HandedOver(Points(4, horizon=16), Right())
    observation, _ = env.reset(seed=[1, 2, 3, 4])
    x, steps = env.get_state().T
    np.testing.assert_allclose(observation["state"][:, 0], x, rtol=1e-6)
    # By hand: from within .3 of the origin each of its steps goes a tenth to the right.
    assert (np.abs(x - 0.1 * steps) <= 0.3).all()
    assert len(set(steps)) > 1 and steps.max() < 16
    begun = env.begun()
    assert env.steps == len(begun) > 0 and begun.shape[1] == 3 and len(env.begun()) == 0


@pytest.mark.parametrize("latest", [1.0, 0.5])
def test_it_hands_over_at_any_time_alike(latest):
    env = HandedOver(Points(8, horizon=16), Right(), latest)
    steps, times = [], int(16 * latest)
    for seed in range(200):
        env.reset(seed=[8 * seed + i for i in range(8)])
        steps += env.get_state()[:, 1].tolist()
    counts = np.bincount(np.array(steps, int), minlength=times)
    wanted = 1600 / times
    assert len(counts) == times and (np.abs(counts - wanted) < 4.5 * wanted**0.5).all()


def test_the_next_episode_is_begun_too_and_several_share_what_was_done():
    envs = Points(4, horizon=16)
    env = HandedOver(envs, Right())
    env.reset(seed=[1, 2, 3, 4])
    acted, ended = env.steps, 0
    while ended < 4 * (TIMES - 2):  # at most four at once, and the first four are begun
        before = env.get_state()[:, 1]
        observation, _, _, truncated, info = env.step(pushes(4, -1.0))
        after = env.get_state()[:, 1]
        assert (after[~truncated] == before[~truncated] + 1).all()
        if truncated.any():  # what is shown last is what the action led to
            last = info["final_obs"]
            assert [one is not None for one in last] == truncated.tolist()
        np.testing.assert_allclose(observation["state"][:, 0], env.get_state()[:, 0], rtol=1e-6)
        ended += truncated.sum()
    assert env.steps == acted  # the starts of one time sufficed


def test_a_seed_decides_all_and_stored_states_are_begun_by_nobody():
    def watch(env):
        env.reset(seed=[5, 6, 7])
        return [env.step(pushes(3, -1.0))[0]["state"].copy() for _ in range(30)]

    one, other = (watch(HandedOver(Points(3), Right())) for _ in range(2))
    np.testing.assert_array_equal(one, other)
    env = HandedOver(Points(3), Right())
    stored = np.array([[0.1, 3.0], [0.2, 4.0], [0.3, 5.0]])
    env.reset(seed=[5, 6, 7], options={"state": stored})
    np.testing.assert_array_equal(env.get_state(), stored)
    assert env.steps == 0


def test_nobody_hands_over_without_a_horizon_or_with_a_memory():
    points = Points(2)
    points.horizon = None
    with pytest.raises(UserError, match="without a horizon"):
        HandedOver(points, Right())
    with pytest.raises(UserError, match="not memoryless"):
        HandedOver(Points(2), object())


def test_a_decision_lasts_and_its_rewards_add_up():
    held, plain = Held(Points(2, horizon=12), 3), Points(2, horizon=12)
    assert held.horizon == 4
    held.reset(seed=[1, 2])
    plain.reset(seed=[1, 2])
    seen, rewards, _, truncated, _ = held.step(pushes(2, -1.0))
    steps = [plain.step(pushes(2, -1.0)) for _ in range(3)]
    np.testing.assert_array_equal(seen["state"], steps[-1][0]["state"])
    np.testing.assert_allclose(rewards, sum(step[1] for step in steps))
    assert not truncated.any()


def test_an_episode_that_ends_on_the_way_ends_there():
    envs = Points(2, horizon=12)
    held = Held(envs, 4)
    held.reset(seed=[1, 2], options={"state": np.array([[0.0, 10.0], [0.0, 0.0]])})
    seen, rewards, _, truncated, info = held.step(pushes(2, -0.5))
    assert truncated.tolist() == [True, False]
    last = info["final_obs"]
    assert last[0]["state"][0] == pytest.approx(-0.2) and last[1] is None
    np.testing.assert_allclose(rewards, [0.1 + 0.2, 0.1 + 0.2 + 0.3 + 0.4], rtol=1e-6)
    assert held.get_state()[0, 1] == 0 and abs(seen["state"][0, 0]) <= 0.3  # the next one waits


def test_success_on_the_way_counts():
    held = Held(Points(1, horizon=12), 4)
    held.reset(options={"state": np.array([[-0.7, 9.0]])})
    *_, info = held.step(pushes(1, -1.0))  # -.9 in the first step; it ends in the third
    assert info["success"].tolist() == info["is_success"].tolist() == [True]


def test_a_hold_divides_the_horizon():
    with pytest.raises(UserError, match="hold: 5 does not divide a horizon of 16"):
        Held(Points(2), 5)

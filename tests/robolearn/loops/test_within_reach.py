"""What an attack cannot move is the victim's, where an intention acts and where it learns."""

import numpy as np
import pytest

from robolearn.errors import UserError
from robolearn.loops.within_reach import ReachableEnv, WithinReach

from ..algos.points import Points

MOVABLE = np.array([True, False])


class Follows:
    """Pushes along its first axis by what it sees there, along the other by a fifth."""

    memoryless = True

    def __init__(self, interface):
        self.interface, self.begun = interface, 0

    def reset(self, n):
        self.begun = n

    def act(self, observation, explore=False):
        x = observation["state"][:, 0]
        return np.stack([x, 0.2 + 0 * x], axis=1).astype(np.float32)


class Away(Follows):
    """Does the opposite of the victim's."""

    eats = "replay"

    def act(self, observation, explore=False):
        return -super().act(observation)


def test_who_acts_does_what_can_be_brought_about():
    interface = Points(3).interface
    victim, intention = Follows(interface), Away(interface)
    policy = WithinReach(intention, victim, lambda: MOVABLE)
    policy.reset(3)
    assert (victim.begun, intention.begun, policy.eats) == (3, 3, "replay")
    state = np.array([[0.5, 0, 0], [-0.25, 0, 0]], np.float32)
    actions = policy.act({"state": state}, explore=True)
    np.testing.assert_allclose(actions, [[-0.5, 0.2], [0.25, 0.2]])
    assert actions.dtype == np.float32


def test_in_the_environment_the_victim_does_the_rest_from_where_it_is():
    envs, alone = Points(4, horizon=6), Points(4, horizon=6)
    movable = [MOVABLE]
    env = ReachableEnv(envs, Follows(envs.interface), lambda: movable[0])
    seen, _ = env.reset(seed=[1, 2, 3, 4])
    same, _ = alone.reset(seed=[1, 2, 3, 4])
    asked = np.full((4, 2), -0.7, np.float32)
    for done in range(8):  # beyond the end of the first episodes
        if done == 4:
            movable[0] = ~MOVABLE
        victims = Follows(envs.interface).act(same)
        seen, reward, *ends, _ = env.step(asked)
        same, expected, *others, _ = alone.step(np.where(movable[0], asked, victims))
        np.testing.assert_array_equal(seen["state"], same["state"])
        np.testing.assert_array_equal(reward, expected)
        np.testing.assert_array_equal(ends, others)
    np.testing.assert_array_equal(env.get_state(), alone.get_state())


def test_where_all_can_be_moved_the_victim_is_not_asked():
    envs = Points(2)
    env = ReachableEnv(envs, Follows(envs.interface), lambda: np.ones(2, bool))
    env.victim.act = None
    env.reset(seed=[1, 2])
    env.step(np.zeros((2, 2), np.float32))


def test_policies_with_a_memory_are_refused():
    envs = Points(2)
    victim = Follows(envs.interface)
    victim.memoryless = False
    for make in (
        lambda: ReachableEnv(envs, victim, lambda: MOVABLE),
        lambda: WithinReach(Follows(envs.interface), victim, lambda: MOVABLE),
    ):
        with pytest.raises(UserError, match="a policy with a memory is not brought within reach"):
            make()

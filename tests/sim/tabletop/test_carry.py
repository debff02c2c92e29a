"""Scripted skills: an object is grasped and goes where z points."""

import numpy as np
import pytest

from sim import make_vec
from sim.tabletop.carry import ScriptedCarry

WAYS = np.array([[1, 0, 0], [0, -1, 0], [0, 0, 1], [-0.6, 0.8, 0], [0, 0.6, 0.8]], np.float32)


@pytest.mark.parametrize("kind", ["cube", "cylinder", "mug"])
def test_an_object_is_carried_along_z(kind):
    env = make_vec(f"tabletop/{kind}", len(WAYS), threads=1, horizon=60)
    policy = ScriptedCarry(env.interface, kind)
    position = env.interface.observations["state"].index(f"{kind}_pos")
    observation, _ = env.reset(seed=4)
    start = observation["state"][:, position]
    for _ in range(28):
        state = np.concatenate([observation["state"], WAYS], axis=1)
        observation, *_ = env.step(policy.act({"state": state}))
    moved = observation["state"][:, position] - start
    env.close()
    length = np.linalg.norm(moved, axis=1)
    assert (length > 0.05).all()  # some end at the edge of the work space
    assert ((moved * WAYS).sum(axis=1) > 0.9 * length).all()


def test_its_interface_ends_with_z():
    env = make_vec("tabletop/cube", 1, threads=1)
    state = ScriptedCarry(env.interface, "cube").interface.observations["state"]
    env.close()
    assert state.names[-3:] == ("skill_1", "skill_2", "skill_3")
    assert state.names[:-3] == env.interface.observations["state"].names
    assert len(state.units) == len(state.names) == state.shape[0]

"""Start states that a user chooses."""

import numpy as np
import pytest

import sim
from robolearn.errors import UserError


def entries(env, observation, prefix):
    return observation["state"][env.interface.observations["state"].index(prefix)]


def test_placement_sets_where_and_how_the_object_lies():
    placement = {"x_range_m": (0.05, 0.1), "y_range_m": (-0.2, 0.2), "yaw_range_rad": (0.3, 0.5)}
    env = sim.make("robosuite/NutAssemblySquare", placement=placement)
    table = env._env.table_offset
    places, yaws = [], []
    for seed in range(15):
        observation, _ = env.reset(seed=seed)
        places.append(entries(env, observation, "SquareNut_pos")[:2] - table[:2])
        w, _, _, z = entries(env, observation, "SquareNut_quat")
        yaws.append(2 * np.arctan2(z, w))
    low, high = np.min(places, axis=0), np.max(places, axis=0)
    assert (low >= (0.05 - 1e-6, -0.2)).all() and (high <= (0.1 + 1e-6, 0.2)).all()
    assert high[1] - low[1] > 0.2
    assert 0.3 <= min(yaws) and max(yaws) <= 0.5
    env.close()


def test_a_task_with_two_objects_takes_a_range_for_each():
    square = {"x_range_m": (0.0, 0.1), "y_range_m": (0.05, 0.28), "yaw_range_rad": (2.0, 3.0)}
    env = sim.make(
        "robosuite/NutAssembly",
        placement={"SquareNut": square, "RoundNut": {"yaw_range_rad": [1.5, 1.6]}},
    )
    table, seen = env._env.table_offset, []
    for seed in range(8):
        observation, _ = env.reset(seed=seed)
        row = []
        for name in ("SquareNut", "RoundNut"):
            w, _, _, z = entries(env, observation, f"{name}_quat")
            place = entries(env, observation, f"{name}_pos")[:2] - table[:2]
            row.append([*place, 2 * np.arctan2(z, w)])
        seen.append(row)
    low, high = np.min(seen, axis=0), np.max(seen, axis=0)  # [2, 3] each
    assert (low[0] >= np.array([0.0, 0.05, 2.0]) - 1e-6).all()
    assert (high[0] <= np.array([0.1, 0.28, 3.0]) + 1e-6).all()
    assert high[0, 1] - low[0, 1] > 0.1
    assert (low[1, :2] >= (-0.115 - 1e-6, -0.225 - 1e-6)).all()  # robosuite's own
    assert (high[1, :2] <= (-0.11 + 1e-6, -0.11 + 1e-6)).all()
    assert 1.5 - 1e-6 <= low[1, 2] and high[1, 2] <= 1.6 + 1e-6
    env.close()


@pytest.mark.parametrize(
    ("placement", "message"),
    [
        ({"x_range_m": (0, 1)}, "unknown object in placement 'x_range_m'; "),
        ({"SquareNutt": {}}, "unknown object in placement 'SquareNutt'; did you mean 'SquareNut'"),
        ({"RoundNut": (0, 1)}, "placement RoundNut=\\(0, 1\\) must be a mapping"),
        ({"RoundNut": {"x_range": (0, 1)}}, "unknown placement RoundNut key 'x_range'; did you"),
        ({"RoundNut": {"x_range_m": (1, 0)}}, "placement RoundNut x_range_m=.* must be \\(low, hi"),
        (3, "placement=3 must be a mapping"),
    ],
)
def test_faulty_placements_of_several_objects_are_named(placement, message):
    with pytest.raises(UserError, match=f"robosuite/NutAssembly: {message}"):
        sim.make("robosuite/NutAssembly", placement=placement)


def test_tasks_without_a_sampler_offer_no_placement():
    with pytest.raises(UserError, match="robosuite/TwoArmPegInHole: placement is not offered"):
        sim.make("robosuite/TwoArmPegInHole", placement={})

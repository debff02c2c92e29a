"""How near objects came to goals, on episodes made by hand."""

import numpy as np
import pytest

from robolearn.skills.goal_metrics import (
    Trace,
    draw_traces,
    following_metrics,
    goal_metrics,
    mean_interval,
    trace,
)
from robolearn.types import ArraySpec, Episode, Spec

NAMES = tuple(
    f"{what}_pos_{axis}" for what in ("cube", "mug", "goal_cube", "goal_mug") for axis in "xyz"
)
INTERFACE = Spec("test/Table", {"state": ArraySpec((12,), names=NAMES)}, ArraySpec((1,)), 0.1)


def going(*distances, yaw_rad=None):
    """Objects [K] that come nearer along y, metres at each moment."""
    distance = np.array(distances, float).T  # [T + 1, K]
    places = np.zeros((*distance.shape, 3))
    places[..., 1] = distance
    return Trace(places, np.zeros_like(places), None if yaw_rad is None else np.array(yaw_rad))


def test_episodes_are_summed_up():
    arrives = going([0.2, 0.04, 0.01], [0.3, 0.06, 0.03])
    leaves = going([0.2, 0.01, 0.1], [0.1, 0.0, 0.0])
    never = going([0.2, 0.2, 0.0], [0.2, 0.2, 0.2])
    found = goal_metrics([arrives, leaves, never])
    assert found["success"] == pytest.approx(1 / 3) and found["episodes"] == 3
    assert found["interval"][0] < 1 / 3 < found["interval"][1]
    assert found["reached"] == pytest.approx(2 / 3) and found["steps_to_reach"] == 1.5
    assert found["start_distance_m"] == pytest.approx(0.2)
    assert found["final_distance_m"] == pytest.approx(np.mean([0.02, 0.05, 0.1]))
    low, high = found["final_distance_interval_m"]
    assert low < found["final_distance_m"] < high


def test_nothing_that_was_reached_takes_no_number_of_steps():
    found = goal_metrics([going([0.2, 0.2])])
    assert found["steps_to_reach"] is None and found["success"] == 0


def test_poses_need_the_yaw_too():
    near = going([0.0, 0.0, 0.0], yaw_rad=[0.5, 0.1])
    assert near.there.tolist() == [False, False, True]
    assert going([0.0, 0.0]).there.tolist() == [True, True]


def test_the_interval_of_a_mean():
    low, high = mean_interval(np.array([1.0, 3.0]))
    assert (low, high) == (pytest.approx(2 - 1.96), pytest.approx(2 + 1.96))
    assert mean_interval(np.array([1.0])) == [-np.inf, np.inf]


def episode(length, terms=None):
    state = np.arange(12.0 * (length + 1), dtype=np.float32).reshape(length + 1, 12)
    zeros = np.zeros(length, np.float32)
    return Episode(
        {"state": state}, zeros[:, None], zeros, False, True, False, reward_terms=terms or {}
    )


def test_a_trace_is_read_from_the_state():
    found = trace(episode(2), INTERFACE, ["cube", "mug"])
    assert found.places[1].tolist() == [[12, 13, 14], [15, 16, 17]]
    assert found.goals[1].tolist() == [[18, 19, 20], [21, 22, 23]]
    assert found.yaw_rad is None
    turned = trace(episode(2, {"goal_yaw": np.array([0.5, 1.0])}), INTERFACE, ["cube"])
    np.testing.assert_allclose(turned.yaw_rad, [np.pi / 2, 0])


def test_goals_that_move_are_given_and_who_ended_before_them_stays():
    goals = np.arange(15.0).reshape(5, 3)
    found = trace(episode(2), INTERFACE, ["mug"], goals)
    assert found.places[:, 0, 0].tolist() == [3, 15, 27, 27, 27]
    np.testing.assert_array_equal(found.goals[:, 0], goals)


def test_following_counts_from_when_the_goal_moves():
    perfect = going([0.5, 0.0, 0.0, 0.0])
    still = going([0.1, 0.1, 0.1, 0.1])
    found = following_metrics([perfect, still], waiting=1)
    assert found["error_m"] == pytest.approx(0.05)
    assert found["plane_error_m"] == pytest.approx(0.05)
    assert found["still_error_m"] == pytest.approx((0.5 + 0.1) / 2)
    assert found["error_interval_m"][0] < 0.05 < found["error_interval_m"][1]


def test_height_does_not_count_in_the_plane():
    high = going([0.3, 0.3])
    high.places[..., 2] = 0.4
    found = following_metrics([high, high], waiting=0)
    assert found["error_m"] == pytest.approx(0.5) and found["plane_error_m"] == pytest.approx(0.3)


def test_a_picture_is_drawn(tmp_path):
    traces = [going([0.2, 0.1, 0.0], [0.3, 0.1, 0.0]), going([0.2, 0.1], [0.3, 0.2])]
    draw_traces(traces, "A title", 0.1, tmp_path / "report.png")
    assert (tmp_path / "report.png").read_bytes().startswith(b"\x89PNG")

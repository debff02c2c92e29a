"""Others' terms in ours: quaternions by name, actions by stated limits, what nobody says."""

import numpy as np
import pytest

from demos.formats.contract import Reading, Told
from demos.formats.terms import AS_GIVEN, About, settle
from robolearn.errors import DataError

W, X, Y, Z = 0.5, 0.1, 0.7, 0.5


def told(observations, actions=None, **more):
    first = next(iter(observations.values()))
    actions = np.zeros((len(first) - 1, 2), np.float32) if actions is None else actions
    return Told({k: np.asarray(a) for k, a in observations.items()}, actions, **more)


def episode_of(one, about=None, reading=None):
    terms = settle(one, about or About("there"), reading or Reading())
    return terms, terms.episode(one, "there: demo_0")


def test_robosuites_quaternions_become_wxyz_in_the_state_and_stay_as_they_are_beside():
    given = np.tile([X, Y, Z, W], (3, 1))
    terms, episode = episode_of(told({"robot0_eef_quat": given}), About("there", order="xyzw"))
    state = terms.interface.observations["state"]
    assert state.names == tuple(f"robot0_eef_quat_{axis}" for axis in "wxyz")
    np.testing.assert_array_equal(episode.observations["state"][1], np.float32([W, X, Y, Z]))
    np.testing.assert_array_equal(episode.observations["robot0_eef_quat"], given)


def test_named_entries_say_their_order():
    names = ("x", "y", "z", "qx", "qy", "qz", "qw")
    one = told({"state": np.float32([[1, 2, 3, X, Y, Z, W]] * 3)})
    terms, episode = episode_of(one, About("there", entries={"state": names}))
    assert terms.interface.observations["state"].names == ("x", "y", "z", "qw", "qx", "qy", "qz")
    np.testing.assert_array_equal(
        episode.observations["state"][0], np.float32([1, 2, 3, W, X, Y, Z])
    )
    np.testing.assert_array_equal(episode.observations["state_as_given"], one.observations["state"])


def test_a_position_before_a_quaternion_is_no_part_of_it():
    names = ("x", "y", "z", "qw", "qx", "qy", "qz", "QX", "QY", "QZ", "QW")
    given = np.float32([[1, -2, 3, W, X, Y, Z, X, Y, Z, W], [-1, 2, -3, W, X, Y, Z, X, Y, Z, W]])
    terms, episode = episode_of(told({"state": given}), About("there", entries={"state": names}))
    in_order = (*names[:7], "QW", "QX", "QY", "QZ")
    assert terms.interface.observations["state"].names == in_order
    np.testing.assert_array_equal(episode.observations["state"][:, :7], given[:, :7])
    np.testing.assert_array_equal(episode.observations["state"][:, 7:], given[:, 3:7])


def test_an_axis_angle_becomes_a_quaternion_that_does_not_jump():
    names = ("x", "axis_angle1", "axis_angle2", "axis_angle3", "gripper")
    turns = [[np.pi - 0.1, 0, 0], [np.pi, 0, 0], [-np.pi + 0.1, 0, 0], [0, 0, np.pi / 2]]
    given = np.float32([[i, *turn, -i] for i, turn in enumerate(turns)])
    terms, episode = episode_of(told({"state": given}), About("there", entries={"state": names}))
    in_order = ("x", "quat_w", "quat_x", "quat_y", "quat_z", "gripper")
    assert terms.interface.observations["state"].names == in_order
    assert terms.notes == ("state: the axis-angle axis_angle is a quaternion in it",)
    small, half = np.sin(0.05), np.sqrt(0.5)
    right = [[small, np.cos(0.05), 0, 0], [0, 1, 0, 0], [-small, np.cos(0.05), 0, 0]]
    state = episode.observations["state"]
    np.testing.assert_allclose(state[:3, 1:5], right, atol=1e-6)
    np.testing.assert_allclose(np.abs(state[3, 1:5]), [half, 0, 0, half], atol=1e-6)
    np.testing.assert_array_equal(state[:, [0, 5]], given[:, [0, 4]])
    np.testing.assert_array_equal(episode.observations["state_as_given"], given)


def test_a_key_called_an_axis_angle_is_one_and_what_else_has_three_entries_is_not():
    keys = {"eef_axis_angle": [[0, 0, np.pi]] * 3, "arm_rpy": [[1, 2, 3]] * 3}
    terms, episode = episode_of(told(keys))
    names = ("eef_quat_w", "eef_quat_x", "eef_quat_y", "eef_quat_z")
    assert terms.interface.observations["state"].names == (
        *names, "arm_rpy_0", "arm_rpy_1", "arm_rpy_2",
    )  # fmt: skip
    np.testing.assert_allclose(episode.observations["state"][0], [0, 0, 0, 1, 1, 2, 3], atol=1e-6)


@pytest.mark.parametrize(
    "names",
    [
        ("axis_angle0", "axis_angle1", "axis_angle2", "axis_angle3"),  # an axis, and an angle
        ("a_rotvec_x", "a_rotvec_y", "b_rotvec_z"),
        ("rx", "ry", "rz"),
    ],
)
def test_names_that_do_not_say_so_are_no_axis_angle(names):
    one = told({"state": np.ones((3, len(names)), np.float32)})
    terms, _ = episode_of(one, About("there", entries={"state": names}))
    assert terms.interface.observations["state"].names == names and terms.notes == ()


def test_a_state_without_quaternions_is_left_alone():
    one = told({"state": np.float32([[1, 2]] * 3)})
    terms, episode = episode_of(one, About("there", entries={"state": ("a", "b")}))
    assert list(terms.interface.observations) == ["state"]
    assert terms.interface.observations["state"].names == ("a", "b")
    np.testing.assert_array_equal(episode.observations["state"], one.observations["state"])


def test_named_quaternions_in_our_order_keep_to_one_side_and_stay_as_they_came_beside():
    names = ("x", "qw", "qx", "qy", "qz")
    given = np.float32([[1, W, X, Y, Z], [2, -W, -X, -Y, -Z], [3, W, X, Y, Z]])
    terms, episode = episode_of(told({"state": given}), About("there", entries={"state": names}))
    assert terms.interface.observations["state"].names == names
    np.testing.assert_array_equal(
        episode.observations["state"][:, 1:], np.float32([[W, X, Y, Z]] * 3)
    )
    np.testing.assert_array_equal(episode.observations["state"][:, 0], [1, 2, 3])
    np.testing.assert_array_equal(episode.observations["state_as_given"], given)


def test_a_quaternion_that_nobody_orders_is_four_numbers():
    one = told({"hand_quat": np.array([[X, Y, Z, W]] * 3)})
    terms, _ = episode_of(one)
    assert terms.interface.observations["state"].names == tuple(f"hand_quat_{i}" for i in range(4))
    terms, episode = episode_of(one, reading=Reading(quaternions="xyzw"))
    assert terms.interface.observations["state"].names[0] == "hand_quat_w"
    assert episode.observations["state"][0, 0] == np.float32(W)


def test_quaternions_keep_to_one_side():
    q = np.array([[X, Y, Z, W]] * 4)
    q[2:] *= -1
    _, episode = episode_of(told({"a_quat": q}), About("there", order="xyzw"))
    assert (episode.observations["state"] == episode.observations["state"][0]).all()


def test_the_usual_keys_make_the_state_and_the_others_stay():
    one = told({
        "object": np.ones((3, 2)),
        "robot0_eef_pos": np.ones((3, 3)),
        "robot0_joint_vel": np.zeros((3, 7)),
        "agentview_image": np.zeros((3, 8, 8, 3), np.uint8),
    })  # fmt: skip
    terms, episode = episode_of(one)
    said = "state: made of object, robot0_eef_pos; beside it stays robot0_joint_vel"
    assert terms.notes == (said,)
    names = terms.interface.observations["state"].names
    assert names == ("object_0", "object_1", *(f"robot0_eef_pos_{axis}" for axis in "xyz"))
    assert episode.observations.keys() == {"state", *one.observations}
    terms, _ = episode_of(one, reading=Reading(obs=("robot0_joint_vel",)))
    assert terms.interface.observations["state"].shape == (7,)
    with pytest.raises(DataError, match="no vector 'robot0_joint_ve'; did you mean"):
        episode_of(one, reading=Reading(obs=("robot0_joint_ve",)))


def test_actions_are_scaled_by_what_the_source_states_and_kept_as_given():
    actions = np.array([[-2.0, 0.0], [2.0, 5.0]])
    about = About("there", limits=([-2.0, 0.0], [2.0, 10.0]), who="its action_space")
    terms, episode = episode_of(told({"x": np.zeros((3, 1))}, actions), about)
    np.testing.assert_array_equal(episode.actions, np.float32([[-1, -1], [1, 0]]))
    np.testing.assert_array_equal(episode.records[AS_GIVEN], actions)
    assert terms.interface.controller["action_limits"] == [[-2.0, 0.0], [2.0, 10.0]]
    assert terms.notes == (
        "actions: its action_space says [-2, 0] to [2, 10]; that is [-1, 1] here",
    )


def test_actions_beyond_are_refused_unless_limits_or_clip_are_given():
    one = told({"x": np.zeros((3, 1))}, np.float32([[0, 0], [0.5, -1.5]]))
    told_of = r"demo_0: action entry 1 is -1.5 at step 1, beyond \[-1, 1\]: convert, .* limits="
    with pytest.raises(DataError, match=told_of):
        episode_of(one)
    _, episode = episode_of(one, reading=Reading(clip=True))
    assert episode.actions[1, 1] == -1.0 and episode.records[AS_GIVEN][1, 1] == -1.5
    _, episode = episode_of(one, reading=Reading(limits=(-2, 2)))
    assert episode.actions[1, 1] == -0.75
    with pytest.raises(DataError, match="3 limits for 2 action entries"):
        episode_of(one, reading=Reading(limits=((-1, -1, -1), (1, 1, 1))))


def test_actions_that_fit_keep_every_bit_and_need_no_second_copy():
    actions = np.float32([[0.1, -1.0], [1.0, 0.3]])
    _, episode = episode_of(told({"x": np.zeros((3, 1))}, actions))
    assert AS_GIVEN not in episode.records
    np.testing.assert_array_equal(episode.actions, actions)
    doubles = np.array([[0.1, -1.0], [1.0, 0.3]])
    _, episode = episode_of(told({"x": np.zeros((3, 1))}, doubles))
    np.testing.assert_array_equal(episode.records[AS_GIVEN], doubles)


def test_an_entry_that_never_moves_is_zero():
    about = About("there", limits=([5.0, -1.0], [5.0, 1.0]))
    _, episode = episode_of(told({"x": np.zeros((2, 1))}, np.array([[5.0, 1.0]])), about)
    np.testing.assert_array_equal(episode.actions, [[0.0, 1.0]])


def test_what_nobody_says_is_listed():
    one = told({"x": np.arange(2.0)[:, None]}, np.zeros((2, 1), np.float32))
    _, episode = episode_of(one)
    assert episode.metadata["not_told"] == [
        "rewards", "success", "terminated", "the observation after the last action",
    ]  # fmt: skip
    assert episode.observations["state"][:, 0].tolist() == [0.0, 1.0, 1.0]
    assert episode.success and not episode.rewards.any()
    ends = {"terminated": False, "truncated": True}
    whole = told({"x": np.zeros((3, 1))}, rewards=np.zeros(2), success=False, **ends)
    assert "not_told" not in episode_of(whole)[1].metadata


@pytest.mark.parametrize("records", [{"": 1}, {".": 1}, {"next": 1, "next/foo": 1}])
def test_records_that_cannot_lie_in_a_file_are_refused(records):
    one = told({"x": np.zeros((3, 1))}, records={key: np.zeros(2) for key in records})
    with pytest.raises(DataError, match="is no name for an observation|is an array; 'next/foo'"):
        episode_of(one)


def test_an_observation_below_another_is_refused():
    with pytest.raises(DataError, match="'a' is an array; 'a/b' cannot be"):
        episode_of(told({"a": np.zeros((3, 1)), "a/b": np.zeros((3, 1))}))


@pytest.mark.parametrize("name", ["../x", "a/../b", "/a", "a//b", ".", "a\0", "é" * 300, ""])
def test_names_that_lead_elsewhere_are_refused(name):
    with pytest.raises(DataError, match="is no name for an observation"):
        episode_of(told({name: np.zeros((3, 1))}))


@pytest.mark.parametrize(
    "change, message",
    [
        ({"x": np.zeros((5, 1))}, r"x has shape \(5, 1\) for 2 actions"),
        ({"x": np.full((3, 1), np.nan)}, "x is not finite at step 0"),
        ({"x": np.zeros((3, 2))}, r"x is float64 \(2,\) instead of float64 \(1,\)"),
        ({"y": np.zeros((3, 1))}, "has no observation 'x', which others have"),
    ],
)
def test_an_episode_that_is_not_like_the_first_is_refused(change, message):
    terms = settle(told({"x": np.zeros((3, 1))}), About("there"), Reading())
    with pytest.raises(DataError, match=message):
        terms.episode(told(change, np.zeros((2, 2), np.float32)), "there: demo_1")


def test_options_that_our_own_terms_leave_unused_are_named():
    said = Reading(obs=("a",), limits=(-2.0, 2.0)).unused()
    assert said == (
        "not used: obs=, limits=; these episodes were recorded in robolearn's own terms",
    )
    assert Reading().unused() == ()
    assert Reading(cameras=("front",), obs=("a",)).undrawn() == (
        "not used: cameras=; only observations of robosuite's files are computed",
    )
    assert Reading(image_size=(64, 64)).undrawn("so")[0].startswith("not used: image_size=; so")

from dataclasses import replace

import numpy as np
import pytest

from robolearn.errors import DataError, SpecError
from robolearn.types import ArraySpec, Episode, Spec

STATE = ArraySpec((3,), names=("eef_x", "eef_y", "gripper"), units=("m", "m", ""))
ACTION = ArraySpec((2,), names=("dx", "gripper"), scale=(0.05, 1.0))
ARM = Spec("test/Arm", {"state": STATE}, ACTION, 0.05, robot="Panda", controller={"kp": 150})
CAMERA = ArraySpec((8, 8, 3), "uint8")


def episode(**changes):
    arrays = {
        "observations": {"state": np.zeros((4, 3), np.float32)},
        "actions": np.zeros((3, 2), np.float32),
        "rewards": np.zeros(3, np.float32),
    }
    return Episode(**arrays | {"terminated": False, "truncated": True, "success": False} | changes)


def test_entries_are_found_by_name_and_by_prefix():
    assert STATE.index("eef").tolist() == [0, 1]
    assert STATE.index("gripper").tolist() == [2]
    with pytest.raises(SpecError, match="no entry 'ee'; did you mean 'eef'"):
        STATE.index("ee")


def test_names_units_and_scale_must_be_as_many_as_entries():
    with pytest.raises(SpecError, match=r"2 scale for an array of shape \(3,\)"):
        ArraySpec((3,), scale=(1.0, 2.0))


def test_a_spec_survives_json():
    assert Spec.from_json(ARM.to_json()) == ARM


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"observations": {}}, "missing observations state"),
        ({"observations": {"state": STATE, "side": CAMERA}}, "extra observations side"),
        ({"observations": {"state": ArraySpec((4,))}}, r"state has shape \(4,\) instead of"),
        ({"observations": {"state": replace(STATE, dtype="float64")}}, "state is float64"),
        (
            {"observations": {"state": replace(STATE, names=("eef_x", "eef_z", "gripper"))}},
            r"state\[1\] is eef_z instead of eef_y",
        ),
        ({"action": ArraySpec((7,))}, r"action has shape \(7,\) instead of \(2,\)"),
        ({"action": replace(ACTION, scale=(0.1, 1.0))}, r"action has scale \(0.1, 1.0\) instead"),
        ({"robot": "Sawyer"}, "robot Sawyer instead of Panda"),
        ({"controller": {"kp": 300, "kd": 1}}, r"another controller \(differs in kd, kp\)"),
    ],
)
def test_every_misfit_is_named(changes, words):
    with pytest.raises(SpecError, match=f"the dataset does not fit the policy: {words}"):
        ARM.require(replace(ARM, **changes), "the policy", "the dataset")


def test_what_is_left_empty_fits_anything():
    bare = Spec("arrays", {"state": ArraySpec((3,))}, ArraySpec((2,)), 0.05)
    ARM.require(bare, "the policy", "the dataset")
    bare.require(ARM, "the policy", "the dataset")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"actions": np.zeros((0, 2))}, "at least one action"),
        ({"actions": np.zeros(3)}, r"actions have shape \(3,\) instead of \[T, A\]"),
        ({"observations": {"state": np.zeros((3, 3))}}, "state has 3 rows instead of 4"),
        ({"rewards": np.zeros(4)}, "rewards has 4 rows instead of 3"),
        ({"reward_terms": {"reach": np.zeros(2)}}, "reward_terms/reach has 2 rows instead of 3"),
        ({"states": np.zeros((3, 9))}, "states has 3 rows instead of 4"),
    ],
)
def test_an_episode_of_uneven_arrays_is_refused(changes, words):
    with pytest.raises(DataError, match=words):
        episode(**changes)


def test_the_first_value_that_is_not_finite_is_named():
    episode(observations={"side": np.zeros((4, 8, 8, 3), np.uint8)}).require_finite()
    state = np.zeros((4, 3), np.float32)
    state[2, 1] = np.inf
    with pytest.raises(DataError, match="demo_7: state is not finite at step 2"):
        episode(observations={"state": state}).require_finite("demo_7")

import numpy as np
import pytest

from robolearn.errors import DataError, SpecError
from robolearn.judging.demonstrations import (
    checked,
    paired,
    places_of,
    plain_interface,
    transitions,
)
from robolearn.types import ArraySpec


def pair(steps=4, states=3, actions=2):
    return np.zeros((steps, states)), np.zeros((steps, actions))


def spoilt(name, index, value):
    states, actions = pair()
    {"states": states, "actions": actions}[name][index] = value
    return states, actions


@pytest.mark.parametrize(
    ("demonstration", "error", "words"),
    [
        (spoilt("states", (2, 1), np.nan), DataError, "observations are not finite at step 2"),
        (spoilt("actions", (1, 0), np.inf), DataError, "actions are not finite at step 1"),
        (spoilt("actions", (3, 1), -1.5), DataError, r"actions leave \[-1, 1\] at step 3"),
        (pair(actions=3), SpecError, r"actions have shape \(4, 3\) instead of \[T, 2\]"),
        (pair(states=5), SpecError, r"observations have shape \(4, 5\) instead of \[T, 3\]"),
        ((np.zeros(3), np.zeros((1, 2))), SpecError, r"shape \(3,\) instead of \[T, 3\]"),
        ((np.zeros((5, 3)), np.zeros((4, 2))), DataError, "5 observations and 4 actions"),
        (pair(steps=0), DataError, "0 observations and 0 actions"),
    ],
)
def test_unsound_arrays_are_one_line_errors(demonstration, error, words):
    with pytest.raises(error, match=f"demo 7: .*{words}") as caught:
        checked(*demonstration, plain_interface([pair()]), "demo 7")
    assert "\n" not in str(caught.value)


def test_the_arrays_must_be_two_dimensional():
    expected = "a list of arrays is expected, one for each demonstration"
    with pytest.raises(SpecError) as caught:
        plain_interface([(np.zeros(3), np.zeros((3, 2)))] * 2)
    said = "demonstration 0: observations have shape (3,) instead of [T, O]"
    assert str(caught.value) == f"{said}; {expected}"
    with pytest.raises(SpecError) as caught:
        plain_interface([(np.zeros((3, 4)), np.zeros(3))] * 2)
    said = "demonstration 0: actions have shape (3,) instead of [T, A]"
    assert str(caught.value) == f"{said}; {expected}"


@pytest.mark.parametrize("odd", [(4, 7, 2), (4, 3, 5)])
def test_most_demonstrations_decide_the_sizes(odd):
    interface = plain_interface([pair(*odd), pair(), pair()])
    assert interface.observations["state"].names == ("state_0", "state_1", "state_2")
    assert interface.action.shape == (2,)
    first = plain_interface([pair(*odd), pair()])  # of two, the first says what is right
    assert (first.observations["state"].shape, first.action.shape) == (odd[1:2], odd[2:])


def test_lists_must_match():
    with pytest.raises(DataError, match="observations of 2 demonstrations, but actions of 1"):
        paired([np.zeros((1, 3))] * 2, [np.zeros((1, 2))])


def test_transitions_number_the_episodes():
    rows = transitions([pair(2), pair(3)])
    assert rows["observations"]["state"].shape == (5, 3) and rows["actions"].shape == (5, 2)
    np.testing.assert_array_equal(rows["episode"], [0, 0, 1, 1, 1])


def test_places_are_what_is_no_velocity_by_unit_or_name():
    units = ("m", "m/s", "", "", "")
    names = ("x", "y", "robot0_joint_vel_0", "observation.velocity.1", "level")
    assert places_of(ArraySpec((5,), names=names, units=units)).tolist() == [0, 4]
    assert places_of(ArraySpec((2,))).tolist() == [0, 1]
    assert places_of(ArraySpec((2,), names=("qvel_0", "qvel_1"))).tolist() == [0, 1]

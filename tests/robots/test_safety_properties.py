"""Properties of the filter, for commands, limits and beginnings that are searched for."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from robolearn.errors import UserError
from robots.arm_model import desk_arm
from robots.base import Joint, Kind
from robots.geometry import Geometry
from robots.safety import SafetyConfig, at_rest, begin, limits_of, safe_command, stopping_command

ROUNDING = 1e-9
SEARCHED = settings(
    derandomize=True,  # the same cases every time
    database=None,
    deadline=None,
    max_examples=60,
    suppress_health_check=list(HealthCheck),
)
FEW = settings(SEARCHED, max_examples=20)
SHARES = st.floats(-1.0, 1.0)
WAYS = ("to", "beyond", "swing", "creep", "stop", "rest")
ARM = desk_arm()


@st.composite
def joints(draw, kind):
    """Draw a joint that comes to rest from full speed within a few seconds."""
    lower, velocity = draw(st.floats(-3, 1)), draw(st.floats(0.01, 10))
    acceleration = velocity * draw(st.floats(1, 100))
    jerk = acceleration * draw(st.floats(2, 500))
    upper = lower + draw(st.floats(0.05, 6))
    return Joint("joint", kind, lower, upper, velocity, acceleration, jerk)


@st.composite
def filters(draw, kind=Kind.REVOLUTE):
    """Draw limits of one to three joints, of which each is filtered by itself."""
    found = draw(st.lists(joints(kind), min_size=1, max_size=3))
    config = SafetyConfig(
        velocity=draw(st.floats(0.05, 1)), acceleration=draw(st.floats(0.1, 1)),
        jerk=draw(st.floats(0.1, 1)), margin=draw(st.floats(0, 0.3)),
        squeeze=draw(st.floats(0.01, 1)),
    )  # fmt: skip
    named = [dataclasses.replace(joint, name=f"joint{i}") for i, joint in enumerate(found)]
    return limits_of(named, config, draw(st.sampled_from([0.002, 0.01, 0.05])))


def vectors(size=3):
    """Draw a number for each joint, in [-1, 1]."""
    return st.lists(SHARES, min_size=size, max_size=size).map(np.array)


def scripts(size=3, ways=WAYS):
    """Draw what somebody does: in what way, with which numbers, and for how many periods."""
    return st.lists(
        st.tuples(st.sampled_from(ways), vectors(size), st.integers(1, 25)), min_size=1, max_size=10
    )


def place(limits, numbers, reach):
    """Give a place [J] in the middle of the range, or so far from it."""
    lower, upper = limits.motion[:2]
    return (lower + upper) / 2 + reach * (upper - lower) * numbers[: len(lower)]


def asked(limits, state, way, numbers, k):
    """Give what is asked for in the k-th period of a move [J]."""
    numbers = numbers[: len(limits.joints)]
    if way == "to":
        return place(limits, numbers, 0.6)
    if way == "beyond":
        return 1e6 * numbers
    if way == "swing":
        return np.where((k + np.arange(len(numbers))) % 2, *limits.motion[:2])
    return state.position + 2 * limits.motion[2] * limits.period_s * numbers  # in small steps


def carried_out(limits, state, script, measured=None):
    """Give the states that a script, and a stop behind it, lead through; in pieces.

    A piece begins with three at rest: the beginning, or where nothing was sent for long.
    """
    pieces = [[state] * 3]
    for way, numbers, periods in script:
        if way == "rest":
            state = at_rest(state)
            pieces.append([state] * 3)
            continue
        for k in range(periods):
            if way == "stop":
                safe = stopping_command(limits, state)
            else:
                safe = safe_command(limits, state, asked(limits, state, way, numbers, k), measured)
            state = safe.after
            pieces[-1].append(state)
    while not state.at_rest:
        state = stopping_command(limits, state).after
        pieces[-1].append(state)
    return pieces


def require_motion_within(limits, pieces):
    """Hold commands against velocity, acceleration and jerk, by differences alone."""
    h, most = limits.period_s, limits.motion
    for piece in pieces:
        speeds = np.diff([state.position for state in piece], axis=0) / h
        accelerations = np.diff(speeds, axis=0) / h
        jerks = np.diff(accelerations, axis=0) / h
        assert (np.abs(speeds) <= most[2] + ROUNDING / h).all()
        assert (np.abs(accelerations) <= most[3] + ROUNDING / h**2).all()
        assert (np.abs(jerks) <= most[4] + ROUNDING / h**3).all()


def require_between(pieces, lower, upper):
    """Hold commands against the ends of the ranges [J]."""
    positions = np.array([state.position for piece in pieces for state in piece])
    assert (positions >= lower - ROUNDING).all() and (positions <= upper + ROUNDING).all()


@SEARCHED
@given(filters(), vectors(), scripts())
def test_no_sequence_of_commands_leaves_any_limit(limits, numbers, script):
    pieces = carried_out(limits, begin(limits, place(limits, numbers, 0.5)), script)
    require_motion_within(limits, pieces)
    require_between(pieces, *limits.motion[:2])


@SEARCHED
@given(filters(), vectors(), scripts())
def test_who_begins_beyond_an_end_never_goes_further_out(limits, numbers, script):
    start = place(limits, numbers, 2.0)
    pieces = carried_out(limits, begin(limits, start), script)
    require_motion_within(limits, pieces)
    lower, upper = limits.motion[:2]
    require_between(pieces, np.minimum(lower, start), np.maximum(upper, start))
    states = [state.motion for piece in pieces for state in piece]
    for before, after in zip(states, states[1:], strict=False):  # what was left stays left
        assert (after[3] >= before[3]).all() and (after[4] <= before[4]).all()
        assert (after[0] >= after[3] - ROUNDING).all() and (after[0] <= after[4] + ROUNDING).all()


@SEARCHED
@given(filters(Kind.GRIPPER), vectors(), vectors(), scripts())
def test_a_gripper_is_told_to_press_no_harder_than_it_may(limits, start, seen, script):
    measured = place(limits, seen, 0.5)
    pieces = carried_out(limits, begin(limits, place(limits, start, 0.5)), script, measured)
    require_motion_within(limits, pieces)
    tightest = np.minimum(measured - limits.squeeze, pieces[0][0].position)
    require_between(pieces, np.maximum(tightest, limits.motion[0]), limits.motion[1])


@SEARCHED
@given(filters(), vectors(), scripts(), vectors())
def test_what_is_no_command_changes_nothing_and_the_same_gives_the_same(limits, at, script, target):
    states = sum(carried_out(limits, begin(limits, place(limits, at, 0.5)), script), [])
    state = states[len(states) // 2]
    kept = state.motion.copy()
    target = place(limits, target, 0.6)
    first = safe_command(limits, state, target)
    for nonsense in (target * math.nan, target + math.inf, np.append(target, 0.0), None, "left"):
        with pytest.raises(UserError):
            safe_command(limits, state, nonsense)
    np.testing.assert_array_equal(state.motion, kept)
    np.testing.assert_array_equal(safe_command(limits, state, target).after.motion,
                                  first.after.motion)  # fmt: skip
    changed = {name for change in first.changes for name in change.joints}
    differs = np.abs(first.position - target) > ROUNDING
    assert changed == {joint.name for joint, is_so in zip(limits.joints, differs, strict=True)
                       if is_so}  # fmt: skip


@FEW
@given(scripts(6), st.tuples(*[st.floats(0.01, 0.3)] * 6), st.floats(0, 0.02), vectors(6))
def test_the_hand_stays_in_its_box_and_the_arm_off_itself(script, room_m, apart_m, at):
    hand = ARM.hand_pose(ARM.home)[0]
    box = tuple((h - a, h + b) for h, a, b in zip(hand, room_m[:3], room_m[3:], strict=True))
    config = SafetyConfig(box_m=box, apart_m=apart_m)
    limits = limits_of(ARM.joints, config, 0.01, Geometry(ARM, box))
    state = begin(limits, ARM.home + 0.2 * at)  # where the box, or the arm itself, may be crossed
    least = np.array([state.apart_m, state.depth_m])
    pieces = carried_out(limits, state, script)
    require_motion_within(limits, pieces)
    for piece in pieces:
        for state in piece:
            clearances = np.array(limits.geometry.clearance(state.position))
            assert (clearances >= least - ROUNDING).all()
            least = np.maximum(least, [state.apart_m, state.depth_m])

"""The filter: whatever is asked, every limit holds at every step."""

import math

import numpy as np
import pytest

from robolearn.errors import DataError, SpecError, UserError
from robots.arm_model import desk_arm
from robots.geometry import Geometry
from robots.safety import Reason, SafetyConfig, begin, limits_of, safe_command, stopping_command

H = 0.01
BOX = ((0.05, 0.4), (-0.3, 0.3), (0.03, 0.4))
ROUNDING = 1e-9


@pytest.fixture(scope="module")
def arm():
    return desk_arm()


@pytest.fixture(scope="module")
def limits(arm):
    config = SafetyConfig(box_m=BOX)
    return limits_of(arm.joints, config, H, Geometry(arm, config.box_m))


def run(limits, start, targets, measured=None):
    """Give the commands [T + 3, J], three at rest first, and what was changed of each."""
    state = begin(limits, start)
    commands, changes = [state.position] * 3, []
    for target in targets:
        safe = safe_command(limits, state, target, measured)
        state = safe.after
        commands.append(safe.position)
        changes.append(safe.changes)
    return np.array(commands), changes, state


def require_within(limits, commands):
    motion = limits.motion
    speeds = np.diff(commands, axis=0) / H
    accelerations = np.diff(speeds, axis=0) / H
    jerks = np.diff(accelerations, axis=0) / H
    assert (commands >= motion[0] - ROUNDING).all() and (commands <= motion[1] + ROUNDING).all()
    assert (np.abs(speeds) <= motion[2] + ROUNDING / H).all()
    assert (np.abs(accelerations) <= motion[3] + ROUNDING / H**2).all()
    assert (np.abs(jerks) <= motion[4] + ROUNDING / H**3).all()
    for command in commands:
        apart, depth = limits.geometry.clearance(command)
        assert apart >= limits.apart_m - ROUNDING and depth >= -ROUNDING


@pytest.mark.parametrize("seed", range(12))
def test_every_limit_holds_for_any_sequence(arm, limits, seed):
    rng = np.random.default_rng(seed)
    low, high = limits.motion[:2]
    steps = 250
    if seed % 3 == 0:  # far jumps, held for a while
        targets = np.repeat(rng.uniform(low - 1, high + 1, (steps // 25, len(low))), 25, axis=0)
    elif seed % 3 == 1:  # somebody trembles
        targets = arm.home + np.cumsum(rng.normal(0, 0.03, (steps, len(low))), axis=0)
    else:  # nonsense
        targets = rng.uniform(-50, 50, (steps, len(low)))
    commands, changes, state = run(limits, arm.home, targets)
    require_within(limits, commands)
    assert any(changes)
    stop = [*commands]
    while not state.at_rest:
        safe = stopping_command(limits, state)
        state = safe.after
        stop.append(safe.position)
    require_within(limits, np.array(stop))


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ([0, 1.2, 0.9, 0, 0, 0.5], {Reason.COLLISION, Reason.BOX}),  # through the table
        ([0, -1.0, -1.2, 1.2, 0, 0.5], {Reason.COLLISION, Reason.BOX}),  # into itself
        ([1.8, 0.2, 0.3, 0.5, 0, 0.5], {Reason.BOX}),  # out to the side
        ([0, -0.3, 0.6, 0.7, 9.0, 0.5], {Reason.POSITION}),  # a joint beyond its end
    ],
)
def test_what_is_in_the_way_is_not_entered_and_is_said(arm, limits, target, reason):
    commands, changes, _ = run(limits, arm.home, [np.array(target)] * 400)
    require_within(limits, commands)
    assert {change.reason for step in changes for change in step} & reason
    assert np.abs(commands[-1] - target).max() > 0.01


def test_the_first_command_is_near_the_arm(arm, limits):
    commands, _, _ = run(limits, arm.home, [np.full(6, 1.0)])
    assert np.abs(commands[3] - arm.home).max() < 2e-3


def test_a_safe_command_is_not_changed(arm, limits):
    commands, changes, _ = run(limits, arm.home, [arm.home] * 5)
    assert not any(changes)
    np.testing.assert_array_equal(commands[-1], arm.home)


def test_the_same_arguments_give_the_same(arm, limits):
    state = begin(limits, arm.home)
    first = safe_command(limits, state, arm.home + 0.3)
    safe_command(limits, first.after, arm.home - 0.3)
    again = safe_command(limits, state, arm.home + 0.3)
    np.testing.assert_array_equal(first.after.motion, again.after.motion)
    assert first.changes == again.changes


def test_a_gripper_that_holds_something_is_not_told_to_press_harder(arm, limits):
    config = SafetyConfig(squeeze=0.1)
    limits = limits_of(arm.joints, config, H)
    held = arm.home.copy()
    held[-1] = 0.4  # it cannot close further
    closed = arm.home.copy()
    closed[-1] = 0.0
    start = held.copy()
    commands, changes, _ = run(limits, start, [closed] * 300, measured=held)
    assert commands[-1, -1] == pytest.approx(0.3, abs=1e-3)
    assert commands[:, -1].min() >= 0.3 - 1e-3
    assert changes[-1][0].reason is Reason.GRIP and changes[-1][0].joints == ("gripper",)


@pytest.mark.parametrize(
    ("command", "error", "words"),
    [
        (np.full(6, math.nan), DataError, "shoulder_pan is nan"),
        ([0, 0, math.inf, 0, 0, 0], DataError, "elbow_flex is inf"),
        (np.zeros(7), SpecError, r"has shape \(7,\) instead of \(6,\)"),
        (None, SpecError, r"has shape \(\)|not a finite|6 numbers"),
        ("go left", SpecError, "6 numbers"),
    ],
)
def test_what_is_no_command_is_refused(arm, limits, command, error, words):
    with pytest.raises((error, DataError), match=words if command is not None else "command"):
        safe_command(limits, begin(limits, arm.home), command)


def test_who_begins_folded_up_may_only_unfold(arm, limits):
    folded = np.array([0.0, -1.3, 1.6, 0.9, 0.0, 0.5])
    apart, depth = limits.geometry.clearance(folded)
    assert apart < limits.apart_m or depth < 0
    low = min(apart, limits.apart_m), min(depth, 0.0)
    commands, _, _ = run(limits, folded, [arm.home] * 500)
    found = np.array([limits.geometry.clearance(command) for command in commands])
    assert (found >= np.array(low) - ROUNDING).all()
    np.testing.assert_allclose(commands[-1], arm.home, atol=1e-6)
    commands, _, _ = run(limits, folded, np.random.default_rng(0).uniform(-2, 2, (200, 6)))
    found = np.array([limits.geometry.clearance(command) for command in commands])
    assert (found >= np.array(low) - ROUNDING).all()


def test_limits_are_shares_of_the_models(arm):
    config = SafetyConfig(velocity=0.5, acceleration=0.1, jerk=1.0, margin=0.1)
    limits = limits_of(arm.joints, config, H)
    pan = arm.joints[0]
    np.testing.assert_allclose(
        limits.motion[:, 0],
        [pan.lower * 0.8, pan.upper * 0.8, pan.velocity / 2, pan.acceleration / 10, pan.jerk],
    )
    np.testing.assert_array_equal(limits.motion[:2, -1], [0, 1])  # a gripper has no margin
    assert limits.slower(0.5).motion[2, 0] == pan.velocity / 4


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"velocity": 0}, "velocity should be greater than 0"),
        ({"jerk": 1.5}, "jerk should be less than or equal to 1"),
        ({"box_m": ((0, 1), (1, 1), (0, 1))}, "box_m: y goes from 1.0 to 1.0"),
    ],
)
def test_wrong_settings(options, words):
    with pytest.raises(UserError, match=words):
        SafetyConfig(**options)


def test_a_measurement_that_is_no_number_commands_nothing(arm, limits):
    measured = arm.home + [0, math.nan, 0, 0, 0, 0]
    with pytest.raises(DataError, match="measured: .* is nan"):
        safe_command(limits, begin(limits, arm.home), arm.home, measured)

"""What every driver must keep: the suite that our tests run on ours, and users on their own.

``robolearn robots check my_lab.arm:Arm`` first runs what only reads, and what moves the arm after
somebody has agreed: every joint by a few hundredths of its range, slowly, through the guard.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from robolearn.errors import UserError
from robots.base import (
    JOINTS,
    Clock,
    LifeCycle,
    Robot,
    RobotError,
    Values,
    named,
    quantity,
)
from robots.guard import Guard, GuardConfig
from robots.refusing import Fault, again, bad_actions, held_back, refuses, refuses_each
from robots.registry import FACTS, METHODS
from robots.safety import SafetyConfig

PERIOD_S = 0.02
STILL = 0.01  # share of a joint's range: one that moves less has not moved
MOVED = 0.04  # share of the range by which each joint is moved
STOPPED_S = 0.2  # within which a stop must be seen
LATE_S = 0.3  # how long after a command a joint may arrive
READS = 20
SLOW = SafetyConfig(velocity=0.1, acceleration=0.2, jerk=0.2, collisions=False)


class NotThereError(RobotError):
    """The robot cannot be reached: nothing is known of its driver."""


@dataclass(frozen=True)
class Result:
    """What came of one check."""

    check: str
    passed: bool
    words: str = ""  # what was wrong, or measured


@dataclass
class Bench:
    """What a check has: the robot, a clock that can be slept on, and what it says beside."""

    robot: Robot
    clock: Any
    words: str = ""

    def read(self) -> Values:
        """Measure, in spite of a little noise on the bus."""
        for left in reversed(range(5)):
            try:
                return self.robot.get_observation()
            except RobotError:
                if not left:
                    raise
        raise AssertionError

    def positions(self) -> np.ndarray:
        """Measure the positions [J]."""
        return quantity(self.robot.joints, self.read())

    @property
    def span(self) -> np.ndarray:
        """The joints' ranges [J]."""
        return np.array([joint.upper - joint.lower for joint in self.robot.joints])


Check = Callable[[Bench], None]


def check(robot: Robot, clock: Clock, motion: bool) -> Iterator[Result]:
    """Run the suite; the robot is unconfigured before and after. Nothing follows a failure.

    The clock must have ``sleep``. Without ``motion`` nothing is activated, so nothing moves. Raises
    NotThereError, with the driver's own words, where it says that the robot cannot be reached.
    """
    bench = Bench(robot, clock)
    try:
        for one in (*READING, *(MOVING if motion else ())):
            bench.words = ""
            name = (one.__doc__ or "").rstrip(".")
            try:
                one(bench)
            except NotThereError:
                raise
            except (Fault, UserError) as error:
                yield Result(name, False, str(error))
                return
            yield Result(name, True, bench.words)
    finally:
        robot.disconnect()


# what only reads


def has_its_parts(bench: Bench) -> None:
    """It has every method and fact of robots.base.Robot."""
    missing = [part for part in (*METHODS, *FACTS) if not hasattr(bench.robot, part)]
    _require(not missing, f"it has no {', '.join(missing)}")
    _require(bench.robot.life_cycle is LifeCycle.UNCONFIGURED, "it is not unconfigured when made")


def says_its_features(bench: Bench) -> None:
    """Its features are known before connecting, and belong to its joints."""
    robot = bench.robot
    names = [f"{joint.name}.pos" for joint in robot.joints]
    _require(bool(names), "it has no joints")
    _require(list(robot.action_features) == names, f"action_features must be {names}, in order")
    seen = robot.observation_features
    missing = [name for name in names if seen.get(name) is not float]
    _require(not missing, f"observation_features has no {', '.join(missing)}: float")


def refuses_when_unconfigured(bench: Bench) -> None:
    """Before it is connected it can neither be read nor moved."""
    robot = bench.robot
    middle = {f"{joint.name}.pos": (joint.lower + joint.upper) / 2 for joint in robot.joints}
    refuses(robot.get_observation, RobotError, "get_observation() before connect()")
    refuses(lambda: robot.send_action(middle), RobotError, "send_action() before connect()")
    refuses(robot.activate, RobotError, "activate() before connect()")
    robot.disconnect()


def connects(bench: Bench) -> None:
    """It connects, is inactive then, and connects once only."""
    robot = bench.robot
    try:
        robot.connect(calibrate=False)
    except RobotError as error:
        raise NotThereError(str(error)) from None
    _require(robot.is_connected, "is_connected is False after connect()")
    _require(robot.life_cycle is LifeCycle.INACTIVE, f"connected, it is {robot.life_cycle}")
    refuses(lambda: robot.connect(calibrate=False), RobotError, "a second connect()")
    _require(robot.is_calibrated, "it is not calibrated: `robolearn robots calibrate` does that")


def observes_what_it_says(bench: Bench) -> None:
    """An observation has its features, no more and no fewer, and they are finite."""
    values, features = bench.read(), bench.robot.observation_features
    _require(set(values) == set(features), f"it gives {sorted(values)}, not {sorted(features)}")
    for name, feature in features.items():
        value = values[name]
        if isinstance(feature, tuple):
            fits = value.dtype == np.uint8 and value.shape == feature
            _require(fits, f"{name} is {value.dtype} {value.shape}, not uint8 {feature}")
        else:
            _require(bool(np.isfinite(value).all()), f"{name} is {value}")


def tells_when_it_measured(bench: Bench) -> None:
    """The joints' time is that of the call, on its own clock."""
    before_s = bench.clock()
    bench.read()
    at_s, after_s = bench.robot.measured_s.get(JOINTS, -math.inf), bench.clock()
    fits = before_s - 1e-6 <= at_s <= after_s + 1e-6
    _require(fits, f"measured_s['joints'] is {at_s}, not within {before_s} to {after_s}")


def is_within_its_range(bench: Bench) -> None:
    """Its joints are where they can be."""
    for joint, at in zip(bench.robot.joints, bench.positions(), strict=True):
        slack = 0.1 * (joint.upper - joint.lower)
        fits = joint.lower - slack <= at <= joint.upper + slack
        _require(fits, f"{joint.name} is at {at:.3f}, outside {joint.lower:.3f}..{joint.upper:.3f}")


def reads_the_same_again(bench: Bench) -> None:
    """At rest, its readings stay the same; how long one takes."""
    began_s = bench.clock()
    reads = np.array([bench.positions() for _ in range(READS)])
    took_s = (bench.clock() - began_s) / READS
    spread = (reads.max(axis=0) - reads.min(axis=0)) / bench.span
    joint = bench.robot.joints[int(spread.argmax())].name
    _require(spread.max() <= STILL, f"{joint} varies by {100 * spread.max():.1f}% of its range")
    bench.words = f"{1e3 * took_s:.1f} ms a reading"


def refuses_when_inactive(bench: Bench) -> None:
    """Before it is activated it cannot be moved, by nonsense neither."""
    robot = bench.robot
    here = named(robot.joints, {"pos": bench.positions()})
    refuses(lambda: robot.send_action(here), RobotError, "send_action() before activate()")
    for what, action, _ in bad_actions(here):
        refuses(lambda action=action: robot.send_action(action), UserError, what)


def disconnects(bench: Bench) -> None:
    """It disconnects, also twice, and connects again."""
    robot = bench.robot
    robot.disconnect()
    robot.disconnect()
    _require(not robot.is_connected, "is_connected is True after disconnect()")
    robot.connect(calibrate=False)
    bench.read()


# what moves


def activates_where_it_is(bench: Bench) -> None:
    """When it is activated nothing moves."""
    before = bench.positions()
    bench.robot.activate()
    _require(bench.robot.life_cycle is LifeCycle.ACTIVE, "it is not active after activate()")
    bench.clock.sleep(LATE_S)
    _require_still(bench, before, "activate()")


def refuses_bad_actions(bench: Bench) -> None:
    """Missing, extra, and not finite entries are refused, and nothing moves."""
    robot, before = bench.robot, bench.positions()
    here = named(robot.joints, {"pos": before})
    with held_back(robot, here) as held:
        if held is None:
            bench.words = "not asked: it cannot be done safely; its guard is asked below"
            return
        refuses_each(robot.send_action, here)
    bench.clock.sleep(LATE_S)
    _require_still(bench, before, "actions that it refused")


def gives_what_it_sent(bench: Bench) -> None:
    """send_action gives what was really sent."""
    robot = bench.robot
    here = named(robot.joints, {"pos": bench.positions()})
    sent = again(lambda: robot.send_action(here))
    _require(set(sent) == set(here), f"send_action() gives {sorted(sent)}, not {sorted(here)}")
    off = np.abs(quantity(robot.joints, sent) - quantity(robot.joints, here)) / bench.span
    _require(off.max() <= STILL, "send_action() gives something else than it was given")


def moves_each_joint(bench: Bench) -> None:
    """Each joint goes where it is sent, in that direction, and alone."""
    robot = bench.robot
    robot.stop()
    guard = _guard(bench)
    guard.activate()
    for j, joint in enumerate(robot.joints):
        start = bench.positions()
        up = start[j] + 2 * MOVED * bench.span[j] < joint.upper
        goal = guard.commanded.copy()
        goal[j] = start[j] + (MOVED if up else -MOVED) * bench.span[j]
        _go(bench, guard, goal)
        moved = (bench.positions() - start) / bench.span
        asked = MOVED if up else -MOVED
        words = f"{joint.name} was sent {100 * asked:+.0f}% of its range and went"
        _require(abs(moved[j] - asked) <= STILL, f"{words} {100 * moved[j]:+.1f}%")
        moved[j] = 0.0
        other = robot.joints[int(np.abs(moved).argmax())].name
        _require(np.abs(moved).max() <= STILL, f"{other} moved when {joint.name} was sent")


def stops(bench: Bench) -> None:
    """Stopped in motion it comes to rest, stays, and takes no action."""
    robot = bench.robot
    guard = _guard(bench)
    robot.stop()
    guard.activate()
    joint, start = robot.joints[0], bench.positions()
    goal = guard.commanded.copy()
    up = start[0] + 4 * MOVED * bench.span[0] < joint.upper
    goal[0] += (3 if up else -3) * MOVED * bench.span[0]
    for _ in range(round(0.4 / PERIOD_S)):
        _tick(bench, guard, goal)
    robot.stop()
    _require(robot.life_cycle is LifeCycle.INACTIVE, f"stopped, it is {robot.life_cycle}")
    bench.clock.sleep(STOPPED_S)
    rest = bench.positions()
    bench.clock.sleep(LATE_S)
    _require_still(bench, rest, f"stop(), {1e3 * STOPPED_S:.0f} ms later")
    here = named(robot.joints, {"pos": rest})
    refuses(lambda: robot.send_action(here), RobotError, "send_action() after stop()")


def its_guard_refuses_bad_actions(bench: Bench) -> None:
    """In front of it, a guard refuses what it should not get, and nothing moves."""
    guard, before = _guard(bench), bench.positions()
    guard.activate()
    here = named(bench.robot.joints, {"pos": before})
    for _ in range(2):
        bench.clock.sleep(PERIOD_S)
        guard.get_observation()
        refuses_each(guard.send_action, here)
    bench.clock.sleep(LATE_S)
    _require_still(bench, before, "actions that were refused")
    guard.stop()


def disconnects_when_active(bench: Bench) -> None:
    """Disconnecting while it is active stops it."""
    bench.robot.activate()
    bench.robot.disconnect()
    state = bench.robot.life_cycle
    _require(state is LifeCycle.UNCONFIGURED, f"disconnected, it is {state}")


READING: tuple[Check, ...] = (
    has_its_parts, says_its_features, refuses_when_unconfigured, connects, observes_what_it_says,
    tells_when_it_measured, is_within_its_range, reads_the_same_again, refuses_when_inactive,
    disconnects,
)  # fmt: skip
MOVING: tuple[Check, ...] = (
    activates_where_it_is, refuses_bad_actions, gives_what_it_sent, moves_each_joint, stops,
    its_guard_refuses_bad_actions, disconnects_when_active,
)  # fmt: skip


def _guard(bench: Bench) -> Guard:
    config = GuardConfig(ramp_s=0.0)
    guard = Guard(bench.robot, PERIOD_S, safe=SLOW, config=config, clock=bench.clock)
    guard.watched = False  # checks read the driver itself, in this thread
    return guard


def _tick(bench: Bench, guard: Guard, goal: np.ndarray) -> None:
    bench.clock.sleep(PERIOD_S)
    guard.get_observation()
    guard.send_action(named(bench.robot.joints, {"pos": goal}))


def _go(bench: Bench, guard: Guard, goal: np.ndarray) -> None:
    """Go to positions [J], and wait until the arm can have arrived."""
    most_s = 1.0 + float((bench.span * MOVED / guard.limits.motion[2]).max()) * 4
    for _ in range(round(most_s / PERIOD_S)):
        _tick(bench, guard, goal)
        if guard.at_rest:
            break
    for _ in range(round(LATE_S / PERIOD_S)):
        _tick(bench, guard, goal)


def _require(right: bool, words: str) -> None:
    if not right:
        raise Fault(words)


def _require_still(bench: Bench, before: np.ndarray, after: str) -> None:
    moved = np.abs(bench.positions() - before) / bench.span
    joint = bench.robot.joints[int(moved.argmax())].name
    _require(moved.max() <= STILL, f"{joint} moved by {100 * moved.max():.1f}% after {after}")

"""Whatever is called, and whatever noise keeps back, what an arm hears is within the limits."""

import contextlib
import math

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from robolearn.errors import DataError
from robots.base import BusError, Driver, Joint, Kind, named
from robots.clocks import SimulatedClock
from robots.commanding import JITTER
from robots.guard import Guard, GuardConfig, StopError
from robots.safety import SafetyConfig

PERIOD_S = 0.01
ROUNDING = 1e-9
SEARCHED = settings(
    derandomize=True,  # the same cases every time
    database=None,
    deadline=None,
    max_examples=60,
    suppress_health_check=list(HealthCheck),
)


class Perfect(Driver):
    """Two joints that are where they were sent; noted is what they heard, and what they did not."""

    name = "perfect"
    joints = (
        Joint("slow", Kind.REVOLUTE, -1.0, 1.0, 1.0, 4.0, 40.0),
        Joint("quick", Kind.REVOLUTE, -2.0, 2.0, 5.0, 100.0, 9000.0),
    )

    def __init__(self, clock):
        super().__init__(clock=clock)
        self.at, self.noisy_until_s = np.zeros(2), -math.inf
        self.heard = []  # (when, [J]); None for what noise kept from it

    def _open(self):
        pass

    def _close(self):
        pass

    def _enable(self):
        pass

    def _disable(self):
        pass

    def _halt(self):
        pass

    def _read(self):
        return {"pos": self.at}

    def _write(self, positions):
        noise = self.clock() < self.noisy_until_s
        self.heard.append((self.clock(), None if noise else positions))
        if noise:
            raise BusError("noise")
        self.at = positions
        return positions


TIMES = st.one_of(st.just(1.0), st.floats(0.05, 4.0))  # periods until something is called
CALLS = st.one_of(
    st.tuples(st.just("send"), TIMES, st.tuples(st.floats(-2, 2), st.floats(-3, 3))),
    st.tuples(st.sampled_from(["tick", "watch", "rest", "pause", "nonsense"]), TIMES, st.none()),
    st.tuples(st.just("noise"), st.floats(0.5, 5.0), st.none()),
    st.tuples(st.just("silence"), st.floats(5.0, 80.0), st.none()),
)


def called(guard, what, seconds, target):
    """Call the guard once, after so long; or have the line be noisy from now on for so long."""
    if what == "noise":
        guard.robot.noisy_until_s = guard.clock() + seconds
        return
    guard.clock.sleep(seconds)
    guard.get_observation()
    if what == "send":
        guard.send_action(named(guard.joints, {"pos": target}))
    elif what == "nonsense":
        with contextlib.suppress(DataError):
            guard.send_action({"slow.pos": math.nan, "quick.pos": 0.0})
    elif what in ("rest", "pause"):
        getattr(guard, what)("told to")
    elif what in ("tick", "watch"):
        getattr(guard, what)()


@SEARCHED
@given(st.lists(st.tuples(CALLS, st.integers(1, 12)), min_size=1, max_size=12))
def test_what_an_arm_hears_is_within_the_limits(script):
    clock = SimulatedClock()
    robot = Perfect(clock)
    safe = SafetyConfig(velocity=1.0, acceleration=1.0, jerk=1.0)
    guard = Guard(robot, PERIOD_S, safe=safe, config=GuardConfig(ramp_s=0.0), clock=clock)
    guard.connect()
    guard.activate()
    with contextlib.suppress(StopError):  # after a silence that was too long
        for (what, periods, target), times in script:
            for _ in range(1 if what in ("noise", "silence") else times):
                called(guard, what, periods * PERIOD_S, target)
    require_within(guard.limits, robot.heard)


def require_within(limits, heard):
    """Hold what was heard against the limits; where a command is missing, the arm has rested."""
    h, most = PERIOD_S, limits.motion
    last, last_s = np.zeros(2), 0.0
    pieces = [[last] * 3]
    for at_s, positions in heard:
        if positions is None or at_s - last_s >= 2 * h - ROUNDING:
            pieces.append([last] * 3)
        if positions is not None:
            if len(pieces[-1]) > 3:
                assert at_s - last_s >= (1 - JITTER) * h - 2 * ROUNDING
            pieces[-1].append(positions)
            last, last_s = positions, at_s
    for piece in pieces:
        speeds = np.diff(piece, axis=0) / h
        accelerations = np.diff(speeds, axis=0) / h
        jerks = np.diff(accelerations, axis=0) / h
        assert (np.abs(speeds) <= most[2] + ROUNDING / h).all()
        assert (np.abs(accelerations) <= most[3] + ROUNDING / h**2).all()
        assert (np.abs(jerks) <= most[4] + ROUNDING / h**3).all()
        assert (piece >= most[0] - ROUNDING).all() and (piece <= most[1] + ROUNDING).all()

"""Robots to test with: the twin of a desk arm, on a clock that does not wait."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from robots.clocks import SimulatedClock
from robots.guard import Guard, GuardConfig
from robots.safety import SafetyConfig
from robots.twin import Fault, Twin, TwinConfig

PERIOD_S = 0.01


@pytest.fixture
def clock() -> SimulatedClock:
    return SimulatedClock()


@pytest.fixture
def guarded(clock) -> Callable[..., Guard]:
    """Make a guard in front of a connected twin, whose faults are (kind, at s, joint)."""

    def make(*faults, safe=None, config=None, active=True, **options) -> Guard:
        faults = tuple(Fault(*fault) for fault in faults)
        robot = Twin(TwinConfig(faults=faults, **options), clock)
        guard = Guard(
            robot,
            PERIOD_S,
            safe=safe or SafetyConfig(),
            config=config or GuardConfig(),
            arm=robot.arm,
            clock=clock,
        )
        guard.connect()
        if active:
            guard.activate()
        return guard

    return make

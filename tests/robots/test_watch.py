"""When joints are away from their commands: judged by time, however often somebody looks."""

import numpy as np
import pytest

from robots.arm_model import desk_arm
from robots.safety import SafetyConfig, limits_of
from robots.watch import EncoderWatch, GuardConfig

ARM = desk_arm()
FOLLOW_S = GuardConfig().follow_s


@pytest.fixture
def watch():
    watch = EncoderWatch(limits_of(ARM.joints, SafetyConfig(), 0.01, None), GuardConfig())
    watch.begin(ARM.home, 0.0)
    return watch


def noticed_s(watch, period_s, command):
    """Look at an arm that stays where it was while ``command(now_s)`` is sent; say until when."""
    for look in range(1, 1000):
        now_s = look * period_s
        sent_s = now_s - period_s  # after the look before
        if watch.look(ARM.home, command(sent_s), sent_s, now_s):
            return now_s
    raise AssertionError("it was never noticed")


@pytest.mark.parametrize("period_s", [0.002, 0.01, 0.05, 0.1])
def test_a_blocked_joint_is_noticed_as_soon_at_any_rate(watch, period_s):
    away = ARM.home + [1.0, 0, 0, 0, 0, 0]
    at_s = noticed_s(watch, period_s, lambda sent_s: away)
    assert FOLLOW_S <= at_s <= FOLLOW_S + 1.01 * period_s


def test_a_joint_that_is_as_late_as_it_may_be_is_not_at_fault(watch):
    def command(at_s):
        return ARM.home + np.array([1.0, 0, 0, 0, 0, 0]) * max(at_s, 0.0)

    for look in range(1, 200):
        now_s = 0.02 * look
        assert not watch.look(command(now_s - 0.28), command(now_s - 0.02), now_s - 0.02, now_s)


def test_however_long_a_command_was_held_the_next_one_is_watched(watch):
    for look in range(1, 100):
        assert not watch.look(ARM.home, ARM.home, 0.0, 0.1 * look)
    away = ARM.home + [1.0, 0, 0, 0, 0, 0]
    assert not watch.look(ARM.home, away, 10.0, 10.0 + 0.9 * FOLLOW_S)
    assert "shoulder_pan is at" in watch.look(ARM.home, away, 10.0, 10.0 + 1.1 * FOLLOW_S)

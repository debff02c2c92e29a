"""When an arm that was told to stop counts as stopped."""

import numpy as np
import pytest

from robots.base import Joint, Kind, LifeCycle
from robots.stopping import Stopper, parts_of


class Drifting:
    """An arm of one joint and a gripper that is told to stop, and goes on at some speed."""

    life_cycle = LifeCycle.ACTIVE
    joints = (
        Joint("lift", Kind.REVOLUTE, 0.0, 2.0, velocity=2.0, acceleration=10.0, jerk=100.0),
        Joint("gripper", Kind.GRIPPER, 0.0, 1.0, velocity=2.0, acceleration=10.0, jerk=100.0),
    )

    def __init__(self, speed):
        self.now_s, self.speed, self.let_go = 0.0, np.array(speed), False

    def stop(self):
        pass

    def deactivate(self):
        self.let_go = True

    def look(self, robot):
        return self.speed * self.now_s

    def wait(self):
        self.now_s += 0.01


@pytest.mark.parametrize(
    ("speed", "rests"),
    [((0.05, 0.0), True), ((0.07, 0.0), False), ((0.0, 0.5), True), ((0.0, -0.04), False)],
)
def test_a_gripper_may_be_pushed_open_by_what_it_holds(speed, rests):
    arm = Drifting(speed)
    parts = list(parts_of(arm, np.array([2.0, 1.0])))
    words = Stopper(parts, arm.look, lambda: arm.now_s, arm.wait, prove_s=0.2).stop()
    assert (words == "") is rests
    assert arm.let_go is not rests

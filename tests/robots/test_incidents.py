"""Accidents that others had: first without the guard, to see the harm, then with it."""

import numpy as np
import pytest

from robots.base import LifeCycle, RobotError, named, quantity
from robots.clocks import SimulatedClock
from robots.guard import Guard, GuardConfig, StopError
from robots.twin import Fault, FaultKind, Twin, TwinConfig

H = 0.01
QUIET = {"noise": 0.0, "failing": 0.0}


class Traced(Twin):
    """A twin that notes where it really is at every step of the physics."""

    def __init__(self, *faults, **options):
        self.been = []
        super().__init__(TwinConfig(faults=faults, **QUIET, **options), SimulatedClock())

    def _step(self):
        super()._step()
        self.been.append(self.arm.positions(self.world.data))

    def speeds(self):
        """Give the true speeds [T, J]."""
        return np.diff(np.array(self.been), axis=0) / self.arm.model.opt.timestep


class Eye:
    """A camera that stops at half a second."""

    shape = (2, 2, 3)

    def __init__(self, clock):
        self.clock = clock

    def open(self):
        pass

    def latest(self):
        return np.zeros(self.shape, np.uint8), min(self.clock(), 0.5)

    def close(self):
        pass


def bare(*faults):
    robot = Traced(*faults)
    robot.connect()
    robot.activate()
    return robot


def guarded(*faults, robot=None):
    robot = robot or Traced(*faults)
    guard = Guard(robot, H, config=GuardConfig(ramp_s=0.0), arm=robot.arm, clock=robot.clock)
    guard.connect()
    guard.activate()
    return guard


def drive(one, goal, seconds):
    """Send the same goal [J] for so long."""
    for _ in range(round(seconds / H)):
        one.clock.sleep(H)
        one.get_observation()
        one.send_action(named(one.joints, {"pos": goal}))


def test_the_first_command_is_far_from_the_arm():
    """IsaacTeleop#730: the arm leaps to where the operator's hand happens to be."""
    goal = np.array([1.5, -0.3, 0.6, 0.7, 0, 0.5])
    robot = bare()
    drive(robot, goal, 1.0)
    harm = np.abs(robot.speeds()[:, 0]).max()
    guard = guarded()
    drive(guard, goal, 1.0)
    kept = np.abs(guard.robot.speeds()[:, 0]).max()
    most = guard.limits.motion[2, 0]
    assert harm > 2 * most and kept < 1.15 * most


def test_a_gripper_that_was_calibrated_the_wrong_way_round():
    """lerobot#3942, #3948: told to open, it slams shut."""
    turned = Fault(FaultKind.TURNED, joint="gripper")
    opened = np.array([0, -0.3, 0.6, 0.7, 0, 1.0])
    robot = bare(turned)
    drive(robot, opened, 1.0)
    harm = -robot.speeds()[:, 5].min()
    guard = guarded(turned)
    drive(guard, opened, 1.0)
    kept = -guard.robot.speeds()[:, 5].min()
    most = guard.limits.motion[2, 5]
    assert harm > 2 * most and kept < 1.3 * most


def test_the_process_that_sends_is_killed():
    """doosan-robot2#247: the arm goes on to wherever it was sent."""
    goal = np.array([1.5, -0.3, 0.6, 0.7, 0, 0.5])

    def travels_after(one, robot):
        drive(one, goal, 0.15)
        before = robot.been[-1][0]
        robot.clock.sleep(3.0)  # nobody sends any more
        robot.advance()
        return robot.been[-1][0] - before

    robot = bare()
    guard = guarded()
    assert travels_after(robot, robot) > 0.5
    assert travels_after(guard, guard.robot) < 0.1


def test_a_stop_while_somebody_else_streams():
    """ur-rtde users, #490: the stop is overruled by the next command of another controller."""
    goal = np.array([1.5, -0.3, 0.6, 0.7, 0, 0.5])

    def stream(one):
        """Drive on whatever happens, as a controller does that knows of no stop."""
        for _ in range(100):
            one.clock.sleep(H)
            try:
                if one.life_cycle is LifeCycle.INACTIVE:
                    one.activate()
                one.get_observation()
                one.send_action(named(one.joints, {"pos": goal}))
            except RobotError:
                continue

    robot = bare()
    drive(robot, goal, 0.1)
    robot.stop()
    at = robot.been[-1][0]
    stream(robot)
    harm = robot.been[-1][0] - at
    guard = guarded()
    drive(guard, goal, 0.3)
    guard.emergency_stop("the red button")
    with pytest.raises(StopError):
        guard.tick()
    at = guard.robot.been[-1][0]
    stream(guard)
    guard.robot.advance()
    assert harm > 0.5 and abs(guard.robot.been[-1][0] - at) < 0.02


def test_a_camera_freezes():
    """The policy sees the past for ever, and the arm does what it would have done then."""
    goal = np.array([0.5, -0.3, 0.6, 0.7, 0, 0.5])
    robot = Traced()
    robot.cameras["front"] = Eye(robot.clock)
    robot.connect()
    robot.activate()
    drive(robot, goal, 2.0)  # nothing notices
    assert robot.clock() - robot.measured_s["front"] > 1.0
    robot = Traced()
    robot.cameras["front"] = Eye(robot.clock)
    guard = guarded(robot=robot)
    with pytest.raises(StopError, match="front: nothing new for 0.5"):
        drive(guard, goal, 2.0)
    assert robot.clock() < 1.3


@pytest.mark.parametrize("given", [np.full(6, np.nan), np.array([])])
def test_a_policy_gives_no_number_or_nothing(given):
    """The simulator, as a real controller may, goes wrong; the guard brings the arm to rest."""
    goal = np.array([1.5, -0.3, 0.6, 0.7, 0, 0.5])
    if len(given):
        robot = bare()
        robot._target = given  # a driver that does not look
        robot.clock.sleep(0.1)
        robot.advance()
        assert not np.isfinite(robot.been[-1]).all() or robot.world.data.warning.number.any()
    guard = guarded()
    drive(guard, goal, 0.4)
    action = named(guard.joints, {"pos": given}) if len(given) else {}
    for _ in range(30):
        guard.clock.sleep(H)
        guard.get_observation()
        with pytest.raises(ValueError):
            guard.send_action(action)
    assert guard.at_rest
    before = guard.robot.been[-1]
    guard.clock.sleep(0.3)
    assert np.abs(quantity(guard.joints, guard.get_observation()) - before).max() < 0.01


def test_the_guard_itself_can_be_left_out_only_on_purpose():
    robot = Traced()
    guard = Guard(robot, H, arm=robot.arm, clock=robot.clock)
    assert guard.limits.motion[2, 0] == pytest.approx(0.3 * robot.joints[0].velocity)
    assert guard.limits.geometry is not None

import threading

import numpy as np
import pytest

from robolearn.errors import UserError
from robots.base import BusError, LostError, named
from robots.clocks import SimulatedClock
from robots.twin import Fault, FaultKind, Twin, TwinConfig, twin
from sim.rendering.images import Images

QUIET = dict(noise=0.0, failing=0.0)


def active(clock, *faults, **options):
    robot = Twin(TwinConfig(faults=faults, **options), clock)
    robot.connect()
    robot.activate()
    return robot


def send(robot, change):
    goal = robot.arm.home + change
    robot.send_action(named(robot.joints, {"pos": goal}))
    return goal


def measured(robot):
    return np.array([robot.get_observation()[f"{j.name}.pos"] for j in robot.joints])


def test_it_goes_there_and_no_sooner_than_the_latency(clock):
    robot = active(clock, latency_s=0.05, **QUIET)
    goal = send(robot, [0.3, 0, 0, 0, 0, 0])
    clock.sleep(0.048)
    assert abs(measured(robot)[0]) < 1e-3
    clock.sleep(1.0)
    assert abs(measured(robot)[0] - goal[0]) < 0.01


def test_the_same_seed_gives_the_same():
    def readings(seed):
        clock = SimulatedClock()
        robot = active(clock, seed=seed, failing=0.0)
        send(robot, [0.3, 0.1, 0, 0, 0, 0.2])
        found = []
        for _ in range(20):
            clock.sleep(0.01)
            found.append(measured(robot))
        return np.array(found)

    np.testing.assert_array_equal(readings(1), readings(1))
    assert (readings(1) != readings(2)).any()


def test_an_encoder_has_steps_and_noise(clock):
    robot = active(clock, encoder_steps=100, **QUIET)
    np.testing.assert_allclose(
        measured(robot) % (2 * np.pi / 100) % (2 * np.pi / 100), 0, atol=0.07
    )
    noisy = active(clock, noise=0.05, failing=0.0)
    assert np.std([measured(noisy)[0] for _ in range(100)]) == pytest.approx(0.05, rel=0.3)


def test_exchanges_fail_as_often_as_said(clock):
    robot = active(clock, failing=0.3, seed=1)
    failed = 0
    for _ in range(300):
        try:
            robot.get_observation()
        except BusError:
            failed += 1
    assert 60 < failed < 120


def test_it_cannot_go_beyond_its_range(clock):
    robot = active(clock, **QUIET)
    sent = robot.send_action(named(robot.joints, {"pos": np.full(6, 99.0)}))
    assert sent["shoulder_pan.pos"] == robot.joints[0].upper


def test_stopped_it_stays_where_it_is(clock):
    robot = active(clock, **QUIET)
    send(robot, [1.0, 0, 0, 0, 0, 0])
    clock.sleep(0.1)
    robot.stop()
    clock.sleep(0.2)
    before = measured(robot)
    clock.sleep(0.5)
    assert np.abs(measured(robot) - before).max() < 2e-3 and before[0] < 0.9


def test_unplugged_nothing_answers(clock):
    robot = active(clock, Fault(FaultKind.UNPLUGGED, 0.5, until_s=1.0))
    clock.sleep(0.6)
    with pytest.raises(LostError, match="is it plugged in"):
        robot.get_observation()
    clock.sleep(0.6)
    robot.disconnect()
    robot.connect()
    robot.get_observation()


def test_a_stalled_joint_does_not_move_and_the_others_do(clock):
    robot = active(clock, Fault(FaultKind.STALLED, 0.0, "shoulder_pan"), **QUIET)
    send(robot, [0.5, 0, 0.3, 0, 0, 0])
    clock.sleep(1.0)
    moved = measured(robot) - robot.arm.home
    assert abs(moved[0]) < 1e-3 and moved[2] == pytest.approx(0.3, abs=0.02)


def test_what_blocks_a_joint_takes_its_force_and_the_others_stay(clock):
    robot = active(clock, Fault(FaultKind.STALLED, 0.0, "shoulder_lift", until_s=1.5), **QUIET)
    send(robot, [0, 0.5, 0, 0, 0, 0])
    clock.sleep(1.0)
    assert np.abs(measured(robot) - robot.arm.home).max() < 0.02
    clock.sleep(1.5)  # nothing blocks it any more
    assert measured(robot)[1] - robot.arm.home[1] > 0.4  # its weight takes the rest


def test_a_mirrored_encoder_and_a_turned_joint(clock):
    mirrored = active(clock, Fault(FaultKind.MIRRORED, 0.0, "wrist_flex"), **QUIET)
    assert measured(mirrored)[3] == pytest.approx(-mirrored.arm.home[3], abs=2e-3)
    turned = active(clock, Fault(FaultKind.TURNED, 0.0, "gripper"), **QUIET)
    send(turned, [0, 0, 0, 0, 0, 0.3])
    clock.sleep(1.0)
    assert measured(turned)[5] == pytest.approx(0.8, abs=0.02)
    assert turned.arm.positions(turned.world.data)[5] == pytest.approx(0.2, abs=0.02)


def test_it_catches_up_with_a_clock_that_stood_still_but_not_for_ever(clock):
    robot = active(clock, **QUIET)
    before = robot.world.data.time
    clock.sleep(3600.0)
    robot.get_observation()
    assert robot.world.data.time - before == pytest.approx(5.0, abs=0.01)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"world": "moon"}, "world 'moon' must be desk or robosuite/TASK"),
        ({"cameras": ("frnt",)}, "no camera 'frnt'; did you mean 'front'"),
    ],
)
def test_what_it_does_not_have(options, words):
    with pytest.raises(UserError, match=words):
        Twin(TwinConfig(**options))


def test_a_fault_of_no_joint_of_its(clock):
    with pytest.raises(UserError, match="no joint 'elbow'; did you mean 'elbow_flex'"):
        Twin(TwinConfig(faults=(Fault(FaultKind.STALLED, 0.0, "elbow"),)), clock)


def test_real_cameras_cannot_see_it(clock):
    with pytest.raises(UserError, match="camera 'front' cannot see what is simulated"):
        twin(TwinConfig(), {"front": object()}, clock)


def test_whoever_looks_its_cameras_draw_in_one_thread(clock, monkeypatch):
    """GL's contexts are a thread's own: a new one takes so long that the joints would be stale."""
    threads = set()

    def observe(self):
        threads.add(threading.get_ident())
        return {"front": np.zeros((96, 128, 3), np.uint8)}

    monkeypatch.setattr(Images, "observe", observe)
    robot = Twin(TwinConfig(cameras=("front",), **QUIET), clock)
    robot.connect()
    for _ in range(3):
        clock.sleep(0.1)
        looking = threading.Thread(target=robot.get_observation)
        looking.start()
        looking.join()
        assert robot.measured_s["front"] == clock()
    robot.disconnect()
    assert len(threads) == 1

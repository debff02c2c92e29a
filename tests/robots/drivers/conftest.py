"""Arms of emulated servos on a clock that is turned on by hand."""

import pytest

from robots import calibration
from robots.clocks import SimulatedClock
from robots.drivers.arm_kind import ServoArmConfig, nominal
from robots.drivers.dynamixel import ARMS
from robots.drivers.servo_arm import ServoArm
from robots.drivers.so101 import SO101
from robots.emulators.line import Line

KINDS = {"so101": SO101, "koch": ARMS["koch"], "viperx": ARMS["viperx"]}
ANSWER_S = 0.5  # a busy computer takes its time; what is lost costs as much


@pytest.fixture(params=["so101", "koch"])
def kind(request):
    """Each maker's kind of arm, unless a test names another."""
    return KINDS[request.param]


@pytest.fixture
def clock():
    return SimulatedClock()


@pytest.fixture
def line(kind, clock):
    """Give the line of an arm as in its drawings."""
    with Line(kind.emulate(nominal(kind), clock)) as line:
        yield line


@pytest.fixture
def make_arm(kind, line, clock, tmp_path):
    """Give what makes the arm at the end of the line, which is calibrated as in its drawings."""
    arms = []

    def make(**options):
        path = tmp_path / "arm.json"
        if options.pop("calibrated", True):
            calibration.write(path, nominal(kind))
        person = {name: options.pop(name) for name in ("ask", "pressed") if name in options}
        values = {"port": line.path, "calibration": str(path), "timeout_s": ANSWER_S} | options
        arms.append(ServoArm(kind, ServoArmConfig(**values), clock=clock, **person))
        return arms[-1]

    yield make
    for arm in arms:
        arm.disconnect()


@pytest.fixture
def arm(make_arm):
    """Give the arm, connected and holding."""
    arm = make_arm()
    arm.connect()
    arm.activate()
    return arm

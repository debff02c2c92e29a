"""The shared suite on arms of serial servos: their makers' packages ask emulated ones."""

import pytest

from robots.clocks import SimulatedClock
from robots.conformance import MOVING, READING, check
from robots.registry import make_robot

ARMS = {
    "so101": ("so101", {}),
    "koch": ("dynamixel", {"arm": "koch"}),
    "koch_leader": ("dynamixel", {"arm": "koch_leader"}),
    "viperx": ("dynamixel", {"arm": "viperx"}),
}


@pytest.mark.parametrize("name", ARMS)
def test_it_keeps_the_contract(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # there is no calibration file here
    clock = SimulatedClock()
    kind, options = ARMS[name]
    robot = make_robot(kind, {"port": "emulated", **options}, clock=clock)
    results = list(check(robot, clock, motion=True))
    assert [(r.check, r.words) for r in results if not r.passed] == []
    assert len(results) == len(READING) + len(MOVING)

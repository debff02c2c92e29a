"""The driver that docs/robots.md shows, as it stands there, on an arm that speaks as it expects."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest

from robolearn.__main__ import main
from robots.base import BusError, LifeCycle, LostError
from robots.clocks import SimulatedClock
from robots.conformance import MOVING, READING, check
from robots.emulators.faults import Faults
from robots.emulators.line import Line
from robots.registry import make_robot

DOCS = (Path(__file__).parents[2] / "docs" / "robots.md").read_text()
SPEED = 2.0


class TextArm:
    """A Station: two motors that are asked in lines of text, and go to their goals."""

    def __init__(self, clock):
        self._clock, self._now_s, self._heard = clock, clock(), b""
        self.positions = np.array([0.2, 0.5])
        self.goals = self.positions.copy()
        self.torque = False

    def hear(self, data, baud_rate):
        *lines, self._heard = (self._heard + data).split(b"\n")
        return [self._answer(line.decode().split()) for line in lines]

    def gap(self):
        """Half a line is waited for."""

    def _answer(self, words):
        passed_s, self._now_s = self._clock() - self._now_s, self._clock()
        if self.torque:
            most = SPEED * passed_s
            self.positions += np.clip(self.goals - self.positions, -most, most)
        if words[0] == "torque":
            self.torque = words[1] == "1"
        if words[0] == "goal":
            self.goals = np.array(words[1:], float)
        answer = self.goals if words[0] == "goal" else self.positions
        return f"{answer[0]:.4f} {answer[1]:.4f}\n".encode()


@pytest.fixture
def lab(tmp_path, monkeypatch):
    """A folder with the documented file; the current one."""
    section = DOCS.partition("## A driver of your own")[2].partition("\n## ")[0]
    (text,) = re.findall(r"^```python\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    (tmp_path / "my_lab").mkdir()
    (tmp_path / "my_lab" / "arm.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    for name in [name for name in sys.modules if name.partition(".")[0] == "my_lab"]:
        monkeypatch.delitem(sys.modules, name)
    yield "my_lab.arm:Arm"
    for name in [name for name in sys.modules if name.partition(".")[0] == "my_lab"]:
        del sys.modules[name]


@pytest.fixture
def clock():
    return SimulatedClock()


def test_it_keeps_the_contract(lab, clock):
    with Line(TextArm(clock)) as line:
        robot = make_robot(lab, {"port": line.path}, clock=clock)
        results = list(check(robot, clock, motion=True))
    assert [result for result in results if not result.passed] == []
    assert len(results) == len(READING) + len(MOVING)


def test_it_is_lost_when_its_plug_is_pulled_and_noise_may_pass(lab, clock):
    with Line(TextArm(clock), Faults(lost=1.0)) as silent:
        with pytest.raises(BusError, match="no answer to 'position'"):
            make_robot(lab, {"port": silent.path}).connect()
    with Line(TextArm(clock)) as line:
        robot = make_robot(lab, {"port": line.path})
        robot.connect()
        line.unplug()
        with pytest.raises(LostError, match="plugged in"):
            robot.get_observation()
        assert robot.life_cycle is LifeCycle.ERROR
        robot.disconnect()


def test_the_command_line_holds_it_against_the_contract(lab, clock, capsys):
    with Line(TextArm(clock)) as line:
        assert main(["robots", "check", lab, f"port={line.path}", "--read-only"]) == 0
    assert capsys.readouterr().out.count("ok  ") == len(READING)
    assert main(["robots", "check", lab, "port=nowhere"]) == 2
    assert "nowhere: cannot be opened" in capsys.readouterr().err
    assert main(["robots", "check", lab, "prot=nowhere"]) == 2
    assert "unknown option 'prot'; did you mean 'port'?" in capsys.readouterr().err

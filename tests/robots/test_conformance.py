"""Every driver keeps the contract, and the suite notices one that does not."""

import re

import numpy as np
import pytest

from robolearn.__main__ import main
from robots import command, registry
from robots.base import LifeCycle
from robots.clocks import SimulatedClock
from robots.conformance import MOVING, READING, check
from robots.registry import make_robot
from robots.twin import Twin, TwinConfig

CASES = [
    ("twin", {}),
    ("twin", {"failing": 0.02, "noise": 1e-3}),
    ("twin", {"latency_s": 0.05}),
    ("two_twins", {"left": {"failing": 0.0}, "right": {"failing": 0.0}}),
]


@pytest.mark.parametrize(("name", "options"), CASES)
def test_our_drivers_keep_the_contract(name, options):
    clock = SimulatedClock()
    results = list(check(make_robot(name, options, clock=clock), clock, motion=True))
    assert [result for result in results if not result.passed] == []
    assert len(results) == len(READING) + len(MOVING)


class ForgetsFeatures(Twin):
    """Says another order."""

    @property
    def action_features(self):
        return dict(reversed(super().action_features.items()))


class SaysMore(Twin):
    """Gives what it has not said."""

    def get_observation(self):
        return super().get_observation() | {"tail.pos": 0.0}


class Sleeps(Twin):
    """Gives old times."""

    def get_observation(self):
        values = super().get_observation()
        self._measured_s = {"joints": self.clock() - 1.0}
        return values


class Jumps(Twin):
    """Moves when it is activated."""

    def _enable(self):
        super()._enable()
        self._target = self._target + 0.2


class Lies(Twin):
    """Says that it sent something else."""

    def _write(self, positions):
        return super()._write(positions) + 0.5


class GoesOn(Twin):
    """Does not stop."""

    def _halt(self):
        self.advance()
        self._goes_on = self.life_cycle is LifeCycle.ACTIVE

    def _step(self):
        if getattr(self, "_goes_on", False):
            self._target = self._target + [1e-3, 0, 0, 0, 0, 0]
        super()._step()


class TakesAnything(Twin):
    """Refuses nothing."""

    def send_action(self, action):
        names = [f"{joint.name}.pos" for joint in self.joints]
        return super().send_action({name: action.get(name, 0.0) for name in names})


class WrongWay(Twin):
    """Turns the shoulder the other way."""

    def _as_commanded(self, positions):
        return positions * [-1, 1, 1, 1, 1, 1]


class Trembles(Twin):
    """Reads something else every time."""

    def _read(self):
        read = super()._read()
        return read | {"pos": read["pos"] + self._rng.normal(0, 0.1, len(self.joints))}


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (ForgetsFeatures, "action_features must be"),
        (SaysMore, "it gives .*tail.pos"),
        (Sleeps, "measured_s"),
        (Trembles, "varies by"),
        (Jumps, "moved by .* after activate"),
        (TakesAnything, "an empty action is not refused"),
        (Lies, "gives something else"),
        (WrongWay, "shoulder_pan was sent|stopped"),
        (GoesOn, r"after stop\(\)"),
    ],
)
def test_a_driver_that_does_not_is_found_out(kind, words):
    clock = SimulatedClock()
    quiet = TwinConfig(noise=0.0, failing=0.0)
    *_, last = check(kind(quiet, clock), clock, motion=True)
    assert not last.passed
    assert re.search(words, last.words), last.words


class Noting(TakesAnything):
    """Notes what reaches its motors."""

    def _write(self, positions):
        self.__dict__.setdefault("sent", []).append(positions)
        return super()._write(positions)


def test_what_a_driver_should_refuse_does_not_reach_its_motors():
    clock = SimulatedClock()
    arm = Noting(TwinConfig(noise=0.0, failing=0.0), clock)
    *_, last = check(arm, clock, motion=True)
    assert "not refused" in last.words and not hasattr(arm, "sent")


class Foreign:
    """A robot that is no Driver; it would take anything while it is active."""

    def __init__(self, clock):
        self._arm, self.sent = Twin(TwinConfig(noise=0.0, failing=0.0), clock), []

    def __getattr__(self, name):
        return getattr(self._arm, name)

    def send_action(self, action):
        if self._arm.life_cycle is LifeCycle.ACTIVE:
            self.sent.append(action)
        return self._arm.send_action(action)


def test_a_robot_that_cannot_be_held_back_is_sent_no_nonsense_while_it_is_active():
    clock = SimulatedClock()
    arm = Foreign(clock)
    results = list(check(arm, clock, motion=True))
    assert [result for result in results if not result.passed] == []
    assert any("cannot be done safely" in result.words for result in results)
    assert all(set(sent) == set(arm.action_features) for sent in arm.sent)
    assert np.isfinite([list(sent.values()) for sent in arm.sent]).all()


def test_without_motion_nothing_is_activated(monkeypatch):
    monkeypatch.setattr(Twin, "_enable", lambda self: pytest.fail("activated"))
    clock = SimulatedClock()
    results = list(check(Twin(TwinConfig(), clock), clock, motion=False))
    assert len(results) == len(READING) and all(result.passed for result in results)


def test_the_command_reads_and_moves_only_if_it_may(capsys):
    assert command.main(["check", "twin", "--read-only"]) == 0
    reading = capsys.readouterr().out
    assert "with motion" not in reading and reading.count("ok  ") == len(READING)
    assert command.main(["check", "twin"]) == 0  # nobody is at the terminal
    assert "nobody is at a terminal" in capsys.readouterr().out
    assert command.main(["check", "twin", "--motion", "failing=0.0"]) == 0
    assert "alone" in capsys.readouterr().out


def test_ports_are_listed_once_with_their_names(tmp_path):
    (tmp_path / "by-id").mkdir()
    for port in ("ttyACM0", "ttyACM1"):
        (tmp_path / port).touch()
    (tmp_path / "by-id" / "usb-Arm").symlink_to(tmp_path / "ttyACM1")
    found = command.ports((f"{tmp_path}/by-id/*", f"{tmp_path}/ttyACM*"))
    assert found == [(f"{tmp_path}/ttyACM0", ""), (f"{tmp_path}/ttyACM1", "usb-Arm")]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("so101", "port=/dev/nothing"), "/dev/nothing: there is no such serial port"),
        (("twin", "faults=[{kind: unplugged}]"), "twin: nothing answers"),
        (("twin", "nois=1"), "robot 'twin': unknown option 'nois'; did you mean 'noise'?"),
        ((f"{__name__}:Arm", "prot=a"), "unknown option 'prot'; did you mean 'port'?"),
        ((f"{__name__}:Arm", "port=a", "clck=1"), "unknown option 'clck'; known: "),
        ((f"{__name__}:Arm",), "missing a required argument: 'port'"),
        ((f"{__name__}:make_arm", "prt=a"), "unknown option 'prt'; did you mean 'port'?"),
    ],
)
def test_what_is_given_wrongly_is_one_line_and_no_fault_of_the_driver(capsys, words, said):
    assert main(["robots", "check", *words]) == 2
    out, err = capsys.readouterr()
    assert said in err and err.count("\n") == 1 and "FAIL" not in out


class Arm(Twin):
    """Passes on what it does not know itself."""

    def __init__(self, port, **rest):
        super().__init__(TwinConfig(failing=0.0), **rest)


def make_arm(port):
    return Arm(port)


def test_one_that_takes_anything_is_given_anything():
    def free(**anything):
        return Arm(**anything)

    assert registry._taken(free) == ([], True)
    assert registry._taken(Arm)[1] is False and "clock" in registry._taken(Arm)[0]
    clock = SimulatedClock()
    assert make_robot(f"{__name__}:Arm", {"port": "a"}, clock=clock).clock is clock


def test_the_list_says_what_each_robot_is_and_needs(capsys):
    assert command.main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].startswith("A robot of your own")
    assert [line.split()[0] for line in lines[:-2]] == sorted(registry.ROBOTS)
    assert all("  needs " in line for line in lines[:-2])


def test_where_nothing_is_to_be_calibrated_that_is_said(capsys):
    for name in ("twin", "two_twins"):
        assert command.main(["calibrate", name]) == 0
        assert capsys.readouterr().out == f"{name}: there is nothing to calibrate\n"
    assert make_robot("so101", {"port": "emulated"}).calibrates

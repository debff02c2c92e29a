"""Two hundred of the faults of ``benchmarks/faults.py``, and that it would see one that got by."""

import dataclasses
import json
import sys

import faults
import numpy as np
import pytest

from demos.data.dataset import Dataset
from robots import safety

CASES, PARTS = 200, 10
SIMULATED = [kind for kind in faults.KINDS if kind not in faults.IN_REAL_TIME]


@pytest.mark.parametrize("part", range(PARTS))
def test_no_fault_leads_out_of_the_limits_or_loses_an_episode(part):
    for number in range(part, CASES, PARTS):
        case = faults.case(number, SIMULATED[number % len(SIMULATED)])
        late = (
            case.late and faults.POWER not in case.said
        )  # else the guard has seen it, and said so
        wrong = case.outside or late or case.unsaid or case.lost
        assert not wrong, (number, case)


@pytest.mark.parametrize("kind", ["wild", "servo blocked"])
def test_a_filter_that_lets_all_pass_is_found_out(monkeypatch, kind):
    filtered = safety.safe_command

    def careless(limits, commanded, target, seen=None):
        return dataclasses.replace(filtered(limits, commanded, target, seen), position=target)

    monkeypatch.setattr(safety, "safe_command", careless)
    assert faults.case(0, kind).outside


def test_a_file_that_is_not_what_the_policy_noted_is_found_out(monkeypatch):
    append = Dataset.append

    def forgetful(self, episode):
        episode.actions[3] += 0.01
        return append(self, episode)

    monkeypatch.setattr(Dataset, "append", forgetful)
    assert faults.case(0, "crashed").lost


def test_an_arm_that_hears_nothing_is_to_lose_its_power():
    case = faults.case(0, "deaf")
    assert case.noticed and not case.late and "cut its power" in case.said


def test_a_camera_that_freezes_stops_the_arm():
    assert "front: nothing new" in faults.case(0, "frozen").said


def test_what_noise_kept_back_for_long_begins_from_rest():
    assert not faults.case(178, "noisy").outside


def test_counts():
    cases = [
        faults.Case("nan", False, True, False, False, True),
        faults.Case("nan", True, False, False, False, True),
        faults.Case("noisy", False, False, False, False, False),
    ]
    found = faults.measured(map(dataclasses.asdict, cases))
    assert (found["injected"], found["outside_limits"], found["late_stops"]) == (3, 1, 1)
    assert found["by_kind"] == {"nan": 2, "noisy": 1} and found["unnoticed"] == {"noisy": 1}
    assert found["wrong_by_kind"] == {"outside_limits": {"nan": 1}, "late_stops": {"nan": 1}}
    assert found["lost_episodes"] == 0


def test_it_goes_on_where_it_was_stopped(tmp_path, monkeypatch, capsys):
    ran = []

    def case(number):
        ran.append(number)
        return faults.Case(faults.KINDS[number], False, False, False, False, True)

    rows, results = tmp_path / "rows.jsonl", tmp_path / "faults.json"

    def run(count):
        given = ["faults.py", "--count", str(count), "--rows", str(rows), "--results", str(results)]
        monkeypatch.setattr(sys, "argv", given)
        monkeypatch.setattr(faults, "case", case)
        faults.main()
        return json.loads(results.read_text())["injected"]

    assert run(2) == 2
    with rows.open("a") as file:
        file.write('{"number": 2, "ki\n')  # it was killed while it wrote
    assert run(4) == 4 and ran == [0, 1, 2, 3]
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line)["number"] for line in lines] == ran


def test_what_leaves_a_limit_is_seen():
    guard = faults.RobotEnv(faults.TwinArm(faults.TwinConfig(), faults.Sampling())).guard
    start = guard.limits.motion[:2].mean(axis=0)
    jump = [(0.00, start), (0.01, start + 0.1)]
    assert not faults.is_outside(guard, [(0.0, start)], jump[:1], by_times=True)
    assert faults.is_outside(guard, [(0.0, start)], jump, by_times=True)
    again = [jump[0], (0.3, start + 0.1)]
    assert faults.is_outside(guard, [(0.0, start)], again, by_times=True)
    starts = [(0.0, start), (0.2, start + 0.1)]
    assert not faults.is_outside(guard, starts, again, by_times=True)


@pytest.mark.parametrize("by_times", [True, False])
def test_motion_that_goes_on_where_a_command_is_missing_is_seen(by_times):
    guard = faults.RobotEnv(faults.TwinArm(faults.TwinConfig(), faults.Sampling())).guard
    start = guard.limits.motion[:2].mean(axis=0)
    commanded, sent, left_out = safety.begin(guard.limits, start), [], None
    for k in range(60):
        safe = safety.safe_command(guard.limits, commanded, start + 0.5)
        commanded = safe.after
        sent.append((0.01 * (k + 1), safe.position))
        if k == 30:
            left_out = safety.at_rest(commanded)
    assert not faults.is_outside(guard, [(0.0, start)], sent, by_times)
    assert faults.is_outside(guard, [(0.0, start)], sent[:31] + sent[32:], True)
    fresh = safety.safe_command(guard.limits, left_out, start + 0.5).position
    rested = [*sent[:31], (sent[32][0], fresh)]
    assert not faults.is_outside(guard, [(0.0, start)], rested, by_times)


def test_what_is_late_by_the_machines_time_may_have_gone_on():
    guard = faults.RobotEnv(faults.TwinArm(faults.TwinConfig(), faults.Sampling())).guard
    start = guard.limits.motion[:2].mean(axis=0)
    commanded, sent = safety.begin(guard.limits, start), []
    for k in range(120):  # it arrives, slower and slower
        commanded = safety.safe_command(guard.limits, commanded, start + 0.02).after
        sent.append((0.01 * (k + 1), commanded.position))
    for late in range(1, len(sent), 5):
        delayed = [(at_s + 0.007 * (k >= late), at) for k, (at_s, at) in enumerate(sent)]
        assert not faults.is_outside(guard, [(0.0, start)], delayed, by_times=False)
        jump = [*delayed, (delayed[-1][0] + 0.01, start - 0.02)]
        assert faults.is_outside(guard, [(0.0, start)], jump, by_times=False)


def test_a_gripper_that_opens_does_not_move_the_arm():
    joints = faults.TwinArm(faults.TwinConfig(), faults.Sampling()).joints
    still, opening, lifting = np.zeros((3, 61, len(joints)))
    grippers = [joint.kind is faults.Kind.GRIPPER for joint in joints]
    opening[:, grippers] = np.linspace(0, 0.1, 61)[:, None]
    lifting[:, 0] = np.linspace(0, 0.5, 61)
    times = 0.01 * np.arange(61)

    def is_moving(positions):
        return faults.is_moving(joints, list(zip(times, positions, strict=True)), 0.1)

    assert not is_moving(still) and not is_moving(opening)
    assert is_moving(lifting) and is_moving(opening[::-1])
    assert faults.is_moving(joints, [], 0.1)

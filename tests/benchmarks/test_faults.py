"""Two hundred of the faults of ``benchmarks/faults.py``, and that it would see one that got by."""

import faults
import numpy as np
import pytest

from robots.guard import Guard

CASES, PARTS = 200, 10


@pytest.mark.parametrize("part", range(PARTS))
def test_no_fault_leads_out_of_the_limits_or_loses_an_episode(part):
    for number in range(part, CASES, PARTS):
        case = faults.case(number)
        wrong = case.outside or case.late or case.unsaid or case.lost
        assert not wrong, (number, case)


def test_a_guard_that_lets_all_pass_is_found_out(monkeypatch):
    send = Guard._send

    def careless(self, now_s, asked, safe, words):
        send(self, now_s, asked, safe, words)
        if asked is not None:
            self.robot.send_action(
                {f"{j.name}.pos": float(v) for j, v in zip(self.joints, asked, strict=True)}
            )

    monkeypatch.setattr(Guard, "_send", careless)
    wild = faults.KINDS.index("wild")
    assert faults.case(wild).outside


def test_counts():
    cases = [
        faults.Case("nan", False, True, False, False, True),
        faults.Case("nan", True, False, False, False, True),
        faults.Case("noisy", False, False, False, False, False),
    ]
    found = faults.measured(cases)
    assert (found["injected"], found["outside_limits"], found["late_stops"]) == (3, 1, 1)
    assert found["by_kind"] == {"nan": 2, "noisy": 1} and found["unnoticed"] == {"noisy": 1}
    assert np.isfinite(found["lost_episodes"])

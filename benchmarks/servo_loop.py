"""What the safety filter costs, and how well the servo loop of a process of its own keeps its rate.

    python benchmarks/servo_loop.py [SECONDS]

Writes ``results/servo_loop.json``: ``filter_us`` (median, 95th and 99th percentile of the time that
the processor spends on a call of ``safe_command``, with box and collisions, while an arm is driven
about), and ``servo`` (100 Hz on the twin, with a policy in another process at 20 Hz that computes
for 10 ms: ``ticks``, ``missed``, ``missed_share``; a tick is missed that begins a whole period
late), with ``load``, the machine's load average before and after: deadlines mean little on a busy
machine.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import numpy as np
from keep import about

import sim
from robots.arm_model import desk_arm
from robots.geometry import Geometry
from robots.safety import SafetyConfig, begin, limits_of, safe_command

RESULTS = Path(__file__).parent / "results" / "servo_loop.json"
BOX = ((0.05, 0.4), (-0.3, 0.3), (0.03, 0.4))
CALLS = 3000
THINKS_S = 0.01


def filter_us() -> dict[str, float]:
    """Measure calls of the filter while targets jump about."""
    arm, config = desk_arm(), SafetyConfig(box_m=BOX)
    limits = limits_of(arm.joints, config, 0.01, Geometry(arm, config.box_m))
    rng, state, target = np.random.default_rng(0), begin(limits, arm.home), arm.home
    safe_command(limits, state, target + 0.1)  # compiles
    took = []
    for call in range(CALLS):
        if call % 50 == 0:
            target = rng.uniform(limits.motion[0] - 0.3, limits.motion[1] + 0.3)
        began = time.process_time_ns()
        safe = safe_command(limits, state, target, state.position)
        took.append((time.process_time_ns() - began) / 1e3)
        state = safe.after
    middle, high, most = np.percentile(took, [50, 95, 99])
    return {"median": middle, "p95": high, "p99": most}


def servo(seconds: float) -> dict[str, float]:
    """Drive the twin through a servo process for so long."""
    env = sim.make("robot/twin", own_process=True, robot={"failing": 0.0}, horizon=10**6)
    env.reset(seed=0)
    rng, ends_s = np.random.default_rng(0), time.monotonic() + seconds
    ticks, missed = env.ticks, env.missed
    while time.monotonic() < ends_s:
        thinks_s = time.monotonic() + THINKS_S
        while time.monotonic() < thinks_s:
            rng.normal(size=100)
        _, _, _, truncated, info = env.step(rng.uniform(-1, 1, 6))
        if truncated:
            raise SystemExit(info["error"])
    ticks, missed = env.ticks - ticks, env.missed - missed
    env.close()
    return {"seconds": seconds, "ticks": ticks, "missed": missed, "missed_share": missed / ticks}


def main(seconds: float = 60.0) -> None:
    """Measure both and write them down."""
    before = os.getloadavg()[0]
    found = about(["python", *sys.argv]) | {"filter_us": filter_us(), "servo": servo(seconds)}
    found["load"] = [before, os.getloadavg()[0]]
    RESULTS.write_text(json.dumps(found, indent=2) + "\n")
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main(*map(float, sys.argv[1:]))

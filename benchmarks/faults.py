"""Faults injected into a twin while a policy drives it: what was sent, and how soon it was still.

    python benchmarks/faults.py [COUNT] [FIRST]

Each case is decided by its number: who drives, what goes wrong, and when. The arm is driven through
``RobotEnv``, as by ``deploy``; where the policy is silent the guard is ticked here, as only a servo
loop of its own does (``own_process``). Writes ``results/faults.json``:

- ``injected``: cases; ``by_kind``: how many of each fault;
- ``outside_limits``: cases in which a command left the limits of position, velocity, acceleration
  or jerk, by differences of what the driver was sent, over a period or what passed if that is less;
- ``late_stops``: cases in which the arm, by the simulator's own positions, was not still 200 ms
  after the stop was called for: by a fault that the guard noticed, by somebody, or by silence of
  ``hold_s``;
- ``unsaid``: cases in which the arm was stopped, or a command refused, without a reason;
- ``lost_episodes``: cases in which the steps up to the end did not make a whole episode;
- ``unnoticed``: by kind, cases in which the fault was never noticed (a joint that stalls while
  nobody moves it, say).
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from robolearn.errors import UserError
from robolearn.loops.rollout import Recording
from robots.clocks import SimulatedClock
from robots.env import RobotConfig, RobotEnv
from robots.guard import GuardConfig
from robots.twin import Fault, FaultKind, Twin, TwinConfig

RESULTS = Path(__file__).parent / "results" / "faults.json"
STEPS = 30  # of 50 ms
STILL_S = 0.2
STILL = 5e-3  # share of a joint's range that it may move in 100 ms, once it is still
OF_THE_ARM = (
    FaultKind.UNPLUGGED, FaultKind.STALLED, FaultKind.NOISY, FaultKind.MIRRORED, FaultKind.WRAPPED,
)  # fmt: skip
OF_THE_POLICY = ("nan", "nothing", "wild", "late", "crashed", "emergency stop", "old times")
KINDS = (*(str(kind) for kind in OF_THE_ARM), *OF_THE_POLICY)
ROUNDING = 1e-9


@dataclass(frozen=True)
class Case:
    """What came of one injected fault."""

    kind: str
    outside: bool
    late: bool
    unsaid: bool
    lost: bool
    noticed: bool


class Noted(Twin):
    """A twin that notes what it is sent, and where it really is at every step of the physics."""

    def __init__(self, config: TwinConfig, clock: SimulatedClock) -> None:
        self.sent: list[tuple[float, np.ndarray]] = []
        self.been: list[tuple[float, np.ndarray]] = []
        self.old_times = False
        super().__init__(config, clock)

    @property
    def measured_s(self) -> dict[str, float]:
        """Old ones, once that is the fault."""
        times = super().measured_s
        return {name: at_s - 1.0 for name, at_s in times.items()} if self.old_times else times

    def _write(self, positions: np.ndarray) -> np.ndarray:
        sent = super()._write(positions)
        self.sent.append((self.clock(), positions.copy()))
        return sent

    def _step(self) -> None:
        super()._step()
        self.been.append((self._now_s, self.arm.positions(self.world.data)))


def case(number: int) -> Case:
    """Run one case to its end."""
    rng = np.random.default_rng(number)
    kind = KINDS[number % len(KINDS)]
    at_step = int(rng.integers(4, STEPS - 8))
    clock = SimulatedClock()
    arm = Noted(TwinConfig(seed=number, failing=0.002), clock)
    config = RobotConfig(guard=GuardConfig(ramp_s=float(rng.choice([0.0, 1.0]))))
    env = RobotEnv(arm, config, clock=clock)
    observation, _ = env.reset(seed=number)
    arm.sent.clear()
    start = env.guard.commanded
    recording = Recording(STEPS, 0, [observation], [env.get_state()])
    said, called_s = "", None
    drift = rng.uniform(-1, 1, 6)
    for step in range(STEPS):
        action = np.clip(drift + 0.3 * rng.normal(size=6), -1, 1)
        if step == at_step:
            _begin(kind, arm, env, rng)
        if step >= at_step and kind in OF_THE_POLICY:
            action, called_s = _disturb(kind, action, env, called_s)
        try:
            if action is None:  # nobody calls: what a servo loop of its own does then
                _silence(env)
                continue
            result = env.step(action)
        except UserError as error:
            said = said or str(error)
            called_s = clock() if called_s is None else called_s
            if env.guard.is_stopped:
                break
            _silence(env)
            continue
        recording.add(np.clip(action, -1, 1), *result)
        recording.states.append(env.get_state())
        if result[3]:
            said, called_s = result[4].get("error", ""), called_s or clock()
            break
    return _judged(kind, env, arm, start, recording, said, called_s)


def _begin(kind: str, arm: Noted, env: RobotEnv, rng: np.random.Generator) -> None:
    """Let the fault begin."""
    joint = arm.joints[int(rng.integers(5))].name
    if kind in OF_THE_ARM:
        of_one = kind in (FaultKind.STALLED, FaultKind.MIRRORED, FaultKind.WRAPPED)
        later_s = float(rng.uniform(0, 0.05))
        arm.faults.append(Fault(FaultKind(kind), arm.clock() + later_s, joint if of_one else ""))
    elif kind == "emergency stop":
        env.guard.emergency_stop("the operator's button")
    elif kind == "old times":
        arm.old_times = True


def _disturb(
    kind: str, action: np.ndarray, env: RobotEnv, called_s: float | None
) -> tuple[np.ndarray | None, float | None]:
    """Give the action of a policy with that fault, and since when the arm should come to rest."""
    now_s = env.clock()
    if kind == "nan":
        return np.full(6, np.nan), called_s or now_s
    if kind == "nothing":
        return np.zeros(0), called_s or now_s
    if kind == "wild":
        return np.sign(np.sin(40 * now_s + np.arange(6))) * 1.0, called_s
    if kind in ("late", "crashed"):
        return None, called_s or now_s + env.guard.config.hold_s
    if kind == "emergency stop":
        return action, called_s or now_s
    return action, called_s


def _silence(env: RobotEnv) -> None:
    """Let a control period go by in which only the servo loop runs."""
    for _ in range(env.config.ticks):
        env.clock.sleep(env.guard.period_s)
        env.guard.get_observation()
        env.guard.tick()


def _judged(
    kind: str,
    env: RobotEnv,
    arm: Noted,
    start: np.ndarray,
    recording: Recording,
    said: str,
    called_s: float | None,
) -> Case:
    late = False
    if called_s is not None:
        arm.clock.sleep(max(0.0, called_s + STILL_S + 0.3 - arm.clock()))
        arm.advance()
        span = np.array([joint.upper - joint.lower for joint in arm.joints])
        after = [at for at_s, at in arm.been if called_s + STILL_S <= at_s <= called_s + 0.3]
        late = bool((np.ptp(after, axis=0) / span > STILL).any())
    stopped = env.guard.is_stopped
    words = said or " ".join(env.guard.record.words)
    whole = not recording.steps or len(recording.episode("faults", 0).actions) == len(
        recording.steps
    )
    return Case(
        kind=kind,
        outside=_outside(env, start, arm.sent),
        late=late,
        unsaid=(stopped or called_s is not None) and not words,
        lost=not whole,
        noticed=stopped or called_s is not None or kind == "wild",
    )


def _outside(env: RobotEnv, start: np.ndarray, sent: list[tuple[float, np.ndarray]]) -> bool:
    """Say whether commands left a limit; those closer than a period are judged by their times.

    A command that noise kept back is a hold of the arm, and not judged; after ``hold_s`` it rests.
    """
    before_s = -np.inf
    pieces, passed_s = [[start] * 3], [[env.guard.period_s] * 2]
    for at_s, positions in sent:
        if np.isfinite(before_s) and at_s - before_s > env.guard.config.hold_s:
            pieces.append([pieces[-1][-1]] * 3)
            passed_s.append([env.guard.period_s] * 2)
        pieces[-1].append(positions)
        passed_s[-1].append(min(at_s - before_s, env.guard.period_s))
        before_s = at_s
    both = zip(pieces, passed_s, strict=True)
    return any(_is_outside(env, np.array(one), np.array(of)[:, None]) for one, of in both)


def _is_outside(env: RobotEnv, found: np.ndarray, passed_s: np.ndarray) -> bool:
    """Say whether commands [T, J], so long after each other [T - 1, 1], left a limit."""
    h, limits = env.guard.period_s, env.guard.limits.motion
    speeds = np.diff(found, axis=0) / passed_s
    accelerations = np.diff(speeds, axis=0) / passed_s[1:]
    jerks = np.diff(accelerations, axis=0) / passed_s[2:]
    return bool(
        (found < limits[0] - ROUNDING).any()
        or (found > limits[1] + ROUNDING).any()
        or (np.abs(speeds) > limits[2] + ROUNDING / h).any()
        or (np.abs(accelerations) > limits[3] + ROUNDING / h**2).any()
        or (np.abs(jerks) > limits[4] + ROUNDING / h**3).any()
    )


def measured(cases: list[Case]) -> dict:
    """Count."""
    return {
        "injected": len(cases),
        "outside_limits": sum(case.outside for case in cases),
        "late_stops": sum(case.late for case in cases),
        "unsaid": sum(case.unsaid for case in cases),
        "lost_episodes": sum(case.lost for case in cases),
        "by_kind": dict(sorted(Counter(case.kind for case in cases).items())),
        "unnoticed": dict(sorted(Counter(c.kind for c in cases if not c.noticed).items())),
    }


def main(count: int = 10_000, first: int = 0) -> None:
    """Run the cases and write what came of them, every few hundred."""
    cases, began_s = [], time.monotonic()
    for number in range(first, first + count):
        cases.append(case(number))
        if (number + 1) % 200 == 0 or number + 1 == first + count:
            found = measured(cases)
            RESULTS.write_text(json.dumps(found, indent=2) + "\n")
            print(f"{time.monotonic() - began_s:.0f} s", json.dumps(found), flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))

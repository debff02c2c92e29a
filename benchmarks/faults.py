"""Faults injected into arms that a policy drives: what was sent, and how soon they were still.

    python benchmarks/faults.py [--count 10000] [--first 0] [--kinds KIND ...] [--rows FILE]

Prints a JSON line for each case and appends it to FILE (``runs/faults.jsonl``); cases that are in
it already are not run again, so that a run that was stopped goes on. ``results/faults.json`` counts
all that FILE holds. Each case is decided by its number: what goes wrong, with which arm, and when.

A policy drives through what ``deploy`` is made of, into a dataset on disk: ``RobotEnv``, its guard,
a session. The arm is a simulated one, an arm of emulated servos on its bus, or a simulated one in a
process of its own (``benchmarks/fault_killed.py``). While the policy is silent, what acts is what
acts in a user's default: nothing is called here in its place.

- ``injected``: cases; ``by_kind``: how many of each fault;
- ``outside_limits``: cases in which a command left the limits of position, velocity, acceleration
  or jerk, by differences of what the driver was sent, over a period or, in simulated time, what
  passed if that is less by more than the 5% that a guard allows itself;
- ``late_stops``: cases in which the arm, by its true positions, was not still 200 ms after the stop
  was called for: by a fault that the guard noticed, by somebody, by a policy that failed, by
  silence of ``hold_s``, or by a kill;
- ``unsaid``: cases in which the arm was stopped, or a policy failed, without a reason;
- ``lost_episodes``: cases in which the file on disk has not, step by step, what the policy itself
  noted to have seen and given;
- ``unnoticed``: by kind, cases in which the fault was never noticed (a joint that stalls while
  nobody moves it, say).

No software stops an arm that hears nothing any more ("deaf"): there a stop is not late if the
reason says to cut its power.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from fault_arms import Arm, BusArm, Noted, Sampling, TwinArm
from keep import about, commit

from demos.data.dataset import Dataset
from demos.deploy.answers import Answers
from demos.deploy.operator import Watched
from demos.devices.others import Scripted
from demos.session.clock import RealClock as SessionClock
from demos.session.clock import SimulatedClock as SimulatedSessionClock
from demos.session.session import Session
from demos.session.teaching import SessionConfig
from robolearn.errors import DataError, UserError
from robots.base import Kind
from robots.clocks import RealClock
from robots.env import RobotConfig, RobotEnv
from robots.guard import GuardConfig
from robots.twin import FaultKind, TwinConfig

RESULTS = Path(__file__).parent / "results" / "faults.json"
ROWS = Path("runs") / "faults.jsonl"
STEPS = 30  # of 50 ms
STILL_S, WINDOW_S = 0.2, 0.1
STILL = 5e-3  # share of a joint's range that it may move in the window, once it is still
HUNG_S = 2.5  # longer than the guard's ``stop_s``
ROUNDING = 1e-9
CLOSEST = 0.9499  # periods between two commands, of which the first was late
MISSING = 1.9999  # periods between two commands, of which one between them is missing
LATE = 1.5  # periods after which that may be so, by the machine's time
REST = 3  # commands alike that make an arm at rest
POWER = "cut its power"
OF_THE_ARM = (
    FaultKind.UNPLUGGED, FaultKind.STALLED, FaultKind.NOISY, FaultKind.MIRRORED, FaultKind.WRAPPED,
    FaultKind.FROZEN, FaultKind.DEAF,
)  # fmt: skip
OF_THE_BUS = ("bus unplugged", "servo drops out", "servo blocked", "bus noise")
FAILS = ("nan", "nothing", "crashed", "nan unchecked")
OF_THE_POLICY = (*FAILS, "wild", "late", "hung", "emergency stop", "old times")
IN_REAL_TIME = ("hung in real time", "killed")
KINDS = (*(str(kind) for kind in OF_THE_ARM), *OF_THE_BUS, *OF_THE_POLICY, *IN_REAL_TIME)


@dataclass(frozen=True)
class Case:
    """What came of one injected fault."""

    kind: str
    outside: bool
    late: bool
    unsaid: bool
    lost: bool
    noticed: bool
    said: str = ""


class Troubled:
    """A policy that acts at random, until something goes wrong with it or with the arm.

    It notes what it sees and gives, and since when the arm should come to rest.
    """

    def __init__(self, kind: str, arm: Arm, env: RobotEnv, rng: np.random.Generator) -> None:
        self._kind, self._arm, self._env, self._rng = kind, arm, env, rng
        self._at_step, self._drift = int(rng.integers(4, STEPS - 8)), rng.uniform(-1, 1, 6)
        self.seen: list[np.ndarray] = []
        self.given: list[np.ndarray] = []
        self.called_s: float | None = None
        self.began = False

    def reset(self, n: int) -> None:
        """Begin."""

    def act(self, observation: dict[str, np.ndarray], explore: bool = False) -> Any:
        """Give what this policy gives, [1, A] if all is well."""
        action = np.clip(self._drift + 0.3 * self._rng.normal(size=6), -1, 1)
        before, self.began = self.began, len(self.given) >= self._at_step
        if self.began:
            if not before:
                self._begin()
            if self._kind in FAILS:
                self.called_s = self._env.clock()
                return self._failed()
            if self._kind == "wild":
                action = np.sign(np.sin(40 * self._env.clock() + np.arange(6)))
        self.seen.append(observation["state"][0].copy())
        self.given.append(action.astype(np.float32))
        return action[None]

    def _begin(self) -> None:
        """Let it go wrong."""
        kind, env = self._kind, self._env
        if kind in OF_THE_ARM or kind in OF_THE_BUS or kind == "old times":
            self._arm.begin(kind, self._rng)
        elif kind == "emergency stop":
            self.called_s = env.clock()
            env.guard.emergency_stop("the operator's button")
        elif kind in ("late", "hung", "hung in real time"):
            self.called_s = env.clock() + env.guard.config.hold_s
            silent_s = self._rng.uniform(0.6, 1.5) if kind == "late" else HUNG_S
            goes_by(env, silent_s)

    def _failed(self) -> Any:
        if self._kind == "crashed":
            raise RuntimeError("a bug of the policy's")
        return None if self._kind == "nothing" else np.full((1, 6), np.nan)


def goes_by(env: RobotEnv, seconds: float) -> str:
    """Let time go by in which nobody calls; what acts by default while nobody calls, acts.

    Gives what it says, which in real time is logged.
    """
    if isinstance(env.clock, RealClock):
        env.clock.sleep(seconds)
        return ""
    words = ""
    watch = getattr(env.guard, "watch", None)  # a thread in real time, if there is one
    for _ in range(math.ceil(seconds / env.guard.period_s)):
        env.clock.sleep(env.guard.period_s)
        try:
            if watch is not None:
                watch()
        except UserError as error:  # it was stopped
            words, watch = str(error), None
    return words


def case(number: int, kind: str | None = None) -> Case:
    """Run one case to its end; of another kind than its number's, if one is given."""
    kind = kind or KINDS[number % len(KINDS)]
    rng = np.random.default_rng(number)
    if kind == "killed":
        from fault_killed import killed  # which imports this file

        return killed(rng, number)
    clock = RealClock() if kind in IN_REAL_TIME else Sampling()
    if kind in OF_THE_BUS:
        arm = BusArm(str(rng.choice(["feetech", "dynamixel"])), number, clock)
    else:
        arm = TwinArm(TwinConfig(seed=number, failing=0.002), clock)
    config = RobotConfig(guard=GuardConfig(ramp_s=float(rng.choice([0.0, 1.0]))))
    env = RobotEnv(arm, config, clock=clock)
    try:
        return _driven(kind, arm, env, rng)
    finally:
        env.close()


def _driven(kind: str, arm: Arm, env: RobotEnv, rng: np.random.Generator) -> Case:
    policy, watched, said = Troubled(kind, arm, env, rng), Watched(env), ""
    with tempfile.TemporaryDirectory() as folder:
        dataset = Dataset.ensure(folder, env.interface, {})
        unchecked = kind == "nan unchecked"
        acting = policy if unchecked else Answers(policy, 6)
        session = session_of(watched, acting, dataset, isinstance(env.clock, RealClock))
        try:
            session.run()
        except (UserError, RuntimeError) as error:
            said = str(error)
            env.close()  # as a program that ends with it does
        said = watched.error or said or goes_by(env, STILL_S + WINDOW_S)
        lost = is_lost(folder, "demo_0", policy.seen, policy.given)
    stopped = env.guard.is_stopped
    called_s = policy.called_s
    if called_s is None and stopped:
        called_s = env.guard.record.time_s
    goes_by(env, (called_s or 0.0) + STILL_S + 2 * WINDOW_S - env.clock())
    arm.settle()
    moves = called_s is not None and is_moving(arm.joints, arm.been, called_s)
    return Case(
        kind=kind,
        outside=is_outside(env.guard, arm.starts, arm.sent, kind not in IN_REAL_TIME),
        late=moves and not (kind == FaultKind.DEAF and POWER in env.guard.reason),
        unsaid=(stopped or kind in FAILS) and not said,
        lost=lost,
        noticed=called_s is not None or kind == "wild",
        said=said,
    )


def session_of(
    env: Any, policy: Any, dataset: Dataset, real: bool, attempts: int = 1, horizon: int = STEPS
) -> Session:
    """Make a session as ``deploy`` does, of so many episodes."""
    config = SessionConfig(
        operator="policy", goal=attempts, attempts=attempts, horizon=horizon, settle_steps=0,
        from_motion=False, ask=False, replay_check=False,
    )  # fmt: skip
    clock = SessionClock() if real else SimulatedSessionClock()
    return Session(env, Scripted(lambda: policy), dataset, config, clock=clock)


# how a case is judged


def is_lost(
    folder: str, name: str, seen: Sequence[np.ndarray], given: Sequence[np.ndarray]
) -> bool:
    """Say whether an episode on disk is not, step by step, what a policy saw and gave."""
    try:
        episode = Dataset.open(folder).load(name)
    except DataError:
        return True
    states = episode.observations["state"]
    whole = len(episode) == len(given) and len(states) == len(given) + 1
    return not (whole and np.array_equal(states[:-1], seen) and np.array_equal(
        episode.actions, np.clip(given, -1, 1)
    ))  # fmt: skip


def is_moving(joints: Sequence[Any], been: Noted, called_s: float) -> bool:
    """Say whether an arm moved in the window after the time that a stop may take.

    A gripper that opens does not: what it holds pushes it.
    """
    span = np.array([joint.upper - joint.lower for joint in joints])
    opens_s = called_s + STILL_S
    after = [at for at_s, at in been if opens_s <= at_s <= opens_s + WINDOW_S]
    if not after:
        return True
    closed = (np.maximum.accumulate(after) - after).max(axis=0)
    grippers = [joint.kind is Kind.GRIPPER for joint in joints]
    return bool((np.where(grippers, closed, np.ptp(after, axis=0)) / span > STILL).any())


Piece = tuple[list[np.ndarray], list[float]]  # commands from rest, and the times between them


def is_outside(guard: Any, starts: Noted, sent: Noted, by_times: bool) -> bool:
    """Say whether commands left a limit; ``by_times`` if those were closer than a period.

    Where a command is missing, the arm has come to rest at the one before, and begins from rest; so
    it does where it was activated anew. Real times are those of a machine that is busy with other
    things too, and not the guard's: there the arm may have gone on as well, and it is outside if it
    is so either way.
    """
    together = _pieces(guard, starts, sent, by_times)
    return not all(_may_be_inside(guard, pieces) for pieces in together)


def _pieces(guard: Any, starts: Noted, sent: Noted, by_times: bool) -> list[list[Piece]]:
    """Give commands from rest to rest; those in one list may also follow each other in motion."""
    together: list[list[Piece]] = []
    period_s, before_s = guard.period_s, 0.0
    first_step = guard.limits.motion[4] * period_s**3 + ROUNDING  # [J], the largest from rest
    events = [(at_s, False, at) for at_s, at in starts] + [(at_s, True, at) for at_s, at in sent]
    for at_s, is_command, positions in sorted(events, key=lambda event: event[:2]):
        passed = (at_s - before_s) / period_s
        if not is_command:
            together.append([_from_rest(positions, period_s)])
        elif by_times and passed >= MISSING:
            together.append([_from_rest(together[-1][-1][0][-1], period_s)])
        elif not by_times and passed >= LATE:
            last = together[-1][-1][0][-1]
            if (np.abs(positions - last) <= first_step).all():
                together[-1].append(_from_rest(last, period_s))
        if is_command:
            commands, times = together[-1][-1]
            first = len(commands) == REST
            passed_s = at_s - before_s if by_times and not first else period_s
            commands.append(positions)
            times.append(period_s if passed_s >= CLOSEST * period_s else passed_s)
        before_s = at_s
    return together


def _from_rest(positions: np.ndarray, period_s: float) -> Piece:
    return [positions] * REST, [period_s] * (REST - 1)


def _may_be_inside(guard: Any, pieces: Sequence[Piece]) -> bool:
    """Say whether pieces obey the limits, if some of them follow the one before in motion."""
    good = [len(pieces)]  # from these pieces on all may be inside
    for first in reversed(range(len(pieces))):
        ends = (_joined(pieces[first:end]) for end in good)
        if any(not _is_outside(guard, np.array(one), np.array(of)[:, None]) for one, of in ends):
            good.append(first)
    return 0 in good


def _joined(pieces: Sequence[Piece]) -> Piece:
    commands, times = map(list, pieces[0])
    for more, between in pieces[1:]:
        commands += more[REST:]
        times += between[REST - 1 :]
    return commands, times


def _is_outside(guard: Any, found: np.ndarray, passed_s: np.ndarray) -> bool:
    """Say whether commands [T, J], so long after each other [T - 1, 1], left a limit."""
    h, limits = guard.period_s, guard.limits.motion
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


# many cases


def measured(rows: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Count."""
    rows = list(rows)

    def of(what: str) -> dict[str, int]:
        return dict(sorted(Counter(row["kind"] for row in rows if row[what]).items()))

    wrong = {"outside_limits": "outside", "late_stops": "late", "unsaid": "unsaid",
             "lost_episodes": "lost"}  # fmt: skip
    found: dict[str, Any] = {"injected": len(rows)}
    found |= {name: sum(of(what).values()) for name, what in wrong.items()}
    found["by_kind"] = dict(sorted(Counter(row["kind"] for row in rows).items()))
    found["wrong_by_kind"] = {name: of(what) for name, what in wrong.items() if of(what)}
    found["unnoticed"] = dict(
        sorted(Counter(row["kind"] for row in rows if not row["noticed"]).items())
    )
    return found


def read(file: Path) -> dict[int, dict[str, Any]]:
    """Read rows by number; half a line, of a run that was killed, is none."""
    rows = {}
    for line in file.read_text().splitlines() if file.exists() else ():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        rows[row["number"]] = row
    return rows


def main() -> None:
    """Run the cases that are not there yet, and write what came of all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=10_000, help="of cases, from the first one on")
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--kinds", nargs="*", default=KINDS, choices=KINDS, help="only these")
    parser.add_argument("--rows", type=Path, default=ROWS, help="where what was found is kept")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where it is counted")
    given = parser.parse_args()
    given.rows.parent.mkdir(parents=True, exist_ok=True)
    rows, made_by = read(given.rows), commit()
    with given.rows.open("a") as file:
        for number in range(given.first, given.first + given.count):
            if number in rows or KINDS[number % len(KINDS)] not in given.kinds:
                continue
            began_s = time.monotonic()
            row = {"number": number, **asdict(case(number))}
            rows[number] = row | {
                "took_s": round(time.monotonic() - began_s, 2), "commit": made_by
            }  # fmt: skip
            line = json.dumps(rows[number])
            print(line, flush=True)
            print(line, file=file, flush=True)
    commits = sorted({row["commit"] for row in rows.values()})
    kept = about(["python", "benchmarks/faults.py"]) | {"commits": commits}
    given.results.write_text(json.dumps(kept | measured(rows.values()), indent=2) + "\n")


if __name__ == "__main__":
    main()

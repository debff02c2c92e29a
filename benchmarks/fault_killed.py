"""A process that decides and is killed: does its servo process stop the arm, and what is kept?

A policy drives a simulated arm whose servo loop is a process of its own (``own_process``), through
a session that records, in a process that is killed at a random time of its second episode. The arm
in the servo process writes what it is told and where it is into a file, and goes on for a while
after it was let go of, as an arm does. The first episode must be on disk: the policy had begun the
second.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from fault_arms import ARM_LOG, BEEN, SENT, SERVO_PID, STARTS, Noted
from faults import Case, is_lost, is_moving, is_outside, session_of

import sim
from demos.data.dataset import Dataset
from robots.env import guarded

ARM, POLICY_LOG, EPISODES = "fault_arms:logged", "policy.jsonl", "episodes"
HORIZON, CONTROL_S = 8, 0.05
PATIENCE_S = 300.0  # until it drives, and until the servo process has ended; a start may be slow
DRIVE = "from pathlib import Path; import fault_killed as f; f.drive(Path({!r}), {})"


class Writing:
    """A policy that acts at random, and writes into a file what it sees and gives."""

    def __init__(self, folder: Path, rng: np.random.Generator) -> None:
        self._file, self._rng = open(folder / POLICY_LOG, "a", buffering=1), rng

    def reset(self, n: int) -> None:
        """Begin an episode."""
        self._drift = self._rng.uniform(-1, 1, 6)
        self._say(begins=True)

    def act(self, observation: dict[str, np.ndarray], explore: bool = False) -> np.ndarray:
        """Give an action [1, A]."""
        action = np.clip(self._drift + 0.3 * self._rng.normal(size=(1, 6)), -1, 1)
        action = action.astype(np.float32)
        self._say(saw=observation["state"][0].tolist(), gave=action[0].tolist())
        return action

    def _say(self, **what: Any) -> None:
        self._file.write(json.dumps(what) + "\n")


def drive(folder: Path, number: int) -> None:
    """Have a policy drive, until somebody kills this process."""
    options = {
        "robot": {"folder": str(folder), "seed": number},
        "guard": {"ramp_s": 0.0, "stale_s": 5.0},
    }
    env = sim.make(f"robot/{ARM}", own_process=True, **options)
    dataset = Dataset.ensure(folder / EPISODES, env.interface, {})
    policy = Writing(folder, np.random.default_rng(number))
    session_of(env, policy, dataset, True, attempts=1000, horizon=HORIZON).run()


def killed(rng: np.random.Generator, number: int) -> Case:
    """Kill a process that decides, and look at what its arm does and at what it has kept."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        command = [sys.executable, "-c", DRIVE.format(place, number)]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        try:
            _until(lambda: len(_episodes(folder)) > 1 or process.poll() is not None)
            if process.poll() is not None:
                raise RuntimeError(f"the process that decides ended by itself: {process.poll()}")
            time.sleep(rng.uniform(0, HORIZON * CONTROL_S))
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()  # a busy machine takes its time to end it
        gone_s = time.monotonic()
        servo = int((folder / SERVO_PID).read_text())
        ended = _until(lambda: not _runs(servo))
        if not ended:
            os.kill(servo, signal.SIGKILL)
        been, sent, starts = _arm_log(folder / ARM_LOG)
        first = _episodes(folder)[0]
        guard = guarded(ARM, {"robot": {"folder": place, "seed": number}})
        seen, given = ([np.array(row[what], np.float32) for row in first[1:]]
                       for what in ("saw", "gave"))  # fmt: skip
        return Case(
            kind="killed",
            outside=is_outside(guard, starts, sent, by_times=False),
            late=not ended or is_moving(guard.joints, been, gone_s),
            unsaid=False,
            lost=is_lost(str(folder / EPISODES), "demo_0", seen, given),
            noticed=ended,
        )


def _episodes(folder: Path) -> list[list[dict[str, Any]]]:
    """Give what the policy has noted, episode by episode, each after a line that it begins."""
    file = folder / POLICY_LOG
    lines = file.read_text().split("\n")[:-1] if file.exists() else []
    episodes: list[list[dict[str, Any]]] = []
    for row in map(json.loads, lines):
        if "begins" in row:
            episodes.append([])
        episodes[-1].append(row)
    return episodes


def _arm_log(file: Path) -> list[Noted]:
    """Give where the arm was, what it was sent, and from where it started."""
    numbers = np.frombuffer(file.read_bytes()[: file.stat().st_size // 64 * 64]).reshape(-1, 8)
    return [
        [(float(row[1]), row[2:]) for row in numbers[numbers[:, 0] == kind]]
        for kind in (BEEN, SENT, STARTS)
    ]


def _until(happens: Callable[[], bool]) -> bool:
    """Wait for something; say whether it has come."""
    ends_s = time.monotonic() + PATIENCE_S
    while not happens():
        if time.monotonic() > ends_s:
            return False
        time.sleep(0.01)
    return True


def _runs(pid: int) -> bool:
    """Say whether a process is there, and not only its remains that nobody has asked for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False

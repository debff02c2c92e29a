"""Updates a second of our SAC beside stable-baselines3's, on one thread.

    pip install -e '.[benchmarks]'
    python benchmarks/updates.py [rounds]

Prints JSON lines, one for each size of task (``observation`` and ``action`` entries): updates a
second with 2 x 256 units, a batch of 256, two critics, each update with a batch drawn from a replay
of 20,000 transitions. Both learners take turns, UPDATES at a time, in one process; a figure is the
median over the rounds, a ``ratio`` (ours / theirs) the median of the rounds' own ratios with its
quartiles. ``wall`` is by the clock, ``cpu`` by the processor's time of this process, which does not
count the waits where others use the processor too.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import torch
from stable_baselines3 import SAC as TheirSAC
from stable_baselines3.common.logger import configure

from robolearn.algos.sac import SAC, SACConfig
from robolearn.loops.collecting import on_device
from robolearn.loops.replay import Replay
from robolearn.types import ArraySpec, Spec

SIZES = {"cartpole": (5, 1), "walker": (24, 6), "Meta-World": (39, 4)}
TRANSITIONS, BATCH, UPDATES = 20_000, 256, 10
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def transitions(observation: int, action: int) -> dict[str, np.ndarray]:
    """Draw what both replays hold: arrays [TRANSITIONS, ...]."""
    rng = np.random.default_rng(0)
    return {
        "state": rng.normal(size=(TRANSITIONS, observation)).astype(np.float32),
        "next_state": rng.normal(size=(TRANSITIONS, observation)).astype(np.float32),
        "actions": rng.uniform(-1, 1, size=(TRANSITIONS, action)).astype(np.float32),
        "rewards": rng.uniform(size=TRANSITIONS).astype(np.float32),
        "terminated": rng.random(TRANSITIONS) < 0.01,
    }


def ours(data: dict[str, np.ndarray]) -> Callable[[int], Any]:
    """Make ours; give what takes so many updates."""
    sizes = (data[name].shape[1:] for name in ("state", "actions"))
    state, action = (ArraySpec(size) for size in sizes)
    interface = Spec("benchmark", {"state": state}, action, 0.1)
    learner, replay = SAC(interface, SACConfig()), Replay(interface, TRANSITIONS)
    for i in range(TRANSITIONS):
        rows = {name: array[i : i + 1] for name, array in data.items()}
        rows["observations"] = {"state": rows["state"]}
        rows["next_observations"] = {"state": rows["next_state"]}
        replay.add(rows | {"ended": rows["terminated"]})
    rng = np.random.default_rng(0)

    def update(count: int) -> None:
        for _ in range(count):
            learner.update(on_device(replay.sample(BATCH, rng), learner.device))

    return update


class Nowhere(gymnasium.Env):
    """Says how large observations and actions are, and does nothing."""

    def __init__(self, observation: int, action: int):
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (observation,), np.float32)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (action,), np.float32)


def theirs(data: dict[str, np.ndarray]) -> Callable[[int], Any]:
    """Make theirs; give what takes so many updates."""
    env = Nowhere(data["state"].shape[1], data["actions"].shape[1])
    learner = TheirSAC("MlpPolicy", env, buffer_size=TRANSITIONS, batch_size=BATCH, device="cpu")
    learner.set_logger(configure(None, []))
    for i in range(TRANSITIONS):
        row = {name: array[i : i + 1] for name, array in data.items()}
        learner.replay_buffer.add(*row.values(), [{}])
    return lambda count: learner.train(count, BATCH)


def take(update: Callable[[int], Any]) -> dict[str, float]:
    """Give the seconds of an update, by each clock."""
    begun = {name: clock() for name, clock in CLOCKS.items()}
    update(UPDATES)
    return {name: (clock() - begun[name]) / UPDATES for name, clock in CLOCKS.items()}


def row(task: str, rounds: int) -> dict[str, Any]:
    """Let both take turns; give what came of it."""
    data = transitions(*SIZES[task])
    learners = {"robolearn": ours(data), "stable-baselines3": theirs(data)}
    for update in learners.values():
        update(UPDATES)  # what is made at first does not count
    took = [{who: take(update) for who, update in learners.items()} for _ in range(rounds)]
    found: dict[str, Any] = {"task": task, "sizes": SIZES[task], "rounds": rounds}
    for clock in CLOCKS:
        seconds = {who: [one[who][clock] for one in took] for who in learners}
        found[clock] = {who: round(1 / statistics.median(s), 1) for who, s in seconds.items()}
        ratios = [t / o for o, t in zip(*seconds.values(), strict=True)]
        found[clock] |= {"ratio": [round(q, 2) for q in statistics.quantiles(ratios, n=4)]}
    return found


def main(rounds: int) -> None:
    """Print a row for every size."""
    torch.set_num_threads(1)
    for task in SIZES:
        print(json.dumps(row(task, rounds)), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 40)

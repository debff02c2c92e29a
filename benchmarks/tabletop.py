"""The tabletop: how fast it steps, how often a scripted grasp succeeds, what rough handling does.

    OMP_NUM_THREADS=1 python benchmarks/tabletop.py [--rounds 5] [--steps 100]

Speeds are control steps per second of 128 environments under random actions, observations, rewards,
violations and autoreset included (``ours``); under actions that chase an object, rich in contacts
(``ours-chasing``); and the ten physics steps of a control step alone, from the same starts with the
arm at rest (``physics``). Rates are measured in turn; the medians over the rounds are printed.
``per_cpu_s`` counts this process's own seconds of processor time, which other programs on the
machine disturb less than they disturb the clock.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable

import numpy as np

import sim
from sim.engine.mujoco import physics_steps, simulation
from sim.tabletop.grasp import ScriptedGrasp
from sim.tabletop.model import KINDS
from sim.tabletop.physics import MOVE_M, SUBSTEPS
from sim.tabletop.task import VIOLATIONS

SCENES = (*KINDS, "cube+cylinder", "cube+cylinder+mug")
BATCH, GRASPS, GRASP_STEPS, HOLD_STEPS = 128, 100, 35, 20


def main() -> None:
    """Print one JSON line for each figure."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=100)
    arguments = parser.parse_args()
    rows = [grasp(kind) for kind in KINDS]
    rows += [rough(scene) for scene in SCENES]
    for scene in SCENES:
        for threads in (1, 2)[: len(os.sched_getaffinity(0))]:
            rows += speeds(scene, threads, arguments.rounds, arguments.steps)
    for row in rows:
        print(json.dumps(row), flush=True)


def speeds(scene: str, threads: int, rounds: int, steps: int) -> list[dict]:
    """Measure the rates of one scene in turn."""
    batch = sim.make_vec(f"tabletop/{scene}", BATCH, threads=threads)
    batch.reset(seed=0)
    rng = np.random.default_rng(0)
    runs: dict[str, Callable[[], None]] = {
        "ours": lambda: batch.step(rng.uniform(-1, 1, (BATCH, 5))),
        "ours-chasing": lambda: batch.step(chase(batch, rng)),
    }
    if threads == 1:
        data = batch.tabletop.physics.data
        sims = [simulation(batch.tabletop.model, one) for one in data]
        runs["physics"] = lambda: [physics_steps(one, SUBSTEPS) for one in sims]
    rates: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    for run in runs.values():
        run()  # compiled
    for _ in range(rounds):
        for name, run in runs.items():
            batch.reset(seed=0)
            rates[name].append(rate(run, steps))
    batch.close()
    return [
        {"env": f"tabletop/{scene}", "engine": name, "n": BATCH, "threads": threads,
         "steps_per_s": round(statistics.median(wall for wall, _ in found)),
         "per_cpu_s": round(statistics.median(cpu for _, cpu in found))}
        for name, found in rates.items()
    ]  # fmt: skip


def rate(run: Callable[[], None], steps: int) -> tuple[float, float]:
    """Give control steps per second by the clock and by processor time."""
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(steps):
        run()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return BATCH * steps / wall, BATCH * steps / cpu


def chase(batch, rng: np.random.Generator) -> np.ndarray:
    """Choose noisy moves to an object, with the gripper opening and closing."""
    tabletop = batch.tabletop
    away = (tabletop.objects.pos[:, 0] - tabletop.physics.hand_pos) / MOVE_M
    noise = rng.normal(0, 0.6, (batch.num_envs, 5))
    noise[:, :3] += np.clip(away, -1, 1)
    return np.clip(noise, -1, 1)


def grasp(kind: str) -> dict:
    """Count grasps that lift by 10 cm and hold for 2 s, from random starts."""
    batch = sim.make_vec(f"tabletop/{kind}", GRASPS, threads=1, horizon=10**6)
    policy = ScriptedGrasp(batch.interface, kind)
    policy.reset(GRASPS)
    observations, _ = batch.reset(seed=0)
    rest, violations = batch.tabletop.objects.pos[:, 0, 2].copy(), 0.0
    held = np.ones(GRASPS, bool)
    heights = []
    for t in range(GRASP_STEPS + HOLD_STEPS):
        observations, _, _, _, info = batch.step(policy.act(observations))
        violations += sum(info["reward_terms"][name].sum() for name in VIOLATIONS)
        heights.append(batch.tabletop.objects.pos[:, 0, 2] - rest)
        held &= (heights[-1] > 0.08) | (t < GRASP_STEPS)
    slip = heights[GRASP_STEPS] - heights[-1]
    batch.close()
    return {
        "env": f"tabletop/{kind}", "grasps": GRASPS, "succeeded": int(held.sum()),
        "violations": violations, "slip_mm_in_2_s": round(1000 * float(slip.max()), 1),
    }  # fmt: skip


def rough(scene: str) -> dict:
    """Handle objects roughly for 200 steps; give speeds, penetrations and forces."""
    batch = sim.make_vec(f"tabletop/{scene}", BATCH, threads=1)
    batch.reset(seed=0)
    rng = np.random.default_rng(0)
    speed, depth, force, thrown = [], [], [], 0
    for _ in range(200):
        info = batch.step(chase(batch, rng))[4]
        thrown += int(info["reward_terms"]["thrown"].sum())
        speed.append(np.linalg.norm(batch.tabletop.objects.vel, axis=-1).max(1))
        force.append(batch.tabletop.physics.force.copy())
        depth += [-one.contact.dist.min(initial=0.0) for one in batch.tabletop.physics.data]
    batch.close()
    return {"env": f"tabletop/{scene}", "handled_steps": 200 * BATCH, "thrown": thrown,
            "speed_max_m_s": round(float(np.max(speed)), 2),
            "depth_median_mm": round(1000 * float(np.median(depth)), 2),
            "depth_99th_mm": round(1000 * float(np.quantile(depth, 0.99)), 1),
            "force_median_n": round(float(np.median(force)), 1),
            "force_99th_n": round(float(np.quantile(force, 0.99)))}  # fmt: skip


if __name__ == "__main__":
    main()

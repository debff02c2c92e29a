"""Does the compiled control loop equal robosuite's? Counted state by state, in the same states.

For each task, robot and controller: from states along random and scripted episodes, restored in
both, the largest difference after one control step of positions and velocities, of observations,
rewards and success (single and batched environments), and the number of steps for which two
simulations that began alike stay within 1e-9. Prints one JSON line per combination:

    python benchmarks/identity.py [--states 500]
        [--tasks Lift,Stack] [--robots Panda,UR5e] [--controllers OSC_POSE]

``successes`` are scripted episodes that succeeded with robosuite's loop, with the compiled one, and
in both.
"""

import argparse
import json
from typing import Any, NamedTuple

import numpy as np
from trajectories import Trajectory, random_trajectory, scripted_trajectory

import sim
from demos.operators import Style, make_operator
from robolearn.loops.rollout import rollout

TASK_NAMES = (
    "Lift", "PickPlaceCan", "NutAssemblySquare", "NutAssemblyRound", "Stack", "Door", "TwoArmLift",
)  # fmt: skip
ROBOTS = ("Panda", "Sawyer", "UR5e", "IIWA")
CONTROLLERS = ("OSC_POSE", "OSC_POSITION", "JOINT_POSITION", "JOINT_VELOCITY", "JOINT_TORQUE")
COMPARED = ("qpos_qvel", "state", "observation", "reward", "success")
BATCH = 20
OPEN_LOOP_STEPS = 100
SCRIPTED_EPISODES = 3


def main() -> None:
    """Compare every combination that was asked for."""
    arguments = _arguments()
    for task in arguments.tasks:
        for robot in arguments.robots:
            for controller in arguments.controllers:
                print(json.dumps(compare(task, robot, controller, arguments.states)), flush=True)


def compare(task: str, robot: str, controller: str, count: int) -> dict[str, Any]:
    """Compare one combination in about ``count`` states."""
    options = {"robot": robot, "controller": controller, "horizon": 10**6}
    theirs = sim.make(f"robosuite/{task}", engine="robosuite", **options)
    ours = sim.make(f"robosuite/{task}", engine="compiled", **options)
    batch = sim.make_vec(f"robosuite/{task}", BATCH, threads=1, **options)
    scripted = scripted_trajectory(ours, count // 2, seed=1)
    random = random_trajectory(ours, count - (0 if scripted is None else count // 2), seed=0)
    both = [random] if scripted is None else [random, scripted]
    trajectory = Trajectory(*(np.concatenate(parts) for parts in zip(*both, strict=True)))
    row = {
        "env": task, "robot": robot, "controller": controller, "states": len(trajectory.states),
        "scripted": 0 if scripted is None else len(scripted.states),
    }  # fmt: skip
    row |= one_step_differences(theirs, ours, batch, trajectory)
    row["open_loop_steps_within_1e-9"] = open_loop(theirs, ours, trajectory)
    if scripted is not None:
        row["successes"] = successes(theirs, ours, task)
    for env in (theirs, ours, batch):
        env.close()
    return row


def one_step_differences(
    theirs: Any, ours: Any, batch: Any, trajectory: Trajectory
) -> dict[str, float]:
    """Give the largest differences after one control step from the same state."""
    size, worst = ours.mujoco_state_size, dict.fromkeys(COMPARED, 0.0)
    for start in range(0, len(trajectory.states), BATCH):
        chunk = Trajectory(*(part[start : start + BATCH] for part in trajectory))
        batched = _batch_steps(batch, chunk)
        for i, (state, action) in enumerate(zip(*chunk, strict=True)):
            expected = _step(theirs, state, action)
            for reached in (_step(ours, state, action), batched[i]):
                if reached is not None:
                    _widen(worst, _differences(reached, expected, size))
    return {f"{name}_difference": float(value) for name, value in worst.items()}


class Reached(NamedTuple):
    """Where one control step has led."""

    state: np.ndarray
    observation: np.ndarray
    reward: float
    success: bool


def _step(env: Any, state: np.ndarray, action: np.ndarray) -> Reached:
    env.set_state(state)
    observation, reward, _, _, info = env.step(action)
    return Reached(env.get_state(), observation["state"], reward, info["success"])


def _batch_steps(batch: Any, chunk: Trajectory) -> list[Reached | None]:
    """Step from every state of a chunk; None where the simulation diverges: a batch ends that."""
    missing = BATCH - len(chunk.states)
    states, actions = (np.pad(part, [(0, missing), (0, 0)], mode="edge") for part in chunk)
    batch.set_state(states)
    observations, rewards, _, _, info = batch.step(actions)
    failed, after = info.get("_error", np.zeros(BATCH, bool)), batch.get_state()
    return [
        None
        if failed[i]
        else Reached(after[i], observations["state"][i], rewards[i], info["success"][i])
        for i in range(BATCH)
    ]


def _differences(one: Reached, other: Reached, size: int) -> dict[str, float]:
    difference = np.abs(one.state - other.state)
    return {
        "qpos_qvel": difference[:size].max(),
        "state": difference.max(),
        "observation": np.abs(one.observation - other.observation).max(),
        "reward": abs(one.reward - other.reward),
        "success": one.success != other.success,
    }


def _widen(worst: dict[str, float], found: dict[str, float]) -> None:
    for name, value in found.items():
        worst[name] = float(np.maximum(worst[name], value))  # NaN stays


def open_loop(theirs: Any, ours: Any, trajectory: Trajectory) -> int:
    """Count the steps, up to OPEN_LOOP_STEPS, that both stay within 1e-9 of each other."""
    size = ours.mujoco_state_size
    theirs.set_state(trajectory.states[0])
    ours.set_state(trajectory.states[0])
    for t, action in enumerate(trajectory.actions[:OPEN_LOOP_STEPS]):
        theirs.step(action)
        ours.step(action)
        if not np.abs(theirs.get_state()[:size] - ours.get_state()[:size]).max() <= 1e-9:
            return t
    return min(OPEN_LOOP_STEPS, len(trajectory.actions))


def successes(theirs: Any, ours: Any, task: str) -> list[int]:
    """Count successful scripted episodes with robosuite's loop, with ours, and with both."""
    outcomes = np.zeros((SCRIPTED_EPISODES, 2), bool)
    for episode in range(SCRIPTED_EPISODES):
        for column, env in enumerate((theirs, ours)):
            rng = np.random.default_rng(episode)
            operator = make_operator(task, Style(), env.interface, rng)
            outcome = rollout(env, operator, horizon=400, seed=episode)
            outcomes[episode, column] = outcome.success
    return [*map(int, outcomes.sum(axis=0)), int(outcomes.all(axis=1).sum())]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--states", type=int, default=500)
    parser.add_argument("--tasks", type=lambda s: s.split(","), default=TASK_NAMES)
    parser.add_argument("--robots", type=lambda s: s.split(","), default=ROBOTS)
    parser.add_argument("--controllers", type=lambda s: s.split(","), default=CONTROLLERS)
    return parser.parse_args()


if __name__ == "__main__":
    main()

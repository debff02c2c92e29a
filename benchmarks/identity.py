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
from typing import Any

import numpy as np
from trajectories import Trajectory, random_trajectory, scripted_trajectory

import sim
from demos.operators import Style, make_operator
from robolearn.rollout import rollout

TASK_NAMES = (
    "Lift", "PickPlaceCan", "NutAssemblySquare", "NutAssemblyRound", "Stack", "Door", "TwoArmLift",
)  # fmt: skip
ROBOTS = ("Panda", "Sawyer", "UR5e", "IIWA")
CONTROLLERS = ("OSC_POSE", "OSC_POSITION", "JOINT_POSITION", "JOINT_VELOCITY", "JOINT_TORQUE")
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
    batch = sim.make_vec(f"robosuite/{task}", 1, **options)
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
    size = ours.mujoco_state_size
    worst = dict.fromkeys(("qpos_qvel", "state", "observation", "reward", "success"), 0.0)
    for state, action in zip(*trajectory, strict=True):
        theirs.set_state(state)
        ours.set_state(state)
        batch.set_state(state[None])
        expected = theirs.step(action)
        after = theirs.get_state()
        reached = ours.step(action)
        batched = batch.step(action[None])
        news = [ours.get_state()]
        if "error" not in batched[4]:  # a batch ends an episode that diverges
            news.append(batch.get_state()[0])
        for new in news:
            difference = np.abs(new - after)
            worst["qpos_qvel"] = max(worst["qpos_qvel"], difference[:size].max())
            worst["state"] = max(worst["state"], difference.max())
        got = [(reached[0]["state"], reached[1], reached[4]["success"])]
        if len(news) > 1:
            got.append((batched[0]["state"][0], batched[1][0], batched[4]["success"][0]))
        for observation, reward, success in got:
            gap = np.abs(observation - expected[0]["state"]).max()
            worst["observation"] = max(worst["observation"], float(gap))
            worst["reward"] = max(worst["reward"], abs(reward - expected[1]))
            worst["success"] = max(worst["success"], float(success != expected[4]["success"]))
    return {f"{name}_difference": float(value) for name, value in worst.items()}


def open_loop(theirs: Any, ours: Any, trajectory: Trajectory) -> int:
    """Count the steps, up to OPEN_LOOP_STEPS, that both stay within 1e-9 of each other."""
    size = ours.mujoco_state_size
    theirs.set_state(trajectory.states[0])
    ours.set_state(trajectory.states[0])
    for t, action in enumerate(trajectory.actions[:OPEN_LOOP_STEPS]):
        theirs.step(action)
        ours.step(action)
        if np.abs(theirs.get_state()[:size] - ours.get_state()[:size]).max() > 1e-9:
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

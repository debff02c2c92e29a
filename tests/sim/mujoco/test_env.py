"""Somebody's own model with a small task."""

from pathlib import Path

import mujoco
import numpy as np
import pytest

import sim
from robolearn.errors import UserError
from sim.mujoco.arrays import goal_value
from sim.mujoco.task import Draw, Goal, MujocoTask

ARM = f"mujoco/{Path(__file__).parents[1] / 'models' / 'arm.xml'}"
TO_TARGET = "site_pos:tip - site_pos:target"


@pytest.mark.parametrize(
    ("goal", "size", "expected"),
    [
        (Goal("q"), 0.0, 1.0),
        (Goal("q"), 0.1, 0.0),
        (Goal("q", high=0.5), 0.5, 1.0),
        (Goal("q", margin=2.0), 2.0, 0.1),
        (Goal("q", margin=2.0), 1.0, 0.1**0.25),
        (Goal("q", low=1.0, high=2.0, margin=1.0), 0.0, 0.1),
        (Goal("q", low=-2.0, high=-1.0), -1.5, 1.0),
    ],
)
def test_value_of_a_goal(goal, size, expected):
    assert goal_value(size, goal.low, goal.high, goal.margin) == pytest.approx(expected)


def test_quantities_and_their_names():
    task = MujocoTask(
        observation=(
            "time", "joint_pos:hinge", "joint_vel:hinge", TO_TARGET, "sensor:speed",
            "body_quat:cube", lambda model, data: data.qpos[:2],
        )
    )  # fmt: skip
    env = sim.make(ARM, task=task)
    env.reset(seed=0)
    state = env.step(np.array([0.5], np.float32))[0]["state"]
    data, spec = env.data, env.interface.observations["state"]
    assert spec.names[:3] == ("time", "hinge_pos", "hinge_vel")
    assert spec.names[3] == "tip_pos_minus_target_pos_x"
    assert spec.names[7:11] == tuple(f"cube_quat_{axis}" for axis in "wxyz")
    expected = np.concatenate(
        [
            [data.time], data.joint("hinge").qpos, data.joint("hinge").qvel,
            data.site("tip").xpos - data.site("target").xpos, data.sensor("speed").data,
            data.body("cube").xquat, data.qpos[:2],
        ]
    )  # fmt: skip
    np.testing.assert_array_equal(state, expected.astype(np.float32))


def test_actions_are_stretched_to_the_actuators_range():
    env = sim.make(ARM)
    env.reset(seed=0)
    for action, control in ((-1.0, -1.0), (0.0, 1.0), (1.0, 3.0), (9.0, 3.0)):
        env.step(np.array([action], np.float32))
        assert env.data.ctrl[0] == control
    assert env.interface.action.scale == (2.0,)
    assert env.interface.period_s == pytest.approx(0.05)


def test_rewards_are_summed_by_name_and_success_and_failure_hold_while_their_goals_do():
    task = MujocoTask(
        reward={
            "near": Goal(TO_TARGET, high=0.1, margin=0.5, weight=2.0),
            "mine": lambda model, data: -0.25,
        },
        success=(Goal("joint_pos:hinge", low=-9.0, high=0.5),),
        failure=lambda model, data: data.joint("hinge").qpos[0] > 0.5,
    )
    env = sim.make(ARM, task=task)
    env.reset(seed=0)
    seen = set()
    for _ in range(40):
        _, reward, terminated, _, info = env.step(np.array([1.0], np.float32))
        assert reward == pytest.approx(sum(info["reward_terms"].values()))
        assert info["reward_terms"]["mine"] == -0.25
        assert 0 <= info["reward_terms"]["near"] <= 2
        assert info["success"] is not terminated
        seen.add(terminated)
    assert seen == {False, True}


def test_reset_starts_from_a_keyframe_and_draws_within_bounds():
    draws = (
        Draw("joint_vel:hinge", -1.0, 1.0),
        Draw("body_pos:cube", (0.4, -0.1, 0.05), (0.5, 0.1, 0.05)),
        Draw("body_pos:target", (0.2, 0.0, 1.0), (0.4, 0.0, 1.2)),
    )
    env = sim.make(ARM, task=MujocoTask(keyframe="down", reset=draws))
    cubes = []
    for seed in range(20):
        env.reset(seed=seed)
        assert env.data.joint("hinge").qpos == pytest.approx(3.14)
        assert abs(env.data.joint("hinge").qvel[0]) <= 1
        target = env.data.body("target").xpos
        assert 0.2 <= target[0] <= 0.4 and 1.0 <= target[2] <= 1.2
        cubes.append(env.data.body("cube").xpos.copy())
    low, high = np.min(cubes, axis=0), np.max(cubes, axis=0)
    assert (low >= (0.4, -0.1, 0.05)).all() and (high <= (0.5, 0.1, 0.05)).all()
    assert (high - low)[:2].min() > 0.05


def test_reset_may_be_a_function():
    def tilt(model: mujoco.MjModel, data: mujoco.MjData, rng: np.random.Generator) -> None:
        data.joint("hinge").qpos = rng.choice([0.25, 0.75])

    env = sim.make(ARM, task=MujocoTask(reset=tilt))
    seen = {float(env.reset(seed=seed)[0]["state"][0]) for seed in range(10)}
    assert seen == {0.25, 0.75}


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ("task.yaml", "task='task.yaml' must be a mapping of its keys, not a file"),
        ({"rewards": {}}, "task: unknown option 'rewards'; did you mean 'reward'"),
        ({"observation": ["joint_pos:hing"]}, "no joint 'hing' in the model; did you mean 'hinge'"),
        ({"observation": ["joint_position:hinge"]}, "unknown quantity 'joint_position:hinge'"),
        ({"success": [{"quantiti": "qpos"}]}, "unknown option 'quantiti'"),
        ({"control_hz": 30.0}, "control_hz=30.0 is 6.66667 physics steps"),
        ({"control_hz": 0}, "control_hz=0 must be a number above 0"),
        ({"keyframe": "up"}, "no keyframe 'up' in the model; known: down"),
        ({"reset": [{"quantity": "sensor:speed", "low": 0, "high": 1}]}, "reset can set joint_pos"),
        ({"reset": [{"quantity": "joint_pos:hinge", "low": [0, 1], "high": 1}]}, "has 1 entries"),
        ({"reset": [{"quantity": "joint_pos:hinge", "low": 1, "high": 0}]}, "low=1 above high=0"),
        ({"success": [{"quantity": "qpos", "low": "x"}]}, "success: low='x' must be a number"),
        ({"failure": [{"quantity": "qpos", "high": None}]}, "failure: high=None must be a number"),
        (
            {"reward": {"a": {"quantity": "qpos", "margin": [1]}}},
            r"reward a: margin=\(1,\) must",
        ),
        ({"success": [{"quantity": "qpos", "weight": True}]}, "weight=True must be a number"),
        ({"success": [{"quantity": "qpos", "low": float("nan")}]}, "low=nan must be a number"),
        ({"success": [{"quantity": ["qpos"]}]}, r"success: \('qpos',\) must be a quantity"),
        ({"success": [{"high": 1}]}, "success: missing option 'quantity'"),
        ({"success": [3]}, "success: 3 must be a quantity, such as joint_pos:NAME"),
        ({"success": {"quantity": "qpos"}}, r"success: .* must be a list, \[a, b\]"),
        ({"reward": 3}, "reward=3 must be a mapping of names"),
        ({"reward": {"a": 3}}, "reward a: 3 must be a quantity"),
        ({"observation": "qpos"}, r"observation: 'qpos' must be a list, \[a, b\]"),
        ({"observation": [3]}, "observation: 3 must be a quantity"),
        ({"reset": 3}, r"reset: 3 must be a list, \[a, b\]"),
        ({"reset": ["qpos"]}, "reset: 'qpos' must say what is drawn: quantity, low, high"),
        ({"reset": [{"quantity": "joint_pos:hinge"}]}, "reset: missing option 'low'"),
        (
            {"reset": [{"quantity": "joint_pos:hinge", "low": "x", "high": 1}]},
            "reset joint_pos:hinge: low='x' must be a number",
        ),
        (MujocoTask(success=(Goal("qpos", low="x"),)), "success: low='x' must be a number"),
        ({"keyframe": 3}, "keyframe=3 must be a name"),
    ],
)
def test_faults_in_a_task_are_named(task, message):
    with pytest.raises(UserError, match=message):
        sim.make(ARM, task=task)


def test_a_faulty_model_is_an_error_of_one_line(tmp_path):
    path = tmp_path / "broken.xml"
    path.write_text("<mujoco><worldbod/></mujoco>")
    with pytest.raises(UserError, match="unrecognized element") as error:
        sim.make(f"mujoco/{path}")
    assert "\n" not in str(error.value)

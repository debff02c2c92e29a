"""The compiled control loop against robosuite's own, on the same robosuite environment."""

import re
import shutil
import warnings
from pathlib import Path

import numba
import numpy as np
import pytest

import sim.engine
from sim.engine.compiling import source_digest
from sim.engine.control import control_step
from sim.engine.lapack import lapack_workspace, load_lapack, pseudo_invert
from sim.engine.loop import ControlLoop

STEPS = 6


def _states(env, loop: ControlLoop, start: np.ndarray, actions: np.ndarray) -> np.ndarray:
    """Give the whole states [T, S], robosuite's memory included, after each action [T, A]."""
    env.set_state(start)
    states = []
    for action in actions:
        loop.step(env._action(action))
        states.append(env.get_state())
    return np.array(states)


def _assert_same(env, seed: int = 0, steps: int = STEPS) -> None:
    """Compare both loops on random actions; equal means equal to the last bit."""
    env.reset(seed=seed)
    start = env.get_state()
    rng = np.random.default_rng(seed)
    actions = rng.uniform(-1, 1, (steps, *env.action_space.shape))
    loop = ControlLoop(env._env)
    assert loop.fallback is None
    ours = _states(env, loop, start, actions)
    theirs = _states(env, ControlLoop(env._env, "robosuite"), start, actions)
    np.testing.assert_array_equal(ours, theirs)
    assert not np.array_equal(ours[0, : env.mujoco_state_size], start[: env.mujoco_state_size])


@pytest.mark.parametrize(
    ("task", "robot", "controller"),
    [
        ("NutAssemblySquare", "Panda", "OSC_POSE"),
        ("Lift", "UR5e", "OSC_POSITION"),
        ("Door", "IIWA", "JOINT_POSITION"),
        ("Stack", "Sawyer", "JOINT_VELOCITY"),
        ("Lift", "Kinova3", "JOINT_TORQUE"),
        ("TwoArmLift", ("Panda", "UR5e"), "OSC_POSE"),
        ("TwoArmLift", "Baxter", "OSC_POSE"),
        ("TwoArmPegInHole", "Baxter", "OSC_POSE"),  # whose arms are mounted askew
    ],
)
def test_equals_robosuite(task, robot, controller):
    env = sim.make(f"robosuite/{task}", robot=robot, controller=controller)
    _assert_same(env)


@pytest.mark.parametrize(
    "settings",
    [
        {"type": "OSC_POSE", "input_ref_frame": "world", "uncouple_pos_ori": False},
        {"type": "OSC_POSE", "input_type": "absolute"},
        {"type": "OSC_POSE", "impedance_mode": "variable", "kp_limits": (20, 300)},
        {"type": "OSC_POSITION", "impedance_mode": "variable_kp", "input_ref_frame": "world"},
        {
            "type": "JOINT_POSITION",
            "impedance_mode": "variable",
            "qpos_limits": ((-2.5,) * 7, (2.5,) * 7),
        },
        {"type": "JOINT_VELOCITY", "kp": 30.0},  # strong enough to saturate
        {"type": "JOINT_TORQUE", "torque_limits": (-0.05, 0.05)},
    ],
    ids=lambda settings: "-".join(map(str, settings.values())),
)
def test_equals_robosuite_with_settings(settings):
    _assert_same(sim.make("robosuite/Lift", controller=settings))


def test_equals_robosuite_with_absolute_joint_positions():
    env = sim.make("robosuite/Lift", controller="JOINT_POSITION")
    env._env.robots[0].part_controller_config["right"]["input_type"] = "absolute"
    _assert_same(env)


def test_fast_torques_equal_robosuite_to_rounding():
    env = sim.make("robosuite/Lift", engine="fast")
    env.reset(seed=0)
    start = env.get_state()
    actions = np.random.default_rng(0).uniform(-1, 1, (STEPS, 7))
    fast = _states(env, env._loop, start, actions)
    exact = _states(env, ControlLoop(env._env), start, actions)
    assert not np.array_equal(fast, exact)
    size = env.mujoco_state_size
    np.testing.assert_allclose(fast[:, :size], exact[:, :size], rtol=0, atol=1e-11)


def test_every_gripper_equals_robosuite():
    from robosuite.models.grippers import GRIPPER_MAPPING

    from sim.engine.robosuite import GRIPPER_RULES

    known = {cls.__name__ for cls in GRIPPER_MAPPING.values()}
    bases = {name for name in known if name.endswith("Base")}
    assert known - bases <= set(GRIPPER_RULES)
    rng = np.random.default_rng(0)
    for cls in GRIPPER_MAPPING.values():
        if cls.__name__ in GRIPPER_RULES and GRIPPER_RULES[cls.__name__].source:
            _assert_formats_alike(cls(), GRIPPER_RULES[cls.__name__], rng)


def _assert_formats_alike(gripper, rule, rng) -> None:
    """Follow a gripper's own formatting over a few actions with what the rule says."""
    from sim.engine.tables import COPY, SIGN

    gripper.current_action = np.zeros(gripper.dof)
    opening = np.zeros(len(rule.source))
    for action in rng.uniform(-1, 1, (15, gripper.dof)):
        amount = action[list(rule.source)]
        if rule.rule == COPY:
            opening = amount
        else:
            change = np.sign(amount) if rule.rule == SIGN else amount
            step = np.array(rule.direction) * gripper.speed * change
            opening = np.clip(opening + step, -1, 1)
        formatted = gripper.format_action(action)
        np.testing.assert_array_equal(formatted, [*opening, *rule.constants])
        if rule.kept:
            assert len(gripper.current_action) == rule.kept


def test_uncovered_controllers_fall_back_and_say_so_once():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        env = sim.make("robosuite/Lift", controller="IK_POSE")
        loops = [ControlLoop(env._env) for _ in range(2)]
    assert "InverseKinematicsController" in loops[0].fallback
    assert len([w for w in caught if "slow control loop" in str(w.message)]) == 2  # here, and make
    before = env.data.time
    loops[0].step(np.zeros(env._env.action_dim))
    assert env.data.time == pytest.approx(before + 0.05)


def test_a_diverging_simulation_diverges_as_with_robosuite():
    env = sim.make("robosuite/Lift")
    env.reset(seed=0)
    start = env.get_state()
    start[1 + env.model.nq] = 1e9  # rad/s; MuJoCo resets what is not finite and counts a warning
    ours = _states(env, ControlLoop(env._env), start, np.full((2, 7), 0.5))
    assert env.data.warning.number.sum() > 0
    theirs = _states(env, ControlLoop(env._env, "robosuite"), start, np.full((2, 7), 0.5))
    np.testing.assert_array_equal(ours, theirs)


def test_compiled_code_follows_all_its_sources(tmp_path):
    """The key of numba's cache changes with every module of the room, and it calls no other."""
    assert control_step() is control_step()
    folder = Path(sim.engine.__file__).parent
    waiting, called = ["control"], set()
    while waiting:
        text = (folder / f"{waiting.pop()}.py").read_text()
        found = set(re.findall(r"^from sim\.([\w.]*)", text, re.MULTILINE))
        assert all(name.startswith("engine.") for name in found)
        waiting += {name.removeprefix("engine.") for name in found} - called
        called |= {name.removeprefix("engine.") for name in found}
    assert {"osc", "lapack", "tables"} <= called
    copy = tmp_path / "engine"
    shutil.copytree(folder, copy)
    before = source_digest(copy)
    assert before == source_digest(folder)
    (copy / "osc.py").write_text((copy / "osc.py").read_text() + "\n")
    assert source_digest(copy) != before


@pytest.fixture(scope="module")
def expected():
    """numpy's pseudo-inverse, compiled."""
    return numba.njit(lambda matrix: np.linalg.pinv(matrix), cache=True)


@pytest.mark.parametrize("size", [3, 6])
def test_pseudo_inverse_equals_numpy_in_numba(expected, size):
    """What robosuite's compiled control code calls, for regular and nearly singular matrices."""
    load_lapack()
    workspace, inverse = lapack_workspace(), np.empty((size, size))
    rng = np.random.default_rng(0)
    for scale in np.logspace(-12, 0, 50):
        basis = rng.normal(size=(size, size)) * np.linspace(scale, 1, size)
        matrix = basis @ basis.T
        assert pseudo_invert(matrix, inverse, workspace)
        np.testing.assert_array_equal(inverse.T, expected(matrix))
    matrix[0, 1] = np.nan
    assert not pseudo_invert(matrix, inverse, workspace)

"""Every adapter keeps the same contract: one suite over a sample of tasks of each.

``SIM_TESTS=all`` runs it over every task of robosuite, of dm_control's suite and of Meta-World, and
every robot.
"""

import dataclasses
import os
import random
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import sim
from robolearn.errors import DataError, SpecError, UserError
from robolearn.types import Spec
from sim.gymnasium_ids import NAMES

ARM = str(Path(__file__).parent / "models" / "arm.xml")
ARM_TASK = {
    "control_hz": 20,
    "observation": ["joint_pos:hinge", "joint_vel:hinge", "site_pos:tip - site_pos:target"],
    "reward": {"near": {"quantity": "site_pos:tip - site_pos:target", "margin": 0.3}},
    "success": [{"quantity": "site_pos:tip - site_pos:target", "high": 0.4}],
    "reset": [
        {"quantity": "joint_pos:hinge", "low": -1.0, "high": 1.0},
        {"quantity": "body_pos:target", "low": [0.2, 0.0, 1.0], "high": [0.4, 0.0, 1.2]},
    ],
}
SMALL = {"image_size": (24, 32)}
SHOWN = {**SMALL, "render_mode": "rgb_array", "render_size": (36, 48)}
CASES = [
    ("robosuite/Lift", {"cameras": ("agentview",), **SHOWN}),
    ("robosuite/NutAssemblySquare", {}),
    ("robosuite/NutAssemblySingle", {}),
    ("robosuite/Door", {"robot": "UR5e", "controller": "JOINT_VELOCITY"}),
    ("robosuite/TwoArmLift", {"shaped_reward": False}),
    ("robosuite/Wipe", {}),
    ("dmc/walker-walk", {"cameras": ("side",), **SHOWN}),
    ("dmc/cheetah-run", {"cameras": ("side",), "distractors": {"video": "noise"}, **SHOWN}),
    ("dmc/manipulator-insert_ball", {}),
    ("dmc/lqr-lqr_2_1", {}),
    ("dmc/point_mass-hard", {}),
    (f"mujoco/{ARM}", {"task": ARM_TASK, "cameras": ("front", "free"), **SHOWN}),
    ("gym/CartPole-v1", {}),
    ("gym/MountainCarContinuous-v0", {}),
    ("gym/HalfCheetah-v5", {"cameras": ("track",), **SHOWN}),
    ("tabletop/cube", {"cameras": ("front",), **SHOWN}),
    ("tabletop/cylinder+mug", {"goal": "pose"}),
    ("metaworld/door-lock-v3", {"cameras": ("corner",), **SHOWN}),
    ("metaworld/bin-picking-v3", {"partially_observable": True}),
]
if os.environ.get("SIM_TESTS") == "all":
    from robosuite.robots import ROBOT_CLASS_MAPPING

    CASES += [(name, {}) for name in sim.available("robosuite") + sim.available("dmc")]
    CASES += [(f"metaworld/{name}", {}) for name in NAMES["metaworld"].split()]
    CASES += [("robosuite/Lift", {"robot": robot}) for robot in ROBOT_CLASS_MAPPING]


def skip_without_package(name):
    """Skip what needs a package that is installed by itself."""
    if name.startswith("metaworld/"):
        pytest.importorskip("metaworld", reason="Meta-World is not installed")


@pytest.fixture(scope="module", params=CASES, ids=lambda case: f"{case[0].split('/')[-1]}")
def pair(request):
    """Two environments with the same options."""
    name, options = request.param
    skip_without_package(name)
    envs = sim.make(name, **options), sim.make(name, **options)
    yield envs
    for env in envs:
        env.close()


def actions(env, count, seed=0):
    rng = np.random.default_rng(seed)
    return rng.uniform(-1, 1, (count, *env.action_space.shape)).astype(np.float32)


def run(env, chosen):
    """Step through actions; give all that a caller can see of each step."""
    trace = []
    for action in chosen:
        observation, reward, terminated, truncated, info = env.step(action)
        state = env.get_state()
        trace.append((observation, reward, terminated, truncated, info["reward_terms"], state))
    return trace


def assert_same_observation(left, right):
    assert left.keys() == right.keys()
    for name in left:
        np.testing.assert_array_equal(left[name], right[name], err_msg=name)


def assert_same_trace(left, right):
    for step, (a, b) in enumerate(zip(left, right, strict=True)):
        assert_same_observation(a[0], b[0])
        assert a[1:5] == b[1:5], step
        np.testing.assert_array_equal(a[5], b[5], err_msg=f"state after step {step}")


def test_gymnasium_check_env(pair):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*Box observation space.*infinity.*")
        warnings.filterwarnings("ignore", message=".*not having a spec.*")
        check_env(pair[0])


def test_observations_are_what_the_interface_says(pair):
    env = pair[0]
    observation, _ = env.reset(seed=1)
    after = env.step(env.action_space.sample())[0]
    specs = env.interface.observations
    for seen in (observation, after):
        assert seen.keys() == specs.keys()
        for name, spec in specs.items():
            assert seen[name].shape == spec.shape
            assert seen[name].dtype == spec.dtype
            assert np.isfinite(seen[name]).all()
    names = specs["state"].names
    assert len(set(names)) == len(names) == specs["state"].shape[0]
    action = env.interface.action
    assert env.action_space.shape == action.shape == (len(set(action.names)),)


def test_interface_survives_json(pair):
    interface = pair[0].interface
    assert Spec.from_json(interface.to_json()) == dataclasses.replace(
        interface, controller=Spec.from_json(interface.to_json()).controller
    )


def test_a_seed_alone_determines_the_episode(pair):
    used, fresh = pair
    used.reset(seed=2)
    run(used, actions(used, 3))
    first, second = used.reset(seed=7)[0], fresh.reset(seed=7)[0]
    assert_same_observation(first, second)
    np.testing.assert_array_equal(used.get_state(), fresh.get_state())
    assert_same_trace(run(used, actions(used, 3)), run(fresh, actions(fresh, 3)))


def test_another_seed_gives_another_start(pair):
    env = pair[0]
    starts = [env.reset(seed=seed)[0]["state"] for seed in (1, 2)]
    assert (starts[0] != starts[1]).any()


def test_unseeded_resets_go_on_with_the_seed_before(pair):
    sequences = []
    for env in pair:
        env.reset(seed=5)
        sequences.append([env.reset()[0]["state"] for _ in range(2)])
    np.testing.assert_array_equal(*sequences)
    assert (sequences[0][0] != sequences[0][1]).any()


def test_global_generators_are_left_alone(pair):
    env = pair[0]
    before = np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    env.reset(seed=3)
    env.step(actions(env, 1)[0])
    env.set_state(env.get_state())
    assert random.getstate() == before[1]
    np.testing.assert_array_equal(np.random.get_state()[1], before[0])  # noqa: NPY002


def test_restart_is_bit_exact_in_the_same_and_in_another_environment(pair):
    env, other = pair
    env.reset(seed=11)
    other.reset(seed=12)
    run(env, actions(env, 4))
    saved = env.get_state()
    expected = run(env, actions(env, 5, seed=1))
    for one in (env, other):
        one.set_state(saved)
        np.testing.assert_array_equal(one.get_state(), saved)
        assert_same_trace(run(one, actions(one, 5, seed=1)), expected)


def test_first_step_after_reset_equals_that_from_the_same_state_restored(pair):
    env, other = pair
    env.reset(seed=13)
    run(other, actions(other, 2))
    saved = env.get_state()
    expected = run(env, actions(env, 3))
    for one in (other, env):
        one.reset(options={"state": saved})
        assert_same_trace(run(one, actions(one, 3)), expected)


def test_observations_describe_the_current_state(pair):
    env, other = pair
    for act in (lambda: env.reset(seed=17), lambda: env.step(actions(env, 1)[0])):
        observation = act()[0]
        state = env.get_state()
        assert_same_observation(other.set_state(state), observation)
        assert_same_observation(env.set_state(state), observation)


def test_a_state_holds_all_that_resets_change_in_the_model(pair):
    env, other = pair
    if not hasattr(env.unwrapped, "model") or env.mujoco_state_size == 0:
        pytest.skip("no MuJoCo model")
    env.reset(seed=19)
    other.reset(seed=23)
    other.set_state(env.get_state())
    for name in ("body_pos", "body_quat", "geom_pos", "geom_size", "geom_rgba", "site_pos"):
        left, right = getattr(env.model, name), getattr(other.model, name)
        np.testing.assert_array_equal(left, right, err_msg=name)


def test_a_state_begins_with_time_and_pose_and_velocity(pair):
    env = pair[0]
    if env.mujoco_state_size == 0:
        pytest.skip("no MuJoCo model")
    env.reset(seed=3)
    env.step(actions(env, 1)[0])
    begin = env.get_state()[: env.mujoco_state_size]
    expected = [[env.data.time], env.data.qpos, env.data.qvel]
    np.testing.assert_array_equal(begin, np.concatenate(expected))


def test_info_reports_success_and_named_reward_terms(pair):
    env = pair[0]
    env.reset(seed=3)
    keys = set()
    for action in actions(env, 3):
        _, reward, terminated, truncated, info = env.step(action)
        assert type(reward) is float
        assert type(terminated) is bool and type(truncated) is bool
        assert type(info["success"]) is bool
        assert info["is_success"] is info["success"]
        assert all(type(value) is float for value in info["reward_terms"].values())
        keys.add(tuple(info["reward_terms"]))
    assert len(keys) == 1 and keys.pop()


def test_faulty_actions_and_states_are_refused(pair):
    env = pair[0]
    env.reset(seed=3)
    size = env.action_space.shape[0]
    with pytest.raises(SpecError, match="action has shape"):
        env.step(np.zeros(size + 1, np.float32))
    broken = np.zeros(size, np.float32)
    broken[-1] = np.nan
    with pytest.raises(DataError, match=rf"action\[{size - 1}\] is nan"):
        env.step(broken)
    with pytest.raises(SpecError, match="state has shape"):
        env.set_state(env.get_state()[:-1])
    for broken in ("state", {}, [[1.0], [2.0, 3.0]]):
        with pytest.raises(SpecError, match="state must be an array of numbers"):
            env.set_state(broken)
    with pytest.raises(SpecError, match="state has shape"):
        env.set_state(0.0)
    before = env.get_state()
    for entry in (1, -1):  # of a pose, and of what the adapter adds
        broken = env.get_state() + 1.0
        broken[entry] = np.nan
        with pytest.raises(DataError, match=r"state\[\d+\] is nan"):
            env.set_state(broken)
    np.testing.assert_array_equal(env.get_state(), before)
    where = re.escape(env.interface.environment)
    with pytest.raises(SpecError, match=rf"^{where}: state has shape .* of \({len(before)},\)"):
        env.reset(options={"state": None})


def test_any_whole_number_is_a_seed(pair):
    env = pair[0]
    expected = env.reset(seed=3)[0]
    for seed in (np.int64(3), np.uint8(3)):
        assert_same_observation(env.reset(seed=seed)[0], expected)
        assert type(env.np_random_seed) is int
    for seed in (True, 3.0, -1, "3", np.array([3, 4])):
        with pytest.raises(UserError, match="seed=.* must be a whole number, 0 or more"):
            env.reset(seed=seed)


def test_unknown_options_of_a_reset_are_told_the_nearest(pair):
    env = pair[0]
    where = re.escape(env.interface.environment)
    with pytest.raises(UserError, match=f"{where}: unknown reset option 'stat'; did you mean 'st"):
        env.reset(options={"stat": 0})
    with pytest.raises(UserError, match=f"{where}: options=3 must be a mapping"):
        env.reset(options=3)


def test_a_diverging_simulation_ends_the_episode_and_says_why(pair):
    env = pair[0]
    if env.mujoco_state_size == 0:
        pytest.skip("no MuJoCo model")
    still = np.zeros(env.action_space.shape, np.float32)
    env.reset(seed=3)
    sound = env.get_state()
    env.data.qvel[:] = np.nan
    observation, _, terminated, truncated, info = env.step(still)
    assert truncated and not terminated and "mjWARN_BADQ" in info["error"]
    assert np.isfinite(observation["state"]).all()
    for begin in (lambda: env.reset(seed=4), lambda: env.set_state(sound)):
        begin()
        *_, truncated, info = env.step(still)
        assert not truncated and "error" not in info


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("robosuite/Lift", {"horizon": 2}),
        ("dmc/pendulum-swingup", {"horizon": 2}),
        (f"mujoco/{ARM}", {"task": {"horizon": 2}}),
        ("gym/Pendulum-v1", {"horizon": 2}),
        ("tabletop/cube", {"horizon": 2}),
        ("metaworld/window-open-v3", {"horizon": 2}),
    ],
)
def test_an_episode_is_truncated_at_its_horizon_also_after_a_restart(name, options):
    skip_without_package(name)
    env = sim.make(name, **options)
    env.reset(seed=0)
    first, second = actions(env, 2)
    assert env.step(first)[2:4] == (False, False)
    state = env.get_state()
    for _ in range(2):
        assert env.step(second)[2:4] == (False, True)
        env.set_state(state)
    env.close()

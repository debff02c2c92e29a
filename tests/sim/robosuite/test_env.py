"""robosuite's tasks: its own physics, and what the adapter puts right."""

import numpy as np
import pytest

import sim
from robolearn.errors import UserError
from sim.robosuite.observation import StateReader
from sim.robosuite.tasks import put_away


@pytest.fixture(scope="module")
def square():
    env = sim.make("robosuite/NutAssemblySquare")
    yield env
    env.close()


def entries(env, observation, prefix):
    return observation["state"][env.interface.observations["state"].index(prefix)]


def test_the_interface_says_what_an_action_does(square):
    action = square.interface.action
    assert action.names == ("dx", "dy", "dz", "drx", "dry", "drz", "gripper")
    assert action.units == ("m",) * 3 + ("rad",) * 3 + ("",)
    assert action.scale == (0.05,) * 3 + (0.5,) * 3 + (1.0,)
    assert square.interface.robot == "Panda"
    assert square.interface.period_s == pytest.approx(0.05)
    controller = square.interface.controller
    assert controller["control_hz"] == 20 and controller["grippers"] == ["PandaGripper"]
    assert controller["body_parts"]["right"]["kp"] == 150


def test_an_action_moves_the_hand_along_the_named_axis(square):
    for axis in range(3):
        observation, _ = square.reset(seed=0)
        before = entries(square, observation, "robot0_eef_pos")
        action = np.zeros(7, np.float32)
        action[axis] = 0.5
        for _ in range(4):
            observation = square.step(action)[0]
        moved = entries(square, observation, "robot0_eef_pos") - before
        assert np.argmax(np.abs(moved)) == axis and moved[axis] > 0.01


def test_one_control_step_is_robosuites_own(square):
    square.reset(seed=1)
    rng = np.random.default_rng(0)
    robosuite_env = square._env
    for _ in range(3):
        state, action = square.get_state(), rng.uniform(-1, 1, 7).astype(np.float32)
        square.step(action)
        expected = square.get_state()[: square.mujoco_state_size]
        square.set_state(state)
        robosuite_env.step(action.astype(np.float64))
        theirs = np.concatenate([[square.data.time], square.data.qpos, square.data.qvel])
        np.testing.assert_array_equal(theirs, expected)


def test_relative_poses_are_those_of_the_current_state(square):
    observation, _ = square.reset(seed=3)
    rng = np.random.default_rng(0)
    for _ in range(3):
        body = square.data.body("SquareNut_main")
        np.testing.assert_array_equal(
            entries(square, observation, "SquareNut_pos"), np.float32(body.xpos)
        )
        np.testing.assert_allclose(
            entries(square, observation, "robot0_eef_pos"),
            square.data.site("gripper0_right_grip_site").xpos,
            rtol=1e-6,
        )
        eef_pos = entries(square, observation, "robot0_eef_pos")
        relative = entries(square, observation, "SquareNut_to_robot0_eef_pos")
        distance = np.linalg.norm(entries(square, observation, "SquareNut_pos") - eef_pos)
        assert np.linalg.norm(relative) == pytest.approx(distance, abs=1e-5)
        observation = square.step(rng.uniform(-1, 1, 7).astype(np.float32))[0]


@pytest.mark.parametrize("task", ["NutAssemblySquare", "ToolHang"])
def test_poses_in_the_hands_frame_are_robosuites_to_single_precision(task):
    env = sim.make(f"robosuite/{task}")
    env.reset(seed=1)
    observation = env.step(env.action_space.sample())[0]
    observables, cache = env._env._observables, {}
    for _ in range(4):
        for name, observable in observables.items():
            cache[name] = np.asarray(observable._sensor(cache))
    objects = {"NutAssemblySquare": ["SquareNut"], "ToolHang": ["base", "frame", "tool"]}[task]
    for body in objects:
        name = f"{body}_to_robot0_eef"
        got = entries(env, observation, f"{name}_pos")
        np.testing.assert_allclose(got, cache[f"{name}_pos"], atol=1e-6)
        got = entries(env, observation, f"{name}_quat")
        assert abs(got @ np.roll(cache[f"{name}_quat"], 1)) == pytest.approx(1, abs=1e-6)
    env.close()


def test_quaternions_are_wxyz_and_keep_their_sign(square):
    observation, _ = square.reset(seed=0)
    turn = np.zeros(7, np.float32)
    quaternions = []
    for step in range(40):  # turn to and fro about the vertical and about a horizontal axis
        turn[5], turn[3] = np.sign(10 - step % 20), 0.5 * np.sign(5 - step % 10)
        observation = square.step(turn)[0]
        quaternions.append(entries(square, observation, "robot0_eef_quat"))
        body = square.data.body("robot0_right_hand").xquat
        assert abs(body @ quaternions[-1]) == pytest.approx(1, abs=1e-6)
    changes = np.linalg.norm(np.diff(quaternions, axis=0), axis=1)
    assert changes.max() < 0.2
    nut = entries(square, observation, "SquareNut_quat")
    assert nut[3] >= 0  # the side of half a turn, where its handle points to the arm
    spec = square.interface.observations["state"]
    assert spec.names[spec.index("SquareNut_quat")[0]] == "SquareNut_quat_w"


@pytest.mark.parametrize("task", ["Door", "Stack", "Wipe", "TwoArmPegInHole"])
def test_one_pass_over_the_sensors_finds_what_many_passes_find(task):
    env = sim.make(f"robosuite/{task}")
    env.reset(seed=2)
    env.step(env.action_space.sample())
    observables = env._env._observables
    cache = {}
    for _ in range(4):
        for name, observable in observables.items():
            cache[name] = np.asarray(observable._sensor(cache))
    objects = [k for k, o in observables.items() if o.modality == "object" and o.is_active()]
    reader = StateReader(env._env, objects, task)
    expected = np.concatenate([np.ravel(cache[name]) for name in objects])
    quaternion = np.concatenate([np.full(np.size(cache[name]), "quat" in name) for name in objects])
    np.testing.assert_allclose(reader.read()[~quaternion], expected[~quaternion], atol=1e-6)
    env.close()


def test_state_is_made_of_chosen_observables():
    env = sim.make("robosuite/Lift", state=["robot0_joint_pos", "cube_pos"])
    spec = env.interface.observations["state"]
    assert spec.shape == (10,)
    assert spec.units == ("rad",) * 7 + ("m",) * 3
    state = env.reset(seed=0)[0]["state"]
    np.testing.assert_array_equal(state[:7], np.float32(env.data.qpos[:7]))
    np.testing.assert_array_equal(state[7:], np.float32(env.data.body("cube_main").xpos))
    env.close()


def test_the_object_to_use_is_drawn_from_the_seed():
    env = sim.make("robosuite/PickPlaceSingle", state=("object_pos", "obj_id"))
    drawn = []
    for seed in range(6):
        observation, _ = env.reset(seed=seed)
        drawn.append(int(observation["state"][3]))
        name = env._env.objects[drawn[-1]].name
        np.testing.assert_array_equal(
            observation["state"][:3], np.float32(env.data.body(f"{name}_main").xpos)
        )
    assert len(set(drawn)) > 1
    state = env.get_state()
    env.reset(seed=drawn.index(next(d for d in drawn if d != drawn[-1])))
    assert int(env.set_state(state)["state"][3]) == drawn[-1]
    env.close()


def test_staged_rewards_are_named_and_the_largest_is_the_reward(square):
    square.reset(seed=0)
    _, reward, _, _, info = square.step(np.zeros(7, np.float32))
    terms = info["reward_terms"]
    assert list(terms) == ["reach", "grasp", "lift", "hover", "success"]
    assert reward == pytest.approx(max(terms[k] for k in ("reach", "grasp", "lift", "hover")))
    assert 0 < terms["reach"] < 0.1 and terms["grasp"] == 0


def test_success_is_the_nut_on_its_peg(square):
    square.reset(seed=0)
    joint = square.data.joint("SquareNut_joint0")
    joint.qpos[:3] = square.data.body("peg1").xpos + (0, 0, -0.03)
    joint.qpos[3:] = (1, 0, 0, 0)
    info = square.step(np.zeros(7, np.float32))[4]
    assert info["success"]
    assert info["reward_terms"]["success"] == 1.0


def test_lifts_reward_is_the_sum_of_its_terms():
    env = sim.make("robosuite/Lift")
    env.reset(seed=0)
    _, reward, _, _, info = env.step(np.zeros(7, np.float32))
    terms = info["reward_terms"]
    assert reward == pytest.approx((terms["reach"] + terms["grasp"]) / 2.25)
    assert 0 < terms["reach"] < 1
    env.close()


def test_wiped_dirt_is_part_of_the_state():
    env, other = sim.make("robosuite/Wipe"), sim.make("robosuite/Wipe")
    env.reset(seed=0)
    marker = env._env.model.mujoco_arena.markers[3]
    env._env.wiped_markers.append(marker)
    state = env.get_state()
    env.reset(seed=1)
    assert env._env.wiped_markers == []
    for one in (env, other):
        observation = one.set_state(state)
        assert entries(one, observation, "proportion_wiped")[0] == pytest.approx(0.01)
        geom = one.model.geom(one._env.model.mujoco_arena.markers[3].visual_geoms[0])
        assert geom.rgba[3] == 0
        one.close()


@pytest.mark.parametrize(
    ("controller", "names", "scale"),
    [
        ("OSC_POSITION", ("dx", "dy", "dz"), 0.05),
        ("JOINT_POSITION", tuple(f"dq_{i}" for i in range(7)), 0.05),
        ("JOINT_TORQUE", tuple(f"torque_{i}" for i in range(7)), 0.1),
        ({"type": "OSC_POSE", "input_type": "absolute"}, ("x", "y", "z", "rx", "ry", "rz"), 2.0),
    ],
)
def test_controllers_name_their_entries(controller, names, scale):
    env = sim.make("robosuite/Lift", controller=controller)
    assert env.interface.action.names == (*names, "gripper")
    assert env.interface.action.scale[0] == scale
    env.close()


def test_variable_gains_span_robosuites_range():
    env = sim.make("robosuite/Lift", controller={"impedance_mode": "variable_kp"})
    assert env.interface.action.names[:2] == ("gain_0", "gain_1")
    low, high = (env._action(np.full(13, bound)) for bound in (-1.0, 1.0))
    np.testing.assert_array_equal(low, env._env.action_spec[0])
    np.testing.assert_array_equal(high, env._env.action_spec[1])
    env.close()


def test_two_arms_are_told_apart():
    env = sim.make("robosuite/TwoArmPegInHole", robot=("Panda", "Sawyer"))
    names = env.interface.action.names
    assert names[:2] == ("robot0_dx", "robot0_dy") and names[-1] == "robot1_drz"
    assert env.interface.robot == "Panda+Sawyer"
    assert "robot1_eef_pos_x" in env.interface.observations["state"].names
    env.close()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"robot": "Pandas"}, "unknown robot 'Pandas'; did you mean 'Panda'"),
        ({"robot": ("Panda", "Panda")}, "2 robots given, the task takes 1"),
        ({"controller": "OSC_POS"}, "unknown controller 'OSC_POS'; did you mean 'OSC_POSE'"),
        ({"controller": {"kpp": 3}}, "unknown setting 'kpp' of OSC_POSE; did you mean 'kp'"),
        ({"controller": 3}, "controller=3 must be a mapping"),
        ({"controller": {"type": 3}}, "unknown controller '3'"),
        ({"controller": {"kp": "high"}}, "kp='high' must be a number or a list of numbers"),
        ({"controller": {"output_max": None}}, "output_max=None must be a number or a list"),
        ({"controller": {"impedance_mode": "fix"}}, "unknown impedance_mode 'fix'; .* 'fixed'"),
        ({"controller": {"input_type": "x"}}, "unknown input_type 'x'; known: absolute, delta"),
        ({"controller": {"input_ref_frame": 3}}, "unknown input_ref_frame '3'; known: base, wo"),
        ({"control_hz": 30}, "control_hz=30 must divide 500 .* the nearest that does is 25"),
        ({"horizon": 0}, "horizon=0 must be a whole number, 1 or more"),
        ({"state": ("robot0_eef",)}, "unknown state entry 'robot0_eef'; did you mean"),
        ({"cameras": ("agentviev",)}, "unknown camera 'agentviev'; did you mean 'agentview'"),
        ({"placement": {"x_range": (0, 1)}}, "unknown placement key 'x_range'; did you mean"),
        ({"placement": {"x_range_m": (1, 0)}}, "placement x_range_m=.* must be \\(low, high\\)"),
        ({"placement": {"x_range_m": "ab"}}, "placement x_range_m='ab' must be \\(low, high\\)"),
        ({"placement": 3}, "placement=3 must be a mapping"),
        ({"placement": "centre"}, "placement='centre' must be a mapping"),
        ({"horizon": 2.5}, "horizon=2.5 must be a whole number, 1 or more"),
        ({"robot": 5}, "robot=5 must be a name or a list of names"),
        ({"cameras": 5}, "cameras=5 must be a name or a list of names"),
        ({"image_size": 64}, "image_size=64 must be \\(height, width\\)"),
        ({"image_size": "ab"}, "image_size='ab' must be \\(height, width\\)"),
        ({"image_size": (64, 2.5)}, "image_size=\\(64, 2.5\\) must be \\(height, width\\)"),
    ],
)
def test_faulty_options_are_named(options, message):
    with pytest.raises(UserError, match=f"robosuite/Lift: {message}"):
        sim.make("robosuite/Lift", **options)


def test_robots_that_mujoco_refuses_are_repaired_only_while_they_are_built():
    from robosuite.models.robots.robot_model import REGISTERED_ROBOTS

    before = dict(REGISTERED_ROBOTS)
    env = sim.make("robosuite/Lift", robot="Sawyer")
    assert before == REGISTERED_ROBOTS
    assert "robot0_right_j0" in [env.model.joint(i).name for i in range(env.model.njnt)]
    env.close()


@pytest.mark.parametrize("task", ["NutAssemblyRound", "PickPlaceCan"])
def test_the_fast_engine_holds_what_is_put_away_and_changes_nothing_else(task):
    exact, fast = (sim.make(f"robosuite/{task}", engine=e) for e in ("compiled", "fast"))
    rng = np.random.default_rng(0)
    for env in (exact, fast):
        env.reset(seed=1)
    away = put_away(fast._env)
    assert len(away) == {"NutAssemblyRound": 1, "PickPlaceCan": 3}[task]
    for _ in range(20):
        action = rng.uniform(-1, 1, 7).astype(np.float32)
        seen, expected = fast.step(action), exact.step(action)
        np.testing.assert_allclose(seen[0]["state"], expected[0]["state"], atol=1e-6)
        assert seen[1] == pytest.approx(expected[1], abs=1e-6)
    for body in away:
        np.testing.assert_array_equal(fast.data.body(body).xpos, [10, 10, 10])
        assert exact.data.body(body).xpos[2] < 9


def test_a_choice_of_objects_is_not_held():
    env = sim.make("robosuite/NutAssemblySingle", engine="fast")
    assert put_away(env._env) == []
    assert env.model.ngravcomp == 0

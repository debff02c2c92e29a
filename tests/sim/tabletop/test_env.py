"""The tabletop: kinematics, contacts, grasps, goals, violations, and batches like singles."""

import mujoco
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

import sim
from robolearn.errors import DataError, SpecError, UserError
from sim.tabletop.arm import arm_of, empty_pose, forward, inverse, yaw_of
from sim.tabletop.batch import Tabletop, named
from sim.tabletop.grasp import ScriptedGrasp
from sim.tabletop.model import HOME_RAD, KINDS, build
from sim.tabletop.physics import (
    MOVE_M,
    ROBOT_JOINTS,
    WORKSPACE_HIGH_M,
    WORKSPACE_LOW_M,
    YAW_LIMIT_RAD,
)
from sim.tabletop.task import APART_M, VIOLATIONS, TabletopOptions
from sim.tabletop.vector import TabletopVectorEnv

STILL = np.array([0.0, 0.0, 0.0, 0.0, -1.0])


@pytest.fixture(scope="module")
def bare():
    model = build(named(["cube"]), seen=False)
    return model, arm_of(model)


def put(env, k, pos, quat=(1, 0, 0, 0), velocity=(0, 0, 0)):
    """Put object k of a single environment somewhere."""
    env.data.qpos[ROBOT_JOINTS + 7 * k : ROBOT_JOINTS + 7 * k + 7] = (*pos, *quat)
    env.data.qvel[ROBOT_JOINTS + 6 * k : ROBOT_JOINTS + 6 * k + 6] = (*velocity, 0, 0, 0)
    env.tabletop.physics.refresh(0)


def held(env, count, action=STILL):
    """Repeat an action; give the last step's result."""
    for _ in range(count):
        result = env.step(action)
    return result


def test_the_hand_is_where_mujoco_has_it(bare):
    model, arm = bare
    data, pose = mujoco.MjData(model), empty_pose()
    for q in np.random.default_rng(0).uniform(
        model.jnt_range[:7, 0], model.jnt_range[:7, 1], (9, 7)
    ):
        data.qpos[:7] = q
        mujoco.mj_kinematics(model, data)
        forward(arm, q, pose)
        np.testing.assert_allclose(pose.pos, data.site("grip_site").xpos, atol=1e-12)
        np.testing.assert_allclose(pose.rot.ravel(), data.site("grip_site").xmat, atol=1e-12)


def test_inverse_kinematics_reaches_the_corners_of_the_workspace_within_the_joints(bare):
    model, arm = bare
    corners = np.stack(np.meshgrid(*zip(WORKSPACE_LOW_M, WORKSPACE_HIGH_M, strict=True)), -1)
    for target in corners.reshape(-1, 3):
        q, pose, start = np.array(HOME_RAD), empty_pose(), np.array([-0.05, 0.0, 0.2])
        for share in (*np.linspace(0, 1, 20), *[1.0] * 10):  # as actions do: in small moves
            inverse(arm, q, start + share * (target - start), 0.4 * share, pose)
        forward(arm, q, pose)
        np.testing.assert_allclose(pose.pos, target, atol=1e-4)
        assert yaw_of(pose.rot) == pytest.approx(0.4, abs=1e-3)
        assert pose.rot[2, 2] == pytest.approx(-1, abs=1e-6)  # points down
        assert q[2] == pytest.approx(0, abs=0.02)  # in a vertical plane
        assert (q > arm.low).all() and (q < arm.high).all()


def test_an_action_moves_the_target_and_the_hand_follows():
    env = sim.make("tabletop/cube")
    before = env.reset(seed=0)[0]["state"]
    held(env, 2, np.array([0.5, 0.0, 0.4, 0.0, -1]))
    after = held(env, 15)[0]["state"]
    hand = env.interface.observations["state"].index("hand_pos")
    moved = 2 * MOVE_M * np.array([0.5, 0, 0.4])
    np.testing.assert_allclose(after[hand] - before[hand], moved, atol=2e-3)


def test_targets_stay_in_the_workspace_and_that_is_no_violation():
    env = sim.make("tabletop/cube", horizon=200)
    env.reset(seed=0)
    for action in ((1, 1, 1, 1, 1), (-1, -1, 1, -1, 1)):
        for _ in range(20):
            terms = env.step(np.array(action))[4]["reward_terms"]
            assert terms["workspace"] == 0
        physics = env.tabletop.physics
        assert (physics.target_pos[0] < WORKSPACE_HIGH_M + 1e-3).all()
        assert (physics.target_pos[0] > WORKSPACE_LOW_M - 1e-3).all()
        assert abs(physics.hand_yaw[0]) < YAW_LIMIT_RAD + 0.01


@pytest.mark.parametrize("kind", KINDS)
def test_a_scripted_grasp_lifts_and_holds_every_time_without_violations(kind):
    count, lifted = 24, 10
    batch = sim.make_vec(f"tabletop/{kind}", count, threads=1, horizon=200)
    policy = ScriptedGrasp(batch.interface, kind)
    policy.reset(count)
    observations, _ = batch.reset(seed=100)
    height = batch.interface.observations["state"].index(f"{kind}_pos")[2]
    rest = observations["state"][:, height].copy()
    for t in range(25 + lifted + 20):  # grasp, lift, and 2 s
        observations, _, _, _, info = batch.step(policy.act(observations))
        for name in VIOLATIONS:
            assert not info["reward_terms"][name].any(), (name, t)
    assert (observations["state"][:, height] - rest > 0.08).all()
    assert info["success"].all()  # no goal: lifted
    batch.close()


@pytest.mark.parametrize("kind", KINDS)
def test_a_dropped_object_comes_to_rest_on_the_table_and_gains_no_energy(kind):
    env = sim.make(f"tabletop/{kind}", horizon=200)
    env.reset(seed=1)
    tilt = Rotation.from_euler("xy", (0.3, 0.2)).as_quat(scalar_first=True)
    put(env, 0, (0.1, 0.15, 0.25), tilt)
    env.model.opt.enableflags |= mujoco.mjtEnableBit.mjENBL_ENERGY
    highest, half = np.inf, KINDS[kind].half_height_m
    for _ in range(30):
        env.step(STILL)
        height = env.tabletop.objects.pos[0, 0, 2]
        energy = 9.81 * height + 0.5 * (env.tabletop.objects.vel[0, 0] ** 2).sum()  # per kg
        assert energy < highest + 0.05
        highest = min(highest, energy)
        assert height > 0.7 * min(half, KINDS[kind].radius_m)
    assert np.linalg.norm(env.tabletop.objects.vel[0, 0]) < 0.02


@pytest.mark.parametrize("kind", ["cylinder", "mug"])
def test_what_stands_upright_stays_on_the_table(kind):
    """MuJoCo's own cylinder falls through a plane now and then when it is exactly upright."""
    tabletop = Tabletop([kind], TabletopOptions(), n=40, seen=False)
    rng = np.random.default_rng(0)
    for i in range(40):
        tabletop.restart(i, rng)
    before = tabletop.objects.pos.copy()
    for _ in range(5):
        tabletop.step(np.tile(STILL, (40, 1)), list(range(40)), None, 1)
    np.testing.assert_allclose(tabletop.objects.pos, before, atol=1e-3)


def test_rough_handling_launches_nothing():
    batch = sim.make_vec("tabletop/cube+mug", 16, threads=1)
    batch.reset(seed=3)
    rng = np.random.default_rng(0)
    for t in range(60):
        physics, things = batch.tabletop.physics, batch.tabletop.objects
        chase = (things.pos[:, t // 10 % 2] - physics.hand_pos) / MOVE_M
        wild = np.column_stack([chase + rng.normal(0, 0.7, (16, 3)), rng.normal(0, 1, (16, 2))])
        batch.step(np.clip(wild, -1, 1))
        assert np.linalg.norm(batch.tabletop.objects.vel, axis=-1).max() < 3  # m/s
    batch.close()


def test_pressing_an_object_on_the_table_is_a_violation_and_resting_is_none():
    env = sim.make("tabletop/cube")
    env.reset(seed=0)
    put(env, 0, (0.1, 0.2, 0.025))
    weight = pytest.approx(0.2 * 9.81, rel=0.05)
    for moves in (STILL, np.array([0, 0, -1.0, 0, 1])):  # the hand does not get down to the table
        terms = held(env, 8, moves)[4]["reward_terms"]
        assert terms["table_force"] == 0
        assert env.tabletop.physics.force[0] == weight
    env.reset(seed=0)
    hand = env.tabletop.physics.hand_pos[0]
    put(env, 0, (*hand[:2], 0.025))
    terms = held(env, 8, np.array([0, 0, -1.0, 0, 1]))[4]["reward_terms"]
    assert terms["table_force"] == 1


def test_an_object_beyond_the_edge_ends_the_episode():
    env = sim.make("tabletop/cube+mug")
    env.reset(seed=0)
    put(env, 1, (0.39, 0.1, 0.045), velocity=(1.0, 0, 0))
    _, reward, terminated, _, info = env.step(STILL)
    assert info["reward_terms"]["thrown"] == 1 and terminated
    assert reward == pytest.approx(info["reward_terms"]["reach"] - 1)


def outcome_at(q):
    """Judge an arm that has been put at joint positions, before and after a step."""
    env = sim.make("tabletop/cube")
    env.reset(seed=0)
    put(env, 0, (0.1, 0.3, 0.025))
    env.data.qpos[:7] = env.data.ctrl[:7] = q
    tabletop = env.tabletop
    tabletop.physics.refresh(0)
    before = tabletop.task.outcome(tabletop.physics, tabletop.objects, tabletop.goals).terms
    return before, env.step(STILL)[4]["reward_terms"]


@pytest.mark.parametrize(
    ("name", "q"),
    [
        ("joint_limits", (0, -0.07, 0, -2.55, 0, 2.47, 2.88)),
        ("workspace", (1.2, -0.07, 0, -2.55, 0, 2.47, 0.785)),
    ],
)
def test_postures_that_are_violations(name, q):
    before, _ = outcome_at(q)
    assert [found for found in VIOLATIONS if before[found][0]] == [name]


def test_a_hand_that_touches_the_arm_is_a_violation():
    assert outcome_at((0, -0.9, 0, -3.0, 0, 0.3, 0.785))[1]["self_collision"] == 1
    assert outcome_at(HOME_RAD)[1]["self_collision"] == 0


def test_reach_is_by_the_nearest_object():
    env = sim.make("tabletop/cube+cylinder")
    env.reset(seed=4)
    terms = env.step(STILL)[4]["reward_terms"]
    hand, things = env.tabletop.physics.hand_pos[0], env.tabletop.objects.pos[0]
    nearest = min(np.linalg.norm(thing - hand) for thing in things)
    assert terms["reach"] == pytest.approx(1 - np.tanh(10 * nearest))


def test_observation_entries_can_be_picked_by_name():
    env = sim.make("tabletop/cube+cube+mug", goal="pose")
    state, spec = env.reset(seed=0)[0]["state"], env.interface.observations["state"]
    turn = Rotation.from_euler("xyz", (0.4, -0.3, 1.1))
    put(env, 1, (0.1, -0.1, 0.2), turn.as_quat(scalar_first=True))
    env.data.qvel[ROBOT_JOINTS + 9 : ROBOT_JOINTS + 12] = (1.0, 2.0, 3.0)  # in its own axes
    env.tabletop.physics.refresh(0)
    state = env._observe()["state"]
    np.testing.assert_allclose(state[spec.index("cube2_pos")], (0.1, -0.1, 0.2), atol=1e-6)
    np.testing.assert_allclose(state[spec.index("cube2_xaxis")], turn.as_matrix()[:, 0], atol=1e-6)
    np.testing.assert_allclose(state[spec.index("cube2_zaxis")], turn.as_matrix()[:, 2], atol=1e-6)
    np.testing.assert_allclose(state[spec.index("cube2_spin")], turn.apply((1, 2, 3)), atol=1e-5)
    assert len(spec.index("goal")) == 3 * 5
    assert state[spec.index("gripper_opening")] == pytest.approx(0.08)
    assert len(spec.names) == len(spec.units) == len(state)


def test_offsets_are_the_differences_of_the_positions():
    env = sim.make("tabletop/cube+mug", goal="position", offsets=True)
    state, spec = env.reset(seed=0)[0]["state"], env.interface.observations["state"]
    assert len(spec.names) == len(spec.units) == len(state)

    def seen(name):
        return state[spec.index(name)]

    for name in ("cube", "mug"):
        place = seen(f"{name}_pos")
        np.testing.assert_allclose(seen(f"hand_to_{name}"), place - seen("hand_pos"), atol=1e-6)
        np.testing.assert_allclose(
            seen(f"{name}_to_goal"), seen(f"goal_{name}_pos") - place, atol=1e-6
        )
    without_goals = sim.make("tabletop/cube", offsets=True)
    names = without_goals.interface.observations["state"].names
    assert names[-3:] == ("hand_to_cube_x", "hand_to_cube_y", "hand_to_cube_z")
    assert len(names) == len(without_goals.reset(seed=0)[0]["state"])


def test_success_is_by_the_goals_that_somebody_sets():
    env = sim.make("tabletop/cube+mug", goal="pose")
    env.reset(seed=0)
    places = env.tabletop.objects.pos[0]
    axes = env.tabletop.objects.xaxis[0]
    yaws = np.arctan2(axes[:, 1], axes[:, 0])
    goals = np.column_stack([places, yaws])
    observation = env.set_goals(goals)
    shown = env.interface.observations["state"].index("goal_mug_pos")
    np.testing.assert_allclose(observation["state"][shown], places[1], atol=1e-6)
    for shift, success in (
        ((0.04, 0, 0, 0), True),
        ((0.06, 0, 0, 0), False),
        ((0, 0, 0, np.deg2rad(12)), True),
        ((0, 0, 0, np.deg2rad(20)), False),
    ):
        env.set_goals(goals + shift)
        assert env.step(STILL)[4]["success"] == success
    quarter = goals + np.array([[0, 0, 0, np.pi / 2], [0, 0, 0, 0]])
    env.set_goals(quarter)  # a cube looks the same
    assert env.step(STILL)[4]["success"]
    env.set_goals(quarter[::-1])
    assert not env.step(STILL)[4]["success"]
    with pytest.raises(SpecError, match=r"instead of \(2, 4\)"):
        env.set_goals(goals[:1])
    with pytest.raises(SpecError, match=r"^tabletop/cube\+mug: goals must be an array of numbers"):
        env.set_goals("ab")
    with pytest.raises(DataError, match=r"^tabletop/cube\+mug: goals\[1, 2\] is inf, not a finite"):
        env.set_goals(np.where(np.arange(8).reshape(2, 4) == 6, np.inf, goals))
    without_goals = sim.make("tabletop/cube")
    without_goals.reset(seed=0)
    with pytest.raises(SpecError, match="instead of none"):
        without_goals.set_goals(goals[:1])


def test_places_and_goals_are_drawn_apart():
    batch = sim.make_vec("tabletop/cube+cylinder+mug", 20, threads=1, goal="position")
    batch.reset(seed=0)
    for places in (batch.tabletop.objects.pos[..., :2], batch.tabletop.goals[..., :2]):
        for one, other in ((0, 1), (0, 2), (1, 2)):
            assert (np.linalg.norm(places[:, one] - places[:, other], axis=-1) > APART_M).all()
        assert places.std(axis=0).min() > 0.05
    batch.close()


def test_goals_of_a_batch_are_set_as_those_of_a_single_table():
    batch = sim.make_vec("tabletop/cube", 2, threads=1, goal="position")
    goals = np.array([[[0.1, 0.2, 0.025, 0.0]], [[np.nan] * 4]])
    first = np.array([True, False])
    with pytest.raises(UserError, match="tabletop/cube: reset the batch before its goals are set"):
        batch.set_goals(goals, mask=first)
    before, _ = batch.reset(seed=0)
    after = batch.set_goals(goals, mask=first)["state"]  # nobody looks at the second
    shown = batch.interface.observations["state"].index("goal_cube_pos")
    np.testing.assert_allclose(after[0, shown], goals[0, 0, :3], rtol=1e-6)
    np.testing.assert_array_equal(after[1], before["state"][1])
    with pytest.raises(DataError, match=r"goals\[1, 0, 0\] is nan"):
        batch.set_goals(goals)
    for wrong in (goals[:1], goals[:, :, :3]):
        with pytest.raises(SpecError, match=r"instead of \(2, 1, 4\) \(x, y, z, yaw\)"):
            batch.set_goals(wrong)
    with pytest.raises(SpecError, match="goals must be an array of numbers"):
        batch.set_goals("ab")
    np.testing.assert_array_equal(batch._observe()["state"], after)
    batch.close()


@pytest.mark.parametrize("threads", [1, 2])
def test_a_batch_does_what_single_environments_do(threads):
    options = {"goal": "position", "horizon": 6}
    batch = sim.make_vec("tabletop/mug+cube", 3, threads=threads, **options)
    single = sim.make("tabletop/mug+cube", **options)
    assert isinstance(batch, TabletopVectorEnv)
    first, _ = batch.reset(seed=5)
    np.testing.assert_array_equal(first["state"][1], single.reset(seed=6)[0]["state"])
    rng = np.random.default_rng(0)
    for _ in range(8):  # over the end of an episode
        actions = rng.uniform(-1, 1, (3, 5))
        observations, rewards, terminated, truncated, info = batch.step(actions)
        expected = single.step(actions[1])
        assert rewards[1] == expected[1]
        assert (terminated[1], truncated[1]) == expected[2:4]
        for name, value in expected[4]["reward_terms"].items():
            assert info["reward_terms"][name][1] == value
        if truncated[1]:
            last = info["final_obs"][1]["state"]
            np.testing.assert_array_equal(last, expected[0]["state"])
            expected = single.reset()
        np.testing.assert_array_equal(observations["state"][1], expected[0]["state"])
        np.testing.assert_array_equal(batch.get_state()[1], single.get_state())
    batch.close()


def test_only_active_rows_move():
    batch = sim.make_vec("tabletop/cube", 3, threads=2)
    batch.reset(seed=0)
    before = batch.get_state()
    batch.step(np.ones((3, 5)), active=np.array([True, False, True]))
    moved = (batch.get_state() != before).any(axis=1)
    assert list(moved) == [True, False, True]
    batch.close()


def test_a_diverging_simulation_ends_its_episode_and_no_other():
    batch = sim.make_vec("tabletop/cube", 3, threads=1)
    batch.reset(seed=0)
    batch.tabletop.physics.data[1].qvel[:] = np.nan
    observations, _, _, truncated, info = batch.step(np.tile(STILL, (3, 1)))
    assert list(truncated) == [False, True, False]
    assert "diverged" in info["error"][1]
    assert np.isfinite(observations["state"]).all()
    batch.close()


def test_options_that_make_no_sense_are_refused():
    with pytest.raises(UserError, match="unknown goal 'positon'; did you mean 'position'"):
        sim.make("tabletop/cube", goal="positon")
    for horizon in (0, 2.5):
        with pytest.raises(UserError, match=f"horizon={horizon} must be a whole number, 1 or more"):
            sim.make("tabletop/cube", horizon=horizon)
    with pytest.raises(UserError, match="tabletop/cube: offsets='no' must be true or false"):
        sim.make("tabletop/cube", offsets="no")


def test_what_is_only_seen_changes_no_physics():
    seen, bare = (build(named(["mug"]), seen) for seen in (True, False))
    assert seen.nq == bare.nq and seen.ngeom > bare.ngeom
    np.testing.assert_array_equal(seen.body_mass, bare.body_mass)
    np.testing.assert_array_equal(seen.body_inertia, bare.body_inertia)

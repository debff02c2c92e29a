"""The operator at the tabletop: in a world without physics, and in the simulator."""

import dataclasses

import numpy as np
import pytest

import sim
from demos.operators import STYLES, TASKS, make_operator, pointed_trait
from robolearn.errors import SpecError
from robolearn.loops.rollout import rollout
from robolearn.types import ArraySpec

from .world import TabletopWorld, demonstrate, interface_of, noiseless

CUBE = "tabletop/cube"


def test_actions_have_the_tabletops_entries():
    trace = demonstrate(CUBE, "base")
    assert trace.actions.shape[1:] == (5,) and trace.actions.dtype == np.float32


def test_the_target_that_runs_ahead_is_counted():
    operator = make_operator(CUBE, noiseless("base"), interface_of(CUBE), np.random.default_rng(0))
    world = TabletopWorld(CUBE)
    world.hand, world.yaw = np.array([0.045, 0.1, 0.025]), 0.3
    near = world.observe()["state"]
    ahead = near.copy()
    ahead[:, interface_of(CUBE).observations["state"].index("hand_target")[0]] = 0.005
    operator.reset(1)
    behind = operator.act({"state": near})[0]
    operator.reset(1)
    there = operator.act({"state": ahead})[0]
    assert behind[0] == pytest.approx(0.005 / 0.05, abs=1e-3)
    assert there[0] == pytest.approx(0.0, abs=1e-3)
    np.testing.assert_allclose(behind[1:], there[1:], atol=1e-6)


def test_the_cube_reaches_its_goals_yaw_up_to_a_quarter_turn():
    for style in ("base", "opposite_grasp"):
        world = TabletopWorld(CUBE)
        operator = make_operator(
            CUBE, noiseless(style), interface_of(CUBE), np.random.default_rng(0)
        )
        operator.reset(1)
        yaws = []
        for _ in range(100):
            world.step(operator.act(world.observe())[0])
            yaws.append(world.yaw)
        off = (world.bodies[0].yaw - world.goal[3]) % (np.pi / 2)
        assert min(off, np.pi / 2 - off) < 0.05
        np.testing.assert_allclose(world.bodies[0].position[:2], world.goal[:2], atol=0.01)
        assert np.abs(yaws).max() <= np.pi / 2 + 0.01  # within the hand's limit


def test_a_goal_in_the_air_is_held():
    world = TabletopWorld(CUBE)
    world.goal = (-0.05, -0.12, 0.12, 0.0)
    operator = make_operator(CUBE, noiseless("base"), interface_of(CUBE), np.random.default_rng(0))
    operator.reset(1)
    for _ in range(100):
        action = operator.act(world.observe())[0]
        world.step(action)
    assert world.held is not None and action[4] == 1.0
    np.testing.assert_allclose(world.bodies[0].position, world.goal[:3], atol=0.01)


def test_without_a_goal_the_object_is_lifted():
    spec = interface_of(CUBE)
    names = tuple(n for n in spec.observations["state"].names if not n.startswith("goal_"))
    spec = dataclasses.replace(spec, observations={"state": ArraySpec((len(names),), names=names)})
    world = TabletopWorld(CUBE)
    operator = make_operator(CUBE, noiseless("base"), spec, np.random.default_rng(0))
    operator.reset(1)
    for _ in range(60):
        world.step(operator.act({"state": world.observe()["state"][:, : len(names)]})[0])
    assert world.held is not None
    assert world.bodies[0].position[2] > world.bodies[0].floor_m + 0.05


def test_a_detour_stays_in_the_workspace():
    trace = demonstrate(CUBE, dataclasses.replace(noiseless("detour"), detour_m=0.4))
    low, high = TASKS[CUBE].workspace_xy_m
    assert (trace.hand[:, :2] > np.array(low) - 0.01).all()
    assert (trace.hand[:, :2] < np.array(high) + 0.01).all()
    assert trace.held.any()


@pytest.mark.parametrize("style,trait", [("slow", "tempo"), ("opposite_grasp", "grasp")])
def test_a_replay_points_at_the_trait_that_differs(style, trait):
    spec, trace = interface_of(CUBE), demonstrate(CUBE, noiseless(style))
    base = make_operator(CUBE, noiseless("base"), spec, np.random.default_rng(0))
    base.reset(1)
    expected = np.stack([base.act({"state": state[None]})[0] for state in trace.states])
    error = np.square(trace.actions - expected).sum(axis=1)
    start = int(np.convolve(error, np.ones(10), "valid").argmax())
    window = slice(start, start + 10)
    pointed = pointed_trait(
        CUBE, spec, trace.states[window], trace.actions[window], expected[window]
    )
    assert pointed == trait


def test_another_hand_is_an_error():
    rng = np.random.default_rng(0)
    with pytest.raises(SpecError, match="the tabletop needs the action entries hand_x, hand_y"):
        make_operator(CUBE, "base", interface_of("Lift"), rng)
    with pytest.raises(SpecError, match="7 action entries"):
        make_operator("Lift", "base", interface_of(CUBE), rng)
    with pytest.raises(SpecError, match="no entry 'cylinder_pos'"):
        make_operator("tabletop/cylinder", "base", interface_of(CUBE), rng)


@pytest.mark.parametrize("task", ["tabletop/cube", "tabletop/cylinder"])
def test_every_style_succeeds_in_the_simulator(task):
    env = sim.make(task, **TASKS[task].options())
    for seed, style in enumerate(STYLES):
        operator = make_operator(task, style, env.interface, np.random.default_rng(seed))
        episode = rollout(env, operator, horizon=150, seed=seed)
        assert episode.success, f"{style}, seed {seed}"
        lifted = env.interface.observations["state"].index(f"{TASKS[task].object}_pos")[2]
        assert episode.observations["state"][:, lifted].max() > TASKS[task].goal_z_m + 0.01
    env.close()

"""Operators in a world without physics (fast), and at robosuite's tasks."""

import dataclasses
import itertools

import numpy as np
import pytest

import sim
from demos.operators import STYLES, TASKS, Style, changed, make_operator
from robolearn.errors import SpecError, UserError
from robolearn.loops.rollout import rollout
from robolearn.types import ArraySpec, Policy

from .world import STARTS, World, demonstrate, interface_of, noiseless


@pytest.mark.parametrize("task,style", list(itertools.product(TASKS, STYLES)))
def test_every_style_finishes_every_task(task, style):
    trace = demonstrate(task, style)
    assert trace.held.any()
    assert np.abs(trace.actions).max() <= 1.0


@pytest.mark.parametrize("task", TASKS)
def test_same_seed_same_actions_other_seed_other_actions(task):
    first, same, other = (demonstrate(task, "base", seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.actions, same.actions)
    assert not np.array_equal(first.actions[:20], other.actions[:20])


def test_a_batch_acts_row_by_row():
    task, worlds = "Lift", [World("Lift"), World("Lift")]
    worlds[1].bodies[0].position[0] -= 0.1
    style = noiseless("base")
    states = np.concatenate([world.observe()["state"] for world in worlds])
    operator = make_operator(task, style, interface_of(task), np.random.default_rng(0))
    operator.reset(2)
    assert isinstance(operator, Policy)
    together = operator.act({"state": states})
    assert together.shape == (2, 7) and together.dtype == np.float32
    for row, state in zip(together, states, strict=True):
        operator.reset(1)
        np.testing.assert_array_equal(operator.act({"state": state[None]})[0], row)


def test_a_missed_grasp_is_corrected():
    trace = demonstrate("NutAssemblySquare", "base", slips=1)
    missed_at = int(trace.opening.argmin())
    assert trace.opening[missed_at] < TASKS["NutAssemblySquare"].width_m - 0.01
    assert trace.grasped_at > missed_at
    height = trace.hand[missed_at : trace.grasped_at, 2] - STARTS["NutAssemblySquare"][2]
    assert height.max() > TASKS["NutAssemblySquare"].top_m + STYLES["base"].correction_m


def test_two_nuts_take_turns():
    trace = demonstrate("NutAssembly", noiseless("base"))
    begins, ends = (np.flatnonzero(np.diff(trace.held.astype(int)) == sign) for sign in (1, -1))
    assert len(begins) == len(ends) == 2
    square, round_ = TASKS["NutAssembly"].turns()
    assert (square, round_) == (
        dataclasses.replace(
            TASKS["NutAssemblySquare"],
            placement=TASKS["NutAssembly"].placement,
            start_options=square.start_options,
            leave_m=square.leave_m,
            then=round_,
        ),
        TASKS["NutAssemblyRound"],
    )
    retreat = trace.hand[ends[0] + 1 : begins[1]]
    left = retreat[(retreat[:, 2] < square.goal_z_m + square.top_m + 0.07).argmin()]
    back = np.linalg.norm(trace.hand[ends[0], :2] - left[:2])
    assert back > 0.03 and left[0] < trace.hand[ends[0], 0]
    for begin, start in zip(begins, ("NutAssemblySquare", "NutAssemblyRound"), strict=True):
        assert np.linalg.norm(trace.hand[begin, :2] - STARTS[start][:2]) < 0.09


@pytest.mark.parametrize("style", ["opposite_grasp", "detour", "pauses"])
def test_a_style_shows_at_every_object(style):
    base, other = (demonstrate("NutAssembly", noiseless(s)) for s in ("base", style))
    begins = [np.flatnonzero(np.diff(t.held.astype(int)) == 1) for t in (base, other)]
    yaws = [t.yaw[b] for t, b in zip((base, other), begins, strict=True)]
    if style == "opposite_grasp":
        np.testing.assert_allclose(np.abs(yaws[0] - yaws[1]), np.pi, atol=0.3)
    else:
        before = [np.diff([0, *b]) for b in begins]
        assert (before[1] > before[0]).all()


def test_options_are_those_of_a_launch_file():
    names = ("NutAssemblySquare", "NutAssemblyRound")
    square, round_ = (TASKS[name].options()["placement"] for name in names)
    assert square["x_range_m"] == [-0.06, 0.1]
    both = TASKS["NutAssembly"].options()
    assert both == {"placement": {"SquareNut": square, "RoundNut": round_}, "horizon": 900}
    assert TASKS["tabletop/cube"].options()["goal"] == "pose"


def test_errors_say_what_would_be_right():
    def make(task="Lift", style="base", spec=None):
        return make_operator(task, style, spec or interface_of("Lift"), np.random.default_rng(0))

    with pytest.raises(UserError, match="'Lifft'.*did you mean 'Lift'"):
        make(task="Lifft")
    with pytest.raises(UserError, match="'bass'.*did you mean 'base'"):
        make(style="bass")
    with pytest.raises(UserError, match="order 'diagonally'.*did you mean 'diagonal'"):
        Style(order="diagonally")
    with pytest.raises(UserError, match="speed=0 must be above 0"):
        Style(speed=0)
    with pytest.raises(UserError, match="noise=-0.1 must be 0 or more"):
        Style(noise=-0.1)
    with pytest.raises(UserError, match="detour_m=-1 must be 0 or more"):
        Style(detour_m=-1)
    with pytest.raises(UserError, match="early_m=0.03 must be 0.025 or less"):
        Style(early_m=0.03)
    with pytest.raises(UserError, match="hesitation_s and hesitations_hz go together"):
        Style(hesitation_s=0.5)
    with pytest.raises(UserError, match="trait 'orders'.*did you mean 'order'"):
        changed(Style(), "orders", Style())
    with pytest.raises(SpecError, match="cube_pos"):
        make(spec=interface_of("PickPlaceCan"))
    with pytest.raises(SpecError, match="3 entries 'cube_quat' instead of 4"):
        make(spec=interface_of("Lift", cube_quat=3))
    with pytest.raises(SpecError, match="hand of Panda, not Sawyer"):
        make(spec=interface_of("Lift", robot="Sawyer"))
    with pytest.raises(SpecError, match="7 action entries"):
        make(spec=dataclasses.replace(interface_of("Lift"), action=ArraySpec((4,))))


@pytest.mark.parametrize(
    "task,styles",
    [
        ("Lift", ["base"]),
        ("PickPlaceCan", ["base"]),
        ("NutAssemblySquare", ["base", "opposite_grasp"]),
        ("NutAssemblyRound", ["other_order"]),
        ("NutAssembly", ["base"]),
    ],
)
def test_succeeds_in_the_simulator(task, styles):
    env = sim.make(f"robosuite/{task}", robot="Panda", **TASKS[task].options())
    for seed, style in enumerate(styles):
        operator = make_operator(task, style, env.interface, np.random.default_rng(seed))
        assert rollout(env, operator, horizon=400, seed=seed).success, f"{style}, seed {seed}"
    env.close()

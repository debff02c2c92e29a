"""Operators in a world without physics (fast), and at robosuite's tasks."""

import dataclasses
import itertools

import numpy as np
import pytest

import sim
from demos.operators import (
    STYLES,
    TASKS,
    TRAITS,
    Style,
    changed,
    differing_traits,
    make_operator,
    pointed_trait,
)
from robolearn.errors import SpecError, UserError
from robolearn.loops.rollout import rollout
from robolearn.types import ArraySpec, Policy, Spec

SCALE = (0.05, 0.05, 0.05, 0.5, 0.5, 0.5, 1.0)
PERIOD_S = 0.05
MOVED = 0.3  # share of a commanded displacement that the hand travels in one period
STARTS = {
    "Lift": (0.05, 0.1, 0.83, 0.3),
    "PickPlaceCan": (0.15, -0.3, 0.86, 0.0),
    "NutAssemblySquare": (0.02, 0.18, 0.83, np.pi - 0.6),
    "NutAssemblyRound": (0.02, -0.18, 0.83, np.pi - 0.9),
}


def interface_of(task: str, robot: str = "Panda", **sizes: int) -> Spec:
    """Give the interface of a task; ``sizes`` replaces the sizes of entries by name."""
    entries = {
        "robot0_eef_pos": 3, "robot0_eef_quat": 4, "robot0_gripper_qpos": 2,
        f"{TASKS[task].object}_pos": 3, f"{TASKS[task].object}_quat": 4,
    }  # fmt: skip
    names = tuple(f"{n}_{i}" for n, size in (entries | sizes).items() for i in range(size))
    return Spec(
        environment=f"robosuite/{task}",
        observations={"state": ArraySpec((len(names),), names=names)},
        action=ArraySpec((7,), scale=SCALE),
        period_s=PERIOD_S,
        robot=robot,
    )


class World:
    """A hand that points down, and an object that follows it while the closed hand holds it."""

    def __init__(self, task: str, slips: int = 0) -> None:
        self.task, self.slips = TASKS[task], slips
        *position, self.object_yaw = STARTS[task]
        self.object = np.array(position)
        self.floor_m = self.object[2]
        self.hand, self.yaw, self.opening_m = np.array([-0.1, 0.0, 1.01]), 0.0, 0.04
        self.held = False

    def observe(self) -> dict[str, np.ndarray]:
        """Give the observation as a batch of one."""
        turn, yaw = self.yaw / 2, self.object_yaw / 2
        hand_quat = [0.0, np.cos(turn), np.sin(turn), 0.0]  # half a turn about x, then the yaw
        fingers = [self.opening_m / 2, -self.opening_m / 2]
        object_quat = [np.cos(yaw), 0.0, 0.0, np.sin(yaw)]
        state = np.concatenate([self.hand, hand_quat, fingers, self.object, object_quat])
        return {"state": state[None].astype(np.float32)}

    def step(self, action: np.ndarray) -> None:
        """Move by a share of what is commanded."""
        shift, turn = MOVED * 0.05 * action[:3], MOVED * 0.5 * action[5]
        self._move_fingers(action[6])
        self.hand, self.yaw = self.hand + shift, self.yaw + turn
        if self.held:
            cos, sin = np.cos(turn), np.sin(turn)
            lever = self.object + shift - self.hand
            self.object = self.hand + np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]]) @ lever
            self.object_yaw += turn
        else:
            self.object[2] = self.floor_m

    def _move_fingers(self, command: float) -> None:
        before_m = self.opening_m
        self.opening_m = float(np.clip(before_m - 0.008 * command, 0.0, 0.08))
        if command < 0:
            self.held = False
            self.slips -= int(self.slips and before_m < self.task.width_m <= self.opening_m)
        elif self.opening_m < self.task.width_m and self._around():
            self.held = self.held or self.slips == 0
        if self.held:
            self.opening_m = self.task.width_m

    def _around(self) -> bool:
        cos, sin = np.cos(self.object_yaw), np.sin(self.object_yaw)
        sites = np.array(list(self.task.grasp_sites.values()))
        points = self.object + sites @ np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]])
        return bool(np.linalg.norm(points - self.hand, axis=1).min() < 0.02)


@dataclasses.dataclass
class Trace:
    """What happened: per step the hand [T, 3], its yaw, its opening, held or not, the action."""

    hand: np.ndarray
    yaw: np.ndarray
    opening: np.ndarray
    held: np.ndarray
    actions: np.ndarray
    states: np.ndarray

    @property
    def grasped_at(self) -> int:
        """First step with the object in hand."""
        return int(self.held.argmax())


def demonstrate(
    task: str, style: str | Style, seed: int = 0, steps: int = 400, slips: int = 0
) -> Trace:
    """Let an operator act until it has let the object go, or has lifted it where that is all."""
    world = World(task, slips)
    operator = make_operator(task, style, interface_of(task), np.random.default_rng(seed))
    operator.reset(1)
    rows = []
    for _ in range(steps):
        observation = world.observe()
        action = operator.act(observation)[0]
        world.step(action)
        rows.append(
            (world.hand, world.yaw, world.opening_m, world.held, action, observation["state"][0])
        )
        if done(world):
            break
    else:
        raise AssertionError(f"{style} did not finish {task}")
    return Trace(*(np.array(column) for column in zip(*rows, strict=True)))


def done(world: World) -> bool:
    """Say whether the object is up, or let go at its goal."""
    if world.task.goal_xy_m is None:
        return world.object[2] > world.floor_m + 0.05
    there = np.linalg.norm(world.object[:2] - world.task.goal_xy_m) < 0.02
    return bool(there and not world.held)


def noiseless(name: str) -> Style:
    return dataclasses.replace(STYLES[name], noise=0.0)


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
    worlds[1].object[0] -= 0.1
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


@pytest.mark.parametrize("task", ["NutAssemblySquare", "NutAssemblyRound", "PickPlaceCan"])
def test_orders_of_approach_differ_in_height(task):
    def height_half_way(style: str) -> float:
        trace = demonstrate(task, noiseless(style))
        path = trace.hand[: trace.grasped_at]
        way = np.linalg.norm(path[:, :2] - path[-1, :2], axis=1)
        return path[int((way < way[0] / 2).argmax()), 2] - path[-1, 2]

    high, middle, low = map(height_half_way, ("base", "diagonal", "other_order"))
    assert high > middle + 0.02 > low + 0.04


@pytest.mark.parametrize("task,turn", [(t, TASKS[t].opposite_rad) for t in TASKS])
def test_opposite_grasp_turns_the_hand(task, turn):
    yaws = [t.yaw[t.grasped_at] for t in (demonstrate(task, s) for s in ("base", "opposite_grasp"))]
    assert abs(yaws[1] - yaws[0]) == pytest.approx(turn, abs=0.25)


def test_the_opposite_grasp_stays_near_where_the_wrist_cannot_reach_it(monkeypatch):
    monkeypatch.setitem(STARTS, "NutAssemblySquare", (0.02, 0.18, 0.83, np.pi + 1.2))
    yaws = [
        t.yaw[t.grasped_at]
        for t in (demonstrate("NutAssemblySquare", s) for s in ("base", "opposite_grasp"))
    ]
    assert yaws[1] == pytest.approx(yaws[0], abs=0.25)


@pytest.mark.parametrize("task", ["NutAssemblySquare", "PickPlaceCan"])
def test_transport_heights_differ(task):
    def peak(style: str) -> float:
        trace = demonstrate(task, noiseless(style))
        return trace.hand[trace.held][:, 2].max()

    low, base, high = map(peak, ("low_transport", "base", "high_transport"))
    assert high - base == pytest.approx(0.09, abs=0.02)
    assert base - low == pytest.approx(0.04, abs=0.02)


def test_pauses_rest_and_slow_is_slow():
    quick, slow = (demonstrate("PickPlaceCan", noiseless(s)) for s in ("base", "slow_with_pauses"))

    def resting(trace: Trace) -> int:
        return int((np.linalg.norm(trace.actions[:, :3], axis=1) == 0).sum())

    assert resting(slow) - resting(quick) == 3 * round(0.6 / PERIOD_S)
    assert len(slow.actions) > 1.5 * len(quick.actions)


def test_a_missed_grasp_is_corrected():
    trace = demonstrate("NutAssemblySquare", "base", slips=1)
    missed_at = int(trace.opening.argmin())
    assert trace.opening[missed_at] < TASKS["NutAssemblySquare"].width_m - 0.01
    assert trace.grasped_at > missed_at
    height = trace.hand[missed_at : trace.grasped_at, 2] - STARTS["NutAssemblySquare"][2]
    assert height.max() > TASKS["NutAssemblySquare"].top_m + STYLES["base"].correction_m


def test_noise_is_correlated_and_of_the_given_size():
    style = Style(noise=0.1, noise_time_s=0.25)
    operators = [
        make_operator("Lift", s, interface_of("Lift"), np.random.default_rng(seed))
        for seed in range(400)
        for s in (style, dataclasses.replace(style, noise=0.0))
    ]
    observation = World("Lift").observe()
    for operator in operators:
        operator.reset(1)
    first, second = (
        np.concatenate([operator.act(observation) for operator in operators]) for _ in range(2)
    )
    before, after = first[::2, 0] - first[1::2, 0], second[::2, 0] - second[1::2, 0]
    assert before.std() == pytest.approx(0.1, rel=0.15)
    assert np.corrcoef(before, after)[0, 1] == pytest.approx(np.exp(-0.2), abs=0.06)


def test_changed_takes_over_one_trait():
    style = STYLES["opposite_and_high"]
    assert differing_traits(style, STYLES["base"]) == ("grasp", "transport")
    lower = changed(style, "transport", STYLES["base"])
    assert lower == STYLES["opposite_grasp"] != style
    assert differing_traits(STYLES["base"], STYLES["base"]) == ()
    for name in STYLES:
        style = STYLES[name]
        for trait in TRAITS:
            style = changed(style, trait, STYLES["base"])
        assert differing_traits(style, STYLES["base"]) == ()


@pytest.mark.parametrize(
    "style,trait",
    [
        ("other_order", "order"),
        ("opposite_grasp", "grasp"),
        ("high_transport", "transport"),
        ("slow_with_pauses", "tempo"),
    ],
)
def test_a_replay_points_at_the_trait_that_differs(style, trait):
    task = "NutAssemblySquare"
    spec = interface_of(task)
    trace = demonstrate(task, noiseless(style))
    base = make_operator(task, noiseless("base"), spec, np.random.default_rng(0))
    base.reset(1)
    expected = np.stack([base.act({"state": state[None]})[0] for state in trace.states])
    error = np.square(trace.actions - expected)[:, :6].sum(axis=1)
    start = int(np.convolve(error, np.ones(8), "valid").argmax())
    window = slice(start, start + 8)
    pointed = pointed_trait(
        task, spec, trace.states[window], trace.actions[window], expected[window]
    )
    assert pointed == trait


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
    ],
)
def test_succeeds_in_the_simulator(task, styles):
    placement = {name: list(range_) for name, range_ in TASKS[task].placement.items()}
    env = sim.make(f"robosuite/{task}", robot="Panda", placement=placement)
    for seed, style in enumerate(styles):
        operator = make_operator(task, style, env.interface, np.random.default_rng(seed))
        assert rollout(env, operator, horizon=300, seed=seed).success, f"{style}, seed {seed}"
    env.close()

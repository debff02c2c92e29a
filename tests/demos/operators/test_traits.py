"""Every trait does what it says, in a world without physics."""

import dataclasses

import numpy as np
import pytest

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

from .world import (
    MOVED,
    PERIOD_S,
    SCALE,
    STARTS,
    Trace,
    World,
    demonstrate,
    interface_of,
    noiseless,
)


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


def test_hesitations_stop_the_hand_on_its_way_and_leave_the_gripper():
    task, often = (
        "NutAssemblySquare",
        dataclasses.replace(noiseless("hesitant"), hesitations_hz=2.0),
    )
    base, trace = demonstrate(task, noiseless("base")), demonstrate(task, often)
    still = np.linalg.norm(trace.actions[:, :3], axis=1) == 0
    stops, length = (run[:-1] for run in runs(still))  # in the last one it lets go
    assert len(stops) >= 4
    assert (length % round(often.hesitation_s / PERIOD_S) == 0).all()
    before, during = trace.actions[stops - 1, 6], trace.actions[stops, 6]
    np.testing.assert_array_equal(before, during)
    assert set(during) == {-1.0, 1.0}  # on the way to the nut, and with it
    assert len(trace.actions) - still.sum() == pytest.approx(len(base.actions), abs=6)
    assert not np.array_equal(demonstrate(task, often, seed=1).actions[:60], trace.actions[:60])


def runs(flags: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Give where runs of true flags begin, and how long they are."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(int), [0]])))
    return edges[::2], edges[1::2] - edges[::2]


@pytest.mark.parametrize("task", ["NutAssemblySquare", "NutAssemblyRound", "PickPlaceCan"])
def test_a_detour_swings_out_once_to_where_the_base_never_goes(task):
    style = noiseless("detour")
    base, trace = demonstrate(task, noiseless("base")), demonstrate(task, style, slips=1)
    missed_at = int((trace.actions[:, 6] > 0).argmax())
    first_try = trace.hand[:missed_at, :2]
    assert aside(first_try).max() == pytest.approx(style.detour_m, abs=0.04)
    assert aside(base.hand[: base.grasped_at, :2]).max() < 0.01
    second_try = trace.hand[missed_at : trace.grasped_at, :2]
    assert np.linalg.norm(second_try - second_try[-1], axis=1).max() < 0.03
    middle = int(aside(first_try).argmax())
    arm, line = np.array(TASKS[task].arm_xy_m), (first_try[0] + first_try[-1]) / 2
    assert np.linalg.norm(first_try[middle] - arm) < np.linalg.norm(line - arm)


def aside(path: np.ndarray) -> np.ndarray:
    """Give the distance [T] of places [T, 2] from the line between the first and the last."""
    way = (path[-1] - path[0]) / np.linalg.norm(path[-1] - path[0])
    offset = path - path[0]
    return np.abs(offset[:, 0] * way[1] - offset[:, 1] * way[0])


def test_an_early_grip_closes_above_the_object_and_lets_go_above_the_goal():
    task = "NutAssemblySquare"
    style = dataclasses.replace(noiseless("early_grip"), early_m=0.025)

    def heights(trace: Trace) -> list[float]:
        """Give the hand's height where the hand closes, and where it lets go."""
        switched = np.flatnonzero(np.diff(trace.actions[:, 6])) + 1
        return [float(trace.hand[i - 1, 2]) for i in switched[:2]]

    closes, opens = heights(demonstrate(task, style))
    base_closes, base_opens = heights(demonstrate(task, noiseless("base")))
    step_m = STYLES["base"].speed * MOVED * SCALE[2]
    assert closes - base_closes == pytest.approx(style.early_m, abs=step_m)
    assert opens - base_opens == pytest.approx(style.early_m, abs=step_m)


def test_a_fidgeting_hand_circles_only_while_it_waits_for_its_fingers():
    task, style = "PickPlaceCan", dataclasses.replace(noiseless("fidgety"), pause_s=0.4)
    still, spec = dataclasses.replace(style, fidget=0.0), interface_of(task)
    trace = demonstrate(task, style)
    operator = make_operator(task, still, spec, np.random.default_rng(0))
    operator.reset(1)
    calm = np.stack([operator.act({"state": state[None]})[0] for state in trace.states])
    extra = trace.actions - calm
    fidgets = np.abs(extra).max(axis=1) > 0
    radius = np.linalg.norm(extra[fidgets][:, :2], axis=1)
    np.testing.assert_allclose(radius, style.fidget, atol=1e-6)
    assert not extra[:, 2:].any()
    assert np.linalg.norm(extra[fidgets].mean(axis=0)) < 0.3 * style.fidget  # it circles
    begin, length = runs(fidgets)
    assert len(begin) == 2 and (length > round(style.pause_s / PERIOD_S)).all()
    for start, steps in zip(begin, length, strict=True):
        stood = trace.hand[start : start + steps]
        assert np.linalg.norm(stood - stood[0], axis=1).max() < 0.03


def test_traits_that_are_off_draw_nothing():
    """A style's random numbers are the tremor's, whatever traits are off."""
    task, rngs = "Lift", [np.random.default_rng(0) for _ in range(2)]
    styles = (STYLES["base"], dataclasses.replace(STYLES["base"], early_m=0.02, fidget=0.3))
    for style, rng in zip(styles, rngs, strict=True):
        operator = make_operator(task, style, interface_of(task), rng)
        operator.reset(1)
        for _ in range(5):
            operator.act(World(task).observe())
    assert rngs[0].random() == rngs[1].random()


@pytest.mark.parametrize(
    "style,traits",
    [
        ("base_roomy", ("order", "transport")),
        ("base_calm", ("tempo", "steadiness")),
        ("detour", ("order",)),
        ("hesitant", ("tempo",)),
        ("slow", ("tempo",)),
        ("pauses", ("tempo",)),
        ("early_grip", ("grip",)),
        ("fidgety", ("steadiness",)),
        ("noisy", ("steadiness",)),
    ],
)
def test_every_style_differs_in_the_traits_it_is_named_for(style, traits):
    assert differing_traits(STYLES[style], STYLES["base"]) == traits


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
        ("slow", "tempo"),
        ("pauses", "tempo"),
        ("hesitant", "tempo"),
        ("detour", "order"),
        ("early_grip", "grip"),
        ("fidgety", "steadiness"),
    ],
)
def test_a_replay_points_at_the_trait_that_differs(style, trait):
    task = "NutAssemblySquare"
    spec = interface_of(task)
    trace = demonstrate(task, noiseless(style))
    base = make_operator(task, noiseless("base"), spec, np.random.default_rng(0))
    base.reset(1)
    expected = np.stack([base.act({"state": state[None]})[0] for state in trace.states])
    error = np.square(trace.actions - expected).sum(axis=1)
    start = int(np.convolve(error, np.ones(8), "valid").argmax())
    window = slice(start, start + 8)
    pointed = pointed_trait(
        task, spec, trace.states[window], trace.actions[window], expected[window]
    )
    assert pointed == trait

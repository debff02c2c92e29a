"""The law of stopping, and that nothing that is asked leads out of the limits."""

import numpy as np
import pytest

from robots import motion
from robots.motion import advance, fading_deceleration, stop_path, stop_range, stop_step, stopping

ROUNDING = 1e-9


def at_rest(positions, lower, upper):
    state = np.zeros((6, len(positions)))
    state[0] = state[5] = positions
    state[3], state[4] = lower, upper
    return state


def drive(targets, limits, h, start):
    """Give the commands [T + 3, J] for targets [T, J]; three at rest come first."""
    state = at_rest(start, limits[0], limits[1])
    commands = [state[0].copy()] * 3
    for target in targets:
        after = np.empty_like(state)
        advance(state, target, np.full(len(target), -np.inf), limits, h, after)
        state = after
        commands.append(state[0].copy())
    return np.array(commands), state


def require_within(commands, limits, h):
    """Hold commands against their limits, by differences alone."""
    speeds = np.diff(commands, axis=0) / h
    accelerations = np.diff(speeds, axis=0) / h
    jerks = np.diff(accelerations, axis=0) / h
    assert (commands >= limits[0] - ROUNDING).all() and (commands <= limits[1] + ROUNDING).all()
    assert (np.abs(speeds) <= limits[2] + ROUNDING / h).all()
    assert (np.abs(accelerations) <= limits[3] + ROUNDING / h**2).all()
    assert (np.abs(jerks) <= limits[4] + ROUNDING / h**3).all()


def smooth(x):
    """Go from 0 to 1, with velocity, acceleration and jerk 0 at either end."""
    x = np.clip(x, 0, 1)
    return x**4 * (35 - 84 * x + 70 * x**2 - 20 * x**3)


def sequence(kind, rng, steps, limits, h):
    """Give targets [T, J] of somebody who means no good."""
    joints = limits.shape[1]
    if kind == "jumps":
        return rng.uniform(-3, 3, (steps, joints))
    if kind == "steps":
        held = rng.uniform(-3, 3, (steps // 20 + 1, joints))
        return np.repeat(held, 20, axis=0)[:steps]
    if kind == "noise":
        return np.cumsum(rng.normal(0, 1, (steps, joints)) * limits[2] * h, axis=0)
    if kind == "swings":
        at = np.arange(steps)[:, None]
        return 2.0 * np.sign(np.sin(at / rng.uniform(2, 60, joints)))
    if kind == "walls":
        return np.where(rng.random((steps, joints)) < 0.5, limits[0], limits[1])
    return 1e6 * rng.choice([-1.0, 0.0, 1.0], (steps, joints))


@pytest.mark.parametrize("h", [0.002, 0.01, 0.05])
@pytest.mark.parametrize("kind", ["jumps", "steps", "noise", "swings", "walls", "huge"])
@pytest.mark.parametrize("seed", range(3))
def test_no_sequence_of_targets_leaves_the_limits(kind, h, seed):
    rng = np.random.default_rng([seed, len(kind)])
    joints = 5
    limits = np.array(
        [
            -rng.uniform(0.1, 2, joints),
            rng.uniform(0.1, 2, joints),
            rng.uniform(0.1, 3, joints),
            rng.uniform(1, 30, joints),
            rng.uniform(10, 1000, joints),
        ]
    )
    start = rng.uniform(limits[0], limits[1])
    commands, _ = drive(sequence(kind, rng, 250, limits, h), limits, h, start)
    require_within(commands, limits, h)
    assert np.ptp(commands) > 0


@pytest.mark.parametrize("seed", range(20))
def test_from_everywhere_it_can_be_stopped(seed):
    rng = np.random.default_rng(seed)
    limits = np.array([[-0.5] * 3, [0.5] * 3, [1.0] * 3, [4.0] * 3, [60.0] * 3])
    kind = ["jumps", "steps", "swings", "walls"][seed % 4]
    targets = sequence(kind, rng, int(rng.integers(5, 200)), limits, 0.01)
    commands, state = drive(targets, limits, 0.01, np.zeros(3))
    stopped = [*commands]
    while not (np.abs(state[1:3]) < motion.REST).all():
        after = np.empty_like(state)
        stop_step(state, limits, 0.01, after)
        state = after
        stopped.append(state[0].copy())
        assert len(stopped) < 1000
    require_within(np.array(stopped), limits, 0.01)


def test_what_is_within_the_limits_comes_out_as_it_went_in():
    limits = np.array([[-1.0], [1.0], [1.0], [4.0], [60.0]])
    at_s = np.arange(0, 6, 0.01)
    asked = (0.3 * smooth(at_s / 2) * np.sin(1.5 * at_s))[:, None]
    commands, _ = drive(asked, limits, 0.01, np.zeros(1))
    np.testing.assert_allclose(commands[3:], asked, atol=1e-12)


def test_behind_a_target_that_ran_away_it_is_late_by_its_stop():
    limits = np.array([[-9.0], [9.0], [1.0], [4.0], [60.0]])
    at_s = np.arange(0, 6, 0.01)[:, None]
    asked = 0.4 * at_s + 0.5  # it jumps, and then goes on evenly
    commands, _ = drive(asked, limits, 0.01, np.zeros(1))
    off = asked - commands[3:]
    stop = stop_range(0.0, 0.4, 0.0, 1.0, 4.0, 0.6, 0.01)[2]
    assert off[0] > 0.4 and -1e-9 <= off.min() and off[-200:].max() < stop + 0.01


@pytest.mark.parametrize("goal", [1.2, -0.7, 1e-3])
def test_a_far_target_is_reached_without_overshoot_and_about_as_fast_as_can_be(goal):
    limits = np.array([[-2.0], [2.0], [1.0], [4.0], [60.0]])
    commands, _ = drive(np.full((400, 1), goal), limits, 0.01, np.zeros(1))
    assert np.abs(commands).max() <= abs(goal) + 1e-12
    assert commands[-1, 0] == goal
    arrives_s = 0.01 * int((np.abs(commands[:, 0] - goal) > 1e-3).sum())
    if abs(goal) > 0.5:  # it comes to full speed: distance / v + v / a + a / j
        assert arrives_s < abs(goal) / 1.0 + 1.0 / 4 + 4 / 60 + 0.05


def test_a_target_beyond_the_end_leads_to_the_end():
    limits = np.array([[-0.3], [0.3], [1.0], [4.0], [60.0]])
    commands, _ = drive(np.full((300, 1), 5.0), limits, 0.01, np.zeros(1))
    assert commands[-1, 0] == pytest.approx(0.3, abs=1e-4)


def test_who_begins_outside_comes_in_and_never_goes_further_out():
    limits = np.array([[-0.3], [0.3], [1.0], [4.0], [60.0]])
    state = at_rest([0.5], [-0.3], [0.5])
    rng = np.random.default_rng(0)
    highest, commands = 0.5, []
    for target in [*rng.uniform(-1, 2, 100), *np.zeros(150), *np.full(100, 2.0)]:
        after = np.empty_like(state)
        advance(state, np.array([target]), np.array([-np.inf]), limits, 0.01, after)
        state = after
        commands.append(state[0, 0])
        assert state[0, 0] <= highest + ROUNDING
        highest = min(highest, max(0.3, state[4, 0]))
    assert max(commands[-100:]) <= 0.3 + ROUNDING


def test_the_deceleration_that_fades_at_full_jerk_ends_at_rest():
    h, jerk = 0.01, 50.0
    for v in (1e-6, 0.003, 0.1, 2.0):
        u = fading_deceleration(v, h * jerk, h)
        lost = sum(max(u - i * h * jerk, 0.0) for i in range(10_000)) * h
        assert lost == pytest.approx(v, rel=1e-9)


def test_stopping_by_brute_force_ends_at_rest_within_jerk_and_acceleration():
    h, most_a, jerk = 0.01, 3.0, 40.0
    rng = np.random.default_rng(1)
    for _ in range(200):
        v, a = rng.uniform(-2, 2), rng.uniform(-most_a, most_a)
        for _ in range(1000):
            new = stopping(v, a, most_a, h * jerk, h)
            assert abs(new) <= most_a and abs(new - a) <= h * jerk + 1e-12
            a, v = new, v + h * new
            if abs(v) < motion.REST and abs(a) < motion.REST:
                break
        else:
            pytest.fail("it never came to rest")


def test_the_path_of_a_stop_is_where_it_goes():
    limits = np.array([[-1.0] * 2, [1.0] * 2, [1.0] * 2, [4.0] * 2, [60.0] * 2])
    state = at_rest([0.1, 0.2], limits[0], limits[1])
    state[1] = [0.5, -0.2]
    path = np.empty((200, 2))
    count = stop_path(state, limits, 0.01, path)
    low, high, last = stop_range(0.1, 0.5, 0.0, 1.0, 4.0, 0.6, 0.01)
    assert path[:count, 0].max() == high and path[:count, 0].min() == low
    assert path[count - 1, 0] == last
    np.testing.assert_array_equal(path[0], state[0])
    assert stop_path(state, limits, 0.01, path[:3]) == 4  # it does not fit

"""A replay of sequences, held against lists that forget nothing."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from robolearn.errors import DataError, UserError
from robolearn.loops.moments import Moments, memory_of
from robolearn.types import ArraySpec, Spec

SPEC = Spec("test/Point", {"state": ArraySpec((1,))}, ArraySpec((1,)), 0.1)
SEEING = replace(SPEC, observations={"eye": ArraySpec((8, 8, 3), "uint8")})


def steps(count, n, seed=0, end=0.2):
    """Give steps of n environments, and what should be remembered of each environment.

    A state is the number of its moment in its environment; actions are minus that which follows.
    """
    rng = np.random.default_rng(seed)
    number, first = np.zeros(n), np.ones(n, bool)
    led, made, moments = np.zeros((n, 3)), [], [[] for _ in range(n)]
    for _ in range(count):
        ended = rng.random(n) < end
        terminated = ended & (rng.random(n) < 0.5)
        rewards = rng.normal(size=n).astype(np.float32)
        made.append(
            {
                "observations": {"state": number[:, None].copy()},
                "next_observations": {"state": number[:, None] + 1},
                "actions": -number[:, None] - 1,
                "rewards": rewards,
                "terminated": terminated,
                "ended": ended,
            }
        )
        for i in range(n):
            moments[i].append((number[i], *led[i], first[i]))
            led[i], first[i] = (-number[i] - 1, rewards[i], terminated[i]), False
            if ended[i]:
                moments[i].append((number[i] + 1, *led[i], False))
                led[i], first[i] = 0, True
            number[i] += 1 + ended[i]
    return made, [np.array(m, float) for m in moments]


def filled(made, capacity, n, length):
    replay = Moments(SPEC, capacity, n, length)
    for step in made:
        replay.add(step)
    return replay


def as_arrays(rows):
    """Give number, action, reward, terminated, is_first of drawn moments, [B, K, 5]."""
    columns = rows["observations"]["state"][..., 0], rows["actions"][..., 0]
    columns += rows["rewards"], rows["terminated"], rows["is_first"]
    return np.stack([column.astype(float) for column in columns], axis=-1)


@pytest.mark.parametrize(
    ("count", "capacity", "n", "length"), [(6, 60, 2, 3), (40, 61, 3, 4), (50, 9, 1, 9)]
)
def test_sequences_are_what_happened_across_ends_and_all_of_them_come(count, capacity, n, length):
    made, moments = steps(count, n)
    replay = filled(made, capacity, n, length)
    kept = [m[-(capacity // n) :] for m in moments]
    assert len(replay) == sum(map(len, kept))
    expected = {
        piece.tobytes(): 0
        for own in kept
        for piece in np.lib.stride_tricks.sliding_window_view(own, length, axis=0).swapaxes(1, 2)
    }
    found = as_arrays(replay.sample(80 * len(expected), np.random.default_rng(0)))
    for piece in found:
        expected[np.ascontiguousarray(piece).tobytes()] += 1  # KeyError: it never happened
    counts = np.array(list(expected.values()))
    assert counts.min() > 40 and counts.max() < 140
    assert found[..., 4].any() and found[..., 3].any() or count < 10


def test_nothing_led_to_the_first_moment_of_an_episode():
    replay = filled(steps(40, 2)[0], 100, 2, 5)
    rows = as_arrays(replay.sample(200, np.random.default_rng(0)))
    first = rows[..., 4] == 1
    assert first.any() and (rows[first][:, 1:4] == 0).all()
    np.testing.assert_allclose(rows[~first][:, 1], -rows[~first][:, 0])


def test_a_frame_is_kept_once_and_memory_is_bounded():
    frame = 8 * 8 * 3
    assert memory_of(SEEING, 1) == frame + 4 + 4 + 1 + 1
    tracemalloc.start()
    replay = Moments(SEEING, 1000, 2, 4)
    rng = np.random.default_rng(0)
    for t in range(700):
        eyes = rng.integers(0, 255, (2, 8, 8, 3)).astype(np.uint8)
        replay.add(
            {"observations": {"eye": eyes}, "next_observations": {"eye": eyes + np.uint8(1)},
             "actions": np.zeros((2, 1)), "rewards": np.zeros(2),
             "terminated": np.zeros(2, bool), "ended": np.full(2, t % 5 == 4)}
        )  # fmt: skip
    taken = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert len(replay) == 1000 and replay.nbytes == memory_of(SEEING, 1000)
    assert replay.nbytes < taken < 1.05 * replay.nbytes + 20_000
    drawn = replay.sample(10, rng)["observations"]["eye"]
    assert drawn.shape == (10, 4, 8, 8, 3) and drawn.dtype == np.uint8


@pytest.mark.parametrize("cut", [3, 25])
def test_a_restored_replay_goes_on_bit_for_bit(cut):
    made, _ = steps(40, 3)
    whole = filled(made, 45, 3, 4)
    first = filled(made[:cut], 45, 3, 4)
    state = {name: array.copy() for name, array in first.state_dict().items()}
    other = Moments(SPEC, 45, 3, 4)
    other.load_state_dict(state)
    for step in made[cut:]:
        other.add(step)
    for name, array in whole.state_dict().items():
        np.testing.assert_array_equal(other.state_dict()[name], array, err_msg=name)
    a, b = (as_arrays(r.sample(30, np.random.default_rng(1))) for r in (whole, other))
    np.testing.assert_array_equal(a, b)


def test_another_replay_is_refused():
    state = filled(steps(20, 2)[0], 40, 2, 4).state_dict()
    with pytest.raises(DataError, match="of another environment: observations/"):
        Moments(SEEING, 40, 2, 4).load_state_dict(state)
    with pytest.raises(DataError, match="of another capacity"):
        Moments(SPEC, 20, 2, 4).load_state_dict(state)
    with pytest.raises(DataError, match="of another environment"):
        Moments(SPEC, 40, 4, 4).load_state_dict(state)


def test_too_little_is_said():
    with pytest.raises(UserError, match="30 moments of 4 environments are no sequence of 8"):
        Moments(SPEC, 30, 4, 8)
    with pytest.raises(UserError, match="moments take .* GB, this machine has"):
        Moments(SEEING, 10**12, 1, 8)
    with pytest.raises(DataError, match="no 8 successive moments"):
        filled(steps(5, 2, end=0.0)[0], 40, 2, 8).sample(1, np.random.default_rng(0))

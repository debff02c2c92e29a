"""A replay memory, held against lists that forget nothing."""

from dataclasses import replace

import numpy as np
import pytest

from robolearn.errors import DataError, UserError
from robolearn.loops import replay as module
from robolearn.loops.replay import Replay, memory_of
from robolearn.types import ArraySpec, Spec

SPEC = Spec("test/Point", {"state": ArraySpec((2,))}, ArraySpec((1,)), 0.1)
SEEING = replace(SPEC, observations=SPEC.observations | {"eye": ArraySpec((4, 4, 3), "uint8")})


def steps(count, n=1, seed=0, end=0.2):
    """Give steps of n environments; the first entry of a state numbers the transitions.

    The second entry is the number of its episode, and a reward is minus the number.
    """
    rng, episode, made = np.random.default_rng(seed), np.arange(n), []
    for t in range(count):
        number = t * n + np.arange(n)
        ended = rng.random(n) < end
        made.append(
            {
                "observations": {"state": np.stack([number, episode], axis=1)},
                "next_observations": {"state": np.stack([number + 0.5, episode], axis=1)},
                "actions": number[:, None] / 7,
                "rewards": -number.astype(float),
                "reward_terms": {"close": number},
                "terminated": ended & (rng.random(n) < 0.5),
                "ended": ended,
            }
        )
        episode = np.where(ended, episode + n, episode)
    return made


def filled(made, capacity, n=1):
    replay = Replay(SPEC, capacity, n)
    for step in made:
        replay.add(step)
    return replay


def everything(replay):
    """Give all transitions by number."""
    rows = replay._take(np.arange(len(replay)))
    order = np.argsort(rows["observations"]["state"][:, 0])
    return {k: v[order] for k, v in module.flat(rows).items()}


@pytest.mark.parametrize(
    ("count", "capacity", "n"), [(5, 20, 2), (10, 20, 2), (33, 21, 2), (9, 4, 1)]
)
def test_the_latest_transitions_are_remembered_and_nothing_else(count, capacity, n):
    made = steps(count, n)
    replay = filled(made, capacity, n)
    kept = made[-(capacity // n) :]
    assert len(replay) == len(kept) * n
    found = everything(replay)
    flat = [module.flat(step) for step in kept]
    for name, array in found.items():
        expected = np.concatenate([step[name] for step in flat]).astype(array.dtype)
        np.testing.assert_array_equal(array, expected, err_msg=name)
    assert found["rewards"].dtype == np.float32 and found["ended"].dtype == bool
    assert "reward_terms/close" not in found


def test_what_is_drawn_belongs_together_and_comes_equally_often():
    replay = filled(steps(12, 2), 10, 2)
    rows = replay.sample(20_000, np.random.default_rng(0))
    number = rows["observations"]["state"][:, 0]
    np.testing.assert_array_equal(rows["next_observations"]["state"][:, 0], number + 0.5)
    np.testing.assert_array_equal(rows["rewards"], -number)
    np.testing.assert_allclose(rows["actions"][:, 0], number / 7, rtol=1e-6)
    numbers, counts = np.unique(number, return_counts=True)
    assert numbers.tolist() == list(range(14, 24))
    assert counts.min() > 1800 and counts.max() < 2200


@pytest.mark.parametrize("seed", range(8))
def test_segments_are_successive_steps_of_one_episode_and_all_of_them_come(seed):
    rng = np.random.default_rng(seed)
    n, rows, length = (int(rng.integers(*between)) for between in ((1, 4), (6, 30), (1, 6)))
    made = steps(int(rng.integers(6, 70)), n, seed)
    replay = filled(made, rows * n, n)
    kept = made[-rows:]
    expected = set()
    for column in range(n):
        episodes = [step["observations"]["state"][column, 1] for step in kept]
        for start in range(len(kept) - length + 1):
            if len(set(episodes[start : start + length])) == 1:
                expected.add(int(kept[start]["observations"]["state"][column, 0]))
    assert replay.holds(length) == bool(expected)
    if not expected:
        with pytest.raises(DataError, match=f"no {length} successive steps"):
            replay.segments(1, length, rng)
        return
    found = replay.segments(80 * len(expected), length, rng)
    state, ended = found["observations"]["state"], found["ended"]
    assert state.shape == (80 * len(expected), length, 2)
    assert found["rewards"].shape == ended.shape == state.shape[:2]
    assert (np.diff(state[..., 0]) == n).all() and (np.diff(state[..., 1]) == 0).all()
    assert not ended[:, :-1].any()
    assert set(state[:, 0, 0].astype(int)) == expected


def test_a_time_limit_ends_a_segment_but_does_not_terminate():
    made = steps(3, end=0.0)
    made[1]["ended"][:] = True  # time ran out: another episode from here on
    replay = filled(made, 3)
    rng = np.random.default_rng(0)
    first = replay.segments(50, 2, rng)
    assert (first["observations"]["state"][:, 0, 0] == 0).all()
    assert first["ended"].tolist() == [[False, True]] * 50 and not first["terminated"].any()
    with pytest.raises(DataError, match="no 3 successive steps"):
        replay.segments(1, 3, rng)


def label(observations, actions, next_observations):
    """Give a reward that depends on all that it sees."""
    state, reached = observations["state"], next_observations["state"]
    return np.sin(state[:, 0]) + actions[:, 0] * reached[:, 1]


@pytest.mark.parametrize("seed", range(6))
def test_relabelling_is_as_if_it_had_been_rewarded_so_from_the_start(seed):
    rng = np.random.default_rng(seed)
    n, capacity, count = (int(rng.integers(*b)) for b in ((1, 4), (8, 40), (4, 60)))
    made = steps(count, n, seed)
    replay = filled(made, capacity, n)
    replay.relabel(label, chunk=int(rng.integers(1, 12)))
    as_kept = [
        {
            "observations": {"state": s["observations"]["state"].astype(np.float32)},
            "actions": s["actions"].astype(np.float32),
            "next_observations": {"state": s["next_observations"]["state"].astype(np.float32)},
        }
        for s in made
    ]
    rebuilt = filled(
        [s | {"rewards": label(**kept)} for s, kept in zip(made, as_kept, strict=True)], capacity, n
    )
    for name, array in everything(rebuilt).items():
        np.testing.assert_allclose(everything(replay)[name], array, rtol=1e-5, err_msg=name)
    draws = [r.sample(9, np.random.default_rng(1))["rewards"] for r in (replay, rebuilt)]
    np.testing.assert_allclose(*draws, rtol=1e-5)


def test_further_arrays_are_kept_and_relabelling_leaves_them():
    extra = {"task_rewards": ArraySpec(()), "states": ArraySpec((3,), "float64")}
    replay = Replay(SPEC, 20, 2, extra)
    assert replay.nbytes == memory_of(SPEC, 20, extra) == memory_of(SPEC, 20) + 20 * (4 + 3 * 8)
    for step in steps(14, 2, end=0.0):
        number = -step["rewards"]
        replay.add(step | {"task_rewards": number, "states": number[:, None] + [0.0, 0.1, 0.2]})
    replay.relabel(label)
    rows = replay.segments(30, 4, np.random.default_rng(0))
    number = rows["observations"]["state"][..., 0].astype(float)
    np.testing.assert_array_equal(rows["task_rewards"], number)
    np.testing.assert_array_equal(rows["states"], number[..., None] + [0.0, 0.1, 0.2])
    restored = Replay(SPEC, 20, 2, extra)
    restored.load_state_dict(replay.state_dict())
    again = restored.segments(30, 4, np.random.default_rng(0))
    np.testing.assert_array_equal(again["states"], rows["states"])
    with pytest.raises(DataError, match="of another environment"):
        restored.load_state_dict(filled(steps(10, 2), 20, 2).state_dict())


@pytest.mark.parametrize(
    ("reward", "said"),
    [
        (lambda s, a, r: np.zeros((len(a), 1)), r"shape \(3, 1\) for 3 transitions"),
        (lambda s, a, r: np.where(s["state"][:, 0] > 8, np.nan, 1.0), "not finite"),
    ],
)
def test_a_wrong_reward_changes_nothing(reward, said):
    replay = filled(steps(10), 10)
    with pytest.raises(DataError, match=said):
        replay.relabel(reward, chunk=3)
    np.testing.assert_array_equal(everything(replay)["rewards"], -np.arange(10.0))


def test_pixels_take_a_byte_each_and_memory_is_told_before():
    replay = Replay(SEEING, 100, 2)
    transition = 2 * (2 * 4 + 4 * 4 * 3) + 4 + 4 + 1 + 1 + 4
    assert memory_of(SEEING, 100) == replay.nbytes == 100 * transition
    eye = np.arange(96).reshape(2, 4, 4, 3)
    step = steps(1, 2)[0]
    for when in ("observations", "next_observations"):
        step[when] = step[when] | {"eye": eye + (when == "next_observations")}
    replay.add(step)
    found = replay.sample(5, np.random.default_rng(0))
    assert found["observations"]["eye"].dtype == np.uint8
    column = found["observations"]["state"][:, 0].astype(int)
    np.testing.assert_array_equal(found["next_observations"]["eye"], eye[column] + 1)


def test_more_memory_than_there_is_is_refused_with_what_would_do():
    with pytest.raises(UserError) as caught:
        Replay(SEEING, 10**12)
    said = str(caught.value)
    assert said.startswith("capacity: 1,000,000,000,000 transitions take ")
    enough = int(said.partition("; ")[2].partition(" would")[0].replace(",", ""))
    assert 0 < memory_of(SEEING, enough) < 10**15
    with pytest.raises(UserError, match="capacity: 3 transitions for 4 environments"):
        Replay(SPEC, 3, 4)


def test_an_empty_replay_says_so():
    rng = np.random.default_rng(0)
    with pytest.raises(DataError, match="the replay is empty"):
        Replay(SPEC, 5).sample(1, rng)
    with pytest.raises(DataError, match="no 1 successive steps"):
        Replay(SPEC, 5).segments(1, 1, rng)
    Replay(SPEC, 5).relabel(label)  # nothing to do


@pytest.mark.parametrize("count", [3, 17])
def test_a_replay_that_was_stored_goes_on_as_the_one_that_was_not(count):
    made = steps(count + 8, 2)
    whole, stored = filled(made[:count], 20, 2), Replay(SPEC, 20, 2)
    stored.load_state_dict({k: v.copy() for k, v in whole.state_dict().items()})
    for step in made[count:]:
        whole.add(step)
        stored.add(step)
    for draw in (lambda r, g: r.sample(50, g), lambda r, g: r.segments(50, 2, g)):
        found = [module.flat(draw(r, np.random.default_rng(3))) for r in (whole, stored)]
        for name, array in found[0].items():
            np.testing.assert_array_equal(array, found[1][name], err_msg=name)


def test_a_stored_replay_of_something_else_is_refused():
    state = filled(steps(20, 2), 20, 2).state_dict()
    for other in (Replay(SEEING, 20, 2), Replay(SPEC, 20, 1), Replay(SPEC, 4, 2)):
        with pytest.raises(DataError, match="this replay is of another environment"):
            other.load_state_dict(state)

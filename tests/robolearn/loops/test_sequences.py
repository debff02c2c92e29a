import numpy as np
import pytest

from robolearn.errors import DataError, SpecError
from robolearn.loops.sequences import Sequences, returns_to_go
from robolearn.types import ArraySpec, Spec

INTERFACE = Spec("test", {"state": ArraySpec((1,))}, ArraySpec((1,)), period_s=0.1)


def data(**changes):
    """Give two episodes of 3 and 2 steps; states count the rows."""
    rows = np.arange(5, dtype=np.float32)[:, None]
    found = {
        "observations": {"state": rows},
        "actions": rows / 10,
        "rewards": np.array([1.0, 2.0, 3.0, 4.0, -1.0]),
        "episode": np.array([7, 7, 7, 2, 2]),
        "step": np.array([0, 1, 2, 0, 1]),
    }
    return found | changes


def test_returns_to_go_by_hand():
    found = returns_to_go(np.array([1.0, 2.0, 3.0, 4.0, -1.0]), np.array([0, 3]))
    assert found.tolist() == [6, 5, 3, 3, -1]
    scales = Sequences(data(), INTERFACE, 2).scales()
    assert scales["returns"].tolist() == [6, 5, 3, 3, -1] and scales["best"] == 6


def test_sequences_stay_within_an_episode_and_begin_anywhere():
    sequences = Sequences(data(), INTERFACE, 3)
    batch = sequences.sample(200, np.random.default_rng(0))
    rows, mask = batch["observations"]["state"][..., 0], batch["mask"]
    assert set(rows[:, 0]) == {0, 1, 2, 3, 4} and (mask[:, 0] == 1).all()
    for row, kept in zip(rows.astype(int), mask.astype(bool), strict=True):
        end = 3 if row[0] < 3 else 5
        assert row[kept].tolist() == list(range(row[0], min(row[0] + 3, end)))
        assert (row < end).all()
    np.testing.assert_array_equal(batch["returns"], np.array([6, 5, 3, 3, -1])[rows.astype(int)])
    np.testing.assert_array_equal(batch["steps"], np.array([0, 1, 2, 0, 1])[rows.astype(int)])
    assert batch["actions"].shape == (200, 3, 1)


def test_what_does_not_fit_is_refused():
    with pytest.raises(SpecError, match=r"state has shape \(2,\) in the data, not \(1,\)"):
        Sequences(data(observations={"state": np.zeros((5, 2))}), INTERFACE, 2)
    with pytest.raises(SpecError, match="no observation state"):
        Sequences(data(observations={}), INTERFACE, 2)
    with pytest.raises(DataError, match="rewards are not finite in transition 1"):
        Sequences(data(rewards=np.array([0, np.nan, 0, 0, 0])), INTERFACE, 2)
    with pytest.raises(DataError, match="no transitions"):
        nothing = data(observations={"state": np.zeros((0, 1))})
        Sequences(nothing, INTERFACE, 2)

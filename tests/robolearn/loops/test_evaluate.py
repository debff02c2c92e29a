import dataclasses
import json

import numpy as np
import pytest

import sim
from robolearn.algos.bc import BCConfig, BehaviorCloning
from robolearn.errors import DataError
from robolearn.loops.evaluate import Evaluation, evaluate, student_interval, wilson_interval
from robolearn.types import ArraySpec, Spec


class Corridor:
    """Walk from a random start to 1; a step moves by a tenth of the action."""

    interface = Spec("test/Corridor", {"state": ArraySpec((1,))}, ArraySpec((1,)), period_s=0.1)

    def reset(self, *, seed=None, options=None):
        self.x = np.random.default_rng(seed).uniform(0.0, 0.5)
        if options:
            self.set_state(options["state"])
        return self._observation(), {}

    def step(self, action):
        self.x += 0.1 * float(action[0])
        success = self.x >= 1.0
        info = {"success": success, "reward_terms": {"goal": float(success)}}
        return self._observation(), float(success), False, False, info

    def get_state(self):
        return np.array([self.x])

    def set_state(self, state):
        self.x = float(state[0])
        return self._observation()

    def _observation(self):
        return {"state": np.array([self.x], np.float32)}


class Walker:
    def __init__(self, threshold):
        self.threshold = threshold

    def reset(self, n):
        self.moving = None

    def act(self, observation, explore=False):
        if self.moving is None:
            self.moving = observation["state"][:, :1] > self.threshold
        return np.where(self.moving, 1.0, 0.0).astype(np.float32)


def test_success_lengths_and_start_states():
    result = evaluate(Corridor(), Walker(0.25), seeds=range(20), horizon=30)
    starts = np.array([np.random.default_rng(seed).uniform(0.0, 0.5) for seed in range(20)])
    np.testing.assert_allclose(result.initial_states[:, 0], starts)
    np.testing.assert_array_equal(result.successes, starts > 0.25)
    steps = np.where(starts > 0.25, np.ceil((1.0 - starts) / 0.1), 30)
    np.testing.assert_array_equal(result.lengths, steps)
    assert result.success == np.mean(starts > 0.25)
    assert result.returns == tuple(float(s) for s in result.successes)


@pytest.mark.parametrize("n", [1, 4])
def test_a_batch_gives_the_same_evaluation(together, n):
    alone = evaluate(Corridor(), Walker(0.25), seeds=range(9), horizon=30)
    envs, heard = together([Corridor() for _ in range(n)]), []
    result = evaluate(envs, Walker(0.25), seeds=range(9), horizon=30, on_episode=heard.append)
    assert dataclasses.replace(result, initial_states=0) == dataclasses.replace(
        alone, initial_states=0
    )
    np.testing.assert_array_equal(result.initial_states, alone.initial_states)
    assert [episode.metadata["seed"] for episode in heard] == list(range(9))


def test_the_size_of_a_batch_and_its_threads_do_not_matter_to_a_network():
    """On the real thing: robosuite, a network, many episodes at a time."""
    results = []
    for n, threads in ((1, 1), (4, 2)):
        envs = sim.make_vec("robosuite/Lift", n, threads=threads, robot="Panda", horizon=25)
        policy = BehaviorCloning(envs.interface, BCConfig(members=2, widths=(64, 64)), seed=0)
        results.append(evaluate(envs, policy, range(6), 30, keep_states=True))
        envs.close()
    one, four = results
    assert one.lengths == four.lengths == (25,) * 6
    assert one.returns == four.returns and len(set(one.returns)) == 6
    np.testing.assert_array_equal(one.initial_states, four.initial_states)


def test_the_same_start_states_meet_another_policy():
    first = evaluate(Corridor(), Walker(0.25), seeds=range(5), horizon=3)
    again = evaluate(
        Corridor(), Walker(2.0), seeds=[9] * 5, horizon=3, initial_states=first.initial_states
    )
    np.testing.assert_array_equal(again.initial_states, first.initial_states)


def test_wilson_interval_by_formula():
    z, n, p = 1.959963984540054, 50, 0.8
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    assert wilson_interval(40, 50) == pytest.approx((centre - half, centre + half))
    assert wilson_interval(0, 10)[0] == 0.0 and wilson_interval(10, 10)[1] == 1.0


def test_student_interval_by_hand():
    # mean 2, s = 1, t(2) = 4.302653 (tables); mean 0.5, s = sqrt(1 / 2), t(1) = 12.706
    assert student_interval([1, 2, 3]) == pytest.approx(
        [2 - 4.302653 / 3**0.5, 2 + 4.302653 / 3**0.5]
    )
    assert student_interval([0.0, 1.0]) == pytest.approx([0.5 - 6.353, 0.5 + 6.353], abs=1e-3)
    assert student_interval([1, 2, 3], 0.9) == pytest.approx([2 - 1.68586, 2 + 1.68586], abs=1e-4)
    assert student_interval([7.0] * 4) == [7.0, 7.0]
    assert student_interval([7.0]) is None


def test_the_summary_has_success_return_and_length_with_intervals():
    result = Evaluation(
        (0, 1, 2), (True, False, True), (4, 5, 9), (1.0, 2.0, 3.0), np.zeros((3, 1))
    )
    summary, half = result.summary(), 4.302653 / 3**0.5  # t(2) / sqrt(n); s of lengths is sqrt(7)
    assert summary == {
        "success": 2 / 3,
        "interval": list(wilson_interval(2, 3)),
        "return": 2.0,
        "return_interval": pytest.approx([2 - half, 2 + half]),
        "length": 6.0,
        "length_interval": pytest.approx([0.0, 6 + 7**0.5 * half]),
        "episodes": 3,
        "whole": False,
    }


def test_one_episode_has_no_interval_of_return_and_length_and_the_summary_is_json():
    summary = evaluate(Corridor(), Walker(0.0), [0], 30).summary()
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary
    assert summary["return_interval"] is None and summary["length_interval"] is None


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("returns", [(1.0, np.nan), (np.inf, -np.inf), (np.inf, 1.0)])
def test_returns_that_are_not_finite_are_none_in_strict_json(tmp_path, returns):
    result = Evaluation((0, 1), (True, False), (4, 6), returns, np.zeros((2, 1)))
    summary = result.summary()
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary
    assert summary["return"] is summary["return_interval"] is None and summary["length"] == 5.0
    result.save(tmp_path)
    text = (tmp_path / "episodes.jsonl").read_text()
    kept = [value if np.isfinite(value) else None for value in returns]
    assert [json.loads(line)["return"] for line in text.splitlines()] == kept
    assert "NaN" not in text and "Infinity" not in text


def test_no_length_is_below_zero():
    result = Evaluation((0, 1), (True, True), (1, 2), (-1.0, 1.0), np.zeros((2, 1)))
    summary = result.summary()
    assert summary["length_interval"] == [0.0, pytest.approx(1.5 + 6.353, abs=1e-3)]
    assert summary["return_interval"][0] < -12


@pytest.mark.parametrize("n", [0, 3])
def test_a_whole_episode_goes_on_after_success(together, n):
    env = together([Corridor() for _ in range(n)]) if n else Corridor()
    cut = evaluate(env, Walker(0.25), range(9), 30)
    whole = evaluate(env, Walker(0.25), range(9), 30, whole=True)
    assert whole.whole and whole.lengths == (30,) * 9
    assert whole.successes == cut.successes and 0 < sum(cut.successes) < 9
    # From the step of success on, that one included, every step is worth 1.
    earned = [(31 - length) * ok for length, ok in zip(cut.lengths, cut.successes, strict=True)]
    assert whole.returns == tuple(map(float, earned))
    assert not cut.whole and cut.returns == tuple(map(float, cut.successes))


@pytest.mark.parametrize(
    ("eats", "whole", "expected"),
    [("rollouts", None, True), ("replay", None, True), ("transitions", None, False),
     (None, None, False),
     ("rollouts", False, False), ("transitions", True, True)],
)  # fmt: skip
def test_a_policy_learnt_from_rewards_gets_whole_episodes_unless_told_otherwise(
    eats, whole, expected
):
    policy = Walker(0.0)
    if eats is not None:
        policy.eats = eats
    result = evaluate(Corridor(), policy, range(2), 30, whole=whole)
    assert result.whole is result.summary()["whole"] is expected
    assert (result.lengths == (30, 30)) is expected


def test_summary_is_json_and_is_saved_by_episode(tmp_path):
    result = evaluate(Corridor(), Walker(0.25), seeds=range(4), horizon=5)
    summary = json.loads(json.dumps(result.summary()))
    assert summary == result.summary() and summary["episodes"] == 4
    result.save(tmp_path / "evaluation")
    lines = (tmp_path / "evaluation" / "episodes.jsonl").read_text().splitlines()
    assert [json.loads(line)["seed"] for line in lines] == [0, 1, 2, 3]
    stored = np.load(tmp_path / "evaluation" / "initial_states.npy", allow_pickle=False)
    np.testing.assert_array_equal(stored, result.initial_states)


def test_a_folder_that_cannot_be_written_is_an_error_of_one_line(tmp_path):
    result = evaluate(Corridor(), Walker(0.25), seeds=range(2), horizon=5)
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot write evaluation .Not a directory"):
        result.save(tmp_path / "file" / "evaluation")


def test_nothing_to_evaluate_is_an_error():
    with pytest.raises(DataError, match="at least one seed"):
        evaluate(Corridor(), Walker(0.0), seeds=[], horizon=5)
    with pytest.raises(DataError, match="1 initial states for 2 seeds"):
        evaluate(Corridor(), Walker(0.0), [0, 1], 5, initial_states=[np.zeros(1)])

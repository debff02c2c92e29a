import dataclasses
import json

import numpy as np
import pytest

import sim
from robolearn.algos.bc import BCConfig, BehaviorCloning
from robolearn.errors import DataError
from robolearn.loops.evaluate import evaluate, wilson_interval
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


def test_summary_is_json_and_is_saved_by_episode(tmp_path):
    result = evaluate(Corridor(), Walker(0.25), seeds=range(4), horizon=5)
    summary = json.loads(json.dumps(result.summary()))
    assert set(summary) == {"success", "interval", "episodes"} and summary["episodes"] == 4
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

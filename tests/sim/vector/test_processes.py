"""Batches over processes: the same results as single environments, and no bad end."""

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import sim
from robolearn.errors import UserError
from sim.rendering.gl import backend_name
from sim.vector.env import WorkerError
from sim.vector.processes import ProcessVectorEnv, WorkerDied, Workers

needs_gl = pytest.mark.skipif(backend_name() is None, reason="no GL library works here")
SMALL = {"image_size": (20, 24)}
# Counts its steps; an action above 0.9 is an error, one below -0.9 takes its time.
COUNTER = """
import time
import gymnasium, numpy as np

class Counter(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-1e6, 1e6, (1,))
    action_space = gymnasium.spaces.Box(-1, 1, (1,))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.count = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        if action[0] > 0.9:
            raise RuntimeError("no power")
        if action[0] < -0.9:
            time.sleep(0.5)
        self.count += 1
        return np.full(1, self.count, np.float32), 1.0, False, False, {}

gymnasium.register("Counter-v0", Counter)
"""
FORKED = """
import os, sys, sim
from robolearn.errors import UserError

batch = sim.make_vec("gym/Pendulum-v1", 2)
batch.reset(seed=0)
child = os.fork()
if child == 0:
    try:
        batch.reset()
    except UserError as error:
        assert "belongs to the process that made it" in str(error)
        own = sim.make_vec("gym/Pendulum-v1", 2)
        own.reset(seed=0)
        own.close()
        os._exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
batch.reset(seed=0)
"""
SPAWNED = """
import multiprocessing, sim

def work():
    batch = sim.make_vec("gym/Pendulum-v1", 2)
    batch.reset(seed=0)
    batch.close()

if __name__ == "__main__":
    child = multiprocessing.get_context("spawn").Process(target=work)
    child.start()
    child.join()
    assert child.exitcode == 0
"""
KILLED = """
import os, signal, sys, time, sim

batch = sim.make_vec("gym/Pendulum-v1", 2, threads=2)
print(*(process.pid for process in batch._workers._processes), flush=True)
if os.fork() == 0:  # holds the pipes open
    time.sleep(20)
    os._exit(0)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def make():
    """Batches over processes of any environment, which are closed in the end."""
    batches = []

    def make_batch(name, n, threads=2, **options):
        batches.append(ProcessVectorEnv(Workers(name, n, threads, options)))
        return batches[-1]

    yield make_batch
    for batch in batches:
        batch.close()


@pytest.fixture
def counters(make, tmp_path, monkeypatch):
    """Three counters in two processes."""
    (tmp_path / "counter.py").write_text(COUNTER)
    monkeypatch.syspath_prepend(tmp_path)
    batch = make("gym/counter:Counter-v0", 3, threads=2)
    batch.reset(seed=0)
    return batch


def actions(**rows: float) -> np.ndarray:
    """Give actions [3, 1], zero but for rows ``_i``."""
    result = np.zeros((3, 1))
    for row, value in rows.items():
        result[int(row[1:])] = value
    return result


def run(script: str, tmp_path) -> subprocess.CompletedProcess:
    path = tmp_path / "script.py"
    path.write_text(script)
    return subprocess.run([sys.executable, path], capture_output=True, text=True, timeout=60)


def assert_same(batch_values, single_values, i):
    for name, value in single_values.items():
        np.testing.assert_array_equal(batch_values[name][i], value, err_msg=name)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("dmc/cartpole-swingup", {"cameras": ("fixed", "fixed_segmentation"), **SMALL}),
        ("dmc/reacher-easy", {"cameras": "free", **SMALL}),  # its resets write into the model
        ("dmc/cheetah-run", {}),  # one model for all in a worker
        ("dmc/reacher-hard", {}),
        ("gym/Pendulum-v1", {}),
    ],
)
@needs_gl
def test_a_batch_does_what_single_environments_do(make, name, options):
    options = {"horizon": 4, **options}
    batch = make(name, 3, threads=2, **options)
    singles = [sim.make(name, **options) for _ in range(3)]
    observations, _ = batch.reset(seed=5)
    for i, single in enumerate(singles):
        assert_same(observations, single.reset(seed=5 + i)[0], i)
    rng = np.random.default_rng(0)
    for _ in range(6):  # beyond the end of an episode
        chosen = rng.uniform(-1, 1, batch.action_space.shape)
        observations, reward, terminated, truncated, info = batch.step(chosen)
        for i, single in enumerate(singles):
            seen, *rest, own = single.step(chosen[i])
            assert rest == [reward[i], terminated[i], truncated[i]]
            assert_same(info["reward_terms"], own["reward_terms"], i)
            assert own["success"] == info["success"][i]
            if truncated[i]:
                assert_same({k: [v] for k, v in info["final_obs"][i].items()}, seen, 0)
                seen, _ = single.reset()
            assert_same(observations, seen, i)
    np.testing.assert_array_equal(batch.get_state(), [single.get_state() for single in singles])
    for single in singles:
        single.close()


def test_states_and_masks(make):
    batch = make("gym/Pendulum-v1", 3, threads=2)
    batch.reset(seed=0)
    still = np.array([True, False, True])
    before = batch.get_state()
    batch.step(np.ones((3, 1)), active=~still)
    after = batch.get_state()
    np.testing.assert_array_equal(after[still], before[still])
    assert (after[1] != before[1]).any()
    seen = batch.set_state(after)["state"]
    batch.reset(seed=9, options={"reset_mask": still})
    np.testing.assert_array_equal(batch.get_state()[1], after[1])
    other = make("gym/Pendulum-v1", 3, threads=1)
    np.testing.assert_array_equal(other.reset(options={"state": after})[0]["state"], seen)
    np.testing.assert_array_equal(other.get_state(), after)


def test_a_diverging_simulation_ends_its_episode_and_no_other(make):
    batch, single = make("dmc/cartpole-swingup", 2, threads=1), sim.make("dmc/cartpole-swingup")
    batch.reset(seed=0)
    single.reset(seed=0)
    states = batch.get_state()
    states[1, single.mujoco_state_size - 1] = 1e11  # too fast for MuJoCo
    batch.set_state(states)
    observations, _, terminated, truncated, info = batch.step(np.ones((2, 1)))
    assert list(truncated) == [False, True] and not terminated.any()
    assert "BADQVEL" in info["error"][1] and info["error"][0] is None
    assert np.isfinite(observations["state"]).all()
    np.testing.assert_array_equal(observations["state"][0], single.step(np.ones(1))[0]["state"])
    assert not batch.step(np.ones((2, 1)))[3].any()


def test_an_exception_says_in_which_environment(counters):
    with pytest.raises(
        WorkerError, match=r"(?s)^environment 2: RuntimeError\('no power'\)\n.*in step"
    ):
        counters.step(actions(_2=1.0))
    observations, _ = counters.reset()  # the batch can still be used
    assert not observations["state"].any()


def test_a_killed_worker_is_an_error_and_not_a_hang(counters):
    processes = counters._workers._processes
    processes[1].kill()
    with pytest.raises(WorkerDied, match="environments 1 to 2 was ended by SIGKILL"):
        for _ in range(2):
            counters.step(actions())
    assert all(process.returncode is not None for process in processes)
    with pytest.raises(UserError, match="closed"):
        counters.step(actions())


def test_a_worker_killed_within_a_step(counters):
    threading.Timer(0.2, counters._workers._processes[0].kill).start()
    with pytest.raises(WorkerDied, match="environments 0 to 0 was ended by SIGKILL"):
        counters.step(actions(_0=-1.0))


def test_closing_waits_for_a_step_and_may_be_repeated(counters):
    results = []
    stepping = threading.Thread(target=lambda: results.append(counters.step(actions(_1=-1.0))))
    stepping.start()
    time.sleep(0.1)
    counters.close()
    counters.close()
    stepping.join()
    assert results[0][0]["state"].ravel().tolist() == [1, 1, 1]
    assert all(process.returncode == 0 for process in counters._workers._processes)


def test_a_batch_is_of_use_after_ctrl_c(counters):
    interrupt = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
    interrupt.start()
    with pytest.raises(KeyboardInterrupt):
        counters.step(actions(_0=-1.0))
    observations, *_ = counters.step(actions())
    assert observations["state"].ravel().tolist() == [2, 2, 2]  # the step was taken all the same


@pytest.mark.parametrize("script", [FORKED, SPAWNED], ids=["fork", "spawn"])
def test_batches_in_children(script, tmp_path):
    result = run(script, tmp_path)
    assert (result.returncode, result.stderr) == (0, "")


def test_workers_end_when_their_batch_is_killed(tmp_path):
    path = tmp_path / "script.py"
    path.write_text(KILLED)
    script = subprocess.Popen([sys.executable, path], stdout=subprocess.PIPE, text=True)
    workers = [int(pid) for pid in script.stdout.readline().split()]
    assert len(workers) == 2
    deadline = time.monotonic() + 10
    while any(os.path.exists(f"/proc/{pid}") for pid in workers):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    script.kill()
    script.wait()


def test_what_cannot_be_made_is_a_users_error(make):
    with pytest.raises(UserError, match="unknown task 'walker-wlak'; did you mean 'walker-walk'"):
        make("dmc/walker-wlak", 2)
    with pytest.raises(UserError, match="options cannot be given to other processes"):
        make("gym/Pendulum-v1", 2, env_options={"g": lambda: 9.81})


def test_environments_without_seeds_differ(make):
    observations, _ = make("gym/Pendulum-v1", 2, threads=1).reset()
    assert (observations["state"][0] != observations["state"][1]).any()

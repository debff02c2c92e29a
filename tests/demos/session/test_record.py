import dataclasses
import os
import signal
import subprocess
from importlib.metadata import version

import numpy as np
import pytest

from demos.data.dataset import Dataset
from demos.data.doctor import doctor
from demos.session.record import collect
from robolearn.errors import DataError, SpecError

from ..conftest import INTERFACE, Line, Walker, assert_same, collection


def recorded(dataset):
    return Dataset.open(dataset.path).episodes()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Give the episodes that a collection of 8 successes records when nothing disturbs it."""
    dataset = Dataset.create(tmp_path_factory.mktemp("line") / "undisturbed", INTERFACE)
    collect(**collection(dataset, 8))
    return dataset.episodes()


def assert_all_same(ones, others):
    assert len(ones) == len(others)
    for one, other in zip(ones, others, strict=True):
        assert_same(one, other)


def test_it_collects_successes_and_keeps_failures(dataset):
    done = collect(**collection(dataset, 4))
    assert done.successes == 4 == len(dataset.names(success=True))
    assert done.attempts == len(dataset) == len(done.names)
    failures = dataset.episodes(success=False)
    assert failures and all(e.metadata["outcome"] == "failure" for e in failures)


def test_failures_can_count(dataset):
    done = collect(**collection(dataset, 5, count_failures=True))
    assert done.attempts == 5 == len(dataset) and done.successes < 5


def test_every_episode_says_how_it_came_about(dataset):
    collect(**collection(dataset, 2, details={"style": {"speed": 0.5}}))
    episodes = dataset.episodes()
    first = episodes[0].metadata
    assert first["operator"] == "ann"
    assert first["collection"] == {"seed": 3, "attempt": 0}
    assert first["robot"] == "Point" and first["controller"]["type"] == "VELOCITY"
    assert first["versions"]["numpy"] == version("numpy")
    assert {"mujoco", "robosuite", "dm-control", "robolearn"} <= first["versions"].keys()
    assert first["style"] == {"speed": 0.5} and first["mujoco_state_size"] == 3
    assert len({episode.metadata["seed"] for episode in episodes}) == len(episodes)


def test_an_episode_can_be_made_again_from_its_seed(dataset):
    collect(**collection(dataset, 1))
    episode = dataset.load("demo_0")
    env = Line()
    env.reset(seed=episode.metadata["seed"])
    np.testing.assert_array_equal(env.get_state(), episode.states[0])
    for action in episode.actions:
        env.step(action)
    np.testing.assert_array_equal(env.get_state(), episode.states[-1])


def test_operators_and_seeds_are_collections_of_their_own(dataset):
    for changes in ({}, {"operator": "bob"}, {"seed": 4}):
        assert collect(**collection(dataset, 2, **changes)).successes == 2
    assert len(dataset.names(success=True)) == 6
    assert len(dataset.names(success=True, operator="bob")) == 2


def test_it_goes_on_where_it_stopped(dataset, undisturbed):
    for episodes in (3, 3, 5, 8):
        done = collect(**collection(Dataset.open(dataset.path), episodes))
    assert done.attempts == len(undisturbed)
    assert_all_same(recorded(dataset), undisturbed)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_a_batch_records_the_same_however_many_run_at_a_time(dataset, undisturbed, together, n):
    batches = []

    def make_env():
        batches.append(together([Line() for _ in range(n)]))
        return batches[-1]

    for episodes in (3, 8):  # the second goes on
        collect(**collection(Dataset.open(dataset.path), episodes, make_env=make_env))
    assert_all_same(recorded(dataset), undisturbed)
    assert sum(b.moved for b in batches) == sum(len(e) for e in undisturbed)  # none in vain
    assert all(batch.closed for batch in batches)


def test_a_batch_that_is_interrupted_leaves_the_first_attempts(dataset, undisturbed, together):
    def interrupt(done):
        if done.attempts == 3:
            signal.raise_signal(signal.SIGINT)

    envs = together([Line() for _ in range(4)])
    with pytest.raises(KeyboardInterrupt):
        collect(**collection(dataset, 8, make_env=lambda: envs, progress=interrupt))
    assert envs.closed
    assert_all_same(recorded(dataset), undisturbed[:3])
    collect(**collection(dataset, 8))
    assert_all_same(recorded(dataset), undisturbed)


def test_progress_and_steps_are_heard_of(dataset):
    steps, progress = [], []
    collect(**collection(dataset, 3, on_step=steps.append, progress=progress.append))
    assert len(steps) == sum(len(episode) for episode in dataset.episodes())
    assert [done.attempts for done in progress] == list(range(1, len(dataset) + 1))
    assert progress[-1].names == tuple(dataset.names())


def test_an_operator_that_never_succeeds_ends_in_an_error(dataset):
    class Lost(Walker):
        def act(self, observation, explore=False):
            return -super().act(observation) * self._sign

    with pytest.raises(DataError, match="ann succeeded in 0 of 6 attempts; 2 successes were"):
        collect(**collection(dataset, 2, make_operator=Lost, max_attempts=6))
    assert len(recorded(dataset)) == 6


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"robot": "Sawyer"}, "robot Point instead of Sawyer"),
        ({"environment": "test/Plane"}, "holds test/Line, not test/Plane"),
        ({"controller": {"type": "TORQUE"}}, "another controller"),
    ],
)
def test_another_environment_is_refused_before_anything_moves(dataset, change, message):
    env = Line()
    env.interface = dataclasses.replace(INTERFACE, **change)
    moved = []
    with pytest.raises(SpecError, match=message):
        collect(**collection(dataset, make_env=lambda: env, on_step=moved.append))
    assert env.closed and not moved and len(recorded(dataset)) == 0


def test_ctrl_c_keeps_every_finished_episode(dataset, undisturbed):
    env = Line()

    def interrupt(step):
        if len(dataset) == 2 and step.t == 1:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        collect(**collection(dataset, 8, make_env=lambda: env, on_step=interrupt))
    assert env.closed
    assert_all_same(recorded(dataset), undisturbed[:2])
    assert doctor(dataset.path).healthy
    collect(**collection(dataset, 8))
    assert_all_same(recorded(dataset), undisturbed)


COLLECT = """
import os, signal, sys
from conftest import collection
from demos.session import record
from demos.data.dataset import Dataset

path, call, at, when = sys.argv[1:]
calls = 0

def killing(real):
    def function(*arguments):
        global calls
        calls += 1
        if calls == int(at) and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = real(*arguments)
        if calls == int(at) and when == "after":
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    return function

if call:
    setattr(os, call, killing(getattr(os, call)))
record.collect(**collection(
    Dataset.open(path), 10_000, progress=lambda done: print(done.attempts, flush=True)
))
"""


@pytest.mark.parametrize(
    ("call", "at", "when", "survive"),
    [
        ("fsync", 5, "before", 2),  # two fsyncs an episode: file, folder
        ("replace", 5, "before", 2),  # two renames an episode: file, index
        ("replace", 5, "after", 3),
        ("replace", 6, "before", 3),
    ],
)
def test_sigkill_at_the_worst_moments(dataset, undisturbed, start_python, call, at, when, survive):
    child = start_python(COLLECT, dataset.path, call, at, when)
    assert child.wait(60) == -signal.SIGKILL
    assert_all_same(recorded(dataset), undisturbed[:survive])
    assert doctor(dataset.path, repair=True).healthy
    collect(**collection(Dataset.open(dataset.path), 8))
    assert_all_same(recorded(dataset), undisturbed)
    assert not list(dataset.path.rglob("*.tmp"))


def test_sigkill_at_any_moment_loses_no_episode_that_was_reported(dataset, start_python):
    child = start_python(COLLECT, dataset.path, "", 0, "")
    for _ in range(5):
        child.stdout.readline()
    os.kill(child.pid, signal.SIGKILL)
    reported = 5 + len(child.communicate()[0].splitlines())
    episodes = recorded(dataset)
    assert len(episodes) in (reported, reported + 1)  # the last may be whole, but not reported
    assert [e.metadata["collection"]["attempt"] for e in episodes] == list(range(len(episodes)))


FULL_DISK = """
import resource, sys
from conftest import Line, collection
from demos.session import record
from demos.data.dataset import Dataset
from robolearn.errors import DataError

class Full(Line):
    def reset(self, **arguments):
        if len(dataset) == 3:
            resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
        return super().reset(**arguments)

dataset = Dataset.open(sys.argv[1])
try:
    record.collect(**collection(dataset, 8, make_env=Full))
except DataError as error:
    print(error)
"""


@pytest.mark.parametrize("room_bytes", [0, 5000])
def test_a_full_disk_loses_nothing(dataset, undisturbed, start_python, room_bytes):
    output, errors = start_python(FULL_DISK, dataset.path, room_bytes).communicate()
    assert not errors
    assert f"{dataset.path}/episodes: cannot write" in output and output.count("\n") == 1
    assert not list(dataset.path.rglob("*.tmp"))
    assert doctor(dataset.path).healthy
    assert_all_same(recorded(dataset), undisturbed[:3])
    collect(**collection(Dataset.open(dataset.path), 8))
    assert_all_same(recorded(dataset), undisturbed)


def test_a_full_tmpfs_loses_nothing(tmp_path, undisturbed):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=120k", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a file system needs root")
    try:
        dataset = Dataset.create(disk / "line", INTERFACE)
        with pytest.raises(DataError, match="No space left on device"):
            collect(**collection(dataset, 8))
        kept = recorded(dataset)
        assert len(kept) >= 1
        assert_all_same(kept, undisturbed[: len(kept)])
        assert not list(disk.rglob("*.tmp"))
    finally:
        subprocess.run(["umount", str(disk)], check=True)

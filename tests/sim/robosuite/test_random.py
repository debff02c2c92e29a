"""robosuite's random numbers: each thread has its own, and the global generators are left alone."""

import random
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import sim
from sim.robosuite.random import seeded


@pytest.fixture(scope="module")
def batches():
    pair = [sim.make_vec("robosuite/Lift", 2, threads=1) for _ in range(2)]
    yield pair
    for batch in pair:
        batch.close()


@pytest.fixture
def many_switches():
    """Let threads take turns all the time."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


def _resets(batch, first_seed):
    states = []
    for seed in range(first_seed, first_seed + 30):
        batch.reset(seed=seed)
        states.append(batch.get_state())
    return np.stack(states)


def test_batches_that_are_reset_in_two_threads_do_as_each_does_alone(batches, many_switches):
    alone = [_resets(batch, seed) for batch, seed in zip(batches, (0, 100), strict=True)]
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(_resets, batches, (0, 100)))
    np.testing.assert_array_equal(together, alone)


def test_a_reset_leaves_the_global_generators_to_others(batches):
    np.random.seed(7)  # noqa: NPY002
    random.seed(7)
    expected = np.random.random(3), random.random()  # noqa: NPY002
    np.random.seed(7)  # noqa: NPY002
    random.seed(7)
    done = threading.Event()

    def reset_all_the_time():
        while not done.is_set():
            batches[0].reset(seed=1)

    thread = threading.Thread(target=reset_all_the_time)
    thread.start()
    drawn = []
    for _ in range(3):
        drawn.append(np.random.random())  # noqa: NPY002
        done.wait(0.02)  # several resets
    done.set()
    thread.join()
    np.testing.assert_array_equal(drawn, expected[0])
    assert random.random() == expected[1]


def test_robosuite_draws_what_global_generators_of_that_seed_would_give(batches):
    from robosuite.environments.manipulation import pick_place
    from robosuite.utils import placement_samplers

    with seeded(5):
        drawn = placement_samplers.np.random.uniform(size=2), pick_place.random.random()
        with ThreadPoolExecutor(1) as pool:  # another thread is outside
            assert pool.submit(lambda: placement_samplers.np.random).result() is np.random
    np.testing.assert_array_equal(drawn[0], np.random.RandomState(5).uniform(size=2))  # noqa: NPY002
    assert drawn[1] == random.Random(5).random()
    assert placement_samplers.np.random is np.random  # outside, robosuite is as it was

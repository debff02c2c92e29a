"""What an environment remembers is found, read and written; here one that is not Meta-World's."""

import numpy as np

from sim.metaworld.memory import Memory

MUJOCOS = np.frombuffer(bytes(24))  # a view of memory that numpy does not own


class Remembering:
    def __init__(self):
        self.low, self.place, self.view = np.zeros(2), np.zeros(3), MUJOCOS
        self.margin, self.lifted, self.count = None, False, 0

    def reset(self, seed):
        self.place, self.margin = np.random.default_rng(seed).normal(size=3)[:2], None
        self.lifted = False

    def step(self):
        self.margin, self.lifted, self.count = float(self.place.sum()), True, self.count + 1


def remember(env):
    return Memory(env, [lambda: env.reset(0), env.step, lambda: env.reset(1), env.step])


def test_what_changes_is_found_and_nothing_else():
    memory = remember(Remembering())
    assert memory.names == ("count", "lifted", "margin", "place")
    assert memory.size == 2 + 2 + 2 + 3


def test_what_was_read_can_be_written_into_another():
    envs = Remembering(), Remembering()
    memory, other = map(remember, envs)
    for begin in (lambda: None, envs[0].step):
        begin()
        other.set(memory.get())
        np.testing.assert_array_equal(other.get(), memory.get())
        for name in ("margin", "lifted", "count"):
            assert getattr(envs[1], name) == getattr(envs[0], name)
            assert type(getattr(envs[1], name)) is type(getattr(envs[0], name))
        np.testing.assert_array_equal(envs[1].place, envs[0].place)
        envs[0].reset(5)


def test_nothing_that_is_written_is_shared():
    env = Remembering()
    memory = remember(env)
    saved = memory.get()
    memory.set(saved)
    env.place[:] = 7
    assert 7 not in saved

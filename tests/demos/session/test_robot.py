"""A session on a robot, which is stopped where nobody calls it."""

import numpy as np
import pytest

import sim
from demos.data.dataset import Dataset
from demos.devices.contracts import Button, Command
from demos.session.session import Session
from demos.session.teaching import SessionConfig
from robots.guard import StopError

from .people import Person

LONG = 100  # ticks: five seconds


class Shared:
    """The robot's clock for a session, with a watchdog that comes by in every servo period."""

    real = False

    def __init__(self, env):
        self.env = env

    def now(self):
        return self.env.clock()

    def sleep_until(self, at_s):
        while self.now() < at_s - 1e-9:
            self.env.clock.sleep(min(self.env.guard.period_s, at_s - self.now()))
            try:
                self.env.guard.watch()
            except StopError:
                pass


class Mover(Person):
    """Moves a joint; ``idle``, ``between`` and ``during`` are those of a Person."""

    def command(self, observation, now_s):
        key = (self.attempt, self.step)
        self.step += 1
        engaged = self.step > self.idle
        action = np.full(6, 0.1 * engaged, np.float32)
        return Command(action, engaged, now_s, self.during.get(key, ()))


@pytest.fixture
def taught(tmp_path):
    """Have somebody demonstrate on the twin, six steps; give the outcome and the dataset."""
    env = sim.make("robot/twin", simulated_time=True)
    dataset = Dataset.create(tmp_path / "twin", env.interface)
    config = SessionConfig(goal=1, horizon=6, ask=False, replay_check=False, attempts=1)

    def teach(person, clock=Shared):
        return Session(env, person, dataset, config, clock=clock(env)).run(), dataset

    yield teach
    env.close()


def test_a_person_may_pause_as_long_as_they_like(taught):
    waits = [(Button.START,), *[()] * LONG, (Button.START,)]
    outcome, dataset = taught(Mover(waits, 1, during={(1, 2): (Button.PAUSE,)}))
    episode = dataset.load(outcome.names[0])
    assert len(episode) == 6 and episode.metadata["ended"] == "time"
    (pause,) = episode.metadata["pauses"]
    assert pause["seconds"] > 4.9


def test_a_person_may_look_before_the_first_motion(taught):
    outcome, dataset = taught(Mover([], 1, idle=LONG))
    assert dataset.load(outcome.names[0]).metadata["ended"] == "time"


def test_a_session_that_hangs_in_a_pause_is_stopped(taught):
    class Hangs(Shared):
        """In the middle of the pause three seconds go by at once."""

        def sleep_until(self, at_s):
            hangs = 4.0 < at_s < 4.1
            super().sleep_until(at_s + 3.0 * hangs)

    waits = [(Button.START,), *[()] * LONG, (Button.START,)]
    outcome, dataset = taught(Mover(waits, 1, during={(1, 2): (Button.PAUSE,)}), Hangs)
    about = dataset.metadata(outcome.names[0])
    assert about["ended"] == "stopped" and "no command for 2.0 s" in about["stopped"]

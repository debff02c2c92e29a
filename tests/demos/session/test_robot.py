"""A session on a robot, which is stopped where nobody calls it."""

import dataclasses

import numpy as np
import pytest

import sim
from demos.data.dataset import Dataset
from demos.deploy.operator import Watched
from demos.devices.contracts import Button, Command, Heard
from demos.session.session import Session
from demos.session.teaching import SessionConfig
from robots.guard import StopError

from .people import Person, Wire

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


class Told(Mover):
    """Is told to end, the arm first, at its n-th call."""

    def __init__(self, at_call, *arguments, **options):
        super().__init__(*arguments, **options)
        self.at_call, self.calls = at_call, 0

    def listen(self, now_s):
        self._called()
        return super().listen(now_s)

    def command(self, observation, now_s):
        self._called()
        return super().command(observation, now_s)

    def _called(self):
        self.calls += 1
        if self.calls == self.at_call:
            self.session.leave()
            self.session._env.guard.emergency_stop("told to end")


@pytest.mark.parametrize(
    ("at_call", "script", "steps"),
    [
        (4, {}, 3),  # under way
        (6, {"during": {(1, 2): (Button.PAUSE,)}}, 3),  # in a pause
        (4, {"idle": LONG}, 1),  # before the first motion
    ],
)
def test_told_to_end_it_saves_what_is_in_progress_with_the_reason(tmp_path, at_call, script, steps):
    env = sim.make("robot/twin", simulated_time=True)
    dataset = Dataset.create(tmp_path / "twin", env.interface)
    waits = [(Button.START,), *[()] * LONG]
    person = Told(at_call, waits, **script)
    config = SessionConfig(goal=9, horizon=50, replay_check=False)
    person.session = Session(env, person, dataset, config, clock=Shared(env))
    outcome = person.session.run()
    env.close()
    episode = dataset.load(outcome.names[0])
    assert len(episode) == steps and outcome.decisions == {"failed": 1}
    assert episode.metadata["ended"] == "stopped"
    assert "told to end" in episode.metadata["stopped"]


def test_told_to_end_between_two_demonstrations_it_leaves(tmp_path):
    env = sim.make("robot/twin", simulated_time=True)
    person = Told(3, [()] * LONG)
    person.session = Session(env, person, None, SessionConfig(), clock=Shared(env))
    assert person.session.run().attempts == 0 and person.calls == 3
    env.close()


def test_a_stopped_arm_whose_device_is_lost_too_ends_it(taught):
    class Lost(Mover):
        def command(self, observation, now_s):
            command = super().command(observation, now_s)
            if self.step == 4:
                self.env.guard.emergency_stop("the red button")
            return dataclasses.replace(command, lost="unplugged" if self.step > 3 else "")

        def listen(self, now_s):
            return Heard((Button.START,) if not self.attempt else (), "")

    person = Lost()
    outcome, dataset = taught(person, lambda env: setattr(person, "env", env) or Shared(env))
    assert "the red button" in dataset.metadata(outcome.names[0])["stopped"]


def test_a_simulator_that_somebody_stops_in_a_pause_is_stopped_by_its_next_step(tmp_path):
    env = Watched(Wire())
    dataset = Dataset.create(tmp_path / "line", env.interface)
    person = Person([(Button.START,), (Button.QUIT,)], during={(1, 2): (Button.PAUSE,)})
    outcome = Session(env, person, dataset, SessionConfig(replay_check=False)).run()
    about = dataset.metadata(outcome.names[0])
    assert about["ended"] == "stopped" and about["stopped"] == "the operator stopped it"

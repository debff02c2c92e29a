"""People for the tests of sessions: they walk to the goal, and press what they are told to."""

from types import SimpleNamespace

import numpy as np

from demos.devices.contracts import Button, Command, Heard, Setting
from demos.session.clock import SimulatedClock
from demos.session.contracts import Live, Verdict
from demos.session.session import Session
from demos.session.teaching import SessionConfig

from ..conftest import Line


class Wire(Line):
    """The line, which can be put into a state."""

    def reset(self, *, seed=None, options=None):
        if options and "state" in options:
            return self.set_state(options["state"]), {}
        return super().reset(seed=seed)


class Person:
    """Walks to the goal, or away from it in the attempts given.

    ``between`` are the buttons for one tick after the other while no demonstration runs; then it
    begins and does as proposed, until ``attempts`` are made; then it leaves. ``during`` are
    buttons by (attempt, step), ``lost`` steps at which there is no connection, ``idle`` how many
    steps pass before they move.
    """

    name, help, start_state, setting = "person", (("g", "go"),), None, Setting("world", 0.5)

    def __init__(self, between=(), attempts=99, away=(), during=None, lost=(), ends=(), idle=0):
        self.between, self.attempts, self.away = list(between), attempts, away
        self.during, self.lost, self.ends, self.idle = during or {}, set(lost), ends, idle
        self.attempt, self.step, self.opened = 0, 0, 0
        self.starts = []

    def open(self):
        self.opened += 1

    def close(self):
        self.opened -= 1

    def reset(self, n):
        self.attempt, self.step = self.attempt + 1, 0

    def listen(self, now_s):
        if self.between:
            return Heard(tuple(self.between.pop(0)))
        return Heard((Button.QUIT if self.attempt >= self.attempts else Button.START,))

    def command(self, observation, now_s):
        position, goal = observation["state"]
        if self.step == 0:
            self.starts.append(float(position))
        sign = -1.0 if self.attempt in self.away else 1.0
        action = np.array([sign * (goal - position) / 0.3], np.float32)  # beyond 1 at first
        key = (self.attempt, self.step)
        self.step += 1
        lost = "unplugged" if key in self.lost else ""
        self.lost.discard(key)
        buttons = self.during.get(key, ())
        if self.step <= self.idle:
            return Command(np.zeros(1, np.float32), False, now_s)
        return Command(action, True, now_s - 0.01, buttons, lost, ended=key in self.ends)

    act = None


class Strict:
    """A judge that accepts the demonstrations with these numbers, counted from 0.

    Its base are the episodes given, by name.
    """

    def __init__(self, accepted=(), base=None):
        self.accepted, self.judged = accepted, 0
        states = tuple(e.observations["state"][:-1] for e in (base or {}).values())
        self.base = SimpleNamespace(names=tuple(base or ()), states=states)

    def live(self):
        return lambda state, action: Live(0.75, "faster")

    def verdict(self, episode):
        self.judged += 1
        fits = self.judged - 1 in self.accepted
        return Verdict(fits, 0.5 if fits else 2.0, () if fits else ("slow",),
                       () if fits else ((1, 3),), "" if fits else "demo_1")  # fmt: skip

    def closest(self):
        return ["demo_1", "demo_0"]


def session(
    person,
    dataset,
    scorer=None,
    load_base=None,
    check=True,
    start_seed=None,
    clock=None,
    **settings,
) -> Session:
    """Make a session of this world, as fast as it computes."""
    config = SessionConfig(**{"horizon": 12, "settle_steps": 1, "goal": 99} | settings)
    return Session(
        Wire(), person, dataset, config, seed=5, clock=clock or SimulatedClock(), scorer=scorer,
        load_base=load_base, check_env=Wire() if check else None, start_seed=start_seed,
    )  # fmt: skip

"""An environment in plain Python: a bead on a wire is pushed to its goal."""

import dataclasses

import numpy as np

from robolearn.types import ArraySpec, Spec

PERIOD_S = 0.1
SIZE = 24  # pixels of an image, height and width


class Bead:
    """State [time, position, velocity]; success within 0.1 of 0."""

    def __init__(self, start):
        state = ArraySpec((2,), names=("position", "velocity"))
        self.interface = Spec("my_lab/bead", {"state": state}, ArraySpec((1,)), PERIOD_S)
        self._start, self._state, self._rng = start, np.zeros(3), np.random.default_rng()

    def reset(self, *, seed=None, options=None):
        if seed is not None:
            self._rng = np.random.default_rng(seed)
        fresh = np.array([0.0, self._start * self._rng.uniform(0.5, 1.0), 0.0])
        return self.set_state((options or {}).get("state", fresh)), {}

    def step(self, action):
        time, position, velocity = self._state
        velocity = 0.5 * velocity + float(action[0])
        position += PERIOD_S * velocity
        observation = self.set_state(np.array([time + PERIOD_S, position, velocity]))
        reward = -abs(position)
        info = {"success": abs(position) < 0.1, "reward_terms": {"task": reward}}
        return observation, reward, False, time >= 3.0, info

    def get_state(self):
        return self._state.copy()

    def set_state(self, state):
        self._state = np.array(state, np.float64)
        return {"state": self._state[1:].astype(np.float32)}

    def close(self):
        pass


class SeenBead(Bead):
    """The same, filmed: white where the bead is, between -1.2 and 1.2."""

    def __init__(self, start):
        super().__init__(start)
        camera = {"camera": ArraySpec((SIZE, SIZE, 3), "uint8")}
        observations = self.interface.observations | camera
        self.interface = dataclasses.replace(self.interface, observations=observations)

    def set_state(self, state):
        seen = super().set_state(state)
        image = np.zeros((SIZE, SIZE, 3), np.uint8)
        column = int((np.clip(seen["state"][0] / 2.4, -0.5, 0.5) + 0.5) * (SIZE - 3))
        image[10:13, column : column + 3] = 255
        return seen | {"camera": image}


class Faceless(Bead):
    """Says nothing of what goes in and out of it."""

    def __init__(self):
        super().__init__(1.0)
        del self.interface


class Stubborn:
    """Calls itself by another name, and sticks to it."""

    reset = step = get_state = set_state = close = print
    interface = property(lambda self: Bead(1.0).interface)


def make_bead(start=1.0):
    """Make the environment: the bead begins at ``start`` or half as far."""
    return Bead(start)


def make_seen_bead(start=1.0):
    """Make the same with a camera."""
    return SeenBead(start)


def make_pinned(*, start):
    """Make one that has to be told where the bead begins."""
    return Bead(start)


def make_any(start, **options):
    """Make one, whatever else is asked for."""
    return Bead(start)


def make_stateless():
    """Make one whose state cannot be read."""
    env = Bead(1.0)
    env.get_state = None
    return env


def make_broken():
    """Fail, as code does."""
    raise RuntimeError("the wire is torn")

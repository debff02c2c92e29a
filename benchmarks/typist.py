"""Somebody who lifts the cube by keys alone: in a simulation, or with real keys in a browser."""

import numpy as np

from demos.devices.contracts import Button, Signal
from demos.devices.keys import KeyMap
from demos.devices.steering import Steered, Steering, SteeringConfig

STEERING = SteeringConfig(speed=0.4)
HIGH_M, NEAR_M, LOW_M = 0.06, 0.012, 0.008
CLOSING = 8  # steps


class Typist:
    """Holds keys down as the hand stands to the cube; it waits so long before the hand closes."""

    def __init__(self, names, waits=0):
        self._columns = {
            what: [names.index(f"{what}_{axis}") for axis in "xyz"]
            for what in ("robot0_eef_pos", "cube_pos")
        }
        self._waits, self._closing, self.held = waits, 0, frozenset()

    def keys(self, state):
        """Give the keys that are to be down now, and whether the gripper's is to be pressed."""
        hand, cube = (state[self._columns[what]] for what in ("robot0_eef_pos", "cube_pos"))
        away = cube - hand
        if self._closing:
            self._closing += 1
            return (set() if self._closing < CLOSING else {"r"}), False
        held = set()
        if abs(away[0]) > NEAR_M:
            held.add("w" if away[0] > 0 else "s")
        if abs(away[1]) > NEAR_M:
            held.add("a" if away[1] > 0 else "d")
        down = away[2] if not held else away[2] + HIGH_M
        if down < -LOW_M:
            held.add("f")
        elif down > LOW_M and held:
            held.add("r")
        if held:
            return held, False
        self._waits -= 1
        if self._waits >= 0:
            return set(), False
        self._closing = 1
        return set(), True


class Typing(Steered):
    """A typist as a device, without a browser between."""

    def __init__(self, interface):
        self.names = interface.observations["state"].names
        super().__init__(self, Steering(STEERING, interface))

    name, help = "typist", ()

    def open(self):
        pass

    def close(self):
        pass

    def reset(self, n):
        super().reset(n)
        self._typist = Typist(self.names)

    def command(self, observation, now_s):
        self._state = observation["state"]
        return super().command(observation, now_s)

    def listen(self, now_s):
        self._state = None
        return super().listen(now_s)

    def poll(self, now_s):
        if self._state is None:
            return Signal(given_s=now_s, buttons=(Button.START,))
        held, grips = self._typist.keys(np.asarray(self._state))
        move, turn = KeyMap.of({}).motion(held)
        return Signal(move, turn, bool(held), now_s, (Button.GRIP,) if grips else ())

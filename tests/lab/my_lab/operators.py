"""An operator of one's own."""

import numpy as np


class Pusher:
    """Pushes the bead towards 0, with a hand that trembles."""

    def __init__(self, interface, rng):
        self._position, self._rng = interface.observations["state"].index("position"), rng

    def reset(self, n):
        pass

    def act(self, observation, explore=False):
        push = -observation["state"][:, self._position]
        return (push + self._rng.normal(0, 0.05, push.shape)).astype(np.float32)


make_pusher = Pusher
not_a_maker = "pusher"

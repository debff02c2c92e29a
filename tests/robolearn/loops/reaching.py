"""A batch of points on a line: small enough to be worked out by hand."""

import numpy as np

from robolearn.types import ArraySpec, Spec

FALL = 2.0  # an episode terminates beyond this


class Reaching:
    """N points on a line: x moves by a tenth of the action; the reward is -|x|, success x > 0.

    ``horizon`` truncates an episode, FALL terminates it. A state is (x, steps).
    """

    def __init__(self, n: int = 3, horizon: int = 10) -> None:
        self.interface = Spec(
            "test/Reaching", {"state": ArraySpec((1,), names=("x",))}, ArraySpec((1,)), 0.1
        )
        self.num_envs, self.horizon, self.limit = n, horizon, horizon
        self.generators = [np.random.default_rng(i) for i in range(n)]
        self.x, self.steps = np.zeros(n), np.zeros(n)
        self.sent: list[np.ndarray] = []

    def reset(self, *, seed=None, options=None):
        options = options or {}
        if seed is not None:
            self.generators = [np.random.default_rng(s) for s in seed]
        for i in np.flatnonzero(options.get("reset_mask", np.ones(self.num_envs, bool))):
            self._restart(i)
        if "state" in options:
            self.x, self.steps = options["state"].T.copy()
        return self._observe(), {}

    def step(self, actions, active=None, *, autoreset=True):
        self.sent.append(actions)
        self.x, self.steps = self.x + 0.1 * actions[:, 0], self.steps + 1
        terminated, truncated = np.abs(self.x) > FALL, self.steps >= self.limit
        rewards, last, info = -np.abs(self.x), self._observe()["state"], {"success": self.x > 0}
        ended = np.flatnonzero(terminated | truncated)
        if len(ended):
            info["final_obs"] = np.full(self.num_envs, None, object)
        for i in ended:
            info["final_obs"][i] = {"state": last[i]}
            self._restart(i)
        return self._observe(), rewards, terminated, truncated, info

    def get_state(self):
        return np.stack([self.x, self.steps], axis=1)

    def close(self):
        pass

    def _restart(self, i):
        self.x[i], self.steps[i] = self.generators[i].uniform(-1, 1), 0

    def _observe(self):
        return {"state": self.x[:, None].astype(np.float32)}

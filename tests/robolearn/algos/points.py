"""Points on a line, a batch of them, and the victims that are pushed the wrong way in tests."""

import numpy as np

from robolearn.types import ArraySpec, Spec

from .victims import STATE


class Points:
    """N points on a line, and their goal at 1: states (x, 1, 0).

    A step moves by a fifth of the action's first entry; an episode takes ``horizon`` steps. The
    reward is -x, and success x <= -.8: that of whoever wants them on the far side.
    """

    def __init__(self, n: int = 8, horizon: int = 16) -> None:
        self.interface = Spec(
            "test/Points", {"state": ArraySpec((STATE,))}, ArraySpec((2,)), period_s=0.1
        )
        self.num_envs, self.horizon = n, horizon
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
        moved = np.ones(self.num_envs, bool) if active is None else active
        self.sent.append(actions)
        self.x, self.steps = self.x + 0.2 * moved * actions[:, 0], self.steps + moved
        truncated, success, rewards = self.steps >= self.horizon, self.x <= -0.8, -self.x
        info = {"success": success, "reward_terms": {}}
        last, ended = self._observe()["state"], np.flatnonzero(truncated)
        if len(ended) and autoreset:
            info["final_obs"] = np.full(self.num_envs, None, object)
            for i in ended:
                info["final_obs"][i] = {"state": last[i]}
                self._restart(i)
        return self._observe(), rewards, np.zeros(self.num_envs, bool), truncated, info

    def get_state(self):
        return np.stack([self.x, self.steps], axis=1)

    def close(self):
        pass

    def _restart(self, i):
        self.x[i], self.steps[i] = self.generators[i].uniform(-0.3, 0.3), 0

    def _observe(self):
        return {"state": np.stack([self.x, 1 + 0 * self.x, 0 * self.x], axis=1).astype(np.float32)}

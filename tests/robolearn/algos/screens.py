"""A point that is seen in an image, and a small convolutional policy that looks at it."""

import dataclasses
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from robolearn.networks.functional import Gaussian
from robolearn.settings import Settings
from robolearn.types import ArraySpec, Spec

SIZE = 8  # pixels
IMAGE = ArraySpec((SIZE, SIZE, 3), "uint8")
INTERFACE = Spec(
    "test/Screen", {"front": IMAGE, "state": ArraySpec((1,))}, ArraySpec((1,)), period_s=0.1
)


FRONT = dataclasses.replace(INTERFACE, observations={"front": IMAGE})


class Screen:
    """A point on a line is moved by a fifth of the action; it succeeds where x is .5 or more.

    What is seen is a grey image with a brighter column where it is.
    """

    interface, horizon = INTERFACE, 6

    def __init__(self):
        self.set_state(np.zeros(2))

    def reset(self, *, seed=None, options=None):
        start = np.array([np.random.default_rng(seed).uniform(-0.5, 0.0), 0.0])
        return self.set_state((options or {}).get("state", start)), {}

    def step(self, action):
        x, t = self.state + [0.2 * float(action[0]), 1]
        info = {"success": bool(x >= 0.5), "reward_terms": {"x": x}}
        return self.set_state(np.array([x, t])), x, False, t >= self.horizon, info

    def get_state(self):
        return self.state.copy()

    def set_state(self, state):
        self.state = np.array(state)
        image = np.full(IMAGE.shape, 100, np.uint8)
        image[:, int(np.clip((self.state[0] + 1) / 2 * SIZE, 0, SIZE - 1))] = 180
        return {"front": image, "state": self.state[:1].astype(np.float32)}

    def close(self):
        pass


def make_screen():
    return Screen()


class Screens:
    """A batch of N; where an episode ends, the next one begins in the same step."""

    interface, horizon = INTERFACE, Screen.horizon

    def __init__(self, n=8):
        self.envs, self.num_envs = [Screen() for _ in range(n)], n
        self.generator = np.random.default_rng(0)

    def reset(self, *, seed=None, options=None):
        if seed is not None:
            self.generator = np.random.default_rng(seed)
        for i, env in enumerate(self.envs):
            if options is None:
                self._begin(env)
            else:
                env.set_state(options["state"][i])
        return self._observe(), {}

    def step(self, actions, active=None, *, autoreset=True):
        _, rewards, _, truncated, infos = zip(
            *(env.step(a) for env, a in zip(self.envs, actions, strict=True)), strict=True
        )
        info = {"success": np.array([one["success"] for one in infos]), "reward_terms": {}}
        info["final_obs"] = np.full(self.num_envs, None, object)
        for i in np.flatnonzero(truncated):
            info["final_obs"][i] = self.envs[i].set_state(self.envs[i].state)
            self._begin(self.envs[i])
        none = np.zeros(self.num_envs, bool)
        return self._observe(), np.array(rewards), none, np.array(truncated), info

    def get_state(self):
        return np.stack([env.get_state() for env in self.envs])

    def close(self):
        pass

    def _begin(self, env):
        env.reset(seed=int(self.generator.integers(2**31)))

    def _observe(self):
        seen = [env.set_state(env.state) for env in self.envs]
        return {name: np.stack([one[name] for one in seen]) for name in seen[0]}


@dataclass(frozen=True)
class LookerConfig(Settings):
    seed: int = 0


class Looker:
    """Acts on the image, and on the state, by a random network that is far from constant."""

    name, eats, memoryless = "looker", "transitions", True

    def __init__(self, interface=INTERFACE, config: LookerConfig = LookerConfig()):
        self.interface, self.config = interface, config
        generator = torch.Generator().manual_seed(self.config.seed)
        self.network = nn.Sequential(
            nn.Conv2d(3, 4, 3, stride=2), nn.Tanh(), nn.Flatten(), nn.Linear(36, 1)
        )
        for weight in self.network.parameters():
            nn.init.normal_(weight, std=0.7, generator=generator)

    def reset(self, n):
        pass

    def act(self, observation, explore=False):
        seen = {name: torch.as_tensor(array) for name, array in observation.items()}
        with torch.no_grad():
            return self.distribution(seen).mode.numpy()

    def distribution(self, observation):
        image = observation["front"].movedim(-1, -3).float() / 127.5 - 1
        mean = torch.tanh(0.3 * self.network(image) + observation.get("state", 0.0))
        return Gaussian(mean, torch.full_like(mean, -1.0), squashed=False)

    def update(self, batch):
        return {}

    def state_dict(self):
        return self.network.state_dict()

    def load_state_dict(self, state):
        self.network.load_state_dict(dict(state))

    def training_state(self):
        return {}

    def load_training_state(self, state):
        pass


class Right:
    """Intends to go right, whatever it sees."""

    memoryless = True

    def reset(self, n):
        pass

    def act(self, observation, explore=False):
        return np.full((len(observation["state"]), 1), 0.9, np.float32)


def make_right(interface, rng):
    return Right()

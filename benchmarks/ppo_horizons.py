"""What PPO learns from rollouts shorter than an episode, beside stable-baselines3's.

    pip install -e '.[benchmarks]'
    python benchmarks/ppo_horizons.py [seeds] [task ...]

Prints JSON lines: for each task of dm_control, whose episodes are all 1000 control steps long, and
each ``horizon`` (control steps of each of 4 environments between two updates), the mean ``return``
of 10 whole episodes without exploring after 160,000 steps, from the weights at the end. ``who`` is
"robolearn", "stable-baselines3", "in step": ours with ``spread=False``, on one task with one
horizon, or "values apart": ours with a network of the values' own, on two. All use the same batches
of environments and the same settings: first step size, minibatch, epochs, gamma, lambda, clip,
widths, ELU, first spread of the actions, weight of the values, largest gradient. What differs is
the method: ours lets the step size follow the divergence, shares a trunk between policy and values,
standardises advantages over a rollout, and learns values in units of their returns; theirs keeps
the step size, has two networks, standardises over a minibatch, and gets rewards divided by the
spread of the returns (``VecNormalize``, which normalises the observations too). What has been
measured is not measured again: rows are kept in ``runs/benchmarks``.
"""

import contextlib
import dataclasses
import json
import sys
from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np
import torch
from stable_baselines3 import PPO as TheirPPO
from stable_baselines3.common.vec_env import VecEnv, VecNormalize
from swept import FOLDER, known

import sim
from robolearn.algos.ppo import FURTHEST_OBSERVATION, PPO, PPOConfig
from robolearn.loops.evaluate import evaluation_seeds
from robolearn.loops.on_policy import OnlineConfig, online
from robolearn.loops.rollout import Job, rollouts
from robolearn.running.run import provenance
from robolearn.types import Observation, Policy, VectorEnvironment

TASKS = ("cartpole-balance", "cartpole-swingup", "walker-walk")
IN_STEP = "cartpole-balance", 500
APART = ("cartpole-balance", 125), ("walker-walk", 125)
HORIZONS = (125, 250, 500, 1000)
EPISODE = 1000  # control steps
STEPS, ENVIRONMENTS, EPISODES = 160_000, 4, 10
SETTING = PPOConfig(minibatch=250)  # which divides a rollout of any horizon


def ours(
    env: VectorEnvironment,
    horizon: int,
    seed: int,
    spread: bool = True,
    setting: PPOConfig = SETTING,
) -> Policy:
    """Train ours."""
    learner = PPO(env.interface, setting, seed)
    online(learner, env, OnlineConfig(STEPS, horizon, spread=spread), seed)
    return learner


def in_step(env: VectorEnvironment, horizon: int, seed: int) -> Policy:
    """Train ours on episodes that all begin and end together."""
    return ours(env, horizon, seed, spread=False)


def values_apart(env: VectorEnvironment, horizon: int, seed: int) -> Policy:
    """Train ours with two networks, as theirs has."""
    setting = dataclasses.replace(SETTING, value_widths=SETTING.widths)
    return ours(env, horizon, seed, setting=setting)


def theirs(env: VectorEnvironment, horizon: int, seed: int) -> Policy:
    """Train stable-baselines3's."""
    clip = FURTHEST_OBSERVATION
    batch = VecNormalize(AsTheirs(env, seed), gamma=SETTING.gamma, clip_obs=clip)
    widths = list(SETTING.widths)
    network = {
        "net_arch": {"pi": widths, "vf": widths},
        "activation_fn": torch.nn.ELU,
        "log_std_init": float(np.log(SETTING.initial_std)),
    }
    model = TheirPPO(
        "MlpPolicy", batch, n_steps=horizon, batch_size=SETTING.minibatch, n_epochs=SETTING.epochs,
        learning_rate=SETTING.learning_rate, gamma=SETTING.gamma, gae_lambda=SETTING.lam,
        clip_range=SETTING.clip, vf_coef=SETTING.value_weight, ent_coef=SETTING.entropy_weight,
        max_grad_norm=SETTING.gradient_clip, policy_kwargs=network, seed=seed, device="cpu",
    )  # fmt: skip
    model.learn(STEPS)
    return Theirs(model, batch)


class AsTheirs(VecEnv):
    """One of our batches as stable-baselines3 knows them."""

    def __init__(self, env: VectorEnvironment, seed: int):
        self.env, self.first_seed = env, seed  # first: the base class asks for attributes
        spaces = env.single_observation_space["state"], env.single_action_space
        super().__init__(env.num_envs, *(as_float32(space) for space in spaces))

    def reset(self) -> np.ndarray:
        """Begin episodes everywhere; give the observations [N, O]."""
        return self.env.reset(seed=self.first_seed)[0]["state"]

    def step_async(self, actions: np.ndarray) -> None:
        """Take actions [N, A] for ``step_wait``."""
        self.actions = actions

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        """Step; a truncated episode says so, with the observation that it ended with."""
        observation, rewards, terminated, truncated, info = self.env.step(self.actions)
        infos = [{} for _ in range(self.num_envs)]
        for i in np.flatnonzero(terminated | truncated):
            infos[i]["terminal_observation"] = info["final_obs"][i]["state"]
            infos[i]["TimeLimit.truncated"] = bool(truncated[i] and not terminated[i])
        return observation["state"], rewards, terminated | truncated, infos

    def close(self) -> None:
        """Leave the batch to whoever made it."""

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """Give an attribute of the batch, once for each environment."""
        return [getattr(self.env, attr_name, None)] * self.num_envs

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Refuse: nothing is set."""
        raise NotImplementedError

    def env_method(self, method_name: str, *args: Any, **kwargs: Any) -> list[Any]:
        """Refuse: nothing is called."""
        raise NotImplementedError

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        """Say that nothing is wrapped."""
        return [False] * self.num_envs


def as_float32(space: gymnasium.spaces.Box) -> gymnasium.spaces.Box:
    """Give the same space of float32."""
    return gymnasium.spaces.Box(space.low.min(), space.high.max(), space.shape, np.float32)


class Theirs:
    """What stable-baselines3 learnt, as one of our policies."""

    memoryless = True

    def __init__(self, model: TheirPPO, batch: VecNormalize):
        self._model, self._batch = model, batch

    def reset(self, n: int) -> None:
        """Begin n episodes; there is no memory to forget."""

    def act(self, observation: Observation, explore: bool = False) -> np.ndarray:
        """Give actions float32 [N, A] in [-1, 1]."""
        normal = self._batch.normalize_obs(observation["state"])
        return self._model.predict(normal, deterministic=not explore)[0]


WHO = {
    "robolearn": ours,
    "stable-baselines3": theirs,
    "in step": in_step,
    "values apart": values_apart,
}


def measure(who: str, task: str, horizon: int, seed: int) -> dict:
    """Train, and run whole episodes with seeds that no training draws from."""
    with contextlib.closing(sim.make_vec(f"dmc/{task}", ENVIRONMENTS, threads=1)) as env:
        policy = WHO[who](env, horizon, seed)
        jobs = [Job(policy, s) for s in evaluation_seeds(seed, EPISODES)]
        whole = {"horizon": EPISODE, "settle_steps": EPISODE, "keep_states": False}
        returns = [float(e.rewards.sum()) for e, _ in rollouts(env, jobs, **whole)]
    made = provenance()
    return {
        "who": who,
        "env": f"dmc/{task}",
        "horizon": horizon,
        "seed": seed,
        "steps": STEPS,
        "return": round(float(np.mean(returns)), 1),
        "commit": made["commit"][:12] + (" with changes" if made["dirty"] else ""),
    }


def grid(seeds: int, tasks: list[str]) -> Iterator[tuple[str, str, int, int]]:
    """Give who, task, horizon and seed of every row, in an order in which a part says something."""
    for seed in range(seeds):
        for horizon in HORIZONS:
            for task in tasks:
                yield "robolearn", task, horizon, seed
                yield "stable-baselines3", task, horizon, seed
                if (task, horizon) == IN_STEP:
                    yield "in step", task, horizon, seed
                if (task, horizon) in APART:
                    yield "values apart", task, horizon, seed


def main(seeds: int, tasks: list[str]) -> None:
    """Measure everybody everywhere, or read what was measured."""
    torch.set_num_threads(1)
    for key in grid(seeds, tasks):
        file = FOLDER / "ppo_horizons" / ("-".join(map(str, key)).replace(" ", "_") + ".json")
        if not file.exists():
            row = measure(*key)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(row))
        print(file.read_text(), flush=True)


if __name__ == "__main__":
    seeds, *tasks = sys.argv[1:] or ["3"]
    main(int(seeds), known(tasks, TASKS))

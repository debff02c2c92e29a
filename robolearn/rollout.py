"""The one loop in which a policy meets an environment: recording and evaluation share it."""

from collections.abc import Callable

import numpy as np

from robolearn.types import Environment, Episode, Observation, Policy, Step


def rollout(
    env: Environment,
    policy: Policy,
    *,
    horizon: int,
    seed: int | None = None,
    state: np.ndarray | None = None,
    settle_steps: int = 0,
    explore: bool = False,
    on_step: Callable[[Step], None] | None = None,
) -> Episode:
    """Run one episode of at most ``horizon`` steps and return it.

    It ends when the environment ends it or ``settle_steps`` steps after the first success;
    ``success`` says whether any step succeeded. ``seed`` goes to ``env.reset``; ``state`` [S], if
    given, is where the episode starts. Actions are clipped to [-1, 1] before they are sent and
    kept. ``on_step`` sees every Step as it happens.
    """
    options = None if state is None else {"state": state}
    observation, _ = env.reset(seed=seed, options=options)
    policy.reset(1)
    observations, states, steps = [observation], [env.get_state()], []
    succeeded_at = None
    for t in range(horizon):
        action = np.clip(policy.act(_batch_of_one(observation), explore)[0], -1.0, 1.0)
        next_observation, reward, terminated, truncated, info = env.step(action)
        step = Step(
            t, observation, action, float(reward), next_observation, terminated, truncated, info,
            states[-1],
        )  # fmt: skip
        if on_step is not None:
            on_step(step)
        steps.append(step)
        observations.append(next_observation)
        states.append(env.get_state())
        observation = next_observation
        if succeeded_at is None and info["success"]:
            succeeded_at = t
        settled = succeeded_at is not None and t - succeeded_at >= settle_steps
        if terminated or truncated or settled:
            break
    return _episode(steps, observations, states, succeeded_at is not None, env, seed)


def _batch_of_one(observation: Observation) -> Observation:
    return {name: array[None] for name, array in observation.items()}


def _episode(
    steps: list[Step],
    observations: list[Observation],
    states: list[np.ndarray],
    success: bool,
    env: Environment,
    seed: int | None,
) -> Episode:
    terms = steps[-1].info["reward_terms"]
    return Episode(
        observations={name: np.stack([o[name] for o in observations]) for name in observations[0]},
        actions=np.stack([s.action for s in steps]).astype(np.float32),
        rewards=np.array([s.reward for s in steps], np.float32),
        terminated=steps[-1].terminated,
        truncated=not steps[-1].terminated,
        success=success,
        states=np.stack(states),
        reward_terms={
            name: np.array([s.info["reward_terms"][name] for s in steps], np.float32)
            for name in terms
        },
        metadata={"environment": env.interface.environment, "seed": seed},
    )

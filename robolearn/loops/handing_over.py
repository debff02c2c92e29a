"""Episodes that somebody else begins: RAT's combined collection, for those who learn on rollouts.

An episode of T steps is begun by another policy, which acts for h ~ U(0, H) steps, H a share of T;
from there on whoever steps the batch acts. So what is learnt on its rollouts are the states that
the other one reaches, and no action that the learner did not choose is among what it learns from.
The other one acts in all environments at once, up to H steps, and several episodes go on from each
of these, at other times: what it does is paid for once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from robolearn.errors import UserError
from robolearn.types import Observation, Policy, VectorEnvironment

TIMES = 8  # at which others go on from an episode


class HandedOver:
    """A VectorEnvironment whose episodes ``first`` begins; else it is ``envs``.

    The steps taken before an episode is handed over count towards its horizon; ``steps`` is how
    many ``first`` took in all. An episode that begins in a stored state is begun by nobody else.
    What is drawn, and what ``begun`` gives, follows from the seeds of the last ``reset`` with some.
    """

    def __init__(self, envs: VectorEnvironment, first: Policy, latest: float = 1.0) -> None:
        """Wrap ``envs``; ``latest`` is H as a share of T.

        UserError if they have no horizon, or for a policy with a memory.
        """
        if envs.horizon is None:
            raise UserError(f"{envs.interface.environment}: nobody hands over without a horizon")
        if not getattr(first, "memoryless", False):
            raise UserError("the policy that begins episodes is not memoryless")
        self.interface, self.num_envs, self.horizon = envs.interface, envs.num_envs, envs.horizon
        self.metadata = getattr(envs, "metadata", {})
        self.first, self.steps, self._envs, self._latest = first, 0, envs, latest
        self._rng = np.random.default_rng(0)
        self._begun: list[np.ndarray] = []
        self._starts: list[np.ndarray] = []  # states of the simulator, in which to begin

    def begun(self) -> np.ndarray:
        """Give the states [M, O] in which ``first`` has acted since this was asked last."""
        shape = (0, *self.interface.observations["state"].shape)
        begun, self._begun = self._begun, []
        return np.concatenate(begun) if begun else np.zeros(shape, np.float32)

    def reset(
        self, *, seed: Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin episodes in the rows of ``options["reset_mask"]`` [N] bool, else in all."""
        options = options or {}
        if seed is not None:
            self._rng = np.random.default_rng([one for one in seed if one is not None])
            self._starts, self._begun = [], []
        observations, info = self._envs.reset(seed=seed, options=options or None)
        if "state" in options:
            return observations, info
        return self._begin(options.get("reset_mask", np.ones(self.num_envs, bool))), info

    def step(
        self, actions: np.ndarray, active: np.ndarray | None = None, *, autoreset: bool = True
    ) -> tuple[Observation, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Apply actions float32 [N, A]; where an episode ends, the next one is begun too."""
        observations, reward, terminated, truncated, info = self._envs.step(
            actions, active=active, autoreset=autoreset
        )
        ended = terminated | truncated
        if autoreset and ended.any():
            observations = self._begin(ended)
        return observations, reward, terminated, truncated, info

    def get_state(self) -> np.ndarray:
        """Give the states float64 [N, S]."""
        return self._envs.get_state()

    def close(self) -> None:
        """Free the simulators."""
        self._envs.close()

    def _begin(self, rows: np.ndarray) -> Observation:
        """Put those rows, bool [N], where ``first`` has handed over; give all observations."""
        states = self._envs.get_state()
        while len(self._starts) < rows.sum():
            self._starts += self._act()
        for i in np.flatnonzero(rows):
            states[i] = self._starts.pop()
        return self._envs.reset(options={"state": states})[0]

    def _act(self) -> list[np.ndarray]:
        """Let ``first`` act in episodes of its own; give states at ``TIMES``, in any order."""
        edges = np.linspace(0, self._latest * self.horizon, TIMES + 1)
        times = set(self._rng.uniform(edges[:-1], edges[1:]).astype(int).tolist())
        observations, _ = self._envs.reset()
        going, starts = np.ones(self.num_envs, bool), []
        for t in range(max(times) + 1):
            if t in times:
                starts += list(self._envs.get_state()[going])
            self._begun.append(observations["state"][going])
            actions = self.first.act(observations).clip(-1.0, 1.0)
            self.steps += int(going.sum())
            observations, _, *ends, _ = self._envs.step(actions, active=going, autoreset=False)
            going = going & ~(ends[0] | ends[1])
            if not going.any():
                break
        return [starts[i] for i in self._rng.permutation(len(starts))]

"""The loop of on-policy learning, as functions that know the protocols, never a method's name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from pydantic import PositiveInt

from robolearn.loops.collecting import (
    Cuts,
    Ended,
    Rollout,
    Sampling,
    Tally,
    begin,
    collect,
    on_device,
    require_same_step,
    spread_cuts,
)
from robolearn.settings import Settings
from robolearn.types import Learner, VectorEnvironment


class OnPolicyLearner(Learner, Sampling, Protocol):
    """A Learner that eats rollouts of its own making."""

    device: torch.device
    noise: torch.Generator  # of which its actions are drawn


@dataclass(frozen=True)
class OnlineConfig(Settings):
    """Length of ``online`` and of its parts. Raises UserError for a value out of range."""

    steps: PositiveInt = 1_000_000
    """Control steps to learn from, of all environments together."""
    horizon: PositiveInt = 128
    """Control steps of each environment between two updates."""
    checkpoint_updates: PositiveInt = 20
    """Updates between two points from which a stopped training can go on."""
    spread: bool = True
    """Whether the first episodes are cut, each after another share of its length, so that from then
    on the episodes end at different times. Else environments whose episodes last equally long stay
    in step, and a rollout shorter than those shows all of them at the same age. Rollouts of whole
    episodes show every age anyhow: there nothing is cut."""

    def updates(self, environments: int) -> int:
        """Count the updates that ``steps`` are enough for, at least one."""
        return max(1, self.steps // (self.horizon * environments))


@dataclass(frozen=True)
class Progress:
    """Where a training stands after some updates, as JSON-able values."""

    updates: int
    states: list[list[float]]  # [N, S], of the environments
    returns: list[float]  # [N], of the episodes under way
    lengths: list[int]  # [N]
    cuts: list[int] | None = None  # [N], steps until an episode is cut, 0: never; None: all 0


class Collecting(Protocol):
    """Environments that a policy acts in, of this process or of others."""

    num_envs: int

    def begin(self, seed: int, progress: Progress | None) -> None:
        """Begin, or go on where progress says, with seeds that follow from both."""

    def rollout(self, learner: OnPolicyLearner, update: int) -> Rollout:
        """Have it act for a horizon; give what happened, see ``collect``."""

    def progress(self, updates: int) -> Progress:
        """Say where all stands, after so many updates."""

    def read(self) -> dict[str, float]:
        """Say what became of the episodes that ended since it was asked; see ``Tally.read``."""


class Collector:
    """Environments of this process, and the episodes under way in them; see ``Collecting``.

    Raises UserError for environments whose state cannot be read or that do not begin anew within
    the step that ends an episode. ``keep_states`` adds "states" to rollouts.
    """

    def __init__(
        self, env: VectorEnvironment, config: OnlineConfig, keep_states: bool = False
    ) -> None:
        require_same_step(env, "learning on rollouts")
        self.env, self.config, self.num_envs = env, config, env.num_envs
        self._keep_states = keep_states
        self._tally = Tally(np.zeros(self.num_envs), np.zeros(self.num_envs, int))

    def begin(self, seed: int | Sequence[int], progress: Progress | None) -> None:
        """See ``Collecting``; ``seed`` may be one for each environment."""
        self._tally.begin(progress)
        self._cuts = self._cuts_from(progress)
        done, states = (progress.updates, progress.states) if progress else (0, None)
        self._observation = begin(self.env, seed, done, states)
        self.env.get_state()  # one that cannot give it says so now, not after 20 updates

    def rollout(self, learner: Sampling, update: int) -> Rollout:
        """See ``Collecting``."""
        horizon = self.config.horizon
        rollout, self._observation = collect(
            self.env, learner, self._observation, horizon, self._tally, update * horizon,
            self._cuts, self._keep_states,
        )  # fmt: skip
        return rollout

    def progress(self, updates: int) -> Progress:
        """See ``Collecting``."""
        tally = self._tally
        return Progress(
            updates, self.env.get_state().tolist(), tally.returns.tolist(),
            tally.lengths.tolist(), self._cuts.left.tolist(),
        )  # fmt: skip

    def read(self) -> dict[str, float]:
        """See ``Collecting``."""
        return self._tally.read()

    def drain(self) -> tuple[list[Ended], int]:
        """See ``Tally.drain``."""
        return self._tally.drain()

    def _cuts_from(self, progress: Progress | None) -> Cuts:
        """Give the cuts that are left, else those that a training begins with."""
        if progress is not None and progress.cuts is not None:
            return Cuts(np.array(progress.cuts))
        env, config = self.env, self.config
        whole = env.horizon is not None and config.horizon % env.horizon == 0  # episodes
        spread = config.spread and not whole and progress is None
        return spread_cuts(self.num_envs, env.horizon if spread else None)


def online(
    learner: OnPolicyLearner,
    env: VectorEnvironment | Collecting,
    config: OnlineConfig,
    seed: int,
    *,
    progress: Progress | None = None,
    keep_states: bool = False,
    on_rollout: Callable[[int, Rollout], None] | None = None,
    on_update: Callable[[int, dict[str, float]], None] | None = None,
    on_checkpoint: Callable[[Progress], None] | None = None,
) -> None:
    """Let a learner act and improve by turns; "progress" in a rollout is the share that is over.

    ``on_rollout(updates, rollout)`` gets every rollout before it is learnt from; with
    ``keep_states`` it has "states" [T, N, S], those of the environments before each step.
    ``on_update(updates, scalars)`` is called after each update, ``on_checkpoint(progress)`` after
    every ``checkpoint_updates`` of them and after the last. There the environments are given new
    seeds, which follow from ``seed`` and the number of updates, so that a learner restored with its
    ``progress`` goes on exactly as if never interrupted. Raises DataError for an observation or
    reward that is not finite, UserError for environments that ``Collector`` does not take.
    """
    collecting = Collector(env, config, keep_states) if hasattr(env, "reset") else env
    total = config.updates(collecting.num_envs)
    collecting.begin(seed, progress)
    for update in range(progress.updates if progress else 0, total):
        rollout = collecting.rollout(learner, update)
        if on_rollout is not None:
            on_rollout(update, rollout)
        info = learner.update(on_device(rollout, learner.device) | {"progress": update / total})
        if on_update is not None:
            on_update(update + 1, collecting.read() | info)
        if (update + 1) % config.checkpoint_updates == 0 or update + 1 == total:
            progress = collecting.progress(update + 1)
            collecting.begin(seed, progress)
            if on_checkpoint is not None:
                on_checkpoint(progress)

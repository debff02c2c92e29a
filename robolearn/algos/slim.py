"""SLIM, skills with one critic per reward: after Emukpere, Wu, Perez, Renders (ICRA 2024).

"SLIM: Skill Learning with Multiple Critics" trains a policy pi(a | s, z), z from a fixed prior, on
several rewards at once: to reach for an object, to move it in ways that z tells apart (discovery),
to do no damage (safety). Summed up, they are in each other's way; so each gets a critic, and only
advantages are added, each in units of its own spread. The paper gives no formula and no code. The
concrete form here is ours:

    r^i_t = u_i R_i(s_t, z, s_(t+1))                  streams, i = 1 .. K; learned ones learn first
    A^i_t = GAE(r^i, V_i)                             by itself, with a value head of its own
    A_t   = sum_i w_i (A^i_t - mean A^i) / std A^i    over the whole rollout
    L     = E_t [ min( r_t A_t, clip(r_t, 1 - epsilon, 1 + epsilon) A_t ) ]           PPO's Eq. (7)

The unit u_i of a reward therefore does not matter, its weight w_i does. Policy and value heads
share a trunk, and values are learnt in units of their own returns. One critic of all, to compare
with, is the same with a single stream, r_t = sum_i w_i u_i R_i. With one stream SLIM is PPO.

z stands at the end of the state and keeps its value throughout an episode: see
``robolearn.skills.env``.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import torch
from annotated_types import MinLen
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor

from robolearn.algos.ppo import PPO, Info, PPOConfig, Rows
from robolearn.errors import UserError, nearest
from robolearn.networks.functional import gae, gaussian_log_probability, standardise
from robolearn.rewards.base import (
    Metric,
    MetricConfig,
    SkillConfig,
    Terms,
    directions,
    entries_of,
    one_hot,
)
from robolearn.rewards.skill import DIAYN, LSD, METRA, LSDConfig, METRAConfig
from robolearn.settings import NumberOrAuto, Share
from robolearn.types import RewardStream, Spec

SHARE_ROWS = 512  # of a rollout, from which the streams' shares of the gradient are measured


class Discovery(NamedTuple):
    """A way to reward skills, its settings, and where skills come from."""

    stream: Callable[..., RewardStream]  # (interface, config, seed, device)
    config: type
    draw: Callable[[int, int, torch.Generator], Tensor]  # (n, Z, generator) -> [n, Z]


def _metric(interface: Spec, config: MetricConfig, seed: int, device: str) -> Metric:
    return Metric(interface, config, device)  # nothing in it is drawn


DISCOVERIES = {
    "lsd": Discovery(LSD, LSDConfig, directions),
    "metra": Discovery(METRA, METRAConfig, directions),
    "diayn": Discovery(DIAYN, SkillConfig, one_hot),
    "metric": Discovery(_metric, MetricConfig, directions),
}


@dataclass(frozen=True)
class SLIMConfig(PPOConfig):
    """Rewards of ``SLIM``, and PPO's settings. Raises UserError for a value out of range."""

    initial_std: PositiveFloat = 0.4
    """Spread of the first actions, of which [-1, 1] are possible."""
    gamma: Share = 0.97
    """Discount of a reward one step later."""
    epochs: PositiveInt = 5
    """Passes over a rollout."""
    minibatch: PositiveInt = 800
    """Steps in a minibatch."""
    learning_rate: PositiveFloat = 1e-3
    """Step size of Adam; the first one, if it follows the divergence."""
    target_kl: NumberOrAuto = 0.02
    """Divergence between two policies, nats, that the step size aims at; "auto": 0.01 for each
    entry of an action; None keeps the step size fixed."""
    entropy_weight: NonNegativeFloat = 0.006
    """Weight of the entropy bonus, c2."""
    discovery: Literal["lsd", "metra", "diayn", "metric"] = "lsd"
    """How the stream "discovery" rewards skills."""
    skill: dict[str, Any] = field(default_factory=dict)
    """Settings of that: see ``robolearn.rewards``."""
    terms: dict[str, Annotated[dict[str, float], MinLen(1)]] = field(default_factory=dict)
    """Further streams, as sums of the environment's reward terms: name -> term -> factor."""
    weights: Annotated[dict[str, PositiveFloat], MinLen(1)] = field(
        default_factory=lambda: {"discovery": 1.0}
    )
    """Stream -> w, the weight of its advantage; a stream without a weight is left out."""
    units: dict[str, PositiveFloat] = field(default_factory=dict)
    """Stream -> u, by which its reward is multiplied; 1 unless given."""
    critics: Literal["each", "sum"] = "each"
    """A critic for each stream, or one for the sum of all rewards."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if "discovery" in self.terms:
            raise UserError("terms: 'discovery' is taken, by what rewards skills")
        for setting in ("weights", "units"):
            for name in getattr(self, setting):
                if name not in (known := {"discovery", *self.terms}):
                    raise UserError(f"{setting}: no stream '{name}'{nearest(name, known)}")
        self.discovery_config()  # says now what is wrong with it

    def discovery_config(self) -> Any:
        """Make the settings of the stream "discovery"; UserError for one that it does not have."""
        kind = DISCOVERIES[self.discovery].config
        known = [setting.name for setting in dataclasses.fields(kind)]
        for name in self.skill:
            if name not in known:
                where = f"skill: '{self.discovery}' has no setting '{name}'"
                raise UserError(where + nearest(name, known))
        try:
            return kind(**self.skill)
        except UserError as error:
            raise UserError(f"skill.{error}") from None


@dataclass(frozen=True)
class Prior:
    """Where skills come from: ``draw(n, generator)`` gives z [n, Z]."""

    size: int  # Z
    draw: Callable[[int, torch.Generator], Tensor]


def prior(config: SLIMConfig) -> Prior:
    """Give p(z), which is fixed: uniform on the unit sphere, or over one-hot skills."""
    size = config.discovery_config().skills
    draw = DISCOVERIES[config.discovery].draw
    return Prior(size, lambda n, generator: draw(n, size, generator))


def build_streams(
    interface: Spec, config: SLIMConfig, seed: int, device: str
) -> dict[str, RewardStream]:
    """Make the streams that have a weight, in the order of the weights."""
    own_seed = int(np.random.SeedSequence([seed, 1]).generate_state(1)[0])
    discover = functools.partial(
        DISCOVERIES[config.discovery].stream, interface, config.discovery_config(), own_seed, device
    )
    return {
        name: discover() if name == "discovery" else Terms(name, config.terms[name])
        for name in config.weights
    }


class SLIM(PPO):
    """A policy of skills, improved on K rewards at once; rollouts are PPO's, with "reward_terms".

    The state ends with entries "skill". Below, K is the number of critics.
    """

    name = "slim"

    def __init__(self, interface: Spec, config: SLIMConfig, seed: int = 0, device: str = "cpu"):
        """Draw the initial weights; SpecError if the interface lacks a skill or an entry."""
        streams = build_streams(interface, config, seed, device)
        self.heads = tuple(streams) if config.critics == "each" else ("sum",)
        super().__init__(interface, config, seed, device, len(self.heads), streams)
        self.skill = entries_of(interface, ["skill"]).to(device)
        weights = torch.tensor(list(config.weights.values()), device=device)
        self.weights = weights if config.critics == "each" else torch.ones(1, device=device)

    def update(self, rollout: Mapping[str, Any]) -> dict[str, float]:
        """Let streams learn, judge the rollout by them, then improve policy and values."""
        skills = rollout["observations"]["state"][..., self.skill]
        return super().update({**rollout, "skills": skills})

    def rewards(self, rollout: Mapping[str, Any]) -> Tensor:
        """Give r [T, N, K]."""
        config = self.config
        rewards = [config.units.get(n, 1.0) * s.reward(rollout) for n, s in self.streams.items()]
        if config.critics == "sum":
            weights = config.weights.values()
            rewards = [sum(w * r for w, r in zip(weights, rewards, strict=True))]
        return torch.stack(rewards, dim=-1)

    def prepare(self, rollout: Mapping[str, Any]) -> tuple[Rows, Info]:
        """Give what the losses need, as rows [T * N, ...]: the old policy, A and V^target."""
        rows, info = self._estimate(rollout)
        return rows, info | self._named("gradient_share", self.gradient_shares(rows))

    @torch.no_grad()
    def _estimate(self, rollout: Mapping[str, Any]) -> tuple[Rows, Info]:
        state, actions = rollout["observations"]["state"], rollout["actions"]
        mean, log_std, normalised = self.network(state)
        values = self.network.value.scale.inverse(normalised)  # [T, N, K]
        advantages = gae(
            rollout["rewards"], values,
            self.network.values(rollout["next_observations"]["state"]),
            rollout["terminated"], rollout["ended"], self.config.gamma, self.config.lam,
        )  # fmt: skip
        weighted = self.weights * standardise(advantages, dim=(0, 1))  # w_i A^i
        returns = advantages + values
        rows = {
            "state": state,
            "action": actions,
            "log_probability": gaussian_log_probability(actions, mean, log_std),
            "mean": mean,
            "log_std": log_std,
            "weighted": weighted,
            "advantage": weighted.sum(dim=-1),
            "target": self.network.value.follow(returns),
        }
        unexplained = advantages.var(dim=(0, 1)) / returns.var(dim=(0, 1)).clamp(min=1e-12)
        info = {
            **self._named("reward", rollout["rewards"].mean(dim=(0, 1))),
            **self._named("value", values.mean(dim=(0, 1))),
            **self._named("explained_variance", 1 - unexplained),
            **self._named("advantage_scale", advantages.std(dim=(0, 1))),
        }
        return {name: array.flatten(0, 1) for name, array in rows.items()}, info

    def _named(self, what: str, scalars: Tensor) -> Info:
        """Call scalars [K] by their streams."""
        return {f"{what}/{name}": scalar for name, scalar in zip(self.heads, scalars, strict=True)}

    def gradient_shares(self, rows: Rows) -> Tensor:
        """Give the shares [K] of the streams in the first policy gradient, by its norm.

        Where the ratio is 1, the gradient of L is that of E[ A log pi ], a sum over streams.
        """
        size = len(rows["action"])
        some = torch.linspace(0, size - 1, min(size, SHARE_ROWS)).long()  # nothing need be drawn
        state, action, weighted = (rows[k][some] for k in ("state", "action", "weighted"))
        mean, log_std, _ = self.network(state)
        log_probability = gaussian_log_probability(action, mean, log_std)
        policy = [*self.network.trunk.parameters(), *self.network.mean.parameters()]
        norms = []
        for advantage in weighted.unbind(dim=-1):
            objective = (advantage * log_probability).mean()
            parts = torch.autograd.grad(objective, policy, retain_graph=True)
            norms.append(torch.stack([part.square().sum() for part in parts]).sum().sqrt())
        found = torch.stack(norms)
        return found / found.sum().clamp(min=1e-12)

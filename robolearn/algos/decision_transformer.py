"""Decision Transformer: Chen, Lu, Rajeswaran, Lee, Grover, Laskin, Abbeel, Srinivas, Mordatch,
"Decision Transformer: Reinforcement Learning via Sequence Modeling" (NeurIPS 2021).

An episode is a sequence of three tokens a step, each with an embedding of its step t,

    R_1, s_1, a_1,  R_2, s_2, a_2,  ...          R_t = sum_(t' >= t) r_t'   (return-to-go)

A causal transformer looks at those of the last K steps, the context. What it makes of the token of
s_t decides on the action, and knows nothing that comes later:

    maximise  E[ log pi(a_t | R_(t-K+1), s_(t-K+1), a_(t-K+1), ..., R_t, s_t) ]
    pi = N( tanh(m), diag(std)^2 )

To act, a return is asked for, R_1, and R_(t+1) = R_t - r_t.

Two things are not the paper's. Its action is a point, learnt by squared error; here it has a
spread, one for each entry, that is learnt beside it, so that it can be attacked and explored with
(drawn from, as in Zheng, Zhang, Grover, "Online Decision Transformer", ICML 2022). And nobody tells
a Policy its rewards (on a robot nobody knows them): r_t is what the network expects of s_t and a_t
in their context, fitted to the data by squared error.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn

from robolearn.errors import DataError, SpecError
from robolearn.networks.context import Context, Unpacked
from robolearn.networks.functional import Gaussian, gaussian_log_probability
from robolearn.networks.nets import (
    Normaliser,
    load_optimiser_tensors,
    load_weights,
    optimiser_tensors,
)
from robolearn.networks.transformer import CausalTransformer, draw_weights
from robolearn.settings import Settings, ShareBelowOne
from robolearn.types import Observation, Spec

Batch = Mapping[str, Any]
Info = dict[str, float]
TOKENS = 3  # of a step
STATE_TOKEN = 1  # among them


@dataclass(frozen=True)
class DecisionTransformerConfig(Settings):
    """Network and objective of ``DecisionTransformer``. UserError for a value out of range."""

    context: PositiveInt = 20
    """Steps that it sees, K."""
    width: PositiveInt = 128
    """Entries of a token's embedding."""
    layers: PositiveInt = 3
    """Of the transformer."""
    heads: PositiveInt = 1
    """Of its attention."""
    dropout: ShareBelowOne = 0.1
    """Share of what a layer adds that is switched off in training (never when acting)."""
    longest: PositiveInt = 1000
    """Steps of an episode that are told apart; later ones count as the last of them."""
    least_std: PositiveFloat = 0.01
    """Smallest spread of an entry of the action."""
    learning_rate: PositiveFloat = 1e-4
    """Step size of AdamW."""
    weight_decay: NonNegativeFloat = 1e-4
    """Of AdamW."""
    warmup: PositiveInt = 1000
    """Updates in which the step size grows from 0, linearly."""
    gradient_clip: PositiveFloat = 0.25
    """Largest norm of the gradient."""
    target: float | None = None
    """Return that is asked for when acting; None: the largest in the data."""


class Sequence(nn.Module):
    """The network: tokens in, what is known at every s_t out, and the heads on it."""

    def __init__(self, inputs: int, outputs: int, config: DecisionTransformerConfig,
                 generator: torch.Generator, noise: torch.Generator):  # fmt: skip
        super().__init__()
        width = config.width
        self.embed_return = nn.Linear(1, width)
        self.embed_state = nn.Linear(inputs, width)
        self.embed_action = nn.Linear(outputs, width)
        self.embed_step = nn.Embedding(config.longest, width)
        self.norm = nn.LayerNorm(width)
        self.transformer = CausalTransformer(
            width, config.layers, config.heads, config.dropout, noise
        )
        self.action = nn.Linear(width, outputs)
        self.log_std = nn.Parameter(torch.full((outputs,), -0.5))
        self.reward = nn.Sequential(nn.Linear(width + outputs, width), nn.GELU(),
                                    nn.Linear(width, 1))  # fmt: skip
        draw_weights(self, generator)

    def forward(self, returns: Tensor, states: Tensor, actions: Tensor, steps: Tensor) -> Tensor:
        """Give what is known at the tokens of the states, [B, T, D]."""
        at = self.embed_step(steps.clamp(max=self.embed_step.num_embeddings - 1))
        embedded = (
            self.embed_return(returns[..., None]),
            self.embed_state(states),
            self.embed_action(actions),
        )
        tokens = torch.stack([token + at for token in embedded], dim=2)  # [B, T, 3, D]
        known = self.transformer(self.norm(tokens.flatten(1, 2)))  # [B, 3 T, D]
        return known[:, STATE_TOKEN::TOKENS]


class DecisionTransformer:
    """A policy that is told which return to reach: a Policy with a memory, and a Learner.

    A batch is a mapping of tensors, sequences of T <= K steps: "observations", itself a mapping
    with "state" [B, T, O]; "actions" [B, T, A]; "rewards", "returns" (to go) and "mask" (0 behind
    the end of an episode, else 1) [B, T]; "steps" int [B, T].
    """

    name = "decision_transformer"
    eats = "sequences"
    memoryless = False
    contextual = True

    def __init__(
        self,
        interface: Spec,
        config: DecisionTransformerConfig,
        seed: int = 0,
        device: str = "cpu",
    ):
        """Draw the initial weights; SpecError for anything but a "state"."""
        if set(interface.observations) != {"state"}:
            seen = ", ".join(sorted(interface.observations)) or "nothing"
            raise SpecError(f"a decision transformer sees the 'state' only, not {seen}")
        self.interface, self.config, self.device = interface, config, torch.device(device)
        inputs, outputs = interface.observations["state"].shape[0], interface.action.shape[0]
        weight_seed, noise_seed = np.random.SeedSequence(seed).generate_state(2).tolist()
        self.noise = torch.Generator(self.device).manual_seed(noise_seed)
        generator = torch.Generator().manual_seed(weight_seed)
        self.sequence = Sequence(inputs, outputs, config, generator, self.noise)
        self.network = nn.ModuleDict({
            "sequence": self.sequence,
            "states": Normaliser(inputs),
            "rewards": Normaliser(1),
        })  # fmt: skip
        self.network.register_buffer("unit", torch.ones(()))  # of returns, where they come in
        self.network.register_buffer("best", torch.zeros(()))  # return in the data
        self.network.to(self.device)
        self.optimiser = torch.optim.AdamW(
            self.sequence.parameters(), config.learning_rate, weight_decay=config.weight_decay
        )
        self.updates = 0
        self.asked = config.target
        self.reset(1)

    # acting

    def ask(self, target: float) -> None:
        """Ask for another return, from the next episode on."""
        self.asked = target

    def reset(self, n: int) -> None:
        """Begin n episodes: there is no context yet, and all of the return is to go."""
        sizes = self.interface.observations["state"].shape[0], self.interface.action.shape[0]
        empty = [torch.zeros(n, 0, *s, device=self.device) for s in ((), sizes[:1], sizes[1:])]
        self.context = Context(*empty, empty[0].long())
        target = self.network.best.item() if self.asked is None else self.asked
        self.to_go = torch.full((n,), target, device=self.device)
        self.t = 0

    @torch.no_grad()
    def act(self, observation: Observation, explore: bool = False) -> np.ndarray:
        """Give the policy's mean, or a sample when exploring, float32 [N, A] in [-1, 1].

        N is that of ``reset``; the step becomes a part of the context.
        """
        state = torch.as_tensor(observation["state"], dtype=torch.float32, device=self.device)
        known = self._known(state)
        policy = self._policy(known)
        action = (policy.sample(self.noise)[0] if explore else policy.mode).clamp(-1.0, 1.0)
        t = torch.full_like(self.to_go, self.t, dtype=torch.int64)
        self.context = self.context.then(self.to_go, state, action, t, self.config.context - 1)
        self.to_go = self.to_go - self._reward(known, action)
        self.t += 1
        return action.cpu().numpy()

    def distribution(self, state: Tensor) -> Gaussian:
        """Give pi(. | context, R_t, s_t = s) of s [..., O], in the episode that it is in.

        Of n episodes if there are n states, else all states are of the only one. Gradients go
        through to s. SpecError for another number of states.
        """
        rows = state.reshape(-1, state.shape[-1])
        policy = self._policy(self._known(rows))
        shape = (*state.shape[:-1], -1)
        return Gaussian(policy.mean.reshape(shape), policy.log_std.reshape(shape), False)

    def moment(self) -> Tensor:
        """Give what it remembers of its n episodes as numbers [n, C]."""
        return self.context.packed(self.to_go, self.t, self.config.context - 1)

    def at(self, moments: Tensor) -> Moments:
        """Give the same policy at moments [B, C], as a victim of B states."""
        return Moments(self, moments)

    def _known(self, state: Tensor) -> Tensor:
        """Give what is known at s_t [N, D] of states [N, O]."""
        if self.network.training:
            self.network.eval()  # dropout off
        episodes = len(self.to_go)
        if episodes not in (1, len(state)):
            raise SpecError(f"{len(state)} states in {episodes} episodes")
        past = Context(*(part.expand(len(state), *part.shape[1:]) for part in self.context))
        to_go = self.to_go.expand(len(state))
        nothing = state.new_zeros(len(state), *self.interface.action.shape)  # is not looked at
        t = torch.full_like(to_go, self.t, dtype=torch.int64)
        return self(past.then(to_go, state, nothing, t, self.config.context))[:, -1]

    def __call__(self, context: Context) -> Tensor:
        """Give what is known at every s_t [B, T, D] of a context."""
        returns, states = (
            context.returns / self.network.unit,
            self.network["states"](context.states),
        )
        return self.sequence(returns, states, context.actions, context.steps)

    def _policy(self, known: Tensor) -> Gaussian:
        """Give pi [..., A] of what is known [..., D]."""
        mean = torch.tanh(self.sequence.action(known))
        log_std = self.sequence.log_std.clamp(min=np.log(self.config.least_std))
        return Gaussian(mean, log_std.expand_as(mean), squashed=False)

    def _reward(self, known: Tensor, action: Tensor) -> Tensor:
        """Give the reward [...] that is expected of actions [..., A], in the data's unit."""
        scale = self.network["rewards"]
        return self._scaled_reward(known, action) * scale.std[0] + scale.mean[0]

    def _scaled_reward(self, known: Tensor, action: Tensor) -> Tensor:
        return self.sequence.reward(torch.cat([known, action], dim=-1)).squeeze(-1)

    # learning

    def fit_scales(self, data: Mapping[str, np.ndarray]) -> None:
        """Take the scales of all M steps of the data, and its best return; call it once, before.

        ``data`` has "state" [M, O], "rewards" and "returns" (to go) [M], and "best" [].
        """
        found = {k: torch.as_tensor(v, device=self.device) for k, v in data.items()}
        self.network["states"].fit(found["state"])
        self.network["rewards"].fit(found["rewards"][:, None])
        largest = found["returns"].abs().max()
        if not largest:
            raise DataError("every reward in the data is 0: there is no return to ask for")
        self.network.unit.copy_(largest)
        self.network.best.copy_(found["best"])

    def loss(self, batch: Batch) -> tuple[Tensor, Info]:
        """Give -log pi(a_t | ...) and the squared error of r_t, means over the steps that count."""
        state, action = batch["observations"]["state"], batch["actions"]
        known = self(Context(batch["returns"], state, action, batch["steps"]))
        policy, mask = self._policy(known), batch["mask"]
        log_pi = _mean(gaussian_log_probability(action, policy.mean, policy.log_std), mask)
        rewards = self.network["rewards"](batch["rewards"][..., None]).squeeze(-1)
        reward_error = _mean((self._scaled_reward(known, action) - rewards).square(), mask)
        error = _mean((policy.mean - action).square().mean(dim=-1), mask)
        info = {"log_likelihood": log_pi, "error": error, "reward_error": reward_error}
        return reward_error - log_pi, {name: value.item() for name, value in info.items()}

    def update(self, batch: Batch) -> Info:
        """Take one step of AdamW; return likelihood, squared errors, and the gradient's norm."""
        self.network.train()
        loss, info = self.loss(batch)
        self.updates += 1
        share = min(1.0, self.updates / self.config.warmup)
        self.optimiser.param_groups[0]["lr"] = share * self.config.learning_rate
        self.optimiser.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.sequence.parameters(), self.config.gradient_clip)
        self.optimiser.step()
        return info | {"gradient_norm": norm.item()}

    # persistence

    def state_dict(self) -> dict[str, Tensor]:
        """Give weights, scales and the data's best return as tensors."""
        return self.network.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what ``state_dict`` gave; DataError if it is of another network."""
        load_weights(self.network, state)
        self.reset(1)

    def training_state(self) -> dict[str, Tensor]:
        """Give what continuing needs beside ``state_dict``: AdamW, updates, dropout's noise."""
        state = {"noise": self.noise.get_state(), "updates": torch.tensor(self.updates)}
        return state | optimiser_tensors(self.optimiser)

    def load_training_state(self, state: Mapping[str, Tensor]) -> None:
        """Take over what ``training_state`` gave; updates then go on as if never interrupted."""
        self.noise.set_state(state["noise"].cpu())
        self.updates = int(state["updates"])
        load_optimiser_tensors(self.optimiser, state)


class Moments:
    """A ``DecisionTransformer`` at moments of many episodes, each with a context of its own."""

    def __init__(self, policy: DecisionTransformer, moments: Tensor) -> None:
        """Take what ``moment`` gave, [B, C]."""
        self.interface, self.policy = policy.interface, policy
        inputs, outputs = policy.interface.observations["state"].shape[0], policy.interface.action
        self.past = Unpacked.of(moments, policy.config.context - 1, inputs, outputs.shape[0])

    def distribution(self, state: Tensor) -> Gaussian:
        """Give pi(. | context, R_t, s_t = s) of s [B, O]; gradients go through to s."""
        if self.policy.network.training:
            self.policy.network.eval()  # dropout off
        return self.policy._policy(self.policy(self.past.at(state))[self.past.here])


def _mean(values: Tensor, mask: Tensor) -> Tensor:
    """Give the mean [] of values [B, T] where the mask is 1."""
    return (values * mask).sum() / mask.sum()

"""A reward learnt from preferences: Lee, Smith, Abbeel, "PEBBLE: Feedback-Efficient Interactive
Reinforcement Learning via Relabeling Experience and Unsupervised Pre-training" (ICML 2021).

K networks r_k(s, a), bounded by tanh, learn which of two segments of L steps is preferred:

    R_k(x)        = sum_t r_k(s_t, a_t)                              of a segment x
    P_k[x1 > x2]  = exp R_k(x1) / ( exp R_k(x1) + exp R_k(x2) ) = sigmoid( R_k(x1) - R_k(x2) )  (3)
    L(r_k)        = -E[ w ( y log P_k[x1 > x2] + (1 - y) log P_k[x2 > x1] ) ]                   (4)

where y is 1 if x1 is preferred, 0 if x2 is, 1/2 if they are equal. The reward is the members' mean,
which relabels a replay. Questions are asked about pairs drawn uniformly, or about those of a larger
pool over which the members disagree most, by the variance of P_k. Members differ in their first
weights and in the order in which each of them sees the labels.

Not in the paper: inputs are brought to unit spread, for states in different units; where a decision
lasts for several control steps, its reward counts as often in R_k, since few bounded rewards could
not tell what is good from what is better; and labels may count by their strength, how well they
agree with the ensemble before it learns from them again,

    w_i = 1 - c + c g_i / mean g,    g_i = 1 - | y_i - mean_k P_k |

so that labels which sure members all contradict count less. Where members contradict each other,
mean_k P_k is near 1/2 and so is g. c = 0 is the paper's. The mean of w is 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.nn import functional as F

from robolearn.errors import DataError
from robolearn.networks.nets import (
    EnsembleDot,
    EnsembleLinear,
    RunningNormaliser,
    load_optimiser_tensors,
    load_weights,
    optimiser_tensors,
)
from robolearn.rewards.labels import Answer, Labels, Question
from robolearn.settings import Settings, Share, Widths
from robolearn.types import Observation, Spec

CHUNK = 8192  # transitions that are rewarded at once


@dataclass(frozen=True)
class PreferenceConfig(Settings):
    """Settings of ``PreferenceReward``. Raises UserError for a value out of range."""

    members: PositiveInt = 3
    """Networks in the ensemble, K."""
    widths: Widths = (256, 256, 256)
    """Hidden units of each layer."""
    length: PositiveInt = 50
    """Steps of a segment, L."""
    capacity: PositiveInt = 10_000
    """Labels that are kept; the oldest are forgotten."""
    sampling: Literal["uniform", "disagreement"] = "disagreement"
    """Which questions are asked: any, or those that members answer differently."""
    pool: PositiveInt = 10
    """Pairs to choose from for each question that is asked by disagreement."""
    learning_rate: PositiveFloat = 3e-4
    """Step size of Adam."""
    epochs: PositiveInt = 50
    """Most times that each label is learnt from in an update."""
    minibatch: PositiveInt = 128
    """Labels in a step, for each member others."""
    enough: Share = 0.97
    """Share of the labels that members get right, in the mean, at which learning stops early."""
    actions: bool = True
    """Whether the reward depends on what was done, r(s, a), or on the state alone, r(s): then it
    says the same of whoever acts, also of an attacker, whose actions are others."""
    strength: Share = 0.0
    """Weight c of how well a label agrees with the ensemble; 0: all labels count alike."""


class RewardEnsemble(nn.Module):
    """K functions r_k(s, a), (linear, leaky ReLU)*, weighted sum, tanh, as one; they do not mix."""

    def __init__(self, inputs: int, widths: Sequence[int], generators: Sequence[torch.Generator]):
        super().__init__()
        members = len(generators)
        sizes = zip([inputs, *widths], widths, strict=False)
        self.normaliser = RunningNormaliser(inputs)
        self.hidden = nn.ModuleList(EnsembleLinear(members, *size, generators) for size in sizes)
        self.last = EnsembleDot(members, widths[-1], generators)

    def forward(self, x: Tensor) -> Tensor:
        """Give r [K, B] of x, (s, a), [B, I] shared by all members or [K, B, I] one batch each."""
        x = self.normaliser(x).expand(len(self.last.bias), *x.shape[-2:])
        for layer in self.hidden:
            x = F.leaky_relu(layer(x))
        return torch.tanh(self.last(x))


class PreferenceReward:
    """Reward for what people prefer: a RewardStream, and who asks and learns.

    A batch of transitions has "observations", with "state" [..., O], and "actions" [..., A].
    Segments come as from ``Replay.segments``, arrays [B, L, ...].
    """

    name = "preference"

    def __init__(
        self,
        interface: Spec,
        config: PreferenceConfig,
        seed: int = 0,
        device: str = "cpu",
        hold: int = 1,
    ):
        """Draw the initial weights; SpecError if the interface has no "state".

        A step of a segment is a decision that lasts for ``hold`` control steps.
        """
        self.interface, self.config, self.device = interface, config, torch.device(device)
        self.hold = hold
        self.labels = Labels(interface, config.capacity, config.length)
        inputs = interface.observations["state"].shape[0]
        inputs += interface.action.shape[0] if config.actions else 0
        seeds = np.random.SeedSequence(seed).generate_state(config.members).tolist()
        self.orders = [torch.Generator().manual_seed(s) for s in seeds]  # draw first weights too
        self.network = RewardEnsemble(inputs, config.widths, self.orders).to(self.device)
        self.optimiser = torch.optim.Adam(
            self.network.parameters(), lr=config.learning_rate, fused=True
        )

    # rewarding

    @torch.no_grad()
    def reward(self, batch: Mapping[str, Any]) -> Tensor:
        """Give r = mean_k r_k(s, a) [...], between -1 and 1."""
        x = self._inputs(batch["observations"]["state"], batch["actions"])
        chunks = x.flatten(0, -2).split(CHUNK)
        return torch.cat([self.network(c).mean(dim=0) for c in chunks]).reshape(x.shape[:-1])

    def relabels(
        self, observations: Observation, actions: np.ndarray, next_observations: Observation
    ) -> np.ndarray:
        """Give the rewards [B] of arrays, as ``Replay.relabel`` asks for them."""
        seen = {"state": self._tensor(observations["state"])}
        return self.reward({"observations": seen, "actions": self._tensor(actions)}).cpu().numpy()

    def update(self, batch: Mapping[str, Any]) -> dict[str, float]:
        """Learn nothing: transitions say nothing of what is preferred. See ``learn``."""
        return {}

    # asking

    def segments_for(self, questions: int) -> int:
        """Count the segments to draw for so many questions."""
        return 2 * questions * (self.config.pool if self.config.sampling == "disagreement" else 1)

    def questions(self, segments: Mapping[str, Any], count: int) -> list[Question]:
        """Choose ``count`` pairs of the segments that follow each other, [2 P, L, ...].

        DataError if there are fewer than ``count``.
        """
        pairs = len(segments["actions"]) // 2
        if pairs < count:
            raise DataError(f"{count} questions need {2 * count} segments, not {2 * pairs}")
        chosen = np.arange(count)
        if self.config.sampling == "disagreement":
            chosen = np.argsort(-self.disagreement(segments), kind="stable")[:count]
        return [Question(row(segments, 2 * i), row(segments, 2 * i + 1)) for i in chosen]

    def disagreement(self, segments: Mapping[str, Any]) -> np.ndarray:
        """Give Var_k P_k[x1 > x2] [P] of segments [2 P, L, ...] that follow each other."""
        pairs = len(segments["actions"]) // 2
        state, action = (
            array[: 2 * pairs].reshape(pairs, 2, *array.shape[1:])
            for array in (segments["observations"]["state"], segments["actions"])
        )
        chunks = torch.arange(pairs).split(self.config.minibatch)
        p = [
            self._preferred(self._inputs(*map(self._tensor, (state[i.numpy()], action[i.numpy()]))))
            for i in chunks
        ]
        return torch.cat(p, dim=1).var(dim=0, correction=0).cpu().numpy()

    def remember(self, question: Question, answer: Answer) -> bool:
        """Keep an answer to be learnt from; give whether it is a label."""
        if not self.labels.add(question, answer):
            return False
        for segment in (question.first, question.second):
            state, action = segment["observations"]["state"], segment["actions"]
            self.network.normaliser.update(self._inputs(*map(self._tensor, (state, action))))
        return True

    # learning

    def learn(self) -> dict[str, float]:
        """Learn from all labels until enough are right; give means over the last time through.

        DataError if there are no labels.
        """
        if not len(self.labels):
            raise DataError("there are no labels to learn from")
        w = self.strength()
        for epoch in range(1, self.config.epochs + 1):  # noqa: B007
            steps = [self._step(rows, w) for rows in self._minibatches()]
            loss, right, decided = torch.stack(steps).sum(dim=0).tolist()
            accuracy = right / max(decided, 1.0)
            if accuracy >= self.config.enough:
                break
        loss /= self.config.members * len(self.labels)
        return {"loss": loss, "accuracy": accuracy, "epochs": epoch, "labels": len(self.labels)}

    def log_odds(self, x: Tensor) -> Tensor:
        """Give R_k(x1) - R_k(x2) [K, B] of pairs [B, 2, L, I], or [K, B, 2, L, I] one batch each.

        Its sigmoid is P_k[x1 > x2], Eq. (3).
        """
        rewards = self.network(x.flatten(-4, -2)).unflatten(1, x.shape[-4:-1])
        returns = self.hold * rewards.sum(dim=-1)
        return returns[..., 0] - returns[..., 1]

    def loss(self, x: Tensor, y: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
        """Give the sum of all L(r_k), Eq. (4), of x [K, B, 2, L, I] and y, w [K, B], and log-odds.

        Those are [K, B], as ``log_odds`` gives them.
        """
        log_odds = self.log_odds(x)
        loss = F.binary_cross_entropy_with_logits(log_odds, y, w, reduction="none")
        return loss.mean(dim=1).sum(), log_odds.detach()

    def strength(self) -> Tensor:
        """Give w [M] of all labels."""
        y, c = self._tensor(self.labels.y), self.config.strength
        if c == 0.0:
            return torch.ones_like(y)
        chunks = torch.arange(len(y)).split(self.config.minibatch)
        p = torch.cat([self._preferred(self._pairs(rows)) for rows in chunks], dim=1)
        g = 1.0 - (y - p.mean(dim=0)).abs()
        return 1.0 - c + c * g / g.mean()

    @torch.no_grad()
    def _preferred(self, x: Tensor) -> Tensor:
        """Give P_k[x1 > x2] [K, B] of pairs [B, 2, L, I]."""
        return torch.sigmoid(self.log_odds(x))

    def _minibatches(self) -> tuple[Tensor, ...]:
        """Show all labels once, in every member's own order: rows [K, B], the last may be short."""
        orders = [torch.randperm(len(self.labels), generator=g) for g in self.orders]
        return torch.stack(orders).split(self.config.minibatch, dim=1)

    def _step(self, rows: Tensor, w: Tensor) -> Tensor:
        """Take a step of Adam; give the loss in sum over labels and members, and two counts.

        They are of predictions that were right, and of all about pairs that are not equal.
        """
        y = self._tensor(self.labels.y[rows.numpy()])
        loss, log_odds = self.loss(self._pairs(rows), y, w[rows])
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        decided = y != 0.5
        right = ((log_odds > 0) == (y > 0.5)) & decided
        return torch.stack([loss.detach() * rows.shape[1], right.sum(), decided.sum()])

    def _pairs(self, rows: Tensor) -> Tensor:
        """Give the inputs [..., 2, L, I] of labelled pairs [...]."""
        states, actions = self.labels.states[rows.numpy()], self.labels.actions[rows.numpy()]
        return self._inputs(self._tensor(states), self._tensor(actions))

    def _inputs(self, state: Tensor, action: Tensor) -> Tensor:
        """Put s [..., O] and a [..., A] together; what lies beyond [-1, 1] was never sent."""
        if not self.config.actions:
            return state
        return torch.cat([state, action.clamp(-1.0, 1.0)], dim=-1)

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.as_tensor(array, dtype=torch.float32, device=self.device)

    # persistence

    def state_dict(self) -> dict[str, Tensor]:
        """Give networks, scale, optimiser, orders and labels: all that going on depends on."""
        labels = {f"labels/{k}": torch.as_tensor(a) for k, a in self.labels.state_dict().items()}
        orders = torch.stack([generator.get_state() for generator in self.orders])
        memory = optimiser_tensors(self.optimiser)
        return {**self.network.state_dict(), **memory, **labels, "orders": orders}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what ``state_dict`` gave; DataError if it is of another ensemble."""
        if "orders" not in state or len(state["orders"]) != len(self.orders):
            raise DataError(f"this reward is not of {len(self.orders)} members that learn")
        own = {k: t for k, t in state.items() if k in self.network.state_dict()}
        load_weights(self.network, own)
        start = "labels/"
        kept = {k.removeprefix(start): t for k, t in state.items() if k.startswith(start)}
        self.labels.load_state_dict({k: t.cpu().numpy() for k, t in kept.items()})
        load_optimiser_tensors(self.optimiser, state)
        for generator, order in zip(self.orders, state["orders"], strict=True):
            generator.set_state(order.cpu().clone())  # it takes no row of a larger array


def row(arrays: Mapping[str, Any], i: int) -> dict[str, Any]:
    """Give row i of all arrays of nested mappings."""
    return {
        name: row(value, i) if isinstance(value, Mapping) else value[i]
        for name, value in arrays.items()
    }

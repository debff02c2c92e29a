"""Does what is seen follow from what was? Detection of perturbed observations, and what to do then.

A model f, fitted to clean episodes, tells what follows a state. From the last observation that was
accepted and the actions sent since, it predicts h steps ahead; what is seen is held against that:

    p_0 = s accepted,    p_h = p_(h-1) + f( p_(h-1), a_(h-1) )
    e   = max_j |s_j - p_(h,j)| / sd_(h,j)

where sd_h is the spread of errors h steps ahead. e > c is an alarm. The line c is the least with
which at most a share alpha of clean episodes would raise any (split-conformal, on episodes that f
and sd do not know): of n of them it is the ceil((1 - alpha)(n + 1))-th smallest of the largest e.

After an alarm the policy acts on p_h, up to H steps ahead, or holds still. It believes again what
is within the line, or what has followed from itself for H steps since it holds still for want of a
prediction (within the line of H steps ahead): a false alarm passes, and so does a lie that is kept
up. Whoever knows the detector keeps within

    | s_j - p_(h,j) | <= c sd_(h,j),

a box, and may lead it astray from there, step by step: ``Evading`` does. There is no paper of this
very form; a line for the largest of an episode is that of ``judging/conformal.py``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import torch
from annotated_types import Ge, Le
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.nn import functional as F

from robolearn.algos.pgd import PGD
from robolearn.attack import Perturbation
from robolearn.errors import DataError, SpecError
from robolearn.networks.nets import Normaliser, load_weights, relu_mlp
from robolearn.settings import ProperShare, Settings, Widths
from robolearn.types import Observation, Policy, Spec

Clean = tuple[np.ndarray, np.ndarray]  # an episode: states [T + 1, O], actions [T, A]
LEAST_SPREAD = 1e-3  # of an entry's own: a smaller error is none
JUST_WITHIN = 0.999  # of the line: on it, rounding decides


@dataclass(frozen=True)
class DetectionConfig(Settings):
    """How alarms are raised, and answered. Raises UserError for a value out of range."""

    false_alarm_rate: ProperShare = 0.05
    """Share alpha of clean episodes that may raise an alarm."""
    answer: Literal["predict", "hold"] = "predict"
    """What is done after an alarm: act on what is predicted, or hold still."""
    still: tuple[Annotated[float, Ge(-1), Le(1)], ...] = ()
    """The action that holds still; zeros without it."""
    horizon: PositiveInt = 10
    """Steps H that are predicted from the last observation that was accepted; then it holds still
    until what is seen has followed from what was seen for as many."""
    calibration: ProperShare = 0.5
    """Share of the clean episodes that c is taken from; the others train f."""
    widths: Widths = (256, 256)
    """Hidden units of each layer of f."""
    learning_rate: PositiveFloat = 1e-3
    """Step size of Adam."""
    steps: PositiveInt = 3000
    """Adam steps."""
    minibatch: PositiveInt = 256
    """Transitions in a step."""


class Detector(nn.Module):
    """The model f, the spread of its errors, and the line; made by ``Detector.fit``."""

    def __init__(self, interface: Spec, config: DetectionConfig, seed: int = 0):
        """Draw the initial weights; SpecError for anything but a "state"."""
        super().__init__()
        if set(interface.observations) != {"state"}:
            raise SpecError("detection: it looks at a 'state' only, and there is more, or none")
        self.interface, self.config = interface, config
        size, actions = interface.observations["state"].shape[0], interface.action.shape[0]
        self.inputs, self.change = Normaliser(size + actions), Normaliser(size)
        generator = torch.Generator().manual_seed(seed)
        self.layers = relu_mlp(size + actions, size, config.widths, generator)
        self.register_buffer("spread", torch.ones(config.horizon, size))  # sd [H, O]
        self.register_buffer("line", torch.tensor(torch.inf))  # c

    @classmethod
    def fit(
        cls, interface: Spec, episodes: Sequence[Clean], config: DetectionConfig, seed: int = 0
    ) -> Detector:
        """Learn from clean episodes, some of which are kept for the line.

        DataError for so few that none could be beyond the line, or that do not fit or are not
        finite.
        """
        episodes = [_checked(*episode, interface) for episode in episodes]
        rng = np.random.default_rng(seed)
        order = [episodes[i] for i in rng.permutation(len(episodes))]
        kept = math.ceil(config.calibration * len(order))
        rank = math.ceil((1 - config.false_alarm_rate) * (kept + 1) - 1e-9)
        if rank > kept or kept == len(order):
            wanted = math.ceil((1 / config.false_alarm_rate - 1) / config.calibration - 1e-9)
            raise DataError(
                f"detection: {len(order)} clean episodes say too little for a false-alarm rate of "
                f"{config.false_alarm_rate:g}: give {max(wanted, 2)} or more"
            )
        detector = cls(interface, config, seed)
        detector._learn(order[kept:], rng)
        worst = sorted(detector.errors(*episode).max().item() for episode in order[:kept])
        detector.line.fill_(worst[rank - 1])
        return detector.requires_grad_(False)

    def forward(self, state: Tensor, action: Tensor) -> Tensor:
        """Predict what follows [..., O] states [..., O] and actions [..., A]."""
        x = torch.cat([state, action], dim=-1)
        return state + self.layers(self.inputs(x)) * self.change.std + self.change.mean

    @torch.no_grad()
    def errors(self, states: Tensor, actions: Tensor) -> Tensor:
        """Give e [T], one step ahead, along an episode [T + 1, O], [T, A]."""
        return self.error(states[1:], self(states[:-1], actions), torch.ones(len(actions)))

    def error(self, state: Tensor, predicted: Tensor, ahead: Tensor) -> Tensor:
        """Give e [N] of states [N, O] against what was predicted ``ahead`` [N] steps before."""
        return ((state - predicted).abs() / self.spread_at(ahead)).amax(dim=-1)

    def spread_at(self, ahead: Tensor) -> Tensor:
        """Give sd [N, O]; what lies beyond the horizon counts as what lies there."""
        return self.spread[ahead.long().clamp(1, len(self.spread)) - 1]

    def _learn(self, episodes: Sequence[tuple[Tensor, Tensor]], rng: np.random.Generator) -> None:
        state = torch.cat([s[:-1] for s, _ in episodes])
        following = torch.cat([s[1:] for s, _ in episodes])
        action = torch.cat([a for _, a in episodes])
        self.inputs.fit(torch.cat([state, action], dim=-1))
        self.change.fit(following - state)
        optimiser = torch.optim.Adam(self.layers.parameters(), self.config.learning_rate)
        for _ in range(self.config.steps):
            rows = torch.as_tensor(rng.integers(len(state), size=self.config.minibatch))
            off = (self(state[rows], action[rows]) - following[rows]) / self.change.std
            loss = F.smooth_l1_loss(off, torch.zeros_like(off))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        floor = LEAST_SPREAD * self.inputs.std[: state.shape[1]]
        self.spread.copy_(torch.maximum(self._spreads(episodes), floor))

    @torch.no_grad()
    def _spreads(self, episodes: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
        """Give the root mean square of errors of each entry 1 .. H steps ahead, [H, O]."""
        squares = torch.zeros_like(self.spread)
        counts = torch.zeros(len(squares), 1)
        for states, actions in episodes:
            predicted = states[:-1]
            for h in range(min(len(squares), len(actions))):
                left = len(actions) - h
                predicted = self(predicted[:left], actions[h:])
                squares[h] += (predicted - states[h + 1 :]).square().sum(dim=0)
                counts[h] += left
        means = squares / counts.clamp(min=1)
        seen = int((counts > 0).sum())
        means[seen:] = means[seen - 1]  # no episode is so long
        return means.sqrt()


class Guarded:
    """A policy that believes what it sees as long as the detector does: a Policy.

    A policy of its own state alone, memoryless or not, acts on what is believed. ``alarm`` [N] and
    ``believed`` [N, O] are those of the last step, ``alarms`` [N] counts since the last ``reset``.
    A checkpoint holds it, with the policy in ``policy/``; it does not learn any further.
    """

    name = "guarded"

    def __init__(
        self,
        interface: Spec,
        config: DetectionConfig,
        policy: Policy,
        detector: Detector | None = None,
    ) -> None:
        """Guard a policy; without a detector by one that raises no alarm until it is loaded.

        SpecError for an action to hold still with that does not fit.
        """
        self.interface, self.config, self.policy = interface, config, policy
        self.eats = getattr(policy, "eats", None)
        self.contextual = getattr(policy, "contextual", False)
        self.detector = detector or Detector(interface, config).requires_grad_(False)
        actions = interface.action.shape[0]
        if len(config.still) not in (0, actions):
            raise SpecError(
                f"detection.still: {len(config.still)} entries, the action has {actions}"
            )
        self._still = np.array(config.still or [0.0] * actions, np.float32)

    @classmethod
    def of(cls, policy: Policy, detector: Detector) -> Guarded:
        """Guard a policy by a detector that was fitted."""
        return cls(detector.interface, detector.config, policy, detector)

    def reset(self, n: int) -> None:
        """Begin n episodes; their first observations are believed."""
        self.policy.reset(n)
        self.believed, self._seen, self._sent = None, None, None
        self._ahead, self._coherent = torch.zeros(n), torch.zeros(n)  # steps
        self.alarm, self.alarms = np.zeros(n, bool), np.zeros(n, int)

    def act(self, observation: Observation, explore: bool = False) -> np.ndarray:
        """Give actions float32 [N, A] for what is believed."""
        state = torch.as_tensor(observation["state"], dtype=torch.float32)
        alarm = torch.zeros(len(state), dtype=torch.bool)
        expected = self.expected()
        if expected is not None:
            self._ahead += 1
            alarm = self._strange(state, expected, self._ahead) & ~self._passes(state)
        seen, state = (
            state,
            state if expected is None else torch.where(alarm[:, None], expected, state),
        )
        self.believed, self._seen, self._ahead = state, seen, self._ahead * alarm
        self.alarm, self.alarms = alarm.numpy(), self.alarms + alarm.numpy()
        action = np.clip(self.policy.act({"state": state.numpy()}, explore), -1.0, 1.0)
        holds = alarm & (self._ahead > self.detector.config.horizon)
        if self.detector.config.answer == "hold":
            holds = alarm
        action = np.where(holds.numpy()[:, None], self._still, action).astype(np.float32)
        self._sent = torch.as_tensor(action)
        return action

    def _strange(self, state: Tensor, expected: Tensor, ahead: Tensor) -> Tensor:
        return self.detector.error(state, expected, ahead) > self.detector.line

    def _passes(self, state: Tensor) -> Tensor:
        """Say where an alarm is over, bool [N]: what is seen has long followed from itself."""
        with torch.no_grad():
            following = self.detector(self._seen, self._sent)
        horizon = self.detector.config.horizon
        far = torch.full(state.shape[:1], horizon)
        waits = self._ahead > horizon
        self._coherent = (self._coherent + 1) * (waits & ~self._strange(state, following, far))
        return self._coherent >= horizon

    def distribution(self, state: Tensor) -> Any:
        """Give that of the policy, for who attacks it."""
        return self.policy.distribution(state)

    def expected(self) -> Tensor | None:
        """Predict what will be seen next, [N, O]; None at the beginning of an episode.

        Where it holds still beyond the horizon, what was believed last.
        """
        if self.believed is None:
            return None
        with torch.no_grad():
            following = self.detector(self.believed, self._sent)
        far = self._ahead >= self.detector.config.horizon
        return torch.where(far[:, None], self.believed, following)

    def reach(self) -> Tensor:
        """Give by how much what is seen next may be off in each entry without an alarm, [N, O]."""
        return self.detector.line * self.detector.spread_at(self._ahead + 1)

    # persistence

    @property
    def within(self) -> Policy:
        """Give the policy."""
        return self.policy

    def state_dict(self) -> dict[str, Tensor]:
        """Give the detector as tensors; a checkpoint keeps the policy beside them."""
        return self.detector.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what ``state_dict`` gave; DataError if it is of another detector."""
        load_weights(self.detector, state)


class Evading:
    """A perturbation by who knows the detector: whatever it wants, as far as no alarm is raised.

    With an aim, it goes on from there by gradients, to the best of what raises none. Where a budget
    does not reach what the detector expects, an alarm is raised all the same: it does not plan
    ahead.
    """

    def __init__(
        self, perturbation: Perturbation, guarded: Guarded, aim: PGD | None = None
    ) -> None:
        """Say what is wanted of whom; ``aim`` descends on the divergence from an intention."""
        self.perturbation, self.guarded, self.aim = perturbation, guarded, aim

    def reset(self, n: int) -> None:
        """Begin n episodes, before the policy may have."""
        self.guarded.reset(n)

    def __call__(self, state: Tensor, generator: torch.Generator) -> Tensor:
        """Give delta [B, O] for s [B, O], the states of the episodes that the policy is in."""
        expected = self.guarded.expected()
        if expected is None or self.aim is not self.perturbation:
            delta = self.perturbation(state, generator)
        else:
            delta = torch.zeros_like(state)
        if expected is None:
            return delta
        reach = JUST_WITHIN * self.guarded.reach()
        low, high = expected - reach - state, expected + reach - state
        delta = torch.clamp(delta, low, high)
        return delta if self.aim is None else self.aim.between(state, delta, low, high)


def _checked(states: np.ndarray, actions: np.ndarray, interface: Spec) -> tuple[Tensor, Tensor]:
    s, a = (torch.as_tensor(np.asarray(x), dtype=torch.float32) for x in (states, actions))
    size, width = interface.observations["state"].shape, interface.action.shape
    if s.shape[1:] != size or a.shape[1:] != width or len(s) != len(a) + 1 or not len(a):
        shapes = f"{tuple(s.shape)} and {tuple(a.shape)}"
        right = f"[T + 1, {size[0]}] and [T, {width[0]}]"
        raise DataError(f"detection: states and actions of shape {shapes} instead of {right}")
    if not (torch.isfinite(s).all() and torch.isfinite(a).all()):
        raise DataError("detection: an episode is not finite")
    return s, a.clamp(-1, 1)

"""What rewards for skill discovery share, and the streams that have nothing to learn."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
from annotated_types import MinLen
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.nn import functional as F

from robolearn.errors import DataError, SpecError, nearest
from robolearn.networks.nets import (
    RunningNormaliser,
    elu_mlp,
    linear,
    load_optimiser_tensors,
    optimiser_tensors,
)
from robolearn.settings import Names, Settings, Widths
from robolearn.types import RewardStream, Spec

Info = dict[str, Tensor]


class Streams(dict[str, RewardStream]):
    """The reward streams of a method by name, and what methods do with all of them."""

    def reward(self, batch: Mapping[str, Any]) -> Tensor:
        """Give the sum of what they reward transitions with, [...]; without any, "rewards"."""
        if not self:
            return batch["rewards"]
        return sum(stream.reward(batch) for stream in self.values())

    def learn(self, batch: Mapping[str, Any]) -> dict[str, float]:
        """Update each with a batch; give what is to be logged, as NAME/SCALAR."""
        return {
            f"{name}/{what}": value
            for name, stream in self.items()
            for what, value in stream.update(batch).items()
        }

    def state_dict(self) -> dict[str, Tensor]:
        """Give all that they remember, as streams/NAME/KEY."""
        return {
            f"streams/{name}/{key}": tensor
            for name, stream in self.items()
            for key, tensor in stream.state_dict().items()
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """Take over what ``state_dict`` gave; give what is left of the state, not being theirs."""
        for name, stream in self.items():
            start = f"streams/{name}/"
            own = {k.removeprefix(start): v for k, v in state.items() if k.startswith(start)}
            stream.load_state_dict(own)
        return {k: v for k, v in state.items() if not k.startswith("streams/")}


# poses and skills


def entries_of(interface: Spec, names: Sequence[str]) -> Tensor:
    """Give the positions [P] in "state" of the entries called ``names``; SpecError if not there."""
    state = interface.observations["state"]
    return torch.as_tensor(np.concatenate([state.index(name) for name in names]))


def poses(batch: Mapping[str, Any], index: Tensor) -> tuple[Tensor, Tensor]:
    """Give the poses o and o' [..., P] of a batch of transitions."""
    return (
        batch["observations"]["state"][..., index],
        batch["next_observations"]["state"][..., index],
    )


def displacement(phi: Callable[[Tensor], Tensor], pose: Tensor, next_pose: Tensor) -> Tensor:
    """Give phi(o') - phi(o) [..., Z], in one call of phi."""
    here, there = phi(torch.stack([pose, next_pose]))
    return there - here


def along(change: Tensor, skill: Tensor) -> Tensor:
    """Give the inner product [...] of two arrays [..., Z]."""
    return (change * skill).sum(dim=-1)


def directions(n: int, size: int, generator: torch.Generator) -> Tensor:
    """Draw n skills [n, Z], uniform on the unit sphere: their mean is zero, no way is preferred."""
    return F.normalize(torch.randn(n, size, generator=generator, device=generator.device), dim=-1)


def one_hot(n: int, size: int, generator: torch.Generator) -> Tensor:
    """Draw n skills [n, Z] out of Z, each as likely as the others."""
    index = torch.randint(size, (n,), generator=generator, device=generator.device)
    return F.one_hot(index, size).float()


class Directed:
    """Skills that are directions z, and the reward for motion along them: what all phi share."""

    index: Tensor  # [P]
    dimensions: int  # Z

    def phi(self, pose: Tensor) -> Tensor:
        """Give phi(o) [..., Z] of o [..., P]."""
        raise NotImplementedError

    def sample_skills(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw directions z [n, Z]."""
        return directions(n, self.dimensions, generator)

    def reward(self, batch: Mapping[str, Any]) -> Tensor:
        """Give r = (phi(o') - phi(o)) . z [...] of observations [..., O] and "skills" [..., Z]."""
        return along(displacement(self.phi, *poses(batch, self.index)), batch["skills"])


class PoseScale(nn.Module):
    """Poses in units of their spread in all that was seen, or of a floor where that is larger.

    The spread is the mean distance from the mean, times the factor that makes it the standard
    deviation of a Gaussian: a few objects that fell off a table do not change it by much. With a
    floor of None poses stay in their own units. The centre is taken off in any case.
    """

    def __init__(self, size: int, smallest_spread: float | None):
        super().__init__()
        self.centre, self.distance = RunningNormaliser(size), RunningNormaliser(size)
        self.smallest_spread = smallest_spread

    def update(self, pose: Tensor) -> None:
        """Take poses [..., P] into account."""
        self.centre.update(pose)
        self.distance.update((pose - self.centre.mean).abs())

    @property
    def spread(self) -> Tensor:
        """Give the unit [P] of each entry."""
        if self.smallest_spread is None:
            return torch.ones_like(self.centre.mean)
        return (math.sqrt(math.pi / 2) * self.distance.mean).clamp(min=self.smallest_spread)

    def forward(self, pose: Tensor) -> Tensor:
        """Scale poses [..., P]."""
        return (pose - self.centre.mean) / self.spread


# learning


@dataclass(frozen=True)
class SkillConfig(Settings):
    """What all learned rewards need. Raises UserError for a value out of range."""

    entries: Names = ("cube_pos",)
    """Names of the entries of "state" that skills are about, P numbers in all."""
    skills: PositiveInt = 3
    """Entries of z, Z: dimensions of a direction, or number of skills where z is one-hot."""
    widths: Widths = (64, 64)
    """Hidden units of each layer."""
    smallest_spread: PositiveFloat | None = 0.005
    """Poses are measured in units of their spread in all data so far, but of this at least, so that
    5 mm up count like 10 cm aside until objects are lifted; None: in their own units, as in LSD."""
    learning_rate: PositiveFloat = 1e-3
    """Step size of Adam."""
    steps: PositiveInt = 32
    """Adam steps in an update."""
    minibatch: PositiveInt = 512
    """Transitions in a step, drawn with replacement from the batch."""


class SkillReward:
    """What the methods share: Adam steps on their ``loss``, and all that going on with it needs.

    A batch is a mapping of tensors: "observations" and "next_observations", themselves mappings
    with "state" [..., O], and "skills" [..., Z]; any leading axes will do. Below, x and x' [B, P]
    are poses in units of their spread.
    """

    def __init__(self, interface: Spec, config: Any, seed: int = 0, device: str = "cpu"):
        """Draw the initial weights; SpecError if the interface lacks an entry."""
        self.config, self.device = config, torch.device(device)
        self.dimensions = config.skills
        self.index = entries_of(interface, config.entries).to(device)
        weight_seed, noise_seed = (int(s) for s in np.random.SeedSequence(seed).generate_state(2))
        self.noise = torch.Generator(self.device).manual_seed(noise_seed)
        self.scale = PoseScale(len(self.index), config.smallest_spread)
        parts = self.build(len(self.index), torch.Generator().manual_seed(weight_seed))
        self.network = nn.ModuleDict({"scale": self.scale, **parts}).to(self.device)
        self.optimiser = torch.optim.Adam(
            self.network.parameters(), lr=config.learning_rate, fused=True
        )

    def build(self, inputs: int, generator: torch.Generator) -> dict[str, nn.Module]:
        """Make the networks that the method trains, for poses of P = ``inputs`` numbers."""
        raise NotImplementedError

    def loss(self, x: Tensor, next_x: Tensor, z: Tensor) -> tuple[Tensor, Info]:
        """Give what an Adam step makes smaller, and scalars to log."""
        raise NotImplementedError

    def update(self, batch: Mapping[str, Any]) -> dict[str, float]:
        """Take in a batch: first its spread, then Adam steps; return the means of the scalars.

        A reward asked for after it is that of the new network.
        """
        pose, next_pose = (p.flatten(0, -2) for p in poses(batch, self.index))
        z = batch["skills"].flatten(0, -2)
        self.scale.update(pose)
        x, next_x = self.scale(pose), self.scale(next_pose)
        size = (self.config.steps, self.config.minibatch)
        chosen = torch.randint(len(x), size, generator=self.noise, device=self.device)
        infos = [self._step(x[rows], next_x[rows], z[rows]) for rows in chosen]
        return {name: torch.stack([i[name] for i in infos]).mean().item() for name in infos[0]}

    def _step(self, x: Tensor, next_x: Tensor, z: Tensor) -> Info:
        loss, info = self.loss(x, next_x, z)
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        return {name: scalar.detach() for name, scalar in info.items()}

    def state_dict(self) -> dict[str, Tensor]:
        """Give networks, spread, optimiser and noise: all that an update depends on."""
        noise = {"noise": self.noise.get_state()}
        return {**self.network.state_dict(), **optimiser_tensors(self.optimiser), **noise}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what ``state_dict`` gave; DataError if it is of another network."""
        try:
            self.network.load_state_dict({k: state[k] for k in self.network.state_dict()})
        except (KeyError, RuntimeError) as error:
            fault = str(error).splitlines()[-1].strip()
            raise DataError(f"this reward is of another network: {fault}") from error
        load_optimiser_tensors(self.optimiser, state)
        self.noise.set_state(state["noise"].cpu())


def mlp(inputs: int, config: SkillConfig, outputs: int, generator: torch.Generator) -> nn.Module:
    """Make (linear, ELU)*, linear: [..., inputs] -> [..., outputs]."""
    last = linear(config.widths[-1], outputs, 1.0, generator)
    return nn.Sequential(*elu_mlp(inputs, config.widths, generator), last)


# rewards with nothing to learn


class Fixed:
    """The part of a reward stream that is empty if there is nothing to learn."""

    def update(self, batch: Mapping[str, Any]) -> dict[str, float]:
        """Learn nothing."""
        return {}

    def state_dict(self) -> dict[str, Tensor]:
        """Give nothing: there is nothing to remember."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take nothing over."""


class Terms(Fixed):
    """A weighted sum of the environment's own reward terms, such as minus all its violations."""

    def __init__(self, name: str, weights: Mapping[str, float]):
        """Name the stream, and the terms in it with their weights."""
        self.name, self.weights = name, dict(weights)

    def reward(self, batch: Mapping[str, Any]) -> Tensor:
        """Sum ``batch["reward_terms"][name]`` [...]; SpecError for a term that is not there."""
        terms = batch["reward_terms"]
        for name in self.weights:
            if name not in terms:
                raise SpecError(f"{self.name}: no reward term '{name}'{nearest(name, terms)}")
        return sum(weight * terms[name] for name, weight in self.weights.items())


@dataclass(frozen=True)
class MetricConfig(Settings):
    """The map of ``Metric``. Raises UserError for a value out of range."""

    entries: Names = ("cube_pos",)
    """Names of the entries of "state" that skills are about, P numbers in all."""
    weights: Annotated[tuple[float, ...], MinLen(1)] = (1.0, 1.0, 2.0)
    """Factor w of each number, per unit; a skill has as many entries."""

    @property
    def skills(self) -> int:
        """Count the entries of z, Z."""
        return len(self.weights)


class Metric(Directed, Fixed):
    """Skill discovery without learning: r = (phi(o') - phi(o)) . z with phi(o) = w o."""

    name = "metric"

    def __init__(self, interface: Spec, config: MetricConfig, device: str = "cpu"):
        """Find the entries; SpecError if they are not there, or not as many as weights."""
        self.index = entries_of(interface, config.entries).to(device)
        if len(self.index) != len(config.weights):
            found = f"{len(self.index)} numbers in {', '.join(config.entries)}"
            raise SpecError(f"weights: {len(config.weights)} for {found}")
        self.config, self.dimensions = config, len(config.weights)
        self.weights = torch.tensor(config.weights, device=device)

    def phi(self, pose: Tensor) -> Tensor:
        """Give phi(o) [..., Z] of o [..., P]."""
        return self.weights * pose

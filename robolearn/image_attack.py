"""Attacks on what a policy sees in camera images.

A perturbation of an image, delta [H, W, C], is in grey levels, of which there are 255. What is seen
instead of uint8 images is an image too: whole grey levels, none beyond black or white. In each
camera by itself,

    max_j |delta_j| <= size                        (linf)
    ( mean_j delta_j^2 )^(1/2) <= size             (l2)

A victim that sees images has a ``distribution(observation)`` of all that it sees, name -> [B, ...],
where images are uint8 or, with gradients, float in grey levels. Perturbations of all cameras
together are laid out flat, [B, P]. Gradients pass as if nothing were rounded or cut off.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import torch
from annotated_types import Ge, Le
from torch import Tensor
from torch.nn import functional as F

from robolearn.errors import SpecError, UserError, nearest
from robolearn.settings import Names, Settings
from robolearn.state_attack import Chooser, require_finite
from robolearn.types import ArraySpec, Observation, Spec

Images = dict[str, Tensor]  # by camera, [B, H, W, C]
VIEW = 16  # pixels each way, of what a network that learns to attack looks at
GRID = 8  # squares each way, where the shares of the budget are few


@dataclass(frozen=True)
class ImageBudgetConfig(Settings):
    """How far an image may be perturbed. Raises UserError for a value out of range."""

    size: Annotated[float, Ge(1), Le(255)] = 8.0
    """Largest norm of a perturbation, in grey levels."""
    norm: Literal["linf", "l2"] = "linf"
    """Of which norm: the largest entry, or the root of the mean of squares."""
    cameras: Names | None = None
    """Names of the cameras that may be touched; None: all."""


@dataclass(frozen=True)
class ImageBudget:
    """The images uint8 [H, W, C] that an attacker may show instead of a camera's.

    Perturbations are float [..., H, W, C], in grey levels.
    """

    spec: ArraySpec  # of the camera's image
    size: float
    norm: str = "linf"

    @classmethod
    def of(cls, config: ImageBudgetConfig, spec: ArraySpec) -> ImageBudget:
        """Make that of a configuration; SpecError for what is no image."""
        return cls(spec, config.size, config.norm)

    def __post_init__(self) -> None:
        if self.spec.dtype != "uint8" or len(self.spec.shape) != 3:
            found = f"{self.spec.dtype} {list(self.spec.shape)}"
            raise SpecError(f"budget: an image is uint8 [H, W, C], not {found}")

    def measure(self, image: Tensor, seen: Tensor) -> Tensor:
        """Give how far ``seen`` [..., H, W, C] is from an image, as a share of the budget [...]."""
        return self._norm(seen.float() - image.float()) / self.size

    def project(self, image: Tensor, delta: Tensor) -> Tensor:
        """Give a delta of the budget near to delta, with which the image stays one.

        For linf it is the nearest; for l2 its direction is kept, and then cut at black and white.
        """
        image = image.to(delta)
        return torch.clamp(image + self.limit(delta), 0, 255) - image

    def limit(self, delta: Tensor) -> Tensor:
        """Give the delta of the budget that is nearest to delta, whatever the image."""
        if self.norm == "linf":
            return delta.clamp(-self.size, self.size)
        length = self._norm(delta)[..., None, None, None]
        return (delta * (self.size / length.clamp(min=self.size))).to(delta)

    def squash(self, x: Tensor) -> Tensor:
        """Map any x smoothly into the budget.

        = size tanh(x) for linf; = size x / (1 + mean x^2)^(1/2) for l2.
        """
        if self.norm == "linf":
            return self.size * torch.tanh(x)
        unit = x.detach().abs().amax((-3, -2, -1), keepdim=True).clamp(min=1.0)
        x = x / unit  # squares of what is far out would be infinite
        return self.size * x / (unit**-2 + x.square().mean((-3, -2, -1), keepdim=True)).sqrt()

    def show(self, image: Tensor, delta: Tensor) -> Tensor:
        """Give what is seen, uint8; whole grey levels are reached by rounding towards the image."""
        whole = self.project(image, delta).trunc()
        return (image.to(whole) + whole).to(torch.uint8)

    def steepest(self, gradient: Tensor) -> Tensor:
        """Give the delta of the budget with the largest inner product with a gradient."""
        if self.norm == "linf":
            return self.size * gradient.sign()
        return self.size * gradient / self._norm(gradient)[..., None, None, None].clamp(min=1e-37)

    def draw(self, image: Tensor, generator: torch.Generator) -> Tensor:
        """Draw what may be seen instead of images uint8 [..., H, W, C], uniformly for linf."""
        if self.norm == "linf":
            whole = int(self.size)
            return self.show(
                image, torch.randint(-whole, whole + 1, image.shape, generator=generator).float()
            )
        delta = torch.randn(image.shape, generator=generator)
        length = torch.rand(image.shape[:-3], generator=generator)[..., None, None, None]
        return self.show(image, self.steepest(delta) * length ** (1 / np.prod(self.spec.shape)))

    def _norm(self, delta: Tensor) -> Tensor:
        flat = delta.abs().flatten(start_dim=-3).double()
        return flat.amax(-1) if self.norm == "linf" else flat.square().mean(-1).sqrt()


@dataclass(frozen=True, eq=False)
class ImagesBudget:
    """The budgets of the cameras that may be touched, by name, where ``interface`` is shown."""

    cameras: dict[str, ImageBudget]
    interface: Spec

    @classmethod
    def of(
        cls, config: ImageBudgetConfig, interface: Spec, sees: Spec | None = None
    ) -> ImagesBudget:
        """Choose cameras; SpecError for one that is not there, UserError if there are none.

        ``sees`` is the part of the interface that a victim sees, if that is not all of it.
        """
        known = {
            name: spec
            for name, spec in (sees or interface).observations.items()
            if spec.dtype == "uint8" and len(spec.shape) == 3
        }
        if not known:
            raise UserError(f"images: {interface.environment} shows no camera images")
        for name in config.cameras or ():
            if name not in known:
                raise SpecError(f"images.cameras: no camera '{name}'{nearest(name, known)}")
        cameras = {n: ImageBudget.of(config, known[n]) for n in config.cameras or known}
        return cls(cameras, interface)

    @property
    def shown(self) -> dict[str, ArraySpec]:
        """Name what of the observations is perturbed."""
        return {name: budget.spec for name, budget in self.cameras.items()}

    @property
    def radius(self) -> Tensor:
        """Say how far each value may go if it goes alone, [P]."""
        alone = {"linf": lambda n: 1.0, "l2": math.sqrt}
        return torch.cat([torch.full((n,), b.size * alone[b.norm](n)) for b, n in self._sizes()])

    @property
    def touched(self) -> Tensor:
        """Say which of all values of the images may be touched, bool [P]: all of them."""
        return self.radius > 0

    def require(self, interface: Spec) -> None:
        """Raise SpecError unless an environment shows the images that this is for."""
        for name, spec in self.shown.items():
            found = interface.observations.get(name)
            if found is None or (found.shape, found.dtype) != (spec.shape, spec.dtype):
                raise SpecError(
                    f"budget: {interface.environment} shows no images '{name}' of {spec.shape}"
                )

    def require_sight(self, sees: Spec | None, who: str) -> None:
        """Raise SpecError, which begins with who, if it sees what is not shown; None: a state."""
        for name in {"state"} if sees is None else sees.observations:
            if name not in self.interface.observations:
                raise SpecError(f"{who} '{name}', which {self.interface.environment} does not show")

    @property
    def told(self) -> tuple[str, ...]:
        """Name all that is shown: an intention may look at any of it."""
        return tuple(self.interface.observations)

    def true(self, observation: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Give all of it."""
        return observation

    def blank(self) -> Images:
        """Give black images, and zeros."""
        kinds = {"uint8": torch.uint8}
        return {
            name: torch.zeros(1, *spec.shape, dtype=kinds.get(spec.dtype, torch.float32))
            for name, spec in self.interface.observations.items()
        }

    def nothing(self, true: Mapping[str, Tensor]) -> Tensor:
        """Give the delta [B, P] that leaves images as they are."""
        some = true[next(iter(self.cameras))]
        return torch.zeros(len(some), len(self.radius), device=some.device)

    def seen(self, true: Mapping[str, Tensor], delta: Tensor) -> Images:
        """Give what is seen, float in whole grey levels."""
        found, parts = dict(true), self.images(delta)
        for name, budget in self.cameras.items():
            there = true[name] + parts[name]
            found[name] = budget.show(true[name], parts[name]) + (there - there.detach())
        return found

    @property
    def view(self) -> ArraySpec:
        """Describe what a network looks at: coarse images, and the state if it is shown."""
        return ArraySpec((self.look(self.blank()).shape[1],))

    def look(self, true: Mapping[str, Tensor]) -> Tensor:
        """Give coarse images of the cameras [B, F], and the state if it is shown."""
        coarse = [_coarse(true[name], VIEW).flatten(1) for name in self.cameras]
        return torch.cat(coarse + [true[name] for name in ("state",) if name in true], dim=1)

    def project(self, delta: Tensor) -> Tensor:
        """Give the delta [B, P] of the budget near to delta, whatever the images."""
        return self._each(ImageBudget.limit, delta)

    def steepest(self, gradient: Tensor) -> Tensor:
        """Give the delta [B, P] with the largest inner product with a gradient, edges aside."""
        return self._each(ImageBudget.steepest, gradient)

    def squash(self, x: Tensor) -> Tensor:
        """Map any x [B, P] smoothly into the budget."""
        return self._each(ImageBudget.squash, x)

    @property
    def shares(self) -> ArraySpec:
        """Describe the shares [K]: of squares of images, ``GRID`` each way, by colour."""
        return ArraySpec((sum(math.prod(grid) for grid in self._grids()),))

    def of_shares(self, shares: Tensor) -> Tensor:
        """Give the delta [B, P] of the budget near to shares [B, K] of it."""
        parts = shares.split([math.prod(grid) for grid in self._grids()], dim=1)
        found = {}
        for part, grid, (name, budget) in zip(
            parts, self._grids(), self.cameras.items(), strict=True
        ):
            squares = part.unflatten(1, grid).movedim(-1, 1)  # [B, C, h, w]
            whole = F.interpolate(squares, budget.spec.shape[:2]).movedim(1, -1)
            found[name] = budget.limit(budget.size * whole)
        return self.flat(found)

    def perturb(
        self, observation: Observation, perturbation: Chooser, generator: torch.Generator
    ) -> Observation:
        """Give what a victim sees instead of observations name -> [N, ...].

        Whatever the perturbation chooses is brought into the budget. UserError if it is not finite.
        """
        true = {name: torch.as_tensor(array) for name, array in observation.items()}
        with torch.no_grad():
            delta = perturbation(true, generator)
        require_finite(delta)
        parts = self.images(delta)
        seen = {n: b.show(true[n], parts[n]).numpy() for n, b in self.cameras.items()}
        return observation | seen

    def flat(self, images: Mapping[str, Tensor]) -> Tensor:
        """Lay images [B, H, W, C] of the cameras out as float [B, P]."""
        return torch.cat([images[name].flatten(1).float() for name in self.cameras], dim=1)

    def images(self, flat: Tensor) -> Images:
        """Undo ``flat``."""
        parts = flat.split([n for _, n in self._sizes()], dim=1)
        specs = self.shown.items()
        return {n: one.unflatten(1, s.shape) for (n, s), one in zip(specs, parts, strict=True)}

    def _each(self, way: Callable[[ImageBudget, Tensor], Tensor], flat: Tensor) -> Tensor:
        """Go one way with each camera's part of what is laid out flat."""
        parts = self.images(flat)
        return self.flat({name: way(b, parts[name]) for name, b in self.cameras.items()})

    def _sizes(self) -> list[tuple[ImageBudget, int]]:
        return [(budget, math.prod(budget.spec.shape)) for budget in self.cameras.values()]

    def _grids(self) -> list[tuple[int, ...]]:
        return [(*_at_most(b.spec.shape[:2], GRID), b.spec.shape[2]) for b in self.cameras.values()]


def _at_most(shape: Sequence[int], most: int) -> tuple[int, ...]:
    return tuple(min(n, most) for n in shape)


def _coarse(images: Tensor, most: int) -> Tensor:
    """Give images [B, C, h, w], in [0, 1], with at most so many pixels each way."""
    images = images.movedim(-1, 1).float() / 255
    return F.adaptive_avg_pool2d(images, _at_most(images.shape[2:], most))


class RandomImages:
    """The weakest attack: any images of the budget, drawn anew at every step."""

    def __init__(self, budget: ImagesBudget) -> None:
        self.budget = budget

    def __call__(self, true: Mapping[str, Tensor], generator: torch.Generator) -> Tensor:
        """Draw delta [B, P]."""
        cameras = self.budget.cameras.items()
        return self.budget.flat(
            {n: b.draw(true[n], generator).float() - true[n] for n, b in cameras}
        )

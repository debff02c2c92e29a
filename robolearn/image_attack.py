"""Attacks on what a policy sees in camera images.

A perturbation of an image, delta [H, W, C], is in grey levels, of which there are 255. What is seen
instead of uint8 images is an image too: whole grey levels, none beyond black or white. In each
camera by itself,

    max_j |delta_j| <= size                        (linf)
    ( mean_j delta_j^2 )^(1/2) <= size             (l2)

A victim that sees images has a ``distribution(observation)`` of all that it sees, name -> [B, ...],
where images are uint8 or, with gradients, float in grey levels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Protocol

import numpy as np
import torch
from annotated_types import Ge, Le
from torch import Tensor

from robolearn.attack import distribution_of, require_finite
from robolearn.errors import SpecError, UserError, nearest
from robolearn.settings import Names, Settings
from robolearn.types import ArraySpec, Observation, Spec

Images = dict[str, Tensor]  # by camera, [B, H, W, C]


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
        if self.norm == "linf":
            delta = delta.clamp(-self.size, self.size)
        else:
            length = self._norm(delta)[..., None, None, None]
            delta = delta * (self.size / length.clamp(min=self.size))
        image = image.to(delta)
        return torch.clamp(image + delta, 0, 255) - image

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


class ImagePerturbation(Protocol):
    """Whatever chooses delta; else as ``attack.Perturbation``."""

    def __call__(self, observation: Mapping[str, Tensor], generator: torch.Generator) -> Images:
        """Give delta of the cameras that are touched, for all observations name -> [B, ...]."""


@dataclass(frozen=True, eq=False)
class ImagesBudget:
    """The budgets of the cameras that may be touched, by name."""

    cameras: dict[str, ImageBudget]

    @classmethod
    def of(cls, config: ImageBudgetConfig, interface: Spec) -> ImagesBudget:
        """Choose cameras; SpecError for one that is not there, UserError if there are none."""
        known = {
            name: spec
            for name, spec in interface.observations.items()
            if spec.dtype == "uint8" and len(spec.shape) == 3
        }
        if not known:
            raise UserError(f"images: {interface.environment} shows no camera images")
        for name in config.cameras or ():
            if name not in known:
                raise SpecError(f"images.cameras: no camera '{name}'{nearest(name, known)}")
        return cls({n: ImageBudget.of(config, known[n]) for n in config.cameras or known})

    @property
    def shown(self) -> dict[str, ArraySpec]:
        """Name what of the observations is perturbed."""
        return {name: budget.spec for name, budget in self.cameras.items()}

    @property
    def touched(self) -> Tensor:
        """Say which of all values of the images may be touched, bool [P]: all of them."""
        return torch.ones(sum(self._sizes()), dtype=torch.bool)

    def require(self, interface: Spec) -> None:
        """Raise SpecError unless an environment shows the images that this is for."""
        for name, spec in self.shown.items():
            found = interface.observations.get(name)
            if found is None or (found.shape, found.dtype) != (spec.shape, spec.dtype):
                raise SpecError(
                    f"budget: {interface.environment} shows no images '{name}' of {spec.shape}"
                )

    def perturb(
        self, observation: Observation, perturbation: ImagePerturbation, generator: torch.Generator
    ) -> Observation:
        """Give what a victim sees instead of observations name -> [N, ...].

        Whatever the perturbation chooses is brought into the budget. UserError if it is not finite.
        """
        true = {name: torch.as_tensor(array) for name, array in observation.items()}
        with torch.no_grad():
            delta = perturbation(true, generator)
        for one in delta.values():
            require_finite(one)
        seen = {n: b.show(true[n], delta[n]).numpy() for n, b in self.cameras.items()}
        return observation | seen

    def flat(self, images: Mapping[str, Tensor]) -> Tensor:
        """Lay images [B, H, W, C] of the cameras out as float [B, P]."""
        return torch.cat([images[name].flatten(1).float() for name in self.cameras], dim=1)

    def images(self, flat: Tensor) -> Images:
        """Undo ``flat``."""
        parts = flat.split(self._sizes(), dim=1)
        specs = self.shown.items()
        return {n: one.unflatten(1, s.shape) for (n, s), one in zip(specs, parts, strict=True)}

    def _sizes(self) -> list[int]:
        return [int(np.prod(spec.shape)) for spec in self.shown.values()]


class Around:
    """What may be done to certain images, as a budget of perturbations that are laid out flat."""

    def __init__(self, budget: ImagesBudget, images: Mapping[str, Tensor]) -> None:
        self.budget, self.true = budget, images

    def project(self, delta: Tensor) -> Tensor:
        """Give a delta [B, P] of the budget near to delta; the images stay images."""
        parts = self.budget.images(delta)
        cameras = self.budget.cameras.items()
        return self.budget.flat({n: b.project(self.true[n], parts[n]) for n, b in cameras})

    def steepest(self, gradient: Tensor) -> Tensor:
        """Give the delta [B, P] with the largest inner product with a gradient, edges aside."""
        parts = self.budget.images(gradient)
        return self.budget.flat({n: b.steepest(parts[n]) for n, b in self.budget.cameras.items()})


class RandomImages:
    """The weakest attack: any images of the budget, drawn anew at every step."""

    def __init__(self, budget: ImagesBudget) -> None:
        self.budget = budget

    def __call__(self, observation: Mapping[str, Tensor], generator: torch.Generator) -> Images:
        """Draw delta of every camera."""
        cameras = self.budget.cameras.items()
        return {n: b.draw(observation[n], generator).float() - observation[n] for n, b in cameras}


def blank(interface: Spec) -> Images:
    """Give one observation of zeros, name -> [1, ...]."""
    return {
        name: torch.zeros(
            1, *spec.shape, dtype=torch.uint8 if spec.dtype == "uint8" else torch.float32
        )
        for name, spec in interface.observations.items()
    }


def require_seeing(policy: Any, interface: Spec, role: str) -> None:
    """Raise UserError unless a policy has a distribution, SpecError if it sees what is not there.

    ``role`` is what it is here: "victim", "intention".
    """
    name = f"{role} '{getattr(policy, 'name', type(policy).__name__)}'"
    if not callable(getattr(policy, "distribution", None)):
        raise UserError(
            f"{name}: has no distribution(observation); an attack needs a Gaussian policy"
        )
    own = getattr(policy, "interface", None)
    sees = own.observations if isinstance(own, Spec) else {"state"}
    for one in sees:
        if one not in interface.observations:
            raise SpecError(f"{name} sees '{one}', which {interface.environment} does not show")


def require_image_victim(policy: Any, interface: Spec, budget: ImagesBudget) -> None:
    """Do the same for a victim; UserError too unless gradients reach the images."""
    require_seeing(policy, interface, "victim")
    observation = blank(interface)
    flat = budget.flat(observation).requires_grad_()
    with torch.enable_grad():
        mean = distribution_of(policy, observation | budget.images(flat)).mean
    slope = None
    if mean.requires_grad:
        (slope,) = torch.autograd.grad(mean.sum(), flat, allow_unused=True)
    if slope is None:
        raise UserError(
            f"victim '{getattr(policy, 'name', type(policy).__name__)}': no gradient of its "
            f"distribution reaches the images {', '.join(budget.cameras)}"
        )

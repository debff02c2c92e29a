"""Projected gradient descent on the images that a victim sees: ``pgd.py``, on pixels.

For every moment by itself, from delta = 0, steps along the sign of the gradient (linf) or along it
(l2), in grey levels, projected on the budget and on what is an image; the best delta on the way is
rounded to whole grey levels. Madry et al. (ICLR 2018).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from robolearn.algos.pgd import PGDConfig, descend
from robolearn.attack import distribution_of, require_without_context
from robolearn.image_attack import (
    Around,
    Images,
    ImagesBudget,
    require_image_victim,
    require_seeing,
)
from robolearn.types import Policy, Spec


class ImagePGD:
    """The perturbation of images that brings a victim closest to the intention, one by one."""

    def __init__(
        self,
        victim: Policy,
        intention: Policy,
        budget: ImagesBudget,
        interface: Spec,
        config: PGDConfig | None = None,
    ) -> None:
        """Take a victim that gradients go through; the intention needs none.

        Both see something of what ``interface`` shows; else UserError or SpecError.
        """
        require_image_victim(victim, interface, budget)
        require_seeing(intention, interface, "intention")
        require_without_context(intention, "intention", "an intention answers to single moments")
        self.victim, self.intention, self.budget = victim, intention, budget
        self.config = config or PGDConfig()

    @property
    def memoryless(self) -> bool:
        """Say whether the victim is."""
        return getattr(self.victim, "memoryless", False)

    def reset(self, n: int) -> None:
        """Begin n episodes, before the victim may have."""
        self.victim.reset(n)

    def __call__(
        self, observation: Mapping[str, Tensor], generator: torch.Generator | None = None
    ) -> Images:
        """Give delta of every camera; there is nothing random in it."""
        with torch.no_grad():
            aim = distribution_of(self.intention, observation)

        def loss(seen: Tensor) -> Tensor:
            """Give KL( pi_v(. | o~) || pi_theta(. | o) ) [B] of images [B, P]."""
            shown = {**observation, **self.budget.images(seen)}
            return distribution_of(self.victim, shown).kl(aim).sum(dim=-1)

        around = Around(self.budget, observation)
        return self.budget.images(descend(loss, self.budget.flat(observation), around, self.config))

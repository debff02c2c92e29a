"""PA-AD, an adversary in the space of actions: Sun, Zheng, Liang, Huang (ICLR 2022).

An adversary that learns perturbations searches a space as large as the state. Here a "director"
learns only where the victim's action should go, a direction d in R^A, and an "actor" finds the
perturbation that moves the victim there,

    delta = argmax_(delta in budget) < d, mu_v(s + delta) - mu_v(s) >
          ~ argmax_(delta in budget) < d, J(s) delta >,    J = d mu_v / d s

by the linear form, in one step: the steepest in the budget. Where mu_v is linear that is the
optimum. The director is learnt by ``ppo.py`` on an ``AdversaryEnv``. "Who Is the Strongest Enemy?
Towards Optimal and Efficient Evasion Attacks in Deep RL", arXiv:2106.05087. There the reward is the
victim's, negated; here it is that of the behaviour which is wanted. For a squashed Gaussian mu_v is
the mean before the tanh, whose gradient does not vanish. Of images delta is in grey levels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from robolearn.attack import AnyBudget, Sight, Victim, distribution_of, require_victim
from robolearn.types import ArraySpec


class PAAD:
    """The Actor whose actions are directions in the space of the victim's actions, K = A."""

    name = "pa_ad"

    def __init__(self, victim: Victim, budget: AnyBudget) -> None:
        """Take a victim that gradients go through; UserError if not."""
        require_victim(victim, budget)
        self.victim, self.budget = victim, budget
        with torch.no_grad():
            entries = distribution_of(victim, budget.blank()).mean.shape[-1]
        self.action = ArraySpec((entries,))

    def __call__(self, true: Sight, action: Tensor) -> Tensor:
        """Give delta [B, P] for what is true and the direction [B, A]; 0 for the direction 0."""
        delta = self.budget.nothing(true).requires_grad_()
        with torch.enable_grad():
            mean = distribution_of(self.victim, self.budget.seen(true, delta)).mean
            (gradient,) = torch.autograd.grad((action.to(mean) * mean).sum(), delta)
        return self.budget.steepest(gradient)

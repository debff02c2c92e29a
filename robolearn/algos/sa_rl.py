"""SA-RL, the learnt optimal adversary: Zhang, Chen, Boning, Hsieh (ICLR 2021).

With the victim pi_v fixed, whoever chooses what it sees lives in a Markov decision process of its
own. A state is the true one, an action is the perturbation, and the next state is drawn by what the
victim does,

    p'(s' | s, delta) = sum_a pi_v(a | s + delta) p(s' | s, a),    delta in the budget

so that any reinforcement learner finds the best adversary; here it is ``ppo.py``, on an
``AdversaryEnv``. "Robust Reinforcement Learning on State Observations with Learned Optimal
Adversary", arXiv:2101.08452. There the reward is the victim's, negated; here it is that of the
behaviour which is wanted. The victim is a black box: it need not have gradients, or a distribution.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from robolearn.attack import Budget
from robolearn.types import ArraySpec, Policy


class SARL:
    """The Actor whose actions are perturbations, as shares of the budget: one of each entry of the
    state that may be touched, K in all.
    """

    name = "sa_rl"

    def __init__(self, victim: Policy, budget: Budget) -> None:
        self.victim, self.budget = victim, budget
        self.entries = torch.as_tensor(np.flatnonzero(budget.touched.numpy()))  # [K]
        names = budget.spec.names
        known = tuple(names[i] for i in self.entries.tolist()) if names else ()
        self.action = ArraySpec((len(self.entries),), names=known)

    def __call__(self, state: Tensor, action: Tensor) -> Tensor:
        """Give delta [B, O] for s [B, O] and the action [B, K]."""
        shares = torch.zeros_like(state)
        shares[:, self.entries] = action.to(state)
        return self.budget.project(self.budget.radius.to(state) * shares)

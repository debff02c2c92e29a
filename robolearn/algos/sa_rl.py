"""SA-RL, the learnt optimal adversary: Zhang, Chen, Boning, Hsieh (ICLR 2021).

With the victim pi_v fixed, whoever chooses what it sees lives in a Markov decision process of its
own. A state is the true one, an action is the perturbation, and the next state is drawn by what the
victim does,

    p'(s' | s, delta) = sum_a pi_v(a | s + delta) p(s' | s, a),    delta in the budget

so that any reinforcement learner finds the best adversary; here it is ``ppo.py``, on an
``AdversaryEnv``. "Robust Reinforcement Learning on State Observations with Learned Optimal
Adversary", arXiv:2101.08452. There the reward is the victim's, negated; here it is that of the
behaviour which is wanted. The victim is a black box: it need not have gradients, or a distribution.
Of images, which have too many values for that, coarse squares are chosen.
"""

from __future__ import annotations

from torch import Tensor

from robolearn.attack import AnyBudget, Sight
from robolearn.types import Policy


class SARL:
    """The Actor whose actions are perturbations, as shares of the budget [K]: one of each entry of
    the state that may be touched, or of each square of the images.
    """

    name = "sa_rl"

    def __init__(self, victim: Policy, budget: AnyBudget) -> None:
        self.victim, self.budget, self.action = victim, budget, budget.shares

    def __call__(self, true: Sight, action: Tensor) -> Tensor:
        """Give delta [B, P] for what is true and the action [B, K]."""
        return self.budget.of_shares(action)

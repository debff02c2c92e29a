"""RAT's three learners at once: an intention, what its actions are worth, and an adversary.

Bai, Liu, Du, Wen, Yang (AAAI 2025). The intention learns on the reward that preferences teach. It
may begin as a clone of the victim: what is wanted is then looked for around what the victim does,
since an attack only gets there. The adversary learns towards what the intention has become, on the
latest states that either of them has reached; entries of the action that cannot be moved there are
found anew every now and then, and left out.

As in the paper the intention learns by SAC on a replay, ``intending_sac.py``, or by PPO on
rollouts, ``intending_ppo.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Protocol

import numpy as np
import torch
from annotated_types import Gt, Le
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor, nn

from robolearn.errors import UserError
from robolearn.settings import Settings, Widths
from robolearn.types import Observation

CLONED = 256  # states in a step of cloning
SOME = 200  # states by which it is found what can be moved


@dataclass(frozen=True)
class IntendingConfig(Settings):
    """How an intention and the adversary are learnt together."""

    learner: Literal["ppo", "sac"] = "ppo"
    """Who learns the intention; sac, as in the paper, comes upon what is hard to do with fewer
    steps."""
    cloning: NonNegativeInt | None = None
    """Steps of Adam in which the intention learns to do as the victim does, before all else; 0: it
    begins with nothing. None: 1,500 of ppo, which learns around what it does, 0 of sac."""
    combined: bool = True
    """Whether the attacked victim begins the episodes that the intention learns from, and later
    those that the adversary does."""
    latest: Annotated[float, Gt(0), Le(1)] = 1.0
    """Share of an episode by which it has handed over, at the latest: H of h ~ U(0, H)."""
    weighted: bool = True
    """Whether the adversary weighs states, by the outer problem."""
    updates: PositiveInt = 20
    """Gradient steps of the adversary for each rollout, or for as many updates of sac as ``every``
    says."""
    every: PositiveInt = 640
    """Updates of sac between two times at which the adversary learns."""
    batch: PositiveInt = 96
    """States in a step."""
    kept: PositiveInt = 20_000
    """States that the adversary learns from, the latest."""
    std: PositiveFloat = 0.1
    """Spread of the intention's actions, where the adversary compares them with the victim's."""
    value_widths: Widths = (128, 128)
    """Hidden units of each layer, of the advantage, beside ppo."""
    value_rate: PositiveFloat = 1e-3
    """Step size of its Adam."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.latest < 1 and not self.combined:
            raise UserError("latest: nobody hands over unless combined is true")


class Adversary(Protocol):
    """A ``RAT`` towards the intention."""

    victim: Any
    q: Callable[[Tensor, Tensor], Tensor] | None

    def fit_normaliser(self, observations: Mapping[str, Tensor]) -> None:
        """Take the scale of the inputs from "state" [M, O]."""

    def find_movable(self, observations: Mapping[str, Tensor]) -> np.ndarray:
        """Leave out the entries of the action that cannot be moved in "state" [B, O]."""

    def update(self, batch: Mapping[str, Any]) -> dict[str, float]:
        """Improve by one step on true states."""

    def state_dict(self) -> dict[str, Tensor]:
        """Give what was learnt."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take it over."""

    def training_state(self) -> dict[str, Tensor]:
        """Give what continuing needs beside it."""

    def load_training_state(self, state: Mapping[str, Tensor]) -> None:
        """Take that over."""


class Intending:
    """An intention that learns, and an adversary towards it: a Policy, and what both learn alike.

    It acts as the intention does. ``begun()`` gives the states [M, O] that the attacked victim has
    reached of late, which the adversary learns from too.
    """

    name = "intending"
    memoryless = True
    cloning: ClassVar[int]

    def __init__(self, intention: Any, adversary: Adversary, config: IntendingConfig, seed: int):
        """Say who learns what; the adversary weighs states by ``q`` if it is to."""
        self.intention, self.adversary, self.config = intention, adversary, config
        self.interface, self.device = intention.interface, intention.device
        self.weights, numbers = np.random.SeedSequence([seed, 6]).generate_state(2).tolist()
        self.noise = torch.Generator().manual_seed(numbers)
        adversary.q = self.q if config.weighted else None
        size = self.interface.observations["state"].shape[0]
        self.states = torch.zeros(0, size)
        self.begun: Callable[[], np.ndarray] = lambda: np.zeros((0, size), np.float32)

    # acting

    def reset(self, n: int) -> None:
        """Begin n episodes."""
        self.intention.reset(n)

    def act(self, observation: Observation, explore: bool = False) -> np.ndarray:
        """Do what the intention does, float32 [N, A]."""
        return self.intention.act(observation, explore)

    def q(self, state: Tensor, action: Tensor) -> Tensor:
        """Give what has the gradient of Q by a, [B], of s [B, O] and a [B, A]."""
        raise NotImplementedError

    # learning

    def clone(self, states: Tensor) -> float:
        """Have the intention do in states [M, O] as the victim does; give the last squared error.

        The adversary takes the scale of its inputs from them, too.
        """
        self.adversary.fit_normaliser({"state": states})
        with torch.no_grad():
            actions = self.adversary.victim.distribution(states).mode.clamp(-1, 1)
        parameters = self._decide()
        optimiser, error = torch.optim.Adam(parameters, lr=1e-3), torch.zeros(())
        steps = self.cloning if self.config.cloning is None else self.config.cloning
        for _ in range(steps):
            rows = torch.randint(len(states), (CLONED,), generator=self.noise)
            mode = self.intention.distribution(states[rows]).mode
            error = (mode - actions[rows]).square().mean()
            optimiser.zero_grad()
            error.backward(inputs=parameters)
            optimiser.step()
        return error.item()

    def _decide(self) -> list[nn.Parameter]:
        """Give the weights that the intention's actions without exploring depend on."""
        raise NotImplementedError

    def _attack(self, states: Tensor) -> dict[str, float]:
        """Improve the adversary, on the latest states; of these [M, O] were reached just now."""
        begun = torch.from_numpy(self.begun())
        self.states = torch.cat([self.states, states, begun])[-self.config.kept :]
        rows = torch.randint(len(self.states), (SOME,), generator=self.noise)
        self.adversary.find_movable({"state": self.states[rows]})
        for _ in range(self.config.updates):
            rows = torch.randint(len(self.states), (self.config.batch,), generator=self.noise)
            seen = self.adversary.update({"observations": {"state": self.states[rows]}})
        return {f"adversary/{name}": value for name, value in seen.items()}

    # persistence

    def state_dict(self) -> dict[str, Tensor]:
        """Give what intention, adversary and all else have learnt, as tensors."""
        parts = {"intention": self.intention, "adversary": self.adversary}
        return {f"{p}/{name}": t for p, o in parts.items() for name, t in o.state_dict().items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what ``state_dict`` gave; DataError if it is of other networks."""
        self.intention.load_state_dict(of_part(state, "intention"))
        self.adversary.load_state_dict(of_part(state, "adversary"))

    def training_state(self) -> dict[str, Tensor]:
        """Give what continuing needs beside ``state_dict``."""
        state = {"noise": self.noise.get_state(), "states": self.states.clone()}
        state |= {f"intention/{k}": v for k, v in self.intention.training_state().items()}
        return state | {f"adversary/{k}": v for k, v in self.adversary.training_state().items()}

    def load_training_state(self, state: Mapping[str, Tensor]) -> None:
        """Take over what ``training_state`` gave."""
        self.noise.set_state(state["noise"].cpu())
        self.states = state["states"].clone()
        self.intention.load_training_state(of_part(state, "intention"))
        self.adversary.load_training_state(of_part(state, "adversary"))


def of_part(state: Mapping[str, Tensor], part: str) -> dict[str, Tensor]:
    """Give what of a state stands under the name of a part."""
    start = f"{part}/"
    return {k.removeprefix(start): t for k, t in state.items() if k.startswith(start)}

"""An informed operator: demonstrates, is told what does not fit, changes that, demonstrates again.

In the paper a person is shown, after a rejection, where the demonstration was least compatible, and
tries again. Here a scripted operator takes the person's place, in the session that people use: it
looks at the verdict's worst window, tells from what happens there which of its own traits stood
out, and with a stated probability takes that trait over from the base operator.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from demos.data.dataset import Dataset
from demos.devices.contracts import Heard
from demos.devices.others import Scripted
from demos.operators import Style, changed, make_operator, pointed_trait
from demos.session.clock import SimulatedClock
from demos.session.contracts import Decision, State, Status, Verdict, Window
from demos.session.judging import judged
from demos.session.session import Session
from demos.session.teaching import SessionConfig
from robolearn.judging.harm import HarmJudge
from robolearn.judging.judge import Judge
from robolearn.judging.judge import Verdict as JudgeVerdict
from robolearn.judging.verdicts import HarmVerdict
from robolearn.loops.row import RowEnvironment
from robolearn.types import Episode, Policy, Spec, VectorEnvironment

MOST = 2**31  # seeds of starts are below it


@dataclass(frozen=True)
class Understood(Verdict):
    """A verdict, and what an operator who knows its own traits sees in it."""

    p_value: float = 1.0
    worst_window: Window = (0, 0)
    trait: str = ""  # that stood out there; "" if it was too short to be judged


@dataclass(frozen=True)
class Insight:
    """A session's Scorer that looks at demonstrations with the eyes of such an operator."""

    judge: Judge | HarmJudge
    task: str
    interface: Spec

    def live(self) -> None:
        """Score no steps: a scripted operator does not look up while it moves."""

    def verdict(self, episode: Episode) -> Verdict:
        """Judge a whole demonstration."""
        told, found = judged(self.judge, episode)
        if found is None:
            return Understood(**vars(told))
        return Understood(
            **vars(told),
            p_value=found.p_value,
            worst_window=found.worst_window,
            trait=self._pointed_trait(episode, found),
        )

    def _pointed_trait(self, episode: Episode, found: HarmVerdict | JudgeVerdict) -> str:
        window = slice(*found.worst_window)
        actions = episode.actions[window]  # [W, A]
        return pointed_trait(
            self.task,
            self.interface,
            episode.observations["state"][:-1][window],
            actions,
            actions - found.departure[window],
        )


class InformedOperator(Scripted):
    """A Device: an operator who, after a rejection, may give up the trait that it points at.

    What an attempt needs of chance comes from a generator of its own, in this order: the start's
    seed, the operator's moods, whether it heeds a rejection.
    """

    name = "informed operator"

    def __init__(
        self,
        make_policy: Callable[[Style, np.random.Generator], Policy],
        style: Style,
        base: Style,
        *,
        heed: float,
        seed: int,
        status: Callable[[], Status],
    ) -> None:
        """``status`` gives what the session shows; of the ``base`` it has been shown enough."""
        super().__init__(lambda: make_policy(self.style, self._rng))
        self.style, self._base = style, base
        self._heed, self._seed, self._status = heed, seed, status
        self._rng = np.random.default_rng(seed)

    def start_seed(self, attempt: int) -> int:
        """Get ready for an attempt, counted from 0, and give the seed of its start."""
        self._rng = np.random.default_rng([self._seed, attempt])
        return int(self._rng.integers(MOST))

    def listen(self, now_s: float) -> Heard:
        """Read the verdict, if there is one, and go on."""
        status = self._status()
        if status.state is State.DECIDING and status.decision == Decision.REJECTED:
            self._read(status.verdict)
        return super().listen(now_s)

    def _read(self, verdict: Understood) -> None:
        if self._rng.random() < self._heed and verdict.trait:
            self.style = changed(self.style, verdict.trait, self._base)


@dataclass(frozen=True)
class Elicitation:
    """Teaching sessions with one judge; every attempt is kept in ``dataset``, verdict included."""

    envs: VectorEnvironment  # one of them is used: each attempt depends on the last verdict
    judge: Judge | HarmJudge
    dataset: Dataset
    task: str
    base: Style  # what the operator was shown of the base
    heed: float  # probability to change the trait that a rejection points at
    horizon: int
    settle_steps: int

    def run(
        self, operator: str, style: Style, *, wanted: int, attempts: int, seed: int
    ) -> list[Episode]:
        """Give the accepted episodes: ``wanted`` of them, fewer if ``attempts`` did not suffice."""
        interface = self.envs.interface
        person = InformedOperator(
            lambda style, rng: make_operator(self.task, style, interface, rng),
            style,
            self.base,
            heed=self.heed,
            seed=seed,
            status=lambda: session.status,
        )
        session = Session(
            RowEnvironment(self.envs),
            person,
            self.dataset,
            SessionConfig(
                operator,
                goal=wanted,
                attempts=attempts,
                horizon=self.horizon,
                settle_steps=self.settle_steps,
            ),
            start_seed=person.start_seed,
            clock=SimulatedClock(),
            scorer=Insight(self.judge, self.task, interface),
        )
        session.run()
        return [self.dataset.load(name) for name in self.dataset.masks().get("kept", ())]

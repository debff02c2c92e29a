"""How a session goes: phases with their counts, and what is shown in between."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
from annotated_types import MinLen
from pydantic import NonNegativeInt, PositiveInt

from demos.data.arrays import Demonstrations
from demos.session.contracts import Decision, Phase, Sight, Verdict
from demos.session.nearest import alongside
from robolearn.settings import Settings
from robolearn.types import Episode

AROUND = 10  # steps before and after a window that are shown with it
MOST_TYPICAL = 0.8  # share of the base from which those to watch are drawn


@dataclass(frozen=True)
class SessionConfig(Settings):
    """Who demonstrates what, how often, and what is decided about it."""

    operator: Annotated[str, MinLen(1)] = "me"
    """Who demonstrates: the name in the dataset."""
    task: str = ""
    """What is to be done, in words."""
    practice: NonNegativeInt = 0
    """Successes before it counts; they are stored as "practice"."""
    learn: NonNegativeInt = 0
    """Base demonstrations to watch after that; needs a judge."""
    goal: PositiveInt = 10
    """Demonstrations of this operator to be kept in the dataset."""
    attempts: PositiveInt | None = None
    """Demonstrations of a session, practice included, after which it ends although the goal is not
    reached; None for as many as it takes."""
    naive: bool = False
    """Without anything to watch, live scores or rejections; verdicts are stored all the same."""
    horizon: PositiveInt = 1200
    """Longest demonstration, in control steps."""
    settle_steps: NonNegativeInt = 10
    """Steps that are recorded after the first success."""
    from_motion: bool = True
    """Whether a demonstration begins with the first motion; until then time stands still."""
    ask: bool = True
    """Whether it waits, after each demonstration, for a decision; else it is as proposed."""
    show_rejected: bool = True
    """Whether the worst windows and the nearest base demonstration are shown after a rejection."""
    replay_check: bool = True
    """Whether the stored actions are run again to see that they give the same states."""


@dataclass(frozen=True)
class Progress:
    """How far a session is."""

    config: SessionConfig
    learnt: bool
    practised: int = 0
    kept: int = 0  # of this operator in the dataset
    rejected: int = 0
    attempts: int = 0  # of this session

    @property
    def phase(self) -> Phase:
        """What is next."""
        if self.practised < self.config.practice:
            return Phase.PRACTICE
        return Phase.TEACH if self.learnt else Phase.LEARN

    @property
    def reached(self) -> bool:
        """Whether the goal is."""
        return self.phase is Phase.TEACH and self.kept >= self.config.goal

    @property
    def given_up(self) -> bool:
        """Whether the goal is not reached, and there may be no more attempts."""
        limit = self.config.attempts
        return limit is not None and self.attempts >= limit and not self.reached

    def after(self, decision: Decision, success: bool) -> Progress:
        """Count one more demonstration."""
        return replace(
            self,
            practised=self.practised + (decision is Decision.PRACTICE and success),
            kept=self.kept + (decision is Decision.KEPT),
            rejected=self.rejected + (decision is Decision.REJECTED),
            attempts=self.attempts + 1,
        )

    def changed(self, old: Decision, new: Decision) -> Progress:
        """Count one that was decided about in another way before."""
        return replace(
            self,
            kept=self.kept + (new is Decision.KEPT) - (old is Decision.KEPT),
            rejected=self.rejected + (new is Decision.REJECTED) - (old is Decision.REJECTED),
        )


@dataclass(frozen=True)
class Clip:
    """Moments of a stored episode to be shown, one after the other; of two episodes at a time."""

    title: str
    episode: Episode
    rows: Sequence[int]  # of its observations
    beside: Episode | None = None
    rows_beside: Sequence[int] = ()  # of the other's, at the same times

    def __len__(self) -> int:
        return len(self.rows)

    def sight(self, number: int) -> Sight:
        """Give what is seen at a moment."""
        row, states = self.rows[number], self.episode.states
        observation = {name: array[row] for name, array in self.episode.observations.items()}
        beside = None
        if self.beside is not None and self.beside.states is not None:
            beside = self.beside.states[self.rows_beside[number]]
        return Sight(observation, None if states is None else states[row], beside)


def _whole(title: str, episode: Episode) -> Clip:
    return Clip(title, episode, range(len(episode) + 1))


def to_watch(
    closest: Sequence[str], count: int, load: Callable[[str], Episode], rng: np.random.Generator
) -> list[Clip]:
    """Draw base demonstrations to watch, of those most like the rest (the paper: 5 of 80%)."""
    typical = closest[: max(1, round(MOST_TYPICAL * len(closest)))]
    chosen = rng.choice(typical, min(count, len(typical)), replace=False)
    total = len(chosen)
    return [_whole(f"base demonstration {i} of {total}", load(str(name)))
            for i, name in enumerate(chosen, start=1)]  # fmt: skip


def about_rejection(
    episode: Episode, verdict: Verdict, load: Callable[[str], Episode], base: Demonstrations
) -> list[Clip]:
    """Show the worst windows beside the base demonstration most like it, then all of that one.

    With what is around them; one waits for the other where they differ in tempo.
    """
    if not verdict.nearest:
        return []
    other, index = load(verdict.nearest), base.names.index(verdict.nearest)
    path = alongside(episode.observations["state"][:-1], base.states, index)
    path = np.vstack([path, [len(episode), len(other)]])  # and what was seen at the end
    total, clips = len(verdict.windows), []
    for i, (start, end) in enumerate(verdict.windows, start=1):
        rows = path[(path[:, 0] >= start - AROUND) & (path[:, 0] < end + AROUND)]
        clips.append(Clip(f"worst part {i} of {total}", episode, rows[:, 0], other, rows[:, 1]))
    return [*clips, _whole("the base demonstration most like yours", other)]

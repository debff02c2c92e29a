"""An informed operator: demonstrates, is told what does not fit, changes that, demonstrates again.

In the paper a person is shown, after a rejection, where the demonstration was least compatible, and
tries again. Here a scripted operator takes the person's place: it looks at the verdict's worst
window, tells from what happens there which of its own traits stood out, and with a stated
probability takes that trait over from the base operator.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from demos.dataset import Dataset
from demos.operators import Style, changed, make_operator
from robolearn.judge import Judge, Verdict
from robolearn.rollout import rollout
from robolearn.types import Environment, Episode, Spec

SAME_WAY = 0.8  # cosine between two motions above which they differ in their speed only


@dataclass(frozen=True)
class Elicitation:
    """A teaching session with one judge; every attempt is kept in ``dataset``, verdict included."""

    env: Environment
    judge: Judge
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
        accepted: list[Episode] = []
        for attempt in range(attempts):
            rng = np.random.default_rng([seed, attempt])
            episode = self._demonstrate(style, rng)
            verdict = self.judge.score(episode.observations["state"][:-1], episode.actions)
            trait = pointed_trait(verdict, episode, self.env.interface)
            keep = episode.success and verdict.accepted
            about = {
                "operator": operator,
                "outcome": "success" if episode.success else "failure",
                "attempt": attempt,
                "accepted": verdict.accepted,
                "p_value": verdict.p_value,
                "worst_window": list(verdict.worst_window),
                "trait": trait,
            }
            self.dataset.append(replace(episode, metadata=episode.metadata | about))
            if keep:
                accepted.append(episode)
            elif episode.success and rng.random() < self.heed:
                style = changed(style, trait, self.base)
            if len(accepted) == wanted:
                break
        return accepted

    def _demonstrate(self, style: Style, rng: np.random.Generator) -> Episode:
        operator = make_operator(self.task, style, self.env.interface, rng)
        return rollout(
            self.env,
            operator,
            horizon=self.horizon,
            seed=int(rng.integers(2**31)),
            settle_steps=self.settle_steps,
        )


def pointed_trait(verdict: Verdict, episode: Episode, interface: Spec) -> str:
    """Tell from the worst window which trait of ``demos.operators.TRAITS`` stood out there.

    The hand turns otherwise: the grasp. It moves the same way at another speed, or the gripper
    differs: the tempo. Else it moves another way: the order of approach while the gripper has not
    closed yet, the transport after that.
    """
    start, end = verdict.worst_window
    names = interface.action.names
    shift, turn, gripper = _entries(names, "d"), _entries(names, "dr"), names.index("gripper")
    actions = episode.actions[start:end]  # [W, A]
    difference = verdict.scores.difference[start:end]  # [W, A]
    size = np.square(difference).sum(axis=0)
    if size[turn].sum() > size[shift].sum():
        return "grasp"
    if size[gripper] / 4.0 > size[shift].sum():  # a full swing of the gripper is 2, of a motion 1
        return "tempo"
    mine, theirs = actions[:, shift].mean(axis=0), (actions - difference)[:, shift].mean(axis=0)
    if mine @ theirs > SAME_WAY * np.linalg.norm(mine) * np.linalg.norm(theirs):
        return "tempo"
    closed = np.flatnonzero(episode.actions[:, gripper] > 0.0)
    return "order" if len(closed) == 0 or start < closed[0] else "transport"


def _entries(names: tuple[str, ...], prefix: str) -> list[int]:
    """Find the entries of a change of pose: "d" gives dx, dy, dz, and "dr" drx, dry, drz."""
    return [names.index(prefix + axis) for axis in "xyz"]

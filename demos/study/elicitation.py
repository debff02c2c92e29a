"""An informed operator: demonstrates, is told what does not fit, changes that, demonstrates again.

In the paper a person is shown, after a rejection, where the demonstration was least compatible, and
tries again. Here a scripted operator takes the person's place: it looks at the verdict's worst
window, tells from what happens there which of its own traits stood out, and with a stated
probability takes that trait over from the base operator.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from demos.data.dataset import Dataset
from demos.operators import Style, changed, make_operator, pointed_trait
from demos.session.record import circumstances
from robolearn.judging.harm import HarmJudge, HarmVerdict
from robolearn.judging.judge import Judge, Verdict
from robolearn.loops.rollout import Job, rollouts
from robolearn.types import Episode, VectorEnvironment


@dataclass(frozen=True)
class Elicitation:
    """A teaching session with one judge; every attempt is kept in ``dataset``, verdict included."""

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
        accepted: list[Episode] = []
        for attempt in range(attempts):
            rng = np.random.default_rng([seed, attempt])
            episode = self._demonstrate(style, rng)
            verdict = self.judge.score(episode.observations["state"][:-1], episode.actions)
            trait = self._pointed_trait(episode, verdict)
            keep = episode.success and verdict.accepted
            about = circumstances(self.envs) | {
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
        operator = make_operator(self.task, style, self.envs.interface, rng)
        jobs = [Job(operator, seed=int(rng.integers(2**31)))]
        ended = rollouts(self.envs, jobs, horizon=self.horizon, settle_steps=self.settle_steps)
        episode, _ = next(ended)
        return episode

    def _pointed_trait(self, episode: Episode, verdict: Verdict | HarmVerdict) -> str:
        window = slice(*verdict.worst_window)
        actions = episode.actions[window]  # [W, A]
        return pointed_trait(
            self.task,
            self.envs.interface,
            episode.observations["state"][:-1][window],
            actions,
            actions - verdict.departure[window],
        )

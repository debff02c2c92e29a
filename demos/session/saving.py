"""What happens to a demonstration when it has ended, behind the control loop's back.

Its stored actions are run again from its first state: do they give the same states? A judge looks
at it; then it is written, and of a rejection it is found what is to be shown. One worker does one
after the other, so that a session goes on when the file is on disk.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from demos.data.dataset import Dataset
from demos.session.contracts import Decision, Verdict
from demos.session.teaching import Clip
from robolearn.errors import DataError
from robolearn.types import Environment, Episode

Judge = Callable[[Episode], Verdict]
Explain = Callable[[Episode, Verdict], list[Clip]]


@dataclass(frozen=True)
class Saved:
    """A demonstration that has been looked at, and is on disk if there is a dataset."""

    name: str | None  # "demo_12"
    episode: Episode
    proposed: Decision
    decision: Decision
    verdict: Verdict | None
    replay: dict[str, Any] | None
    clips: Sequence[Clip] = ()  # to be shown of a rejection


def replayed(env: Environment, episode: Episode) -> dict[str, Any]:
    """Run the stored actions from the first state, and compare the states (see ``difference``)."""
    env.reset(options={"state": episode.states[0]})
    states = [env.get_state()]
    for action in episode.actions:
        env.step(action)
        states.append(env.get_state())
    return difference(np.stack(states), episode.states)


def difference(ours: np.ndarray, theirs: np.ndarray) -> dict[str, Any]:
    """Say whether states [T + 1, S] are the same, bit by bit.

    ``{"same": bool, "steps": T, "first_difference": step or None, "largest": number}``; of other
    lengths, those that both have are compared, and they are not the same.
    """
    length = min(len(ours), len(theirs))
    same = (ours[:length] == theirs[:length]) | np.isnan(ours[:length]) & np.isnan(theirs[:length])
    rows = same.all(axis=1)  # [T + 1]
    gaps = np.abs(ours[:length] - theirs[:length])[~same]
    return {
        "same": bool(rows.all()) and len(ours) == len(theirs),
        "steps": length - 1,
        "first_difference": None if rows.all() else max(0, int(rows.argmin()) - 1),
        "largest": float(np.nan_to_num(gaps, nan=0.0).max(initial=0.0)),
    }


class Saver:
    """A worker that checks, judges and writes demonstrations."""

    def __init__(
        self,
        dataset: Dataset | None,
        judge: Judge | None,
        check_env: Environment | None,
        explain: Explain | None = None,
    ) -> None:
        """``check_env`` is an environment that nobody else uses; None for no replay check.

        ``explain`` gives what is to be shown of a demonstration that is rejected.
        """
        self._dataset, self._judge, self._check_env = dataset, judge, check_env
        self._explain = explain
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="saver")

    def save(
        self, episode: Episode, chosen: Decision | None, practice: bool, heed: bool
    ) -> Future[Saved]:
        """Have a demonstration looked at and written.

        ``chosen`` is what the person has decided already; else it is as proposed, where the verdict
        counts if ``heed``.
        """
        return self._worker.submit(self._save, episode, chosen, practice, heed)

    def amend(self, name: str, decision: Decision) -> Future[None]:
        """Have another decision written into a demonstration's file."""
        return self._worker.submit(self._amend, name, decision)

    def close(self) -> None:
        """Wait until all is written."""
        self._worker.shutdown(wait=True)

    def _amend(self, name: str, decision: Decision) -> None:
        if self._dataset is not None:
            self._dataset.amend(name, decision=str(decision))

    def _save(self, episode: Episode, chosen: Decision | None, practice: bool, heed: bool) -> Saved:
        try:
            replay, verdict = self._replayed(episode), self._judged(episode)
        except Exception:  # a bug of the environment or of the judge: it is not lost with it
            decision = Decision.PRACTICE if practice else chosen or Decision.DISCARDED
            self._write(episode, {"decision": str(decision)})
            raise
        proposed = proposal(episode, verdict if heed else None, practice)
        decision = proposed if chosen is None or practice else chosen
        about = {"decision": str(decision), "replay": replay}
        if verdict is not None:
            about["verdict"] = dataclasses.asdict(verdict)
        name, episode = self._write(episode, about)
        explains = decision is Decision.REJECTED and self._explain is not None
        clips = self._explain(episode, verdict) if explains else []
        return Saved(name, episode, proposed, decision, verdict, replay, clips)

    def _replayed(self, episode: Episode) -> dict[str, Any] | None:
        if self._check_env is None or episode.states is None:
            return None
        return replayed(self._check_env, episode)

    def _judged(self, episode: Episode) -> Verdict | None:
        """Judge it if it succeeded; one that the judge cannot score is not accepted."""
        if self._judge is None or not episode.success:
            return None
        try:
            return self._judge(episode)
        except DataError as error:
            return Verdict(accepted=False, score=0.0, reasons=(f"it cannot be judged: {error}",))

    def _write(self, episode: Episode, about: dict[str, Any]) -> tuple[str | None, Episode]:
        """Write it with what has been found; give its name too, None without a dataset."""
        episode = dataclasses.replace(episode, metadata=episode.metadata | about)
        return None if self._dataset is None else self._dataset.append(episode), episode


def proposal(episode: Episode, verdict: Verdict | None, practice: bool) -> Decision:
    """Say what becomes of a demonstration unless the person decides otherwise."""
    if practice:
        return Decision.PRACTICE
    if not episode.success:
        return Decision.FAILED
    return Decision.KEPT if verdict is None or verdict.accepted else Decision.REJECTED

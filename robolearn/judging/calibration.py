"""Learn what one operator's demonstrations are like, to judge others' by it.

    judge = calibrate(observations, actions)  # lists of [T, O] and [T, A], one operator's
    verdict = judge.score(new_observations, new_actions)
    verdict.accepted, verdict.p_value, verdict.worst_window, verdict.cue
    kept_observations, kept_actions = judge.filter(list_of_observations, list_of_actions)

The demonstrations are dealt into folds. Each fold's ensemble *and* the scale of its scores come
from the other folds alone, so that its held-out demonstrations and a new one meet it as equals
(``robolearn/judging/conformal.py`` says what that guarantees).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from robolearn.algos.bc import BCConfig, BehaviorCloning
from robolearn.algos.compatibility import STATISTICS, Scale, Scores
from robolearn.errors import SpecError, UserError
from robolearn.judging.conformal import deal_folds, require_enough
from robolearn.judging.demonstrations import (
    Demonstration,
    checked,
    paired,
    plain_interface,
    transitions,
)
from robolearn.judging.judge import Fold, Judge, JudgeConfig, score_under, warn_if_short
from robolearn.judging.limits import ActionLimits, Limit, said_of
from robolearn.loops.offline import OfflineConfig, offline, validation_episodes
from robolearn.networks.threads import one_thread
from robolearn.types import Spec

SMALL_NETWORK = BCConfig(widths=(256, 256), dropout=0.0)  # trains in seconds, not in minutes
TRAINING = OfflineConfig(validation_share=0.2, most_updates=300)  # 20 x 60 steps: all 50 epochs


def calibrate(
    observations: Sequence[np.ndarray],
    actions: Sequence[np.ndarray],
    *,
    seed: int = 0,
    gripper: int | str | None = None,
    interface: Spec | None = None,
    config: JudgeConfig | None = None,
    limits: tuple[Limit, Limit] | None = None,
    clip: bool = False,
    network: BCConfig = SMALL_NETWORK,
    training: OfflineConfig = TRAINING,
    on_fit: Callable[[int, int], None] | None = None,
) -> Judge:
    """Make a Judge from one operator's demonstrations: states [T, O] and actions [T, A].

    ``gripper`` is the index or name of the action entry that opens and closes (at its limits), if
    there is one. ``interface`` names the entries; without it they are numbered. Actions are in
    [-1, 1], or else between ``limits``, low and high, numbers or [A] each; with ``clip`` what lies
    beyond is clipped, and a warning says how much. Both hold for those that are judged later, too.
    Trains ``config.folds`` + 1 ensembles, on one thread, and calls ``on_fit(done, total)`` after
    each. Warns if some of these demonstrations are shorter than the statistic's window, and if the
    statistic is saturated: so many of them reach its cap that others hardly can stand out.

    Raises DataError for fewer demonstrations than ``config.false_rejection_rate`` needs, or values
    that are not finite or beyond the limits; SpecError for sizes that do not fit; UserError for a
    setting out of range.
    """
    config = config or JudgeConfig()
    if training.validation_share == 0.0:
        raise UserError("validation_share: must be above 0, as the scale is taken there")
    if network.members < 2:
        raise UserError("members: novelty is a spread over members, so there must be 2 at least")
    pairs = list(paired(observations, actions))
    require_enough(len(pairs), config.false_rejection_rate, config.folds)
    interface = interface or plain_interface(pairs)
    within = ActionLimits.of(limits, clip, interface.action.shape[0])
    demonstrations = [
        checked(s, a, interface, f"demonstration {i}", within) for i, (s, a) in enumerate(pairs)
    ]
    if clipped := sum(int(within.beyond(a).sum()) for _, a in pairs):
        told = said_of(clipped, sum(len(a) for _, a in pairs))
        warnings.warn(f"base demonstrations: {told}", stacklevel=2)
    entry = _gripper_entry(gripper, interface)
    warn_if_short(actions, config, "base ")
    judge = _Calibration(demonstrations, interface, entry, config, within, network, training).run(
        seed, on_fit or _say_nothing
    )
    _warn_if_saturated(judge)
    return judge


@dataclass(frozen=True)
class _Calibration:
    """What all of a calibration's trainings share."""

    demonstrations: list[Demonstration]
    interface: Spec
    gripper: int | None
    config: JudgeConfig
    limits: ActionLimits
    network: BCConfig
    training: OfflineConfig

    def run(self, seed: int, on_fit: Callable[[int, int], None]) -> Judge:
        """Train on all but each fold, then on everything."""
        count, total = len(self.demonstrations), self.config.folds + 1
        seeds = [int(s) for s in np.random.SeedSequence(seed).generate_state(total)]
        folds = []
        for held_out in deal_folds(count, self.config.folds, np.random.default_rng(seed)):
            folds.append(self._fold(held_out, seeds[len(folds)]))
            on_fit(len(folds), total)
        policy, _ = self._fit(np.arange(count), seeds[-1])
        on_fit(total, total)
        scale = Scale.of([s for fold in folds for s in fold.held_out], self.config.quantile)
        return Judge(self.config, policy, scale, tuple(folds), self.gripper, self.limits)

    def _fold(self, held_out: np.ndarray, seed: int) -> Fold:
        """Train on the other folds; their validation episodes give the scale, so it is theirs."""
        rest = np.setdiff1d(np.arange(len(self.demonstrations)), held_out)
        policy, unseen = self._fit(rest, seed)
        scale = Scale.of(self._scores(policy, unseen), self.config.quantile)
        return Fold(policy, scale, tuple(self._scores(policy, held_out)))

    @one_thread()
    def _fit(self, rows: np.ndarray, seed: int) -> tuple[BehaviorCloning, np.ndarray]:
        """Clone the demonstrations of ``rows``; return also the rows that only validated."""
        policy = BehaviorCloning(self.interface, self.network, seed)
        offline(policy, transitions([self.demonstrations[i] for i in rows]), self.training, seed)
        episodes = np.arange(len(rows))
        return policy, rows[validation_episodes(episodes, self.training.validation_share, seed)]

    def _scores(self, policy: BehaviorCloning, rows: np.ndarray) -> list[Scores]:
        shift = self.config.gripper_shift
        return [score_under(policy, self.demonstrations[i], self.gripper, shift) for i in rows]


def _gripper_entry(gripper: int | str | None, interface: Spec) -> int | None:
    if gripper is None:
        return None
    size = interface.action.shape[0]
    if size == 1:
        raise SpecError("gripper: the only action entry cannot be scored apart: leave gripper out")
    if isinstance(gripper, str):
        found = interface.action.index(gripper)
        if len(found) != 1:
            raise SpecError(f"gripper: '{gripper}' names {len(found)} action entries, not one")
        return int(found[0])
    if not -size <= gripper < size:
        raise SpecError(f"gripper: there is no entry {gripper} among {size} action entries")
    return gripper % size


def _warn_if_saturated(judge: Judge) -> None:
    """Warn if a demonstration at the statistic's cap would be accepted, but for broken ties."""
    name, window = judge.config.statistic, judge.config.window
    statistic = STATISTICS[name]
    values = [statistic(s, fold.scale, window) for fold in judge.folds for s in fold.held_out]
    full = sum(value >= statistic.cap for value in values)
    if (1 + full) / (1 + len(values)) > judge.config.false_rejection_rate:
        warnings.warn(
            f"{name}: {full} of {len(values)} base demonstrations disagree throughout a window of"
            f" {window} steps, so that others hardly stand out: take a longer window, or"
            " statistic='mean_share'",
            stacklevel=3,
        )


def _say_nothing(done: int, total: int) -> None:
    """Be told of progress and ignore it."""

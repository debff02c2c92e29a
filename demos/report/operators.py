"""Do an operator's demonstrations go together with another's? The judge of harm, for each.

Held for it are the states and actions of up to 200 episodes of each operator, the first ones, and
256 MiB at most.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from demos.data.index import Masks
from demos.report.scales import STATE
from robolearn.algos.commands import LEAST_STEPS
from robolearn.errors import DataError, SpecError, nearest
from robolearn.judging.groups import Judged, grouped
from robolearn.judging.harm import HarmJudge
from robolearn.types import Episode, Spec

BASE = "base"  # an operator's name
NOBODY = "(not told)"
OF_EACH = 200  # episodes
MOST_BYTES = 256 << 20
LEAST_BASE = 4  # demonstrations that a judge needs


@dataclass(frozen=True)
class Held:
    """An episode that the judge will look at."""

    name: str
    operator: str
    success: bool
    states: np.ndarray  # [T, O]
    actions: np.ndarray  # [T, A]


@dataclass
class Collected:
    """What is held for the judge while a dataset is read."""

    held: list[Held] = field(default_factory=list)
    left_out: int = 0
    size: int = 0
    counts: Counter[str] = field(default_factory=Counter)  # operator -> episodes held

    def add(self, name: str, operator: str, episode: Episode) -> None:
        """Hold an episode, unless that would be too much."""
        states = episode.observations.get(STATE)
        if states is None:
            return
        size = states.nbytes + episode.actions.nbytes
        if self.counts[operator] >= OF_EACH or self.size + size > MOST_BYTES:
            self.left_out += 1
            return
        self.size += size
        self.counts[operator] += 1
        held = Held(name, operator, episode.success, states[:-1].copy(), episode.actions.copy())
        self.held.append(held)


@dataclass(frozen=True)
class Compatibility:
    """What the judge says; ``why_not`` is why it says nothing."""

    base: str = ""
    chosen: str = ""  # how: "base= says so"
    own: Mapping[str, float] = field(default_factory=dict)  # harm of the base's, each held
    # against the others
    judged: tuple[Judged, ...] = ()
    why_not: str = ""
    notes: tuple[str, ...] = ()

    @property
    def groups(self) -> dict[str, list[Judged]]:
        """Give the verdicts by operator."""
        return grouped(self.judged)


def compare(collected: Collected, interface: Spec, masks: Masks, base: str | None) -> Compatibility:
    """Hold every other operator's episodes against the successful ones of a base.

    The base is ``base``, an operator or a mask; without it the operator called "base", or who has
    most successful episodes. Raises DataError if ``base`` is neither.
    """
    held = collected.held
    if not held:
        return Compatibility(why_not="there is no state to compare by")
    names = {one.operator for one in held}
    if base is not None and base not in names and base not in masks:
        known = {name for name in names if name != NOBODY} | set(masks)
        raise DataError(f"base={base}: no operator or mask of that name{nearest(base, known)}")
    if base is None and len(names) < 2:
        return Compatibility(why_not="one operator: nobody to compare with")
    whose, chosen = (base, "base= says so") if base is not None else _base(held)
    mine = set(masks.get(whose, ())) if whose not in names else set()
    own = [one for one in held if (one.name in mine if mine else one.operator == whose)]
    able = [one for one in own if one.success and len(one.actions) >= LEAST_STEPS]
    names_of_own = {one.name for one in own}
    others = [one for one in held if one.name not in names_of_own]
    if not others:
        return Compatibility(whose, chosen, why_not=f"all episodes are {whose}'s")
    try:
        return _judged(whose, chosen, able, others, interface, collected)
    except (DataError, SpecError) as error:
        return Compatibility(whose, chosen, why_not=f"base {whose}: {error}")


def _base(held: Sequence[Held]) -> tuple[str, str]:
    """Choose whose demonstrations the others' are held against, and say why."""
    counts: dict[str, int] = {}
    for one in held:
        counts[one.operator] = counts.get(one.operator, 0) + one.success
    if BASE in counts:
        return BASE, "it is called so"
    whose = max(counts, key=lambda name: counts[name])
    return whose, f"most successes, {counts[whose]}; base=NAME takes another"


def _judged(
    whose: str,
    chosen: str,
    able: Sequence[Held],
    others: Sequence[Held],
    interface: Spec,
    collected: Collected,
) -> Compatibility:
    judge = HarmJudge.of(
        [one.states for one in able],
        [one.actions for one in able],
        interface=_of_states(interface),
    )
    found: list[Judged] = []
    for operator in dict.fromkeys(one.operator for one in others):
        some = [one for one in others if one.operator == operator]
        long_enough = [one for one in some if len(one.actions) >= LEAST_STEPS]
        verdicts = judge.score_all(
            [one.states for one in long_enough], [one.actions for one in long_enough]
        )
        told = dict(zip([one.name for one in long_enough], verdicts, strict=True))
        found += [Judged(one.name, operator, len(one.actions), told.get(one.name)) for one in some]
    own = dict(zip([one.name for one in able], judge.own_harm.tolist(), strict=True))
    notes = (f"{collected.left_out} episodes more were not judged",) * bool(collected.left_out)
    return Compatibility(whose, chosen, own, tuple(found), notes=notes)


def _of_states(interface: Spec) -> Spec:
    return Spec(
        interface.environment,
        {STATE: interface.observations[STATE]},
        interface.action,
        interface.period_s,
    )

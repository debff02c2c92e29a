"""A stop that is proven: it holds once the arm has been seen at rest, else the torque goes.

Of several arms that are one robot each is told, looked at, and if need be let go of by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from robots.base import Kind, LifeCycle, Robot

AT_REST = 0.003  # share of a joint's range: one that moves less in ``LOOK_S`` is at rest
LOOK_S = 0.1
TRIES = 3
CUT = "cut its power"


@dataclass(frozen=True, eq=False)
class Part:
    """An arm, and the ranges of its joints [J]; ``name`` is "" where there is no other one."""

    robot: Robot
    span: np.ndarray
    name: str = ""

    def rests(self, before: np.ndarray, now: np.ndarray) -> bool:
        """Say whether it is at rest that was at positions ``before`` and is at ``now`` [J].

        A gripper that opens is: what it holds pushes it, once it is not told to squeeze any more.
        """
        is_gripper = np.array([joint.kind is Kind.GRIPPER for joint in self.robot.joints])
        moved = np.where(is_gripper, np.maximum(before - now, 0.0), np.abs(now - before))
        return bool((moved <= AT_REST * self.span).all())


def parts_of(robot: Robot, span: np.ndarray) -> Iterator[Part]:
    """Give the arms that a robot, whose joints have the ranges ``span`` [J], consists of."""
    arms: Mapping[str, Robot] = getattr(robot, "arms", {"": robot})
    first = 0
    for name, arm in arms.items():
        yield Part(arm, span[first : first + len(arm.joints)], name)
        first += len(arm.joints)


class Stopper:
    """Brings a robot to rest, whatever its driver raises."""

    def __init__(
        self,
        parts: Sequence[Part],
        look: Callable[[Robot], np.ndarray],
        now: Callable[[], float],
        wait: Callable[[], None],
        prove_s: float,
    ) -> None:
        """``look`` measures an arm's positions [J]; ``now`` is in s."""
        self._parts, self._look = parts, look
        self._now, self._wait, self._prove_s = now, wait, prove_s

    def stop(self) -> str:
        """Stop the robot; take the torque away where it is not seen at rest. Say what failed.

        Every one of these is tried, and nothing is raised.
        """
        there = [p for p in self._parts if p.robot.life_cycle is not LifeCycle.UNCONFIGURED]
        untold = _tried(there, lambda arm: arm.stop())
        unproven = self._unproven([part for part in there if part not in untold])
        left = [*untold, *unproven]
        untaken = _tried(left, lambda arm: arm.deactivate())
        still = self._unproven(left)
        return "".join(
            _words(part, untold.get(part, ""), unproven.get(part, ""), part in untaken,
                   part not in still, still.get(part, ""))
            for part in left
        )  # fmt: skip

    def _unproven(self, parts: Sequence[Part]) -> dict[Part, str]:
        """Look until each has been still for a while, or ``prove_s`` is over.

        Gives those that have not been seen at rest, and what kept them from being looked at.
        """
        began_s, left, unseen = self._now(), list(parts), {}
        looks: dict[Part, list[tuple[float, np.ndarray]]] = {part: [] for part in parts}
        while left:
            now_s = self._now()
            for part in list(left):
                try:
                    now = self._look(part.robot)
                except Exception as error:
                    unseen[part] = str(error) or type(error).__name__
                    left.remove(part)
                    continue
                earlier = [seen for at_s, seen in looks[part] if now_s - at_s >= LOOK_S - 1e-9]
                if earlier and part.rests(earlier[-1], now):
                    left.remove(part)
                looks[part].append((now_s, now))
            if now_s - began_s >= self._prove_s:
                break
            if left:
                self._wait()
        return unseen | dict.fromkeys(left, "")


def _words(
    part: Part, untold: str, unseen: str, untaken: bool, rests: bool, still_unseen: str
) -> str:
    """Say what failed of stopping an arm that was not seen at rest, and what came of that."""
    why = "it was not seen at rest"
    if untold or unseen:
        why = f"it could not be {'told to stop' if untold else 'looked at'}: {untold or unseen}"
    why = f"; {part.name}: {why}" if part.name else f"; {why}"
    if rests and not untaken:
        return f"{why}, so its torque was taken away"
    if not untaken and still_unseen:
        return f"{why}; its torque was taken away, and nothing shows that it rests: {CUT}"
    if rests or still_unseen:
        return f"{why}; its torque could not be taken away: {CUT}"
    return f"{why}; IT STILL MOVES, whatever it is told: {CUT}"


def _tried(parts: Sequence[Part], call: Callable[[Robot], None]) -> dict[Part, str]:
    """Call of each arm until it succeeds, a few times, whatever is raised; give what was, last."""
    faults = dict.fromkeys(parts, "")
    for _ in range(TRIES):
        for part in list(faults):
            try:
                call(part.robot)
                del faults[part]
            except Exception as error:  # nothing may keep an arm from being stopped
                faults[part] = str(error) or type(error).__name__
    return faults

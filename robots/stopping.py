"""A stop that is proven: it holds once the arm has been seen at rest, else the torque goes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from robots.base import LifeCycle, Robot

AT_REST = 0.003  # share of a joint's range: one that moves less in ``LOOK_S`` is at rest
LOOK_S = 0.1
TRIES = 3
CUT = "cut its power"


class Stopper:
    """Brings a robot to rest, whatever its driver raises."""

    def __init__(
        self,
        robot: Robot,
        look: Callable[[], np.ndarray],
        span: np.ndarray,
        now: Callable[[], float],
        wait: Callable[[], None],
        prove_s: float,
    ) -> None:
        """``look`` measures positions [J] of joints whose ranges are ``span``; ``now`` is in s."""
        self._robot, self._look, self._span = robot, look, span
        self._now, self._wait, self._prove_s = now, wait, prove_s

    def stop(self) -> str:
        """Stop the robot; take the torque away if it is not seen at rest. Say what failed.

        Every one of these is tried, and nothing is raised.
        """
        if self._robot.life_cycle is LifeCycle.UNCONFIGURED:
            return ""
        fault = _tried(self._robot.stop)
        rests, unseen = (False, "") if fault else self._proven()
        if rests:
            return ""
        untaken = _tried(self._robot.deactivate)
        rests, still_unseen = self._proven()
        why = "it was not seen at rest"
        if fault or unseen:
            why = f"it could not be {'told to stop' if fault else 'looked at'}: {fault or unseen}"
        if rests and not untaken:
            return f"; {why}, so its torque was taken away"
        if not untaken and still_unseen:
            return f"; {why}; its torque was taken away, and nothing shows that it rests: {CUT}"
        if rests or still_unseen:
            return f"; {why}; its torque could not be taken away: {CUT}"
        return f"; {why}; IT STILL MOVES, whatever it is told: {CUT}"

    def _proven(self) -> tuple[bool, str]:
        """Give whether the arm is seen at rest, and what kept it from being looked at."""
        try:
            return self._seen_at_rest(), ""
        except Exception as error:
            return False, str(error) or type(error).__name__

    def _seen_at_rest(self) -> bool:
        """Look until the arm has been still for a while, or ``prove_s`` is over."""
        began_s, looks = self._now(), []
        while True:
            now_s, now = self._now(), self._look()
            earlier = [seen for at_s, seen in looks if now_s - at_s >= LOOK_S - 1e-9]
            if earlier and (np.abs(now - earlier[-1]) <= AT_REST * self._span).all():
                return True
            if now_s - began_s >= self._prove_s:
                return False
            looks.append((now_s, now))
            self._wait()


def _tried(call: Callable[[], None]) -> str:
    """Call until it succeeds, a few times, whatever is raised; give what was raised last."""
    fault = ""
    for _ in range(TRIES):
        try:
            call()
            return ""
        except Exception as error:  # nothing may keep an arm from being stopped
            fault = str(error) or type(error).__name__
    return fault

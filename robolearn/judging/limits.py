"""Actions as people record them: scaled from their limits to [-1, 1], clipped if asked, counted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from robolearn.errors import DataError, SpecError

ROUNDING = 1e-6
Limit = float | Sequence[float] | np.ndarray  # of all entries, or of each [A]


@dataclass(frozen=True)
class ActionLimits:
    """What -1 and 1 stand for, and whether what lies beyond is clipped; made by ``of``."""

    low: np.ndarray = np.float64(-1.0)  # [A], or of all entries
    high: np.ndarray = np.float64(1.0)
    clip: bool = False

    @classmethod
    def of(cls, limits: tuple[Limit, Limit] | None, clip: bool, size: int) -> ActionLimits:
        """Take (low, high), for actions of ``size`` entries; None for -1 and 1.

        Raises SpecError unless they are numbers, or one for each entry, the lower below the upper.
        """
        if limits is None:
            return cls(clip=clip)
        try:
            low, high = (np.asarray(limit, np.float64) for limit in limits)
        except (TypeError, ValueError):
            raise SpecError(f"limits: {limits!r} is not [low, high]") from None
        for name, limit in (("low", low), ("high", high)):
            if limit.shape not in ((), (1,), (size,)):
                raise SpecError(
                    f"limits: {name} has shape {limit.shape}; give a number, or one for each of "
                    f"the {size} entries of an action"
                )
        wrong = np.broadcast_to(~(low < high) | ~np.isfinite(high - low), (size,))
        if wrong.any():
            i = int(wrong.argmax())
            ends = np.broadcast_to(low, (size,))[i], np.broadcast_to(high, (size,))[i]
            raise SpecError(f"limits: entry {i} goes from {ends[0]:g} to {ends[1]:g}")
        return cls(low, high, clip)

    def beyond(self, actions: np.ndarray) -> np.ndarray:
        """Say at which steps [T] an entry of actions [T, A] lies beyond its limits."""
        return (np.abs(self.scaled(actions)) > 1.0 + ROUNDING).any(axis=1)

    def clipped(self, actions: np.ndarray) -> np.ndarray:
        """Give actions [T, A] as they were recorded; what is to be clipped is at its limit."""
        given = np.asarray(actions)
        if not self.clip or not self.beyond(given).any():
            return actions
        within = np.clip(given, self.low, self.high)
        return within.astype(given.dtype) if np.issubdtype(given.dtype, np.floating) else within

    def scale(self, actions: np.ndarray, where: str) -> np.ndarray:
        """Give actions [T, A] in [-1, 1].

        Raises DataError, which begins with ``where``, for what lies beyond and is not to be
        clipped.
        """
        scaled, beyond = self.scaled(actions), self.beyond(actions)
        if beyond.any() and not self.clip:
            plain = np.ndim(self.low) == 0 and (self.low, self.high) == (-1.0, 1.0)
            low, high = np.min(actions), np.max(actions)
            raise DataError(
                f"{where}: actions leave {'[-1, 1]' if plain else 'their limits'} at step "
                f"{beyond.argmax()}, and at {beyond.sum()} of {len(beyond)} in all (they go from "
                f"{low:.3g} to {high:.3g}): give {'' if plain else 'other '}limits=[low, high], or "
                "clip=True"
            )
        return np.clip(scaled, -1.0, 1.0)

    def scaled(self, actions: np.ndarray) -> np.ndarray:
        """Give actions [..., A] so that their limits are -1 and 1; some may lie beyond."""
        middle, half = (self.low + self.high) / 2, (self.high - self.low) / 2
        return (np.asarray(actions, np.float64) - middle) / half

    def unscaled(self, actions: np.ndarray) -> np.ndarray:
        """Give actions [..., A] in [-1, 1] as they were recorded; the inverse of ``scaled``."""
        return (self.low + self.high) / 2 + (self.high - self.low) / 2 * actions

    def value_said(self, value: float, entry: int) -> str:
        """Write an entry's value, in [-1, 1], as it was recorded: "+0.31"."""
        middle, half = self._range(entry)
        return _written(middle + half * value, half)

    def difference_said(self, difference: float, entry: int) -> str:
        """Write how much two values of an entry differ, in the units of the recording: "+0.62"."""
        _, half = self._range(entry)
        return _written(half * difference, half)

    def _range(self, entry: int) -> tuple[float, float]:
        low, high = (float(np.ravel(end)[entry % np.size(end)]) for end in (self.low, self.high))
        return (low + high) / 2, (high - low) / 2


def _written(number: float, half: float) -> str:
    """Write a number with as many decimals as show a hundredth of half the range, or less."""
    decimals = max(0, 2 - math.floor(math.log10(half)))
    return f"{number:+.{decimals}f}"


def said_of(clipped: int, steps: int) -> str:
    """Say how many of all steps were clipped."""
    return f"clipped the actions of {clipped} of {steps} steps ({clipped / steps:.1%})"

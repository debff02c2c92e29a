"""Verdicts on many demonstrations: who they come from, and what is most often said of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from robolearn.algos.commands import LEAST_STEPS
from robolearn.judging.verdicts import HarmVerdict

MECHANISMS = {
    "tempo": "slower than the base",
    "direction": "goes another way",
    "waiting": "waits before a switch",
    "contrary": "commands the opposite near a switch",
    "commands": "commands do not go with the motion",
}
FIGURES = (
    "harm", "p_value", "progress_lost", "waited", "contrary", "command_mismatch", "clipped",
)  # fmt: skip
HEADS = ("harm", "progress lost", "waited", "contrary")
COLUMN_GAP = "   "
MOST_NAMED = 10


@dataclass(frozen=True)
class Judged:
    """A demonstration and what the judge says of it."""

    name: str
    operator: str
    steps: int
    verdict: HarmVerdict | None  # None: it is too short to judge

    @property
    def accepted(self) -> bool:
        """Say whether it is accepted; what cannot be judged is not."""
        return self.verdict is not None and self.verdict.accepted

    def summary(self) -> dict[str, Any]:
        """Give all that is known of it, as plain values; None for what cannot be judged."""
        reasons = self.verdict.reasons if self.verdict else ()
        return {
            "name": self.name,
            "operator": self.operator,
            "steps": self.steps,
            "too_short": self.verdict is None,
            "accepted": self.accepted,
            **{name: self.verdict and getattr(self.verdict, name) for name in FIGURES},
            "reasons": [vars(reason) for reason in reasons],
        }


def grouped(found: Sequence[Judged]) -> dict[str, list[Judged]]:
    """Sort demonstrations by operator, each once, in the order in which they first come."""
    groups: dict[str, list[Judged]] = {}
    for one in found:
        groups.setdefault(one.operator, []).append(one)
    return groups


def verdicts_of(found: Sequence[Judged]) -> list[HarmVerdict]:
    """Give the verdicts on those that could be judged."""
    return [one.verdict for one in found if one.verdict is not None]


def too_short(found: Sequence[Judged]) -> str:
    """Say which demonstrations cannot be judged, and why; "" if all can."""
    lengths = {one.name: one.steps for one in found if one.verdict is None}
    told = f"too short to judge, of fewer than {LEAST_STEPS} steps: {with_lengths(lengths)}"
    return told if lengths else ""


def with_lengths(steps: Mapping[str, int]) -> str:
    """List demonstrations with their numbers of steps; of many, the first ten."""
    named = [f"{name} ({count} steps)" for name, count in steps.items()]
    more = len(named) - MOST_NAMED
    return ", ".join(named[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def reasons_of(found: Sequence[Judged]) -> dict[str, int]:
    """Count the worst reason's mechanism of those that are rejected, most frequent first."""
    worst = [verdict.reasons[0].mechanism for verdict in verdicts_of(found) if verdict.reasons]
    return dict(Counter(worst).most_common())


def summary_of(found: Sequence[Judged]) -> dict[str, Any]:
    """Put a group's verdicts together: shares of all, medians of those that could be judged."""
    verdicts = verdicts_of(found)

    def median(name: str) -> float | None:
        return float(np.median([getattr(v, name) for v in verdicts])) if verdicts else None

    return {
        "demonstrations": len(found),
        "too_short": len(found) - len(verdicts),
        "accepted": float(np.mean([one.accepted for one in found])),
        "harm": median("harm"),
        "progress_lost": median("progress_lost"),
        "waited": median("waited"),
        "contrary": median("contrary"),
        "reasons": reasons_of(found),
    }


def table_of_groups(groups: Mapping[str, Sequence[Judged]]) -> str:
    """Lay groups out as lines of text: how many, what share is accepted, medians, why."""
    heads = ("operator", "demonstrations", "accepted", *HEADS, "most often")
    return _table([heads, *(_row(name, found) for name, found in groups.items())])


def table_of_each(found: Sequence[Judged]) -> str:
    """Lay demonstrations out as lines of text, in their order."""
    rows = [("demonstration", "operator", "accepted", *HEADS, "why")]
    for one in found:
        why = said(one.verdict) if one.verdict else f"too short to judge: {one.steps} steps"
        accepted = "yes" if one.accepted else "no"
        rows.append((one.name, one.operator, accepted, *_figures(summary_of([one])), why))
    return _table(rows)


def _table(rows: Sequence[Sequence[str]]) -> str:
    """Put names at the left of the first column, reasons at the left of the last one."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    aligned = [str.ljust, *[str.rjust] * (len(widths) - 2), str.ljust]
    lines = [
        [align(cell, width) for align, cell, width in zip(aligned, row, widths, strict=True)]
        for row in rows
    ]
    return "\n".join(COLUMN_GAP.join(line).rstrip() for line in lines)


def _row(name: str, found: Sequence[Judged]) -> tuple[str, ...]:
    of = summary_of(found)
    return (name, str(len(found)), f"{of['accepted']:.0%}", *_figures(of), _most_often(found))


def _figures(of: Mapping[str, Any]) -> tuple[str, ...]:
    """Write the medians of what ``summary_of`` gives, if there are any."""
    if of["harm"] is None:
        return ("-",) * len(HEADS)
    shares = (f"{of['progress_lost']:.0%}", f"{of['waited']:.1%}", f"{of['contrary']:.0%}")
    return (f"{of['harm']:.2f}", *shares)


def _most_often(found: Sequence[Judged]) -> str:
    """Say the most frequent reason, and in how many; and how many cannot be judged."""
    counts, verdicts, told = reasons_of(found), verdicts_of(found), []
    if counts:
        mechanism, count = next(iter(counts.items()))
        rejected = sum(not verdict.accepted for verdict in verdicts)
        told.append(f"{MECHANISMS.get(mechanism, mechanism)} ({count} of {rejected} rejected)")
    if short := len(found) - len(verdicts):
        told.append(f"too short to judge ({short})")
    return "; ".join(told)


def said(verdict: HarmVerdict) -> str:
    """Say all reasons of a verdict, the worst first; "" where there are none."""
    return "; ".join(reason.text for reason in verdict.reasons)


def worst(found: Sequence[Judged], count: int) -> Iterator[str]:
    """Say of the most harmful demonstrations, those that are rejected, why; a line each."""
    rejected = [one for one in found if one.verdict is not None and not one.accepted]
    for one in sorted(rejected, key=lambda one: -one.verdict.harm)[:count]:
        yield f"{one.name} ({one.operator}), harm {one.verdict.harm:.2f}: {said(one.verdict)}"
